//! The way back through functions of two numbers, one of which may be repeated along axes.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{Iff, comp_gt, comp_lt};
use tract_onnx::tract_hir::tract_core::ops::math::{self, Add, Div, Max, Min, Mul, Sub};

use super::reverse::{Pulled, Step};

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    if step.op::<Iff>().is_some() {
        let test = step.input(0);
        return choice(step, test, [1, 2]).map(Some);
    }
    let Some(TypedBinOp(op, _)) = step.op::<TypedBinOp>().cloned() else { return Ok(None) };
    let (dy, a, b) = (step.dy, step.input(0), step.input(1));
    // Equal ones: the second, so that a ReLU passes nothing at 0.
    let test = match () {
        () if op.is::<Max>() => Some(comp_gt()),
        () if op.is::<Min>() => Some(comp_lt()),
        () => None,
    };
    if let Some(test) = test {
        let test = step.wire(TypedBinOp(test, None), &[a, b])?;
        return choice(step, test, [0, 1]).map(Some);
    }
    let mut pulled = tvec![];
    for slot in 0..2 {
        if !step.is_active(slot) {
            continue;
        }
        let derivative = match (slot, &op) {
            (_, op) if op.is::<Add>() => dy,
            (0, op) if op.is::<Sub>() => dy,
            (_, op) if op.is::<Sub>() => step.wire(math::neg(), &[dy])?,
            (_, op) if op.is::<Mul>() => step.wire(math::mul(), &[dy, step.input(1 - slot)])?,
            (0, op) if op.is::<Div>() => step.wire(math::div(), &[dy, b])?,
            (_, op) if op.is::<Div>() => {
                let output = step.output();
                let product = step.wire(math::mul(), &[dy, output])?;
                let quotient = step.wire(math::div(), &[product, b])?;
                step.wire(math::neg(), &[quotient])?
            }
            _ => return Ok(None),
        };
        pulled.push((slot, step.unbroadcast(derivative, slot)?));
    }
    Ok(Some(pulled))
}

/// The derivatives of the inputs at two `slots`, of which `test` says where the first was
/// taken.
fn choice(
    step: &mut Step<'_>,
    test: OutletId,
    slots: [usize; 2],
) -> TractResult<TVec<(usize, OutletId)>> {
    let dy = step.dy;
    let zero = step.number(0.0, dy)?;
    let mut pulled = tvec![];
    for (slot, [if_true, if_false]) in slots.into_iter().zip([[dy, zero], [zero, dy]]) {
        if step.is_active(slot) {
            let derivative = step.wire(Iff, &[test, if_true, if_false])?;
            pulled.push((slot, step.unbroadcast(derivative, slot)?));
        }
    }
    Ok(pulled)
}
