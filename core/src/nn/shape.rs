//! Layer geometry, shared by the int8 network and its float twin.

use crate::image::Shape;

/// What a window sees beyond the edge of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Windows stay inside the input.
    Valid,
    /// The output has ⌈input / stride⌉ positions. Windows reach outside equally
    /// on both sides, the odd row or column at the bottom right. Convolutions
    /// read zero there, pooling ignores what is outside.
    Same,
}

/// A window that slides over an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows of the window, at least 1.
    pub height: usize,
    /// Columns of the window, at least 1.
    pub width: usize,
    /// Rows from one window to the next, at least 1.
    pub stride_y: usize,
    /// Columns from one window to the next, at least 1.
    pub stride_x: usize,
    /// What the window sees beyond the edge.
    pub padding: Padding,
}

impl Window {
    /// A square window of `size` with equal strides.
    #[must_use]
    pub const fn square(size: usize, stride: usize, padding: Padding) -> Self {
        Self { height: size, width: size, stride_y: stride, stride_x: stride, padding }
    }

    /// Number of positions in the window; saturating.
    #[must_use]
    pub const fn area(&self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Rows and columns of the output, or `None` if the window or a stride is
    /// zero, the input is empty, or no window fits.
    #[must_use]
    pub fn output(&self, input: Shape) -> Option<(usize, usize)> {
        let along = |size: usize, window: usize, stride: usize| {
            if window == 0 || stride == 0 || size == 0 {
                return None;
            }
            match self.padding {
                Padding::Valid => Some(size.checked_sub(window)? / stride + 1),
                Padding::Same => Some(size.div_ceil(stride)),
            }
        };
        Some((
            along(input.height, self.height, self.stride_y)?,
            along(input.width, self.width, self.stride_x)?,
        ))
    }

    /// Rows and columns of padding at the top left; 0 for a stride of zero.
    #[must_use]
    pub fn offset(&self, input: Shape) -> (usize, usize) {
        let along = |size: usize, window: usize, stride: usize| match self.padding {
            Padding::Valid => 0,
            Padding::Same if stride == 0 => 0,
            Padding::Same => {
                let last = size.div_ceil(stride).saturating_sub(1).saturating_mul(stride);
                last.saturating_add(window).saturating_sub(size) / 2
            }
        };
        (
            along(input.height, self.height, self.stride_y),
            along(input.width, self.width, self.stride_x),
        )
    }
}

/// What a layer computes; the part that int8 and float networks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Every filter sees all channels. Weights: filter, row, column, channel (OHWI).
    Conv {
        /// Where the filters look.
        window: Window,
        /// Channels of the output.
        filters: usize,
    },
    /// Every filter sees one channel; output channel `c · multiplier + m` belongs
    /// to input channel `c`. Weights: row, column, output channel.
    DepthwiseConv {
        /// Where the filters look.
        window: Window,
        /// Filters per input channel.
        multiplier: usize,
    },
    /// The largest value of each channel in the window.
    MaxPool(Window),
    /// The mean of each channel over that part of the window that is inside.
    AveragePool(Window),
    /// A matrix times the flattened input (order: row, column, channel).
    /// Weights: unit, input.
    Dense {
        /// Length of the output.
        units: usize,
    },
}

impl Op {
    /// The shape of the output, or `None` if the layer does not fit `input`.
    #[must_use]
    pub fn output(&self, input: Shape) -> Option<Shape> {
        let shaped = |window: &Window, channels: usize| {
            let (height, width) = window.output(input)?;
            (channels > 0).then_some(Shape { height, width, channels })
        };
        match self {
            Self::Conv { window, filters } => shaped(window, *filters),
            Self::DepthwiseConv { window, multiplier } => {
                shaped(window, input.channels.checked_mul(*multiplier)?)
            }
            Self::MaxPool(window) | Self::AveragePool(window) => shaped(window, input.channels),
            Self::Dense { units } => {
                (*units > 0 && !input.is_empty()).then_some(Shape::flat(*units))
            }
        }
    }

    /// Weights that one output value is summed over: the depth of the layer's
    /// dot products; 0 for pooling. Saturating.
    #[must_use]
    pub fn depth(&self, input: Shape) -> usize {
        match self {
            Self::Conv { window, .. } => window.area().saturating_mul(input.channels),
            Self::DepthwiseConv { window, .. } => window.area(),
            Self::MaxPool(_) | Self::AveragePool(_) => 0,
            Self::Dense { .. } => input.len(),
        }
    }

    /// Multiply-adds per image; padding counts as if it were inside.
    #[must_use]
    pub fn multiply_adds(&self, input: Shape) -> u64 {
        let outputs = self.output(input).map_or(0, Shape::len);
        (outputs as u64).saturating_mul(self.depth(input) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn image(size: usize) -> Shape {
        Shape { height: size, width: size, channels: 3 }
    }

    #[test]
    fn valid_windows_stay_inside() {
        assert_eq!(Window::square(5, 1, Padding::Valid).output(image(28)), Some((24, 24)));
        assert_eq!(Window::square(3, 2, Padding::Valid).output(image(8)), Some((3, 3)));
        assert_eq!(Window::square(9, 1, Padding::Valid).output(image(8)), None);
    }

    #[test]
    fn same_puts_the_odd_row_at_the_bottom() {
        let window = Window::square(3, 2, Padding::Same);
        assert_eq!(window.output(image(8)), Some((4, 4)));
        assert_eq!(window.offset(image(8)), (0, 0)); // one row of padding, below
        assert_eq!(window.offset(image(7)), (1, 1)); // two rows, one on each side
        let wide_stride = Window::square(1, 3, Padding::Same);
        assert_eq!(wide_stride.offset(image(8)), (0, 0));
    }

    #[test]
    fn degenerate_windows_have_no_output() {
        assert_eq!(Window::square(0, 1, Padding::Same).output(image(8)), None);
        assert_eq!(Window::square(1, 0, Padding::Same).output(image(8)), None);
        assert_eq!(Op::Dense { units: 0 }.output(image(8)), None);
        assert_eq!(Window::square(3, 0, Padding::Same).offset(image(8)), (0, 0));
        let huge = Window::square(usize::MAX, usize::MAX, Padding::Same);
        let op = Op::Conv { window: huge, filters: usize::MAX };
        assert_eq!((op.depth(image(8)), huge.offset(image(8)).0 > 0), (usize::MAX, true));
        assert_eq!(op.multiply_adds(image(usize::MAX)), u64::MAX);
    }
}
