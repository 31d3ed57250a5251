//! Operators that take the place of tract's, where those are slow or not repeatable.

mod lrn;
mod softmax;

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;

/// Makes `framework` read networks with the operators here.
pub(super) fn register(framework: &mut Onnx) {
    framework.op_register.insert("LRN", lrn::read);
}

/// Replaces tract's operators in a decluttered network.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(op) = softmax::replacement(model, node) else { continue };
        let patch = TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?;
        patch.apply(model)?;
    }
    Ok(())
}
