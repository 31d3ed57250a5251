//! Convolution of one image as a product of matrices, followed by bias and ReLU.
//!
//! tract gathers the input and stores planes of output element by element; `gemm` reads
//! and writes them in vectors, and takes the weights as they are in the file.

use std::cell::RefCell;
use std::ops::Range;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_hir::tract_core::ops::math::Max;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::window::{self, Window};

/// Values of unfolded input that are multiplied at once: they stay in the second-level cache.
const UNFOLDED: usize = 1 << 17;

thread_local! {
    /// What [`Convolution::unfold`] writes; every value that is read was written before.
    static COLUMNS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Convolution of planes: of the inputs [N, C, H, W], [O, C / groups, height, width] and one
/// bias for each of the O outputs or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Convolution {
    pub(in super::super) vertical: Window,
    pub(in super::super) horizontal: Window,
    pub(in super::super) channels: usize,
    pub(in super::super) outputs: usize,
    pub(in super::super) groups: usize,
    pub(in super::super) has_relu: bool,
}

/// The operator for tract's `node`, if it convolves planes of floats, and the node whose
/// output it makes: the ReLU behind it, if there is one.
pub(super) fn replacement<'a>(
    model: &'a TypedModel,
    node: &'a TypedNode,
) -> Option<(Box<dyn TypedOp>, &'a TypedNode)> {
    let op = node.op_as::<Conv>()?;
    let fact = model.outlet_fact(node.inputs[0]).ok()?;
    let [vertical, horizontal] = window::pair(&op.pool_spec, fact)?;
    let is_plain = op.q_params.is_none()
        && op.kernel_fmt == KernelFormat::OIHW
        && op.pool_spec.data_format.has_n()
        && op.output_channels().is_multiple_of(op.group);
    if !is_plain {
        return None;
    }
    let relu = relu_behind(model, node);
    let convolution = Convolution {
        vertical,
        horizontal,
        channels: op.input_channels(),
        outputs: op.output_channels(),
        groups: op.group,
        has_relu: relu.is_some(),
    };
    Some((Box::new(convolution), relu.unwrap_or(node)))
}

/// The only successor of `node`, if it is max(x, 0).
fn relu_behind<'a>(model: &'a TypedModel, node: &TypedNode) -> Option<&'a TypedNode> {
    let &[next] = node.outputs[0].successors.as_slice() else { return None };
    let relu = model.node(next.node);
    let op = relu.op_as::<TypedBinOp>()?;
    let other = *relu.inputs.get(1 - next.slot)?;
    let zero = model.outlet_fact(other).ok()?.konst.as_ref()?;
    let is_zero = zero.len() == 1 && zero.is_all_zero().unwrap_or(false);
    let is_output = model.outputs.iter().any(|output| output.node == node.id);
    (op.0.is::<Max>() && is_zero && !is_output).then_some(relu)
}

impl Convolution {
    /// Length of one filter.
    pub(in super::super) fn depth(&self) -> usize {
        self.channels / self.groups * self.vertical.size * self.horizontal.size
    }

    /// Whether a filter looks at one pixel alone, so that the input need not be unfolded.
    pub(in super::super) fn is_pointwise(&self) -> bool {
        [self.vertical, self.horizontal]
            .iter()
            .all(|axis| axis.size == 1 && axis.stride == 1 && axis.input == axis.output)
    }

    /// The rows of output that are worked on together.
    pub(in super::super) fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let all = self.vertical.output;
        let rows = (UNFOLDED / (self.depth() * self.horizontal.output)).max(1);
        (0..all).step_by(rows).map(move |start| start..all.min(start + rows))
    }

    /// One group of one image.
    fn convolve(&self, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        let width = self.horizontal.output;
        let plane = self.vertical.output * width;
        let depth = self.depth();
        let weights = Filters { weights, depth, is_transposed: false };
        COLUMNS.with_borrow_mut(|columns| {
            for rows in self.blocks() {
                let (first, pixels) = (rows.start * width, rows.len() * width);
                let output = &mut output[first..];
                if self.is_pointwise() {
                    multiply(weights, &input[first..], plane, output, plane, pixels);
                } else {
                    let length = depth * pixels;
                    if columns.len() < length {
                        columns.resize(length, 0.0);
                    }
                    let columns = &mut columns[..length];
                    self.unfold(input, rows, columns);
                    multiply(weights, columns, pixels, output, plane, pixels);
                }
                let floor = if self.has_relu { 0.0 } else { f32::NEG_INFINITY };
                for (index, values) in output.chunks_mut(plane).enumerate() {
                    let bias = bias[index % bias.len()];
                    for value in &mut values[..pixels] {
                        let sum = *value + bias;
                        *value = if sum < floor { floor } else { sum };
                    }
                }
            }
        });
    }

    /// Writes the values that each weight of a filter meets, for some rows of output.
    fn unfold(&self, input: &[f32], rows: Range<usize>, columns: &mut [f32]) {
        let Window { output: width, stride, .. } = self.horizontal;
        let mut columns = columns.chunks_exact_mut(width);
        self.visit(rows, |place, inside| {
            let Some(values) = columns.next() else { return };
            values[..inside.start].fill(0.0);
            values[inside.end..].fill(0.0);
            let (values, row) = (&mut values[inside], &input[place..]);
            if stride == 1 {
                values.copy_from_slice(&row[..values.len()]);
            } else {
                let row = row.iter().step_by(stride);
                values.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        });
    }

    /// Calls `visit` for every weight of a filter and, of those, every one of some rows of
    /// output: with the place of the first value on the input that the weight meets there,
    /// and the windows along the row in which it meets one.
    pub(in super::super) fn visit(
        &self,
        rows: Range<usize>,
        mut visit: impl FnMut(usize, Range<usize>),
    ) {
        let Self { vertical, horizontal, .. } = *self;
        for plane in 0..self.channels / self.groups {
            for tap in 0..vertical.size * horizontal.size {
                let (down, along) = (tap / horizontal.size, tap % horizontal.size);
                let (inside, lines) = (horizontal.inside(along), vertical.inside(down));
                for y in rows.clone() {
                    if inside.is_empty() || !lines.contains(&y) {
                        visit(0, 0..0);
                        continue;
                    }
                    let row = plane * vertical.input + vertical.position(y, down);
                    let column = horizontal.position(inside.start, along);
                    visit(row * horizontal.input + column, inside.clone());
                }
            }
        }
    }
}

/// The filters of a group: rows of `depth` weights.
#[derive(Clone, Copy)]
pub(in super::super) struct Filters<'a> {
    pub(in super::super) weights: &'a [f32],
    pub(in super::super) depth: usize,
    /// Whether columns take the place of rows.
    pub(in super::super) is_transposed: bool,
}

/// The product of `filters` and as many rows of `pixels` values as those have columns;
/// `stride` and `output_stride` lie between the beginnings of rows.
pub(in super::super) fn multiply(
    filters: Filters<'_>,
    values: &[f32],
    stride: usize,
    output: &mut [f32],
    output_stride: usize,
    pixels: usize,
) {
    let Filters { weights, depth, is_transposed } = filters;
    let (outputs, depth) = (weights.len() / depth, depth);
    let (rows, columns, [row, column]) = match is_transposed {
        false => (outputs, depth, [depth, 1]),
        true => (depth, outputs, [1, depth]),
    };
    assert!(pixels > 0 && rows > 0 && columns > 0);
    assert!(values.len() >= (columns - 1) * stride + pixels);
    assert!(output.len() >= (rows - 1) * output_stride + pixels && output_stride >= pixels);
    // SAFETY: what `gemm` reads and writes was just checked to lie inside of the slices,
    // whose lengths fit isize; rows of `output` do not overlap, and it is borrowed alone.
    unsafe {
        gemm::gemm(
            pixels,
            rows,
            columns,
            output.as_mut_ptr(),
            output_stride as isize,
            1,
            false,
            values.as_ptr(),
            stride as isize,
            1,
            weights.as_ptr(),
            row as isize,
            column as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

impl Op for Convolution {
    fn name(&self) -> StaticName {
        "Convolution".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Convolution {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (input, weights, bias) = args_3!(inputs);
        let (height, width) = (self.vertical.output, self.horizontal.output);
        let shape = [input.shape()[0], self.outputs, height, width];
        let mut output = Tensor::zero::<f32>(&shape)?;
        let (input, weights) = (input.try_as_plain_ram()?, weights.try_as_plain_ram()?);
        let (input, weights) = (input.as_slice::<f32>()?, weights.as_slice::<f32>()?);
        let bias = bias.try_as_plain_ram()?;
        let bias = bias.as_slice::<f32>()?;
        let plane = self.vertical.input * self.horizontal.input;
        let mut plain = output.try_as_plain_ram_mut()?;
        let groups = input.chunks_exact(self.channels / self.groups * plane).zip(
            plain
                .as_slice_mut::<f32>()?
                .chunks_exact_mut(self.outputs / self.groups * height * width),
        );
        for (index, (input, output)) in groups.enumerate() {
            let group = index % self.groups;
            let part =
                |values: usize| values / self.groups * group..values / self.groups * (group + 1);
            let bias = if bias.len() == 1 { bias } else { &bias[part(self.outputs)] };
            self.convolve(input, &weights[part(weights.len())], bias, output);
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Convolution {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let batch = inputs[0].shape[0].clone();
        let sizes = [self.outputs, self.vertical.output, self.horizontal.output];
        let shape: TVec<TDim> = [batch].into_iter().chain(sizes.map(TDim::from)).collect();
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
