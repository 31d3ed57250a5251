//! An ONNX network as a classifier, run by tract.
//!
//! One image at a time: tract is fastest with a concrete batch of one, and a score
//! then depends on its image alone.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use mirage_core::image::{Classifier, Shape};
use mirage_core::math::softmax;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractError,
    TypedRunnableModel, tvec,
};

use super::ModelError;
use crate::train::Preprocessing;

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

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls tract, which panics on some damaged networks: such a panic becomes an error, and
/// prints nothing.
fn guard<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                report(panic);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    // Nothing that the call was changing is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(outer);
    result.map_err(|_| "tract cannot run this network: it is damaged or not supported".to_owned())
}

/// The shape of the one input that is not a constant: [N, channels, height, width].
fn input_shape(proto: &ModelProto) -> Result<Shape, String> {
    use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
    use tract_onnx::pb::type_proto::Value::TensorType;

    let graph = proto.graph.as_ref().ok_or("no graph")?;
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let mut inputs = graph.input.iter().filter(|input| !is_constant(&input.name));
    let (Some(input), None) = (inputs.next(), inputs.next()) else {
        return Err("the network needs exactly one input".to_owned());
    };
    let Some(TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(format!("input {:?} is no tensor", input.name));
    };
    let dimensions = tensor.shape.as_ref().map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let fixed = |index: usize| match dimensions.get(index).and_then(|d| d.value.as_ref()) {
        Some(DimValue(size)) => usize::try_from(*size).ok().filter(|s| (1..=4096).contains(s)),
        _ => None,
    };
    match (dimensions.len(), fixed(1), fixed(2), fixed(3)) {
        (4, Some(channels @ (1 | 3)), Some(height), Some(width)) => {
            Ok(Shape { height, width, channels })
        }
        _ => Err(format!(
            "input {:?} is not [N, 1 or 3, height, width] with fixed sizes",
            input.name
        )),
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

/// A tract error, whose causes fill many lines, as one.
fn one_line(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    causes.join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_an_error() {
        let array = [0_u8; 2];
        let index = std::hint::black_box(2);
        assert!(guard(|| array[index]).is_err());
        assert_eq!(guard(|| 1), Ok(1));
    }
}
