//! The way back through copies along an axis: padding, and every so manieth value.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Pad, PadMode, Slice};
use tract_onnx::tract_hir::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::reverse::{Pulled, Step};

/// Adds what lies along an axis to the places that it was copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fold {
    axis: usize,
    /// For every place its origin.
    origins: Vec<usize>,
    /// Origins that there are.
    length: usize,
}

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    if let Some(op) = step.op::<Downsample>().cloned() {
        let length = step.shape(step.input(0))?[op.axis];
        let count = step.shape(step.output())?[op.axis];
        let stride = op.stride.unsigned_abs();
        let origin = |place: usize| match op.stride {
            1.. => op.modulo + place * stride,
            _ => length - 1 - place * stride,
        };
        let origins = (0..count).map(origin).collect();
        let fold = Fold { axis: op.axis, origins, length };
        return Ok(Some(tvec![(0, step.wire(fold, &[step.dy])?)]));
    }
    let Some(Pad { pads, mode }) = step.op::<Pad>().cloned() else { return Ok(None) };
    let shape = step.shape(step.input(0))?;
    let mut derivative = step.dy;
    for (axis, (&(before, after), length)) in pads.iter().zip(shape).enumerate() {
        if before + after == 0 {
            continue;
        }
        let origin = |place: usize| match mode {
            PadMode::Reflect if place < before + length => place.abs_diff(before),
            PadMode::Reflect => before + 2 * (length - 1) - place,
            _ => place.saturating_sub(before).min(length - 1),
        };
        derivative = match mode {
            PadMode::Constant(_) => {
                step.wire(Slice::new(axis, before, before + length), &[derivative])?
            }
            PadMode::Reflect | PadMode::Edge => {
                ensure!(mode == PadMode::Edge || before.max(after) < length, "more than is there");
                let origins = (0..before + length + after).map(origin).collect();
                step.wire(Fold { axis, origins, length }, &[derivative])?
            }
        };
    }
    Ok(Some(tvec![(0, derivative)]))
}

impl Op for Fold {
    fn name(&self) -> StaticName {
        "Fold".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Fold {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let dy = args_1!(inputs);
        let mut shape: TVec<usize> = dy.shape().into();
        shape[self.axis] = self.length;
        let behind: usize = shape[self.axis + 1..].iter().product();
        let mut folded = Tensor::zero::<f32>(&shape)?;
        let dy = dy.try_as_plain_ram()?;
        let mut plain = folded.try_as_plain_ram_mut()?;
        let blocks = dy.as_slice::<f32>()?.chunks_exact(self.origins.len() * behind);
        for (block, sums) in
            blocks.zip(plain.as_slice_mut::<f32>()?.chunks_exact_mut(self.length * behind))
        {
            for (values, origin) in block.chunks_exact(behind).zip(&self.origins) {
                let sums = &mut sums[origin * behind..][..behind];
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(tvec!(folded.into_tvalue()))
    }
}

impl TypedOp for Fold {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        shape[self.axis] = self.length.into();
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
