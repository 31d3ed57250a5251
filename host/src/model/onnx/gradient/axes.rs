//! The way back through what only moves values: other axes, parts, copies.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{
    MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;

use super::reverse::{Pulled, Step};

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let dy = step.dy;
    let derivative = if let Some(op) = step.op::<AxisOp>() {
        let back = op.recip();
        step.wire(back, &[dy])?
    } else if let Some(op) = step.op::<Slice>().cloned() {
        // What was cut off had no effect.
        let shape = step.shape(step.input(0))?;
        let mut pads = vec![(0, 0); shape.len()];
        pads[op.axis] = (op.start.to_usize()?, shape[op.axis] - op.end.to_usize()?);
        let mode = PadMode::Constant(tensor0(0.0_f32).into_arc_tensor());
        step.wire(Pad { pads, mode }, &[dy])?
    } else if step.op::<MultiBroadcastTo>().is_some() {
        step.unbroadcast(dy, 0)?
    } else if let Some(op) = step.op::<TypedConcat>() {
        return parts(step, op.axis).map(Some);
    } else {
        return Ok(None);
    };
    Ok(Some(tvec![(0, derivative)]))
}

/// The parts of the derivative that belong to each of the values that were joined.
fn parts(step: &mut Step<'_>, axis: usize) -> TractResult<TVec<(usize, OutletId)>> {
    let mut pulled = tvec![];
    let mut start = 0;
    for slot in 0..step.node.inputs.len() {
        let end = start + step.shape(step.input(slot))?[axis];
        if step.is_active(slot) {
            pulled.push((slot, step.wire(Slice::new(axis, start, end), &[step.dy])?));
        }
        start = end;
    }
    Ok(pulled)
}
