//! Where the way back begins: what the objective makes of the scores.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

/// Of the scores of one image and a class, as 1 in its place and 0 elsewhere, the derivative
/// of the objective with respect to the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seed {
    /// The objective is the score of the class.
    Score,
    /// It is the logarithm of the class's share in a softmax of the scores.
    LogSoftmax,
    /// It is the logarithm of the sigmoid of the class's score.
    LogSigmoid,
}

impl Seed {
    /// The derivative of the objective for the score that `class` has a 1 for.
    fn derivative(self, scores: &[f32], class: &[f32]) -> Vec<f32> {
        match self {
            Self::Score => class.to_vec(),
            Self::LogSoftmax => {
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shares: Vec<f64> =
                    scores.iter().map(|&score| f64::from(score - largest).exp()).collect();
                let sum: f64 = shares.iter().sum();
                let others = shares.iter().zip(class).filter(|(_, one)| **one == 0.0);
                // 1 − p of a class that is all but certain would have lost its digits.
                let rest: f64 = others.map(|(share, _)| share).sum();
                let derivative = |(share, one): (&f64, &f32)| match one {
                    0.0 => (-share / sum) as f32,
                    _ => (rest / sum) as f32,
                };
                shares.iter().zip(class).map(derivative).collect()
            }
            Self::LogSigmoid => {
                let derivative = |(score, class): (&f32, &f32)| class / (1.0 + score.exp());
                scores.iter().zip(class).map(derivative).collect()
            }
        }
    }
}

impl Op for Seed {
    fn name(&self) -> StaticName {
        "Seed".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Seed {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (scores, class) = args_2!(inputs);
        let (ones, values) = (class.try_as_plain_ram()?, scores.try_as_plain_ram()?);
        let derivative = self.derivative(values.as_slice::<f32>()?, ones.as_slice::<f32>()?);
        Ok(tvec!(Tensor::from_shape(scores.shape(), &derivative)?.into_tvalue()))
    }
}

impl TypedOp for Seed {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
