//! Operators that take the place of tract's where those are slow.

mod lrn;

use tract_onnx::Onnx;

/// Makes `framework` read networks with the operators here.
pub(super) fn register(framework: &mut Onnx) {
    framework.op_register.insert("LRN", lrn::read);
}
