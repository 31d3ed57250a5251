//! Max-pooling one row at a time: first down the columns, then along the row.
//!
//! tract walks each window, which the compiler cannot vectorise at a stride of two.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::MaxPool as TractMaxPool;
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::window::{self, Window};

/// Max-pooling of planes, the last two axes. What lies outside of a plane never wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct MaxPool {
    pub(in super::super) vertical: Window,
    pub(in super::super) horizontal: Window,
}

impl MaxPool {
    /// Length of a row with what lies outside of it and is looked at.
    fn padded(&self) -> usize {
        let Window { input, output, size, stride, dilation, padding } = self.horizontal;
        let reach = (output - 1) * stride + (size - 1) * dilation + 1;
        reach.max(padding + input)
    }

    /// The shape of the output for an input of this shape, planes last.
    fn output_shape<D: Clone + From<usize>>(&self, input: &[D]) -> TVec<D> {
        let mut shape: TVec<D> = input.into();
        let planes = shape.len() - 2;
        shape[planes] = self.vertical.output.into();
        shape[planes + 1] = self.horizontal.output.into();
        shape
    }

    /// All planes of a tensor.
    fn pool(&self, input: &[f32], output: &mut [f32]) {
        let Self { vertical, horizontal } = *self;
        // What is largest in each column of a row of windows, with its padding.
        let mut columns = vec![f32::NEG_INFINITY; self.padded()];
        let planes = input.chunks_exact(vertical.input * horizontal.input);
        let outputs = output.chunks_exact_mut(vertical.output * horizontal.output);
        for (plane, output) in planes.zip(outputs) {
            for (y, output) in output.chunks_exact_mut(horizontal.output).enumerate() {
                let inside = &mut columns[horizontal.padding..][..horizontal.input];
                inside.fill(f32::NEG_INFINITY);
                for tap in 0..vertical.size {
                    if vertical.inside(tap).contains(&y) {
                        let row = vertical.position(y, tap);
                        keep_larger(inside, &plane[row * horizontal.input..]);
                    }
                }
                for (x, output) in output.iter_mut().enumerate() {
                    let window = &columns[x * horizontal.stride..];
                    let values = window.iter().step_by(horizontal.dilation).take(horizontal.size);
                    *output = values.fold(f32::NEG_INFINITY, |largest, &value| {
                        if value > largest { value } else { largest }
                    });
                }
            }
        }
    }
}

/// The operator for tract's `node`, if it pools planes of floats.
pub(super) fn replacement(model: &TypedModel, node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    let op = node.op_as::<TractMaxPool>().filter(|op| op.with_index_outputs.is_none())?;
    let fact = model.outlet_fact(node.inputs[0]).ok()?;
    let [vertical, horizontal] = window::pair(&op.pool_spec, fact)?;
    Some(Box::new(MaxPool { vertical, horizontal }))
}

/// Takes over every value that is larger.
fn keep_larger(largest: &mut [f32], values: &[f32]) {
    for (largest, &value) in largest.iter_mut().zip(values) {
        *largest = if value > *largest { value } else { *largest };
    }
}

impl Op for MaxPool {
    fn name(&self) -> StaticName {
        "MaxPool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for MaxPool {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let mut output = Tensor::zero::<f32>(&self.output_shape(input.shape()))?;
        let inputs = input.try_as_plain_ram()?;
        let mut outputs = output.try_as_plain_ram_mut()?;
        self.pool(inputs.as_slice::<f32>()?, outputs.as_slice_mut::<f32>()?);
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for MaxPool {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape: TVec<TDim> = self.output_shape(&inputs[0].shape.to_tvec());
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }

    as_op!();
}
