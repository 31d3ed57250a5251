//! The way back through a softmax that is not the network's last.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{self, Reduce, Reducer, SoftmaxKind};

use super::super::operators::softmax::Softmax;
use super::reverse::{Pulled, Step};

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let rank = step.model.outlet_fact(step.output())?.rank();
    let (axes, kind) = if let Some(op) = step.op::<Softmax>() {
        ((op.axis..rank).collect(), SoftmaxKind::Softmax)
    } else if let Some(op) = step.op::<nn::Softmax>() {
        (op.axes.clone(), op.kind)
    } else {
        return Ok(None);
    };
    let (y, dy) = (step.output(), step.dy);
    let sum = Reduce::new(axes, Reducer::Sum);
    let derivative = match kind {
        // y · (dy − Σ y · dy)
        SoftmaxKind::Softmax => {
            let product = step.wire(math::mul(), &[y, dy])?;
            let sum = step.wire(sum, &[product])?;
            let rest = step.wire(math::sub(), &[dy, sum])?;
            step.wire(math::mul(), &[y, rest])?
        }
        // dy − exp(y) · Σ dy
        SoftmaxKind::LogSoftmax => {
            let sum = step.wire(sum, &[dy])?;
            let probability = step.wire(math::exp(), &[y])?;
            let product = step.wire(math::mul(), &[probability, sum])?;
            step.wire(math::sub(), &[dy, product])?
        }
    };
    Ok(Some(tvec![(0, derivative)]))
}
