//! An ONNX network as a classifier, run by tract.
//!
//! One image at a time: tract is fastest with a concrete batch of one, and a score
//! then depends on its image alone.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Once};

use mirage_core::image::Shape;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractError,
    TypedRunnableModel, tvec,
};

/// Inputs that pass together.
pub(crate) const BATCH: usize = 20;

/// A network with one image as input and one value per class as output.
pub(crate) struct OnnxNetwork {
    plan: Arc<TypedRunnableModel>,
    input: Shape,
    classes: usize,
}

impl std::fmt::Debug for OnnxNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxNetwork").field("input", &self.input).finish_non_exhaustive()
    }
}

impl OnnxNetwork {
    pub(crate) fn from_proto(proto: ModelProto) -> Result<Self, String> {
        guard(|| Self::build(proto))?
    }

    fn build(proto: ModelProto) -> Result<Self, String> {
        let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
        framework.use_output_shapes = false;
        let input = input_shape(&proto)?;
        let broken =
            |error: TractError| format!("tract cannot run this network: {}", one_line(&error));
        let fact = InferenceFact::dt_shape(
            f32::datum_type(),
            tvec!(1, input.channels, input.height, input.width),
        );
        let plan = framework
            .model_for_proto_model(&proto)
            .and_then(|model| model.with_input_fact(0, fact))
            .and_then(InferenceModelExt::into_optimized)
            .and_then(|model| model.into_runnable())
            .map_err(broken)?;
        let mut network = Self { plan, input, classes: 0 };
        network.classes = network.run(&vec![0.0; input.len()])?.len();
        if network.classes < 2 {
            return Err(format!("{} output values are no scores of classes", network.classes));
        }
        Ok(network)
    }

    pub(crate) fn input(&self) -> Shape {
        self.input
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    pub(crate) fn session(&self) -> Session<'_> {
        Session { network: self }
    }

    fn run(&self, values: &[f32]) -> Result<Vec<f32>, String> {
        let failed = |error: TractError| one_line(&error);
        let Shape { height, width, channels } = self.input;
        let input = Tensor::from_shape(&[1, channels, height, width], values).map_err(failed)?;
        let outputs = guard(|| self.plan.run(tvec!(input.into())))?.map_err(failed)?;
        let output = outputs.first().ok_or("no output")?;
        let scores = output.to_plain_array_view::<f32>().map_err(failed)?;
        Ok(scores.iter().copied().collect())
    }
}

pub(crate) struct Session<'a> {
    network: &'a OnnxNetwork,
}

impl Session<'_> {
    pub(crate) fn run(&mut self, inputs: &[f32], outputs: &mut [f32]) -> Result<(), String> {
        let OnnxNetwork { input, classes, .. } = self.network;
        let rows = inputs.chunks_exact(input.len()).zip(outputs.chunks_exact_mut(*classes));
        for (input, output) in rows {
            let values = self.network.run(input)?;
            if values.len() != output.len() {
                return Err(format!("{} scores instead of {classes}", values.len()));
            }
            output.copy_from_slice(&values);
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
