//! Softmax whose last bits do not depend on where in memory a row lies.
//!
//! tract sums a row in vectors that begin at aligned addresses, so that the same row at
//! another place in a batch gets another sum.

use mirage_core::math::softmax;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::nn;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

/// Softmax over all axes from `axis` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Softmax {
    pub(in super::super) axis: usize,
}

/// The operator for tract's `node`, if it is a softmax of floats over its last axes.
pub(super) fn replacement(model: &TypedModel, node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    let op = node.op_as::<nn::Softmax>()?;
    let fact = model.outlet_fact(node.inputs[0]).ok()?;
    let shape = fact.shape.as_concrete()?;
    let axis = *op.axes.iter().min()?;
    let is_covered = |at: usize| shape[at] == 1 || op.axes.contains(&at);
    let is_last = (axis..shape.len()).all(is_covered);
    let is_ours =
        is_last && op.kind == nn::SoftmaxKind::Softmax && fact.datum_type == f32::datum_type();
    is_ours.then(|| Box::new(Softmax { axis }) as _)
}

impl Op for Softmax {
    fn name(&self) -> StaticName {
        "Softmax".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Softmax {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut values = args_1!(inputs).into_tensor();
        let row: usize = values.shape()[self.axis..].iter().product();
        let mut plain = values.try_as_plain_ram_mut()?;
        let rows = plain.as_slice_mut::<f32>()?.chunks_exact_mut(row);
        rows.for_each(softmax);
        Ok(tvec!(values.into_tvalue()))
    }
}

impl TypedOp for Softmax {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
