//! An ONNX network as a classifier, run by tract.
//!
//! One image at a time: tract is fastest with a concrete batch of one, and a score
//! then depends on its image alone.

pub mod network;
mod operators;
mod split;

use std::sync::Arc;

use mirage_core::image::{Classifier, Shape};
use mirage_core::math::softmax;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractError,
    TypedRunnableModel, tvec,
};

use super::ModelError;
use crate::train::Preprocessing;
use network::{guard, input_shape, one_line};

/// A network with one image as input and one score per class as output.
pub(super) struct OnnxModel {
    plan: Arc<TypedRunnableModel>,
    shape: Shape,
    classes: usize,
    output: Output,
    /// The network's input for every pixel byte.
    inputs: [f32; 256],
}

/// What the network's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Probabilities,
    LogProbabilities,
    Logits,
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// Reads and optimises a network; the error says in a few words what is wrong.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        guard(|| Self::read(bytes))?
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
        framework.use_output_shapes = false;
        let proto = framework
            .proto_model_for_read(&mut &*bytes)
            .ok()
            .filter(|proto| proto.graph.is_some())
            .ok_or("neither a mirage model nor an ONNX network")?;
        let shape = input_shape(&proto)?;
        let preprocessing =
            crate::train::onnx::preprocessing(&proto).map_err(|error| error.to_string())?;
        let output = output_kind(&proto);
        let broken =
            |error: TractError| format!("tract cannot run this network: {}", one_line(&error));
        let fact = InferenceFact::dt_shape(
            f32::datum_type(),
            tvec!(1, shape.channels, shape.height, shape.width),
        );
        let plan = framework
            .model_for_proto_model(&proto)
            .and_then(|model| model.with_input_fact(0, fact))
            .and_then(InferenceModelExt::into_optimized)
            .and_then(|model| model.into_runnable())
            .map_err(broken)?;
        let mut model =
            Self { plan, shape, classes: 0, output, inputs: Preprocessing::table(&preprocessing) };
        let black = vec![0; shape.len()];
        model.classes = model.run(&black).map_err(|error| error.to_string())?.len();
        if model.classes < 2 {
            return Err(format!("{} output values are no scores of classes", model.classes));
        }
        Ok(model)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn classifier(&self) -> OnnxClassifier<'_> {
        OnnxClassifier { model: self }
    }

    /// The network's output for one image.
    fn run(&self, image: &[u8]) -> Result<Vec<f32>, ModelError> {
        let failed = |error: TractError| ModelError::Run(one_line(&error));
        let Shape { height, width, channels } = self.shape;
        let mut values = Vec::with_capacity(image.len());
        for channel in 0..channels {
            let plane = image.iter().skip(channel).step_by(channels);
            values.extend(plane.map(|&pixel| self.inputs[usize::from(pixel)]));
        }
        let input = Tensor::from_shape(&[1, channels, height, width], &values).map_err(failed)?;
        let outputs = guard(|| self.plan.run(tvec!(input.into())))
            .map_err(ModelError::Run)?
            .map_err(failed)?;
        let output = outputs.first().ok_or_else(|| ModelError::Run("no output".to_owned()))?;
        let scores = output.to_plain_array_view::<f32>().map_err(failed)?;
        Ok(scores.iter().copied().collect())
    }
}

/// An [`OnnxModel`] in use by one thread.
pub(super) struct OnnxClassifier<'a> {
    model: &'a OnnxModel,
}

impl Classifier for OnnxClassifier<'_> {
    type Error = ModelError;

    fn classes(&self) -> usize {
        self.model.classes
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ModelError> {
        super::check_lengths(images, self.model.shape.len(), scores, self.model.classes)?;
        let images = images.chunks_exact(self.model.shape.len());
        for (image, scores) in images.zip(scores.chunks_exact_mut(self.model.classes)) {
            let output = self.model.run(image)?;
            if output.len() != scores.len() {
                return Err(ModelError::Run(format!(
                    "{} scores instead of {}",
                    output.len(),
                    scores.len()
                )));
            }
            scores.copy_from_slice(&output);
            match self.model.output {
                Output::Probabilities => {}
                Output::LogProbabilities | Output::Logits => softmax(scores),
            }
        }
        Ok(())
    }
}

/// What the last operator that computes something says of the output.
fn output_kind(proto: &ModelProto) -> Output {
    const SHAPING: [&str; 7] =
        ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"];
    let Some(graph) = &proto.graph else { return Output::Logits };
    let mut name = graph.output.first().map(|output| &output.name);
    // A graph without cycles has no path longer than its nodes.
    for _ in 0..graph.node.len() {
        let maker = name.and_then(|n| graph.node.iter().find(|node| node.output.contains(n)));
        let Some(node) = maker else { break };
        match node.op_type.as_str() {
            "Softmax" => return Output::Probabilities,
            "LogSoftmax" => return Output::LogProbabilities,
            shaping if SHAPING.contains(&shaping) => name = node.input.first(),
            _ => break,
        }
    }
    Output::Logits
}
