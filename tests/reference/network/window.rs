//! Operators that slide a window over the height and width of [N, channels, height, width].
//!
//! Their input is copied into a larger one first, so that no window leaves it.

use super::node::Node;
use super::tensor::Tensor;

/// A window's way over an image, [vertical, horizontal].
#[derive(Debug)]
pub(super) struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Positions before the image.
    before: [usize; 2],
    /// Positions behind it that the node asks for; the last window may need more of them.
    after: [usize; 2],
    image: [usize; 2],
    /// Windows.
    output: [usize; 2],
}

impl Window {
    /// The window of `node` over an image.
    pub(super) fn new(node: &Node<'_>, kernel: [usize; 2], image: [usize; 2]) -> Self {
        let pair = |name| node.ints(name).map_or([1; 2], |values| [values[0], values[1]]);
        let [strides, dilations] = ["strides", "dilations"].map(|name| pair(name).map(unsigned));
        let pads = node.ints("pads").map_or([0; 4], |p| [p[0], p[1], p[2], p[3]]).map(unsigned);
        let mut window = Self {
            kernel,
            strides,
            dilations,
            before: [pads[0], pads[1]],
            after: [pads[2], pads[3]],
            image,
            output: [0; 2],
        };
        for axis in 0..2 {
            let extent = (kernel[axis] - 1) * dilations[axis] + 1;
            let (image, stride) = (image[axis], strides[axis]);
            let auto = node.text("auto_pad").unwrap_or("NOTSET");
            if let "SAME_UPPER" | "SAME_LOWER" = auto {
                window.output[axis] = image.div_ceil(stride);
                let pad = ((window.output[axis] - 1) * stride + extent).saturating_sub(image);
                let (smaller, larger) = (pad / 2, pad.div_ceil(2));
                (window.before[axis], window.after[axis]) =
                    if auto == "SAME_UPPER" { (smaller, larger) } else { (larger, smaller) };
                continue;
            }
            let room = window.before[axis] + image + window.after[axis] - extent;
            window.output[axis] = room / stride + 1;
            // A last window that lies in part outside, but starts no later than the image ends.
            if node.int("ceil_mode", 0) == 1
                && !room.is_multiple_of(stride)
                && window.output[axis] * stride < window.before[axis] + image
            {
                window.output[axis] += 1;
            }
        }
        window
    }

    /// `input` with `pad` around the image, and with `beyond` where that is not enough.
    fn padded(&self, input: &Tensor, pad: f64, beyond: f64) -> Tensor {
        let [height, width] = [0, 1].map(|axis| {
            let extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let windows = (self.output[axis] - 1) * self.strides[axis] + extent;
            windows.max(self.before[axis] + self.image[axis] + self.after[axis])
        });
        let shape = [input.shape[0], input.shape[1], height, width];
        let inside = |index: &[usize], axis: usize| {
            index[2 + axis]
                .checked_sub(self.before[axis])
                .filter(|&position| position < self.image[axis])
        };
        let end = |axis| self.before[axis] + self.image[axis] + self.after[axis];
        Tensor::generate(&shape, |index| match (inside(index, 0), inside(index, 1)) {
            (Some(y), Some(x)) => input.at(&[index[0], index[1], y, x]),
            _ if index[2] < end(0) && index[3] < end(1) => pad,
            _ => beyond,
        })
    }

    /// What `function` makes of the values in each window.
    fn pool(&self, padded: &Tensor, function: fn(f64, f64) -> f64) -> Tensor {
        let [height, width] = self.output;
        let shape = [padded.shape[0], padded.shape[1], height, width];
        Tensor::generate(&shape, |index| {
            let position = |axis: usize, k: usize| {
                index[2 + axis] * self.strides[axis] + k * self.dilations[axis]
            };
            let rows = (0..self.kernel[0]).map(|k| position(0, k));
            let values = rows.flat_map(|y| {
                let columns = (0..self.kernel[1]).map(|k| position(1, k));
                columns.map(move |x| padded.at(&[index[0], index[1], y, x]))
            });
            values.reduce(function).expect("a window has an element")
        })
    }

    pub(super) fn max_pool(&self, input: &Tensor) -> Tensor {
        self.pool(&self.padded(input, f64::NEG_INFINITY, f64::NEG_INFINITY), f64::max)
    }

    /// Means over the elements of the image, or with the node's own padding.
    pub(super) fn average_pool(&self, input: &Tensor, count_pads: bool) -> Tensor {
        let ones = input.map(|_| 1.0);
        let ones = self.padded(&ones, f64::from(u8::from(count_pads)), 0.0);
        let [sums, counts] = [self.padded(input, 0.0, 0.0), ones]
            .map(|padded| self.pool(&padded, |sum, value| sum + value));
        sums.zip(&counts, |sum, count| sum / count)
    }

    /// A convolution; `weights` [outputs, inputs per group, kernel height, kernel width].
    pub(super) fn convolve(
        &self,
        input: &Tensor,
        weights: &Tensor,
        biases: Option<&Tensor>,
        groups: usize,
    ) -> Tensor {
        let padded = self.padded(input, 0.0, 0.0);
        let [batch, channels, padded_height, padded_width] = dimensions(&padded);
        let [outputs, depth, ..] = dimensions(weights);
        let [height, width] = self.output;
        assert_eq!(depth * groups, channels, "channels of a convolution");
        let mut values = vec![0.0; batch * outputs * height * width];
        for (row, sums) in values.chunks_exact_mut(width).enumerate() {
            let [image, output, y] = [row / height / outputs, row / height % outputs, row % height];
            sums.fill(biases.map_or(0.0, |biases| biases.at(&[output])));
            for input in 0..depth {
                let channel = output / (outputs / groups) * depth + input;
                for ky in 0..self.kernel[0] {
                    let y = y * self.strides[0] + ky * self.dilations[0];
                    let start = ((image * channels + channel) * padded_height + y) * padded_width;
                    let line = &padded.values[start..][..padded_width];
                    for kx in 0..self.kernel[1] {
                        let weight = weights.at(&[output, input, ky, kx]);
                        add(sums, weight, &line[kx * self.dilations[1]..], self.strides[1]);
                    }
                }
            }
        }
        Tensor::new(&[batch, outputs, height, width], values)
    }
}

/// Adds `weight` times every `stride`th value to the sums.
fn add(sums: &mut [f64], weight: f64, values: &[f64], stride: usize) {
    // One loop for both would take twice as long.
    if stride == 1 {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
    } else {
        let values = values.iter().step_by(stride);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
    }
}

fn dimensions(tensor: &Tensor) -> [usize; 4] {
    tensor.shape[..].try_into().expect("four axes")
}

fn unsigned(value: i64) -> usize {
    usize::try_from(value).expect("a size")
}
