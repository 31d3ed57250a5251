//! The way back through local response normalisation.
//!
//! With s = bias + alpha / size · Σ x² over the channels around x's own, y = x · s^-beta and
//!
//! dx = dy · s^-beta − 2 · alpha · beta / size · x · Σ dy · y / s
//!
//! where the second sum is over the channels that have x's around them.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::super::operators::lrn::Lrn;
use super::reverse::{Pulled, Step};

/// Pixels that are worked on together: some planes of them stay in the first-level cache.
const PIXELS: usize = 256;

/// Of an LRN's input and the derivative with respect to its output, the derivative with
/// respect to the input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LrnGradient(Lrn);

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<Lrn>().cloned() else { return Ok(None) };
    let inputs = [step.input(0), step.dy];
    Ok(Some(tvec![(0, step.wire(LrnGradient(op), &inputs)?)]))
}

impl LrnGradient {
    /// One image: channels, each a plane of so many pixels.
    fn pull(&self, input: &[f32], dy: &[f32], pulled: &mut [f32], plane: usize) {
        let op = &self.0;
        let channels = input.len() / plane;
        let (before, after) = op.reach();
        let factor = 2.0 * op.scale() * op.beta;
        let mut ratios = vec![0.0; channels * PIXELS];
        let mut sums = [0.0; PIXELS];
        for start in (0..plane).step_by(PIXELS) {
            let length = PIXELS.min(plane - start);
            let (sums, part) = (&mut sums[..length], |channel| channel * plane + start);
            for (channel, ratios) in ratios.chunks_exact_mut(PIXELS).enumerate() {
                op.sum_squares(input, plane, channel, start, sums);
                let values = &input[part(channel)..][..length];
                let dy = &dy[part(channel)..][..length];
                let pulled = &mut pulled[part(channel)..][..length];
                for index in 0..length {
                    let s = op.bias + op.scale() * sums[index];
                    let direct = dy[index] / op.power(s);
                    pulled[index] = direct;
                    ratios[index] = direct * values[index] / s;
                }
            }
            for channel in 0..channels {
                sums.fill(0.0);
                // The channels that have this one around them.
                for near in channel.saturating_sub(after)..channels.min(channel + before + 1) {
                    let ratios = &ratios[near * PIXELS..][..length];
                    sums.iter_mut().zip(ratios).for_each(|(sum, ratio)| *sum += ratio);
                }
                let values = &input[part(channel)..][..length];
                let pulled = &mut pulled[part(channel)..][..length];
                for ((dx, x), sum) in pulled.iter_mut().zip(values).zip(&*sums) {
                    *dx -= factor * x * sum;
                }
            }
        }
    }
}

impl Op for LrnGradient {
    fn name(&self) -> StaticName {
        "LrnGradient".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LrnGradient {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (input, dy) = args_2!(inputs);
        let shape = input.shape();
        let plane: usize = shape[2..].iter().product();
        let image = shape[1] * plane;
        let mut pulled = Tensor::zero::<f32>(shape)?;
        let (input, dy) = (input.try_as_plain_ram()?, dy.try_as_plain_ram()?);
        let inputs = input.as_slice::<f32>()?.chunks_exact(image);
        let dy = dy.as_slice::<f32>()?.chunks_exact(image);
        let mut plain = pulled.try_as_plain_ram_mut()?;
        let images = plain.as_slice_mut::<f32>()?.chunks_exact_mut(image);
        for ((input, dy), pulled) in inputs.zip(dy).zip(images) {
            self.pull(input, dy, pulled, plane);
        }
        Ok(tvec!(pulled.into_tvalue()))
    }
}

impl TypedOp for LrnGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
