//! An ONNX network as a classifier.

mod features;
pub mod gradient;
pub(super) mod head;
pub mod network;
mod operators;
mod output;
mod split;

use mirage_core::digest::Digest;
use mirage_core::image::{Classifier, Shape};
use mirage_core::rng::Stream;
use prost::Message;
use tract_onnx::pb::ModelProto;

use super::ModelError;
use super::crops::{Crop, Crops};
use super::description::Description;
use super::input::Input;
pub(super) use features::{FeatureSession, OnnxFeatures};
use network::{BATCH, OnnxNetwork, Session};
pub use output::Output;

/// A network that judges pictures.
#[derive(Debug)]
pub(super) struct OnnxModel {
    network: OnnxNetwork,
    input: Input,
    output: Output,
}

/// The network of an ONNX file.
///
/// # Errors
/// If the bytes are none.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, String> {
    let proto = ModelProto::decode(bytes).ok().filter(|proto| proto.graph.is_some());
    proto.ok_or_else(|| "neither a mirage model nor an ONNX network, or cut short".to_owned())
}

/// Why a network cannot be used.
pub(super) enum Unfit {
    /// The network itself.
    Network(String),
    /// What is said of it.
    Description(String),
}

impl OnnxModel {
    /// Sets up a network, and runs it on a few pictures to see what its output means.
    pub(super) fn new(proto: ModelProto, description: &Description) -> Result<Self, Unfit> {
        let operators = Output::of_operators(&proto);
        let network = OnnxNetwork::from_proto(proto).map_err(Unfit::Network)?;
        let input = Input::new(description, network.input()).map_err(Unfit::Description)?;
        let pixels = input.picture().len();
        let mut noise = Stream::new(0, 0, 0);
        let probes = [vec![128; pixels], (0..pixels).map(|_| noise.below(256) as u8).collect()];
        let middle = Crops::Center.of(input.picture(), network.input())[0];
        let mut inputs = vec![0.0; probes.len() * network.input().len()];
        for (probe, values) in probes.iter().zip(inputs.chunks_exact_mut(network.input().len())) {
            input.write(probe, middle, values);
        }
        let mut outputs = vec![0.0; probes.len() * network.classes()];
        network.session().run(&inputs, &mut outputs).map_err(Unfit::Network)?;
        let output = Output::find(&outputs, network.classes(), operators);
        Ok(Self { network, input, output })
    }

    /// Shape of pictures.
    pub(super) fn picture(&self) -> Shape {
        self.input.picture()
    }

    /// A digest of the mean image, if there is one.
    pub(super) fn mean_digest(&self) -> Option<Digest> {
        self.input.mean_digest()
    }

    /// Shape of the network's input.
    pub(super) fn input(&self) -> Shape {
        self.network.input()
    }

    pub(super) fn classes(&self) -> usize {
        self.network.classes()
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    pub(super) fn classifier(&self, crops: Crops) -> OnnxClassifier<'_> {
        OnnxClassifier {
            model: self,
            session: self.network.session(),
            crops: crops.of(self.picture(), self.input()),
            inputs: vec![0.0; BATCH * self.input().len()],
            outputs: vec![0.0; BATCH * self.classes()],
        }
    }
}

/// An [`OnnxModel`] in use by one thread.
pub(super) struct OnnxClassifier<'a> {
    model: &'a OnnxModel,
    session: Session<'a>,
    crops: Vec<Crop>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl Classifier for OnnxClassifier<'_> {
    type Error = ModelError;

    fn classes(&self) -> usize {
        self.model.classes()
    }

    /// The scores of a picture are the mean of its crops' probabilities, added in the
    /// order of the crops. Batches go on from one picture to the next.
    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ModelError> {
        let (pixels, values) = (self.model.picture().len(), self.model.input().len());
        let (classes, crops) = (self.model.classes(), self.crops.len());
        super::check_lengths(images, pixels, scores, classes)?;
        let count = images.len() / pixels * crops;
        scores.fill(0.0);
        for first in (0..count).step_by(BATCH) {
            let batch = first..count.min(first + BATCH);
            for (index, input) in batch.clone().zip(self.inputs.chunks_exact_mut(values)) {
                let picture = &images[index / crops * pixels..][..pixels];
                self.model.input.write(picture, self.crops[index % crops], input);
            }
            let outputs = &mut self.outputs[..batch.len() * classes];
            self.session
                .run(&self.inputs[..batch.len() * values], outputs)
                .map_err(ModelError::Run)?;
            for (index, row) in batch.zip(outputs.chunks_exact_mut(classes)) {
                self.model.output.to_probabilities(row);
                let sums = &mut scores[index / crops * classes..][..classes];
                for (sum, probability) in sums.iter_mut().zip(row) {
                    *sum += *probability;
                }
            }
        }
        for sum in scores {
            *sum /= crops as f32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reference::onnx::{Attribute, Batch, Builder};

    use super::*;

    /// A network of 2 × 3 grey pixels whose five outputs pass `operators`.
    fn network(batch: Batch, operators: &[&str]) -> ModelProto {
        let mut builder = Builder::new(batch, [1, 2, 3], 7);
        builder.node("Flatten", "flat", &["data"], &[("axis", Attribute::Int(1))]);
        builder.random("weights", &[6, 5], 2.0);
        builder.node("MatMul", "product", &["flat", "weights"], &[]);
        let mut last = "product";
        for operator in operators {
            builder.node(operator, operator, &[last], &[]);
            last = operator;
        }
        builder.finish(last, 13)
    }

    fn model(proto: ModelProto, picture: Option<[usize; 2]>) -> OnnxModel {
        let description = Description { picture, ..Description::default() };
        OnnxModel::new(proto, &description).unwrap_or_else(|error| match error {
            Unfit::Network(reason) | Unfit::Description(reason) => panic!("{reason}"),
        })
    }

    fn scores(model: &OnnxModel, crops: Crops, images: &[u8]) -> Vec<f32> {
        let count = images.len() / model.picture().len();
        let mut scores = vec![0.0; count * model.classes()];
        model.classifier(crops).classify(images, &mut scores).unwrap();
        scores
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = Stream::new(1, 2, 3);
        (0..bytes).map(|_| noise.below(256) as u8).collect()
    }

    #[test]
    fn the_meaning_of_the_output_is_found_out() {
        for batch in [Batch::Symbolic, Batch::Fixed(1)] {
            let mut rows = Vec::new();
            for (operators, meaning) in [
                (&["Softmax"][..], Output::Probabilities),
                (&["Softmax", "Log"], Output::LogProbabilities),
                (&["LogSoftmax"], Output::LogProbabilities),
                (&[], Output::Logits),
                (&["Sigmoid"], Output::Independent),
            ] {
                let model = model(network(batch, operators), None);
                assert_eq!(model.output(), meaning, "{operators:?}");
                rows.push(scores(&model, Crops::Center, &noise(6)));
            }
            // The same probabilities, however the network states them.
            for row in &rows[1..4] {
                let near = row.iter().zip(&rows[0]).all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(near, "{row:?} {:?}", rows[0]);
            }
            assert!((rows[4].iter().sum::<f32>() - 1.0).abs() > 0.01, "{:?}", rows[4]);
        }
    }

    #[test]
    fn ten_crops_are_averaged_in_their_order() {
        let (high, wide, count) = (4, 5, 7);
        let pictures = noise(high * wide * count);
        let with_margin = model(network(Batch::Symbolic, &["Softmax"]), Some([high, wide]));
        let plain = model(network(Batch::Symbolic, &["Softmax"]), None);
        let mut expected = Vec::new();
        for picture in pictures.chunks_exact(high * wide) {
            let mut sums = vec![0.0; 5];
            for mirrored in [false, true] {
                for (top, left) in [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)] {
                    let rows = picture.chunks_exact(wide).skip(top).take(2);
                    let crop = rows.flat_map(|row| {
                        let mut row = row[left..left + 3].to_vec();
                        if mirrored {
                            row.reverse();
                        }
                        row
                    });
                    let crop: Vec<u8> = crop.collect();
                    let row = scores(&plain, Crops::Center, &crop);
                    sums.iter_mut().zip(row).for_each(|(sum, score)| *sum += score);
                }
            }
            expected.extend(sums.into_iter().map(|sum| sum / 10.0));
        }
        assert_eq!(scores(&with_margin, Crops::Ten, &pictures), expected);
    }

    #[test]
    fn a_score_that_is_no_number_is_passed_on() {
        let mut builder = Builder::new(Batch::Symbolic, [1, 2, 3], 7);
        builder.node("Flatten", "flat", &["data"], &[("axis", Attribute::Int(1))]);
        builder.node("Sub", "nothing", &["flat", "flat"], &[]);
        builder.node("Div", "nan", &["nothing", "nothing"], &[]);
        let model = model(builder.finish("nan", 13), None);
        assert_eq!(model.output(), Output::Logits);
        assert!(scores(&model, Crops::Center, &noise(6)).iter().all(|score| score.is_nan()));
    }
}
