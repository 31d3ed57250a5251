//! The way back through max-pooling: to the value that was the largest.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::super::operators::max_pool::MaxPool;
use super::reverse::{Pulled, Step};

/// Of a max-pool's input, its output and the derivative with respect to that, the derivative
/// with respect to the input; of equal values the first was the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MaxPoolGradient(MaxPool);

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<MaxPool>().cloned() else { return Ok(None) };
    let inputs = [step.input(0), step.output(), step.dy];
    Ok(Some(tvec![(0, step.wire(MaxPoolGradient(op), &inputs)?)]))
}

impl MaxPoolGradient {
    /// One plane. `pulled` begins with zeros.
    fn pull(&self, input: &[f32], output: &[f32], dy: &[f32], pulled: &mut [f32]) {
        let MaxPool { vertical, horizontal } = self.0;
        let windows = output.iter().zip(dy).enumerate().filter(|(_, (_, dy))| **dy != 0.0);
        for (index, (largest, dy)) in windows {
            let (y, x) = (index / horizontal.output, index % horizontal.output);
            let (left, right) = horizontal.taps(x);
            let (top, bottom) = vertical.taps(y);
            let place = (top..bottom).find_map(|down| {
                let row = vertical.position(y, down) * horizontal.input;
                let mut places = (left..right).map(|along| row + horizontal.position(x, along));
                places.find(|&place| input[place] == *largest)
            });
            if let Some(place) = place {
                pulled[place] += dy;
            }
        }
    }
}

impl Op for MaxPoolGradient {
    fn name(&self) -> StaticName {
        "MaxPoolGradient".into()
    }

    op_as_typed_op!();
}

impl EvalOp for MaxPoolGradient {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (input, output, dy) = args_3!(inputs);
        let MaxPool { vertical, horizontal } = self.0;
        let (large, small) =
            (vertical.input * horizontal.input, vertical.output * horizontal.output);
        let mut pulled = Tensor::zero::<f32>(input.shape())?;
        let (input, output) = (input.try_as_plain_ram()?, output.try_as_plain_ram()?);
        let dy = dy.try_as_plain_ram()?;
        let inputs = input.as_slice::<f32>()?.chunks_exact(large);
        let outputs = output.as_slice::<f32>()?.chunks_exact(small);
        let dy = dy.as_slice::<f32>()?.chunks_exact(small);
        let mut plain = pulled.try_as_plain_ram_mut()?;
        let planes = plain.as_slice_mut::<f32>()?.chunks_exact_mut(large);
        for (((input, output), dy), pulled) in inputs.zip(outputs).zip(dy).zip(planes) {
            self.pull(input, output, dy, pulled);
        }
        Ok(tvec!(pulled.into_tvalue()))
    }
}

impl TypedOp for MaxPoolGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
