//! The way back through a convolution: the transposed product, folded onto the input.

use std::cell::RefCell;
use std::ops::Range;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::super::operators::convolution::{Convolution, Filters, multiply};
use super::super::operators::window::Window;
use super::reverse::{Pulled, Step};

thread_local! {
    /// What [`ConvolutionGradient::pull`] works with: the derivatives behind the ReLU, and
    /// those of the unfolded input.
    static WORK: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Of the derivative [N, O, height, width] with respect to a convolution's output, the
/// weights, and the output itself if a ReLU is part of it, the derivative [N, C, H, W] with
/// respect to its input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ConvolutionGradient(Convolution);

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<Convolution>().cloned() else { return Ok(None) };
    ensure!(!step.is_active(1) && !step.is_active(2), "weights that depend on the image");
    let mut inputs = tvec![step.dy, step.input(1)];
    if op.has_relu {
        inputs.push(step.output());
    }
    Ok(Some(tvec![(0, step.wire(ConvolutionGradient(op), &inputs)?)]))
}

impl ConvolutionGradient {
    /// One group of one image. `input` begins with zeros.
    fn pull(&self, dy: &[f32], weights: &[f32], output: Option<&[f32]>, input: &mut [f32]) {
        let op = &self.0;
        let width = op.horizontal.output;
        let plane = op.vertical.output * width;
        WORK.with_borrow_mut(|[masked, columns]| {
            let dy = match output {
                None => dy,
                Some(output) => {
                    masked.clear();
                    let pass = |(&dy, &y): (&f32, &f32)| if y > 0.0 { dy } else { 0.0 };
                    masked.extend(dy.iter().zip(output).map(pass));
                    masked.as_slice()
                }
            };
            let filters = Filters { weights, depth: op.depth(), is_transposed: true };
            if op.is_pointwise() {
                return multiply(filters, dy, plane, input, plane, plane);
            }
            for rows in op.blocks() {
                let (first, pixels) = (rows.start * width, rows.len() * width);
                let length = op.depth() * pixels;
                if columns.len() < length {
                    columns.resize(length, 0.0);
                }
                let columns = &mut columns[..length];
                multiply(filters, &dy[first..], plane, columns, pixels, pixels);
                self.fold(columns, rows, input);
            }
        });
    }

    /// Adds the derivatives of what was unfolded, for some rows of output, to the input's.
    fn fold(&self, columns: &[f32], rows: Range<usize>, input: &mut [f32]) {
        let Window { output: width, stride, .. } = self.0.horizontal;
        let mut columns = columns.chunks_exact(width);
        self.0.visit(rows, |place, inside| {
            let Some(derivatives) = columns.next() else { return };
            let (derivatives, values) = (&derivatives[inside], &mut input[place..]);
            if stride == 1 {
                values.iter_mut().zip(derivatives).for_each(|(value, dx)| *value += dx);
            } else {
                let values = values.iter_mut().step_by(stride);
                values.zip(derivatives).for_each(|(value, dx)| *value += dx);
            }
        });
    }
}

impl Op for ConvolutionGradient {
    fn name(&self) -> StaticName {
        "ConvolutionGradient".into()
    }

    op_as_typed_op!();
}

impl EvalOp for ConvolutionGradient {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = &self.0;
        let [high, wide] = [op.vertical, op.horizontal].map(|axis| axis.input);
        let mut pulled = Tensor::zero::<f32>(&[inputs[0].shape()[0], op.channels, high, wide])?;
        let plain: TVec<_> =
            inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<_>>()?;
        let slices: TVec<&[f32]> =
            plain.iter().map(|input| input.as_slice::<f32>()).collect::<TractResult<_>>()?;
        let (dy, weights) = (slices[0], slices[1]);
        let group = op.outputs / op.groups * op.vertical.output * op.horizontal.output;
        let filters = weights.len() / op.groups;
        let mut plain = pulled.try_as_plain_ram_mut()?;
        let groups =
            plain.as_slice_mut::<f32>()?.chunks_exact_mut(op.channels / op.groups * high * wide);
        for (index, (dy, input)) in dy.chunks_exact(group).zip(groups).enumerate() {
            let weights = &weights[index % op.groups * filters..][..filters];
            let output = slices.get(2).map(|output| &output[index * group..][..group]);
            self.pull(dy, weights, output, input);
        }
        Ok(tvec!(pulled.into_tvalue()))
    }
}

impl TypedOp for ConvolutionGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let op = &self.0;
        let sizes = [op.channels, op.vertical.input, op.horizontal.input];
        let batch = inputs[0].shape[0].clone();
        let shape: TVec<TDim> = [batch].into_iter().chain(sizes.map(TDim::from)).collect();
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
