//! The way back through sums and extremes over axes.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::logic::comp_eq;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

use super::reverse::{Pulled, Step};

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<Reduce>().cloned() else { return Ok(None) };
    let (x, y, dy) = (step.input(0), step.output(), step.dy);
    let derivative = match op.reducer {
        Reducer::Sum => {
            let shape = step.model.outlet_fact(x)?.shape.clone();
            step.wire(MultiBroadcastTo { shape }, &[dy])?
        }
        // Values that are equal share it.
        Reducer::Max | Reducer::Min => {
            let is_extreme = step.wire(TypedBinOp(comp_eq(), None), &[x, y])?;
            let share = step.wire(cast(f32::datum_type()), &[is_extreme])?;
            let count = step.wire(Reduce::new(op.axes, Reducer::Sum), &[share])?;
            let each = step.wire(math::div(), &[dy, count])?;
            step.wire(math::mul(), &[share, each])?
        }
        Reducer::MeanOfSquares => {
            let shape = step.shape(x)?;
            let count: usize = op.axes.iter().map(|&axis| shape[axis]).product();
            let factor = step.number(2.0 / count as f32, x)?;
            let scaled = step.wire(math::mul(), &[dy, factor])?;
            step.wire(math::mul(), &[x, scaled])?
        }
        _ => return Ok(None),
    };
    Ok(Some(tvec![(0, derivative)]))
}
