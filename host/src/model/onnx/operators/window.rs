//! How the windows of pooling and convolution lie on planes.

use std::ops::Range;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::PoolSpec;

/// How windows lie along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Window {
    pub(in super::super) input: usize,
    pub(in super::super) output: usize,
    pub(in super::super) size: usize,
    pub(in super::super) stride: usize,
    pub(in super::super) dilation: usize,
    pub(in super::super) padding: usize,
}

impl Window {
    /// The windows whose place `tap` lies on the input.
    pub(in super::super) fn inside(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let first = |position: usize| {
            position.saturating_sub(offset).div_ceil(self.stride).min(self.output)
        };
        first(self.padding)..first(self.padding + self.input)
    }

    /// The places of a window that lie on the input: from the first to before the second.
    pub(in super::super) fn taps(&self, window: usize) -> (usize, usize) {
        let start = window * self.stride;
        let first = |position: usize| position.saturating_sub(start).div_ceil(self.dilation);
        let end = first(self.padding + self.input).min(self.size);
        (first(self.padding).min(end), end)
    }

    /// Where on the input the place `tap` of a window lies, if [`Window::inside`] holds it.
    pub(in super::super) fn position(&self, window: usize, tap: usize) -> usize {
        window * self.stride + tap * self.dilation - self.padding
    }
}

/// The vertical and the horizontal windows of an operator over `input`, if that is planes of
/// floats, height and width last, and windows lie on it.
pub(in super::super) fn pair(spec: &PoolSpec, input: &TypedFact) -> Option<[Window; 2]> {
    let shape = spec.data_format.shape(input.shape.as_concrete()?).ok()?;
    let is_planes = spec.rank() == 2 && !spec.data_format.c_is_last();
    if !is_planes || input.datum_type != f32::datum_type() {
        return None;
    }
    let axes = spec.computed_padding(shape.hw_dims());
    let window = |axis: usize| Window {
        input: axes[axis].deconvoluted,
        output: axes[axis].convoluted,
        size: spec.kernel_shape[axis],
        stride: spec.stride(axis),
        dilation: spec.dilation(axis),
        padding: axes[axis].pad_before,
    };
    let windows = [0, 1].map(window);
    windows.iter().all(|window| window.output > 0).then_some(windows)
}
