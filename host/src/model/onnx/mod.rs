//! An ONNX network as a classifier.

pub mod network;
mod operators;
mod output;
mod split;

use mirage_core::image::{Classifier, Shape};
use mirage_core::rng::Stream;
use prost::Message;
use tract_onnx::pb::ModelProto;

use super::ModelError;
use super::crops::{Crop, Crops};
use super::description::Description;
use super::input::Input;
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
