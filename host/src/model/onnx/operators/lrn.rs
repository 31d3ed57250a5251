//! Local response normalisation over neighbouring channels.
//!
//! y = x / (bias + alpha / size · Σ x²)^beta, the sum over the `size` channels around x's
//! own. tract's takes more than half of AlexNet's time: it indexes element by element, and
//! takes a power of each.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

/// Pixels whose sums are made together: a few planes of them stay in the first-level cache.
const PIXELS: usize = 256;

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Lrn {
    pub(in super::super) alpha: f32,
    pub(in super::super) beta: f32,
    pub(in super::super) bias: f32,
    pub(in super::super) size: usize,
}

impl Eq for Lrn {}

/// The ONNX operator LRN.
pub(super) fn read(
    _: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let size: usize = node.get_attr("size")?;
    ensure!(size > 0, "LRN over no channels");
    let lrn = Lrn {
        alpha: node.get_attr_opt("alpha")?.unwrap_or(1e-4),
        beta: node.get_attr_opt("beta")?.unwrap_or(0.75),
        bias: node.get_attr_opt("bias")?.unwrap_or(1.0),
        size,
    };
    Ok((expand(lrn), vec![]))
}

impl Lrn {
    /// What the sum of squares is multiplied with.
    pub(in super::super) fn scale(&self) -> f32 {
        self.alpha / self.size as f32
    }

    /// Channels before and after x's own that its sum is over.
    pub(in super::super) fn reach(&self) -> (usize, usize) {
        ((self.size - 1) / 2, self.size / 2)
    }

    /// s^beta.
    #[inline]
    pub(in super::super) fn power(&self, s: f32) -> f32 {
        if self.beta == 0.75 {
            let root = s.sqrt();
            root * root.sqrt()
        } else {
            s.powf(self.beta)
        }
    }

    /// The sums of squares of some pixels, those of a channel from `start` on: one for each
    /// of `sums`. `input`: one image.
    pub(in super::super) fn sum_squares(
        &self,
        input: &[f32],
        plane: usize,
        channel: usize,
        start: usize,
        sums: &mut [f32],
    ) {
        let channels = input.len() / plane;
        let (before, after) = self.reach();
        sums.fill(0.0);
        for near in channel.saturating_sub(before)..channels.min(channel + after + 1) {
            let values = &input[near * plane + start..][..sums.len()];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value * value;
            }
        }
    }

    /// Normalises one image: channels, each a plane of so many pixels.
    fn normalise(&self, input: &[f32], output: &mut [f32], plane: usize) {
        let channels = input.len() / plane;
        let scale = self.scale();
        let mut sums = [0.0; PIXELS];
        for start in (0..plane).step_by(PIXELS) {
            let sums = &mut sums[..PIXELS.min(plane - start)];
            for channel in 0..channels {
                self.sum_squares(input, plane, channel, start, sums);
                let at = channel * plane + start;
                let values = &input[at..][..sums.len()];
                let outputs = &mut output[at..][..sums.len()];
                for ((y, x), sum) in outputs.iter_mut().zip(values).zip(&*sums) {
                    *y = x / self.power(self.bias + scale * sum);
                }
            }
        }
    }
}

impl Expansion for Lrn {
    fn name(&self) -> StaticName {
        "Lrn".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Lrn {
    fn name(&self) -> StaticName {
        "Lrn".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Lrn {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = input.shape();
        let mut output = Tensor::zero::<f32>(shape)?;
        let plane: usize = shape[2..].iter().product();
        let image = shape[1] * plane;
        let inputs = input.try_as_plain_ram()?;
        let inputs = inputs.as_slice::<f32>()?.chunks_exact(image);
        let mut outputs = output.try_as_plain_ram_mut()?;
        let outputs = outputs.as_slice_mut::<f32>()?.chunks_exact_mut(image);
        for (input, output) in inputs.zip(outputs) {
            self.normalise(input, output, plane);
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Lrn {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
