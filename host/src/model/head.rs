//! An ONNX network taken apart at its last layer, to be given one class more.

use std::path::Path;

use mirage_core::image::Shape;

use super::crops::{Crop, Crops};
use super::description::Description;
use super::file::{Described, File};
use super::input::Input;
use super::onnx::head::Head;
use super::onnx::network::OnnxNetwork;
use super::{ModelError, labels, numbers};
use crate::image::Resize;

/// A network, and what of it is needed to give it one class more.
#[derive(Debug)]
pub struct HeadModel {
    name: String,
    sha256: String,
    head: Head,
    /// Up to what the last layer reads.
    features: OnnxNetwork,
    /// Up to the logits.
    logits: OnnxNetwork,
    input: Input,
    crop: Crop,
    description: Description,
    labels: Vec<String>,
}

/// What a network makes of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What the last layer reads: depth × positions, one position for a dense layer.
    pub features: Vec<f32>,
    /// What it makes of it: one per class.
    pub logits: Vec<f32>,
}

impl HeadModel {
    /// Loads a network by what [`Model::load`](super::Model::load) takes.
    ///
    /// # Errors
    /// If there is no such model, it is an int8 one, or it does not end in a layer of
    /// weights that can be given a class: a dense one, or a convolution of 1 × 1 that is
    /// averaged, with nothing behind that but a softmax.
    pub fn load(name: &str) -> Result<Self, ModelError> {
        let file = File::find(name)?;
        if file.is_int8() {
            let reason = "an int8 network cannot be given a class; name the ONNX network that it was made from".to_owned();
            return Err(ModelError::NoHead { name: file.name, reason });
        }
        let Described { name, sha256, proto, description, source } = file.describe()?;
        let unfit = |reason| ModelError::NoHead { name: name.clone(), reason };
        let head = Head::find(proto).map_err(unfit)?;
        let features = OnnxNetwork::whole(head.features()).map_err(unfit)?;
        let logits = OnnxNetwork::whole(head.logits()).map_err(unfit)?;
        if logits.classes() != head.classes() || !features.classes().is_multiple_of(head.depth()) {
            return Err(unfit("its last layer does not make one value per class".to_owned()));
        }
        let input = Input::new(&description, features.input()).map_err(|reason| {
            ModelError::Description { name: name.clone(), reason: format!("{source}: {reason}") }
        })?;
        let crop = Crops::Center.of(input.picture(), features.input())[0];
        let labels = match &description.labels {
            Some(path) => labels::read(path, head.classes())?,
            None => numbers(head.classes()),
        };
        Ok(Self { name, sha256, head, features, logits, input, crop, description, labels })
    }

    /// Name of a built-in model, or the path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its file, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Shape of the pictures that it judges.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.input.picture()
    }

    /// How images of another size become pictures.
    #[must_use]
    pub fn resize(&self) -> Resize {
        self.description.resize
    }

    /// What the classes are called.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Features that a class has weights for.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.head.depth()
    }

    /// Positions that a class's logit is the mean over: 1 for a dense layer.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.features.classes() / self.head.depth()
    }

    /// Whether what is negative at a position counts as 0 in that mean.
    #[must_use]
    pub fn has_relu(&self) -> bool {
        self.head.has_relu
    }

    /// The mean over the classes of their weights.
    #[must_use]
    pub fn mean_weights(&self) -> Vec<f32> {
        self.head.mean_weights()
    }

    /// What the network makes of the middle of a picture.
    ///
    /// # Errors
    /// If the network fails, or the picture has another size.
    pub fn look(&self, picture: &[u8]) -> Result<Look, ModelError> {
        let shape = self.shape();
        super::check_lengths(picture, shape.len(), &[0.0], 1)?;
        let mut input = vec![0.0; self.features.input().len()];
        self.input.write(picture, self.crop, &mut input);
        let run = |network: &OnnxNetwork| {
            let mut outputs = vec![0.0; network.classes()];
            network.session().run(&input, &mut outputs).map(|()| outputs)
        };
        let look = || Ok(Look { features: run(&self.features)?, logits: run(&self.logits)? });
        look().map_err(ModelError::Run)
    }

    /// The bytes of an ONNX file of the network with one class more, behind the others,
    /// which keep their weights.
    ///
    /// # Errors
    /// If the network does not run any more.
    pub fn with_class(&self, weights: &[f32], bias: f32) -> Result<Vec<u8>, ModelError> {
        let bytes = self.head.with_class(weights, bias);
        let unfit = |reason| ModelError::NoHead { name: self.name.clone(), reason };
        let network = super::onnx::decode(&bytes).and_then(OnnxNetwork::from_proto);
        match network.map_err(unfit)?.classes() {
            classes if classes == self.labels.len() + 1 => Ok(bytes),
            _ => Err(unfit("its last layer cannot be given a class".to_owned())),
        }
    }

    /// The text of a TOML file beside the network with one class more: it says of pictures
    /// what is said of this one's, and that the names of classes are in `labels`.
    #[must_use]
    pub fn description(&self, labels: &Path) -> String {
        let mut description = self.description.clone();
        description.labels = Some(labels.to_owned());
        // A path of it counts from the other file's folder.
        let absolute = |path| std::path::absolute(&path).unwrap_or(path);
        description.mean_image = description.mean_image.map(absolute);
        description.name = description.name.map(|name| format!("{name} with fooling images"));
        description.to_toml()
    }
}
