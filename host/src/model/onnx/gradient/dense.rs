//! The way back through products and sums over axes: dense layers, products of matrices.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

use super::reverse::{Pulled, Step};

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<EinSum>() else { return Ok(None) };
    ensure!(op.q_params.is_none() && step.node.inputs.len() == 2, "not a product of two");
    let (axes, result) = op.axes.to_strs();
    let mut pulled = tvec![];
    for slot in 0..2 {
        if step.is_active(slot) {
            let (own, other) = (&axes[slot], &axes[1 - slot]);
            pulled.push((slot, factor(step, slot, [&result[0], other, own])?));
        }
    }
    Ok(Some(pulled))
}

/// The derivative with respect to the factor at `slot`: the product of the derivative of
/// the result with the other factor, by the letters of the axes of the three.
fn factor(
    step: &mut Step<'_>,
    slot: usize,
    [result, other, own]: [&str; 3],
) -> TractResult<OutletId> {
    let is_repeated = own.chars().any(|axis| own.matches(axis).count() > 1);
    ensure!(!is_repeated, "axes {own},{other}->{result}");
    // Along an axis that the factor alone has, and was summed over, all derivatives are equal.
    let is_alone = |axis: char| !result.contains(axis) && !other.contains(axis);
    let shared: String = own.chars().filter(|&axis| !is_alone(axis)).collect();
    let fact = step.model.outlet_fact(step.input(1 - slot))?;
    let (mut outlet, mut letters) = (step.input(1 - slot), other.to_owned());
    if let Some(weights) = fact.konst.clone() {
        // A constant that two nodes share would be packed anew in every run; one of another
        // layout is not taken for the same.
        letters = other.chars().rev().collect();
        let reversed = weights.to_plain_array_view::<f32>()?.reversed_axes();
        outlet = step.constant(reversed.as_standard_layout().into_owned().into_tensor())?;
    }
    let axes: AxesMapping = format!("{result},{letters}->{shared}").parse()?;
    let mut product = step.wire(EinSum::new(axes, f32::datum_type()), &[step.dy, outlet])?;
    for (place, _) in own.chars().enumerate().filter(|&(_, axis)| is_alone(axis)) {
        product = step.wire(AxisOp::Add(place), &[product])?;
    }
    if shared.len() < own.len() {
        let shape = step.model.outlet_fact(step.input(slot))?.shape.clone();
        product = step.wire(MultiBroadcastTo { shape }, &[product])?;
    }
    step.unbroadcast(product, slot)
}
