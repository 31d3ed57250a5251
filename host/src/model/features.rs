//! What a network makes of pictures before it makes probabilities of it: the logits, and
//! the features that its last layer makes them of.

use std::borrow::Cow;

use mirage_core::image::Shape;
use mirage_core::nn::Network;
use rayon::prelude::*;

use super::file::{Described, File};
use super::onnx::{self, OnnxFeatures};
use super::{Kind, Model, ModelError, int8};
use crate::simd::{ForwardMemory, Simd};

/// A network that tells the logits and features of pictures, of which it looks at the
/// middle alone.
///
/// Features are the inputs of the last layer with weights: of an int8 network their real
/// values, and where that layer is a convolution of one pixel, their means over the places.
#[derive(Debug)]
pub struct FeatureModel {
    name: String,
    network: Taken,
}

/// A network taken apart.
#[derive(Debug)]
enum Taken {
    Int8(Cow<'static, [u8]>),
    Onnx(Box<OnnxFeatures>),
}

/// Logits and features of some pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Number of classes.
    pub classes: usize,
    /// Number of features of a picture.
    pub width: usize,
    /// Pictures × classes.
    pub logits: Vec<f32>,
    /// Pictures × width.
    pub features: Vec<f32>,
}

impl Features {
    /// The logits and the features of each picture.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&[f32], &[f32])> {
        self.logits.chunks_exact(self.classes).zip(self.features.chunks_exact(self.width))
    }
}

impl FeatureModel {
    /// Takes a model apart, whose file is read again if it is ONNX.
    ///
    /// # Errors
    /// If it is on a board, its file has gone or changed, it has no logits because its
    /// output comes from no softmax, or branches join behind its last layer with weights.
    pub fn of(model: &Model) -> Result<Self, ModelError> {
        let name = model.name().to_owned();
        let unfit = |reason| ModelError::NoFeatures { name: name.clone(), reason };
        let network = match &model.kind {
            Kind::Int8(blob) => Taken::Int8(blob.clone()),
            Kind::Onnx(_) => {
                let file = File::find(&name)?;
                if file.sha256 != model.sha256() {
                    return Err(unfit("its file has changed meanwhile".to_owned()));
                }
                let Described { proto, description, .. } = file.describe()?;
                let taken = OnnxFeatures::new(proto, &description, model.output());
                Taken::Onnx(Box::new(taken.map_err(unfit)?))
            }
            Kind::Guarded(_) => return Err(unfit("it is behind a guard already".to_owned())),
            Kind::Board(_) => return Err(unfit("a board tells probabilities alone".to_owned())),
        };
        Ok(Self { name, network })
    }

    /// The network in use by one thread.
    ///
    /// # Errors
    /// If it cannot be set up.
    pub fn session(&self, simd: Simd) -> Result<FeatureSession<'_>, ModelError> {
        let network = match &self.network {
            Taken::Int8(blob) => {
                let network = Network::parse(blob)
                    .map_err(|source| ModelError::Blob { name: self.name.clone(), source })?;
                let memory = ForwardMemory::new(&network, int8::BATCH);
                Running::Int8 { network, simd, memory }
            }
            Taken::Onnx(network) => {
                let (picture, classes) = (network.picture(), network.classes());
                let (width, session) = (network.features(), network.session());
                Running::Onnx { picture, classes, width, session }
            }
        };
        Ok(FeatureSession { network })
    }

    /// The logits and features of pictures, one behind the other; on the threads of the
    /// rayon pool that it is called in, whose number does not change them.
    ///
    /// # Errors
    /// If there is part of a picture, or the network fails.
    pub fn run(&self, simd: Simd, pictures: &[u8]) -> Result<Features, ModelError> {
        let (shape, classes, width) = self.session(simd)?.sizes();
        let count = pictures.len() / shape.len();
        let (mut logits, mut features) = (vec![0.0; count * classes], vec![0.0; count * width]);
        // Enough for a thread to set up a session for.
        const TASK: usize = 8 * onnx::network::BATCH;
        let tasks = pictures.par_chunks(TASK * shape.len());
        tasks
            .zip(logits.par_chunks_mut(TASK * classes))
            .zip(features.par_chunks_mut(TASK * width))
            .try_for_each(|((pictures, logits), features)| {
                self.session(simd)?.run(pictures, logits, Some(features))
            })?;
        Ok(Features { classes, width, logits, features })
    }
}

/// A [`FeatureModel`] in use by one thread.
pub struct FeatureSession<'a> {
    network: Running<'a>,
}

enum Running<'a> {
    Int8 { network: Network<'a>, simd: Simd, memory: ForwardMemory },
    Onnx { picture: Shape, classes: usize, width: usize, session: onnx::FeatureSession<'a> },
}

impl FeatureSession<'_> {
    /// Shape of a picture, number of classes, number of features.
    #[must_use]
    pub fn sizes(&self) -> (Shape, usize, usize) {
        match &self.network {
            Running::Int8 { network, .. } => {
                (network.input(), network.classes(), network.features())
            }
            Running::Onnx { picture, classes, width, .. } => (*picture, *classes, *width),
        }
    }

    /// The logits of pictures, one row behind the other, and their features if they are
    /// wanted. A picture's depend on that picture alone.
    ///
    /// # Errors
    /// If the lengths do not match, or the network fails.
    pub fn run(
        &mut self,
        pictures: &[u8],
        logits: &mut [f32],
        mut features: Option<&mut [f32]>,
    ) -> Result<(), ModelError> {
        let (shape, classes, width) = self.sizes();
        super::check_lengths(pictures, shape.len(), logits, classes)?;
        if let Some(features) = &features {
            super::check_lengths(pictures, shape.len(), features, width)?;
        }
        match &mut self.network {
            Running::Onnx { session, .. } => {
                session.run(pictures, logits, features).map_err(ModelError::Run)
            }
            Running::Int8 { network, simd, memory } => {
                let batches = pictures.chunks(int8::BATCH * shape.len());
                let logits = logits.chunks_mut(int8::BATCH * classes);
                for (index, (pictures, logits)) in batches.zip(logits).enumerate() {
                    simd.forward(network, pictures, &mut memory.scratch(), logits)
                        .map_err(|error| ModelError::Run(error.to_string()))?;
                    let Some(features) = &mut features else { continue };
                    let count = pictures.len() / shape.len();
                    let scratch = memory.scratch();
                    let steps = network.features_in(&scratch, count);
                    let rows = &mut features[index * int8::BATCH * width..];
                    for (feature, &step) in rows.iter_mut().zip(steps) {
                        *feature = f32::from(step) * network.feature_scale();
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mirage_core::math::softmax;

    use super::*;
    use crate::model::Crops;

    fn pictures(count: usize) -> Vec<u8> {
        (0..count * 784).map(|index| (index * index * 7 / 50 % 256) as u8).collect()
    }

    #[test]
    fn logits_make_the_scores_of_the_model() {
        for name in ["lenet", "lenet-small", "lenet-float"] {
            let model = Model::load(name).unwrap();
            let pictures = pictures(23);
            let found = FeatureModel::of(&model).unwrap().run(Simd::detect(), &pictures).unwrap();
            let mut scores = vec![0.0; 23 * 10];
            let mut classifier = model.classifier(Simd::detect(), Crops::Center).unwrap();
            classifier.classify(&pictures, &mut scores).unwrap();
            for ((logits, _), scores) in found.rows().zip(scores.chunks(10)) {
                let mut own = logits.to_vec();
                softmax(&mut own);
                let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
                assert!(own.iter().zip(scores).all(is_near), "{name}: {own:?} {scores:?}");
                assert!(!model.is_int8() || own == scores);
            }
        }
    }

    #[test]
    fn the_features_of_twins_are_close() {
        let [int8, float] = ["lenet", "lenet-float"].map(|name| {
            let model = Model::load(name).unwrap();
            FeatureModel::of(&model).unwrap().run(Simd::detect(), &pictures(25)).unwrap()
        });
        assert_eq!((int8.width, float.width), (500, 500));
        for ((_, int8), (_, float)) in int8.rows().zip(float.rows()) {
            let size = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
            let apart = size(&mut int8.iter().zip(float).map(|(a, b)| a - b));
            assert!(apart < 0.01 * size(&mut float.iter().copied()), "{apart}");
            // Both end in a ReLU.
            assert!(int8.iter().chain(float).all(|&value| value >= 0.0));
        }
    }

    #[test]
    fn a_picture_has_the_features_that_it_has_alone() {
        for name in ["lenet", "lenet-float"] {
            let model = FeatureModel::of(&Model::load(name).unwrap()).unwrap();
            let pictures = pictures(42);
            let all = model.run(Simd::detect(), &pictures).unwrap();
            let one = model.run(Simd::PORTABLE, &pictures[784 * 41..]).unwrap();
            assert_eq!(all.rows().last().unwrap(), one.rows().next().unwrap());
            assert!(model.run(Simd::detect(), &pictures[1..]).is_err());
        }
    }
}
