//! The way back through average pooling: the same to every value of a window.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{PaddingSpec, SumPool};
use tract_onnx::tract_hir::tract_core::{as_op, op_as_typed_op, op_out_of_plan};

use super::super::operators::window::{self, Window};
use super::reverse::{Pulled, Step};

/// Of the derivative with respect to the output of pooled planes, the derivative with
/// respect to the planes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SumPoolGradient {
    vertical: Axis,
    horizontal: Axis,
    counts: Counts,
}

/// Windows along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    window: Window,
    /// Where padding ends, as far as it counts.
    end: usize,
}

/// What the sum over a window is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// Nothing.
    One,
    /// Its values.
    Values,
    /// Its values and the padding.
    Padded,
}

pub(super) fn rule(step: &mut Step<'_>) -> Pulled {
    let Some(op) = step.op::<SumPool>() else { return Ok(None) };
    let fact = step.model.outlet_fact(step.input(0))?;
    let Some(windows) = window::pair(&op.pool_spec, fact) else { return Ok(None) };
    let axis = |index: usize| {
        let window: Window = windows[index];
        // As ONNX has it, a last window that was rounded up may stand out of the padding,
        // which counts for nothing.
        let end = match &op.pool_spec.padding {
            PaddingSpec::ExplicitOnnxPool(before, after, true) => {
                before[index] + window.input + after[index]
            }
            _ => usize::MAX,
        };
        Axis { window, end }
    };
    let counts = match (op.normalize, op.count_include_pad) {
        (false, _) => Counts::One,
        (true, false) => Counts::Values,
        (true, true) => Counts::Padded,
    };
    let op = SumPoolGradient { vertical: axis(0), horizontal: axis(1), counts };
    Ok(Some(tvec![(0, step.wire(op, &[step.dy])?)]))
}

impl Axis {
    /// The places of a window that count.
    fn count(&self, window: usize, counts: Counts) -> usize {
        let Window { size, stride, dilation, .. } = self.window;
        match counts {
            Counts::One => 1,
            Counts::Values => {
                let (first, end) = self.window.taps(window);
                end - first
            }
            Counts::Padded => {
                (0..size).filter(|tap| window * stride + tap * dilation < self.end).count()
            }
        }
    }
}

impl SumPoolGradient {
    /// One plane. `pulled` begins with zeros.
    fn pull(&self, dy: &[f32], pulled: &mut [f32]) {
        let (vertical, horizontal) = (self.vertical.window, self.horizontal.window);
        for (index, dy) in dy.iter().enumerate() {
            let (y, x) = (index / horizontal.output, index % horizontal.output);
            let count = self.vertical.count(y, self.counts) * self.horizontal.count(x, self.counts);
            let each = dy / count as f32;
            let (top, bottom) = vertical.taps(y);
            let (left, right) = horizontal.taps(x);
            for down in top..bottom {
                let row = vertical.position(y, down) * horizontal.input;
                for along in left..right {
                    pulled[row + horizontal.position(x, along)] += each;
                }
            }
        }
    }

    /// The shape of the planes for a derivative of this shape.
    fn shape<D: Clone + From<usize>>(&self, dy: &[D]) -> TVec<D> {
        let mut shape: TVec<D> = dy.into();
        let planes = shape.len() - 2;
        shape[planes] = self.vertical.window.input.into();
        shape[planes + 1] = self.horizontal.window.input.into();
        shape
    }
}

impl Op for SumPoolGradient {
    fn name(&self) -> StaticName {
        "SumPoolGradient".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SumPoolGradient {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let dy = args_1!(inputs);
        let (vertical, horizontal) = (self.vertical.window, self.horizontal.window);
        let mut pulled = Tensor::zero::<f32>(&self.shape(dy.shape()))?;
        let dy = dy.try_as_plain_ram()?;
        let dy = dy.as_slice::<f32>()?.chunks_exact(vertical.output * horizontal.output);
        let mut plain = pulled.try_as_plain_ram_mut()?;
        let planes = plain.as_slice_mut::<f32>()?;
        let planes = planes.chunks_exact_mut(vertical.input * horizontal.input);
        dy.zip(planes).for_each(|(dy, pulled)| self.pull(dy, pulled));
        Ok(tvec!(pulled.into_tvalue()))
    }
}

impl TypedOp for SumPoolGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape: TVec<TDim> = self.shape(&inputs[0].shape.to_tvec());
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
