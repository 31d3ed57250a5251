//! TensorFlow Lite's int8 reference kernels, one loop per index.
//!
//! Written from *Quantization and Training of Neural Networks for Efficient
//! Integer-Arithmetic-Only Inference* (Jacob et al., CVPR 2018, arXiv:1712.05877),
//! gemmlowp's `fixedpoint.h`, and TensorFlow Lite's `common.h`, `padding.h` and
//! `reference/integer_ops/`. Tensors are NHWC with N = 1.

/// Height, width, channels.
pub type Shape = [usize; 3];

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Weights OHWI.
    Conv {
        /// Output channels.
        filters: usize,
    },
    /// Weights height, width, output channel; output channel `c · multiplier + m`
    /// sees input channel `c`.
    Depthwise {
        /// Output channels per input channel.
        multiplier: usize,
    },
    /// The largest value in the window.
    MaxPool,
    /// The rounded mean of the values in the window.
    AveragePool,
    /// Weights unit, input.
    Dense {
        /// Output values.
        units: usize,
    },
}

/// One layer with its numbers; the vectors are empty for pooling.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it computes.
    pub kind: Kind,
    /// Rows and columns of the window (dense: 1, 1).
    pub window: [usize; 2],
    /// Vertical and horizontal stride (dense: 1, 1).
    pub stride: [usize; 2],
    /// SAME padding, else VALID.
    pub same: bool,
    /// Zero point of the output (pooling: that of the input).
    pub zero_point: i8,
    /// Smallest and largest output.
    pub clamp: (i8, i8),
    /// One per output channel.
    pub biases: Vec<i32>,
    /// One per output channel.
    pub multipliers: Vec<i32>,
    /// One per output channel, positive to the left.
    pub shifts: Vec<i8>,
    /// See [`Kind`].
    pub weights: Vec<i8>,
}

/// A sequence of layers, the last one dense.
#[derive(Clone, Debug)]
pub struct Network {
    /// Shape of the input.
    pub input: Shape,
    /// Zero point of the input.
    pub zero_point: i8,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Real value of one unit of the last accumulators.
    pub logit_scales: Vec<f32>,
}

/// gemmlowp's `SaturatingRoundingDoublingHighMul`: the high half of 2·a·b, rounded
/// to nearest; `i32::MIN · i32::MIN` saturates.
#[must_use]
pub fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i128::from(a) * i128::from(b);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    // Division in C, and here, truncates towards zero.
    ((product + nudge) / (1 << 31)) as i32
}

/// gemmlowp's `RoundingDivideByPOT`: x / 2^exponent, ties away from zero.
#[must_use]
pub fn rounding_divide_by_pot(x: i32, exponent: i32) -> i32 {
    let divisor = 1i64 << exponent;
    let x = i64::from(x);
    let magnitude = (x.abs() * 2 + divisor) / (2 * divisor);
    (if x < 0 { -magnitude } else { magnitude }) as i32
}

/// TensorFlow Lite's `MultiplyByQuantizedMultiplier` with double rounding.
///
/// Where its left shift would overflow (undefined in C), the accumulator is first
/// clamped to the multiples of 2^shift that `i32` holds, symmetric to −1.
#[must_use]
pub fn multiply_by_quantized_multiplier(x: i32, multiplier: i32, shift: i32) -> i32 {
    let left = shift.max(0);
    let right = (-shift).max(0);
    let most = i64::from(i32::MAX) >> left;
    let least = i64::from(i32::MIN) >> left;
    let shifted = i64::from(x).clamp(least, most) * (1i64 << left);
    let high = saturating_rounding_doubling_high_mul(shifted as i32, multiplier);
    rounding_divide_by_pot(high, right)
}

/// TensorFlow Lite's `QuantizeMultiplier`: multiplier and shift of a real scale.
#[must_use]
pub fn quantize_multiplier(scale: f64) -> (i32, i8) {
    if scale == 0.0 {
        return (0, 0);
    }
    // frexp: scale = mantissa · 2^shift with mantissa in [0.5, 1).
    let (mut mantissa, mut shift) = (scale, 0);
    while mantissa >= 1.0 {
        mantissa /= 2.0;
        shift += 1;
    }
    while mantissa < 0.5 {
        mantissa *= 2.0;
        shift -= 1;
    }
    let mut fixed = (mantissa * f64::from(1u32 << 31)).round() as i64;
    if fixed == 1 << 31 {
        fixed /= 2;
        shift += 1;
    }
    if shift < -31 {
        return (0, 0);
    }
    (fixed as i32, shift)
}

/// Size of the output and padding before the input, along one axis
/// (`ComputeOutSize`, `ComputePadding`).
fn along(input: usize, window: usize, stride: usize, same: bool) -> (usize, i64) {
    if same {
        let output = input.div_ceil(stride);
        let total = ((output - 1) * stride + window) as i64 - input as i64;
        (output, total.max(0) / 2)
    } else {
        ((input + stride - window) / stride, 0)
    }
}

impl Layer {
    /// Shape of the output.
    #[must_use]
    pub fn output(&self, input: Shape) -> Shape {
        let [height, width, channels] = input;
        let rows = |_: ()| along(height, self.window[0], self.stride[0], self.same).0;
        let columns = |_: ()| along(width, self.window[1], self.stride[1], self.same).0;
        match self.kind {
            Kind::Conv { filters } => [rows(()), columns(()), filters],
            Kind::Depthwise { multiplier } => [rows(()), columns(()), channels * multiplier],
            Kind::MaxPool | Kind::AveragePool => [rows(()), columns(()), channels],
            Kind::Dense { units } => [1, 1, units],
        }
    }

    /// The accumulator of every output, bias included; not for pooling.
    #[must_use]
    pub fn accumulate(&self, shape: Shape, zero_point: i8, input: &[i8]) -> Vec<i64> {
        let [height, width, channels] = shape;
        let [rows, columns, filters] = self.output(shape);
        let centred = |i: usize| i64::from(input[i]) - i64::from(zero_point);
        if matches!(self.kind, Kind::Dense { .. }) {
            let length = height * width * channels;
            let sum = |unit: usize| -> i64 {
                (0..length).map(|i| centred(i) * i64::from(self.weights[unit * length + i])).sum()
            };
            return (0..filters).map(|unit| i64::from(self.biases[unit]) + sum(unit)).collect();
        }
        let [window_rows, window_columns] = self.window;
        let top = along(height, window_rows, self.stride[0], self.same).1;
        let left = along(width, window_columns, self.stride[1], self.same).1;
        let mut sums = Vec::new();
        for y in 0..rows {
            for x in 0..columns {
                for filter in 0..filters {
                    let mut sum = i64::from(self.biases[filter]);
                    for ky in 0..window_rows {
                        for kx in 0..window_columns {
                            let row = (y * self.stride[0] + ky) as i64 - top;
                            let column = (x * self.stride[1] + kx) as i64 - left;
                            if !inside(row, height) || !inside(column, width) {
                                continue;
                            }
                            let at = (row as usize * width + column as usize) * channels;
                            let tap = ky * window_columns + kx;
                            match self.kind {
                                Kind::Depthwise { multiplier } => {
                                    let weight = self.weights[tap * filters + filter];
                                    sum += centred(at + filter / multiplier) * i64::from(weight);
                                }
                                _ => {
                                    for c in 0..channels {
                                        let taps = window_rows * window_columns;
                                        let index = (filter * taps + tap) * channels + c;
                                        sum += centred(at + c) * i64::from(self.weights[index]);
                                    }
                                }
                            }
                        }
                    }
                    sums.push(sum);
                }
            }
        }
        sums
    }

    /// The int8 output for one `input` of `shape` and `zero_point`.
    #[must_use]
    pub fn run(&self, shape: Shape, zero_point: i8, input: &[i8]) -> Vec<i8> {
        assert_eq!(input.len(), shape.iter().product::<usize>());
        let clamp = |v: i64| v.clamp(i64::from(self.clamp.0), i64::from(self.clamp.1)) as i8;
        if matches!(self.kind, Kind::MaxPool | Kind::AveragePool) {
            return self.pool(shape, input).into_iter().map(clamp).collect();
        }
        let channels = self.output(shape)[2];
        let sums = self.accumulate(shape, zero_point, input);
        let scaled = sums.iter().enumerate().map(|(i, &sum)| {
            let channel = i % channels;
            let sum = i32::try_from(sum).expect("the accumulator overflows");
            let (multiplier, shift) = (self.multipliers[channel], self.shifts[channel]);
            let scaled = multiply_by_quantized_multiplier(sum, multiplier, i32::from(shift));
            clamp(i64::from(scaled) + i64::from(self.zero_point))
        });
        scaled.collect()
    }

    /// The largest or the mean value of every window.
    fn pool(&self, shape: Shape, input: &[i8]) -> Vec<i64> {
        let [height, width, channels] = shape;
        let [rows, columns, _] = self.output(shape);
        let top = along(height, self.window[0], self.stride[0], self.same).1;
        let left = along(width, self.window[1], self.stride[1], self.same).1;
        let mut outputs = Vec::new();
        for y in 0..rows {
            for x in 0..columns {
                for c in 0..channels {
                    let mut seen = Vec::new();
                    for ky in 0..self.window[0] {
                        for kx in 0..self.window[1] {
                            let row = (y * self.stride[0] + ky) as i64 - top;
                            let column = (x * self.stride[1] + kx) as i64 - left;
                            if inside(row, height) && inside(column, width) {
                                let at = row as usize * width + column as usize;
                                seen.push(i64::from(input[at * channels + c]));
                            }
                        }
                    }
                    let count = seen.len() as i64;
                    let sum = seen.iter().sum::<i64>();
                    let half = if sum > 0 { count / 2 } else { -(count / 2) };
                    outputs.push(match self.kind {
                        Kind::MaxPool => seen.into_iter().max().expect("an empty window"),
                        _ => (sum + half) / count,
                    });
                }
            }
        }
        outputs
    }
}

fn inside(index: i64, size: usize) -> bool {
    index >= 0 && index < size as i64
}

impl Network {
    /// Every layer's input shape and zero point.
    #[must_use]
    pub fn inputs(&self) -> Vec<(Shape, i8)> {
        let mut inputs = vec![(self.input, self.zero_point)];
        for layer in &self.layers {
            let (shape, _) = inputs[inputs.len() - 1];
            inputs.push((layer.output(shape), layer.zero_point));
        }
        inputs.pop();
        inputs
    }

    /// Every layer's output for one quantized image.
    #[must_use]
    pub fn run(&self, image: &[i8]) -> Vec<Vec<i8>> {
        let mut outputs: Vec<Vec<i8>> = Vec::new();
        for (layer, (shape, zero_point)) in self.layers.iter().zip(self.inputs()) {
            let input = outputs.last().map_or(image, Vec::as_slice);
            outputs.push(layer.run(shape, zero_point, input));
        }
        outputs
    }

    /// The logits: the last layer's accumulators (rounded to `f32`) times their
    /// scales, from the input of the last layer.
    #[must_use]
    pub fn logits(&self, input: &[i8]) -> Vec<f32> {
        let (shape, zero_point) = *self.inputs().last().expect("no layers");
        let sums = self.layers[self.layers.len() - 1].accumulate(shape, zero_point, input);
        sums.iter().zip(&self.logit_scales).map(|(&sum, scale)| sum as f32 * scale).collect()
    }
}
