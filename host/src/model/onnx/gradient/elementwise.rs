//! The way back through functions of one number.

use std::f32::consts::PI;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::{math, nn};
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::reverse::{Pulled, Step};

/// Of the values x or y of a function and the derivative dy, the derivative dx.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slope {
    of: Function,
}

impl Eq for Slope {}

/// A function y of x.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Abs,
    Cos,
    Erf,
    Exp,
    HardSwish,
    LeakyRelu(f32),
    Ln,
    Neg,
    Power(f32),
    Recip,
    Rsqrt,
    Sigmoid,
    Silu,
    Sin,
    Sqrt,
    Square,
    Tanh,
}

impl Function {
    /// What tract's operator computes, if it is known here.
    fn of(op: &dyn ElementWiseMiniOp) -> Option<Self> {
        let plain = [
            (op.is::<math::Abs>(), Self::Abs),
            (op.is::<math::Cos>(), Self::Cos),
            (op.is::<math::Erf>(), Self::Erf),
            (op.is::<math::Exp>(), Self::Exp),
            (op.is::<math::Ln>(), Self::Ln),
            (op.is::<math::Neg>(), Self::Neg),
            (op.is::<math::Recip>(), Self::Recip),
            (op.is::<math::Rsqrt>(), Self::Rsqrt),
            (op.is::<math::Sin>(), Self::Sin),
            (op.is::<math::Sqrt>(), Self::Sqrt),
            (op.is::<math::Square>(), Self::Square),
            (op.is::<math::Tanh>(), Self::Tanh),
            (op.is::<nn::HardSwish>(), Self::HardSwish),
            (op.is::<nn::Sigmoid>(), Self::Sigmoid),
            (op.is::<nn::silu::Silu>(), Self::Silu),
        ];
        let leaky = || op.downcast_ref::<nn::LeakyRelu>().map(|op| Self::LeakyRelu(op.alpha));
        let power = || op.downcast_ref::<math::PowConst>().map(|op| Self::Power(op.exponent));
        let plain = plain.into_iter().find_map(|(is_it, function)| is_it.then_some(function));
        plain.or_else(leaky).or_else(power)
    }

    /// Whether [`Self::slope`] takes y rather than x.
    fn takes_output(self) -> bool {
        use Function::{Exp, Recip, Rsqrt, Sigmoid, Sqrt, Tanh};
        matches!(self, Exp | Recip | Rsqrt | Sigmoid | Sqrt | Tanh)
    }

    /// dy/dx at y, if it [`takes_output`](Self::takes_output), else at x.
    fn slope(self, v: f32) -> f32 {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        match self {
            Self::Abs => v.signum() * f32::from(v != 0.0),
            Self::Cos => -v.sin(),
            Self::Erf => 2.0 / PI.sqrt() * (-v * v).exp(),
            Self::Exp => v,
            Self::HardSwish if v.abs() < 3.0 => (2.0 * v + 3.0) / 6.0,
            Self::HardSwish => f32::from(v > 0.0),
            Self::LeakyRelu(_) if v > 0.0 => 1.0,
            Self::LeakyRelu(slope) => slope,
            Self::Ln => 1.0 / v,
            Self::Neg => -1.0,
            Self::Power(exponent) => exponent * v.powf(exponent - 1.0),
            Self::Recip => -v * v,
            Self::Rsqrt => -0.5 * v * v * v,
            Self::Sigmoid => v * (1.0 - v),
            Self::Silu => sigmoid(v) * (1.0 + v * (1.0 - sigmoid(v))),
            Self::Sin => v.cos(),
            Self::Sqrt => 0.5 / v,
            Self::Square => 2.0 * v,
            Self::Tanh => 1.0 - v * v,
        }
    }
}

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(of) = step.op::<ElementWiseOp>().and_then(|op| Function::of(&*op.0)) else {
        return Ok(None);
    };
    let value = if of.takes_output() { step.output() } else { step.input(0) };
    Ok(Some(tvec![(0, step.wire(Slope { of }, &[value, step.dy])?)]))
}

impl Op for Slope {
    fn name(&self) -> StaticName {
        "Slope".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.of)])
    }

    op_as_typed_op!();
}

impl EvalOp for Slope {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (values, dy) = args_2!(inputs);
        let mut dx = dy.into_tensor();
        let values = values.try_as_plain_ram()?;
        let mut plain = dx.try_as_plain_ram_mut()?;
        for (dx, &value) in plain.as_slice_mut::<f32>()?.iter_mut().zip(values.as_slice::<f32>()?) {
            *dx *= self.of.slope(value);
        }
        Ok(tvec!(dx.into_tvalue()))
    }
}

impl TypedOp for Slope {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
