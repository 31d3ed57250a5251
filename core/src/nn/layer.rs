//! One layer: gathers patches, has the kernel multiply them, and requantizes.
//!
//! A checked layer has no empty side, window or row. Where one divides, `max(1)` tells the
//! compiler, so that no branch to a panic is left.
//!
//! With an operating system, all is inlined into the caller's function, which may have
//! vectors enabled. Without one, on a device, the parts of a layer stay functions, whose
//! variables lie on the stack only while they run.

use super::{Kernel, Op, Shape, Window, requantize, row_stride};
use crate::limits::MAX_FUSED_WINDOW;

/// What lies between two layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub(super) shape: Shape,
    /// Real value of one step.
    pub(super) scale: f32,
    /// Quantized value that stands for zero.
    pub(super) zero_point: i8,
}

/// A checked layer of a [`Network`](super::Network), reading its arrays in place.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub(super) op: Op,
    pub(super) input: Tensor,
    pub(super) output: Tensor,
    pub(super) clamp: (i8, i8),
    pub(super) weights: Option<Weights<'a>>,
}

/// The positions of a layer whose largest sum becomes one output: those of the window of
/// a max pool that is computed together with the convolution before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    height: usize,
    width: usize,
    /// Shape of what comes out.
    pub(super) output: Shape,
}

impl Pool {
    fn area(self) -> usize {
        self.height * self.width
    }
}

/// Where the values of a layer go, and what they are there.
pub(super) enum Outputs<'a> {
    /// For the next layer, minus their zero point.
    Centred(&'a mut [i16]),
    /// The last layer's: sums times the real value of one unit, an `f32` per class.
    Logits { logits: &'a mut [f32], scales: &'a [u8] },
}

/// The arrays of a layer with weights, as they lie in the blob.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub(super) biases: &'a [u8],
    pub(super) multipliers: &'a [u8],
    pub(super) shifts: &'a [u8],
    /// Rows of `row` weights, padded with zeros to their [`row_stride`].
    pub(super) bytes: &'a [u8],
    pub(super) row: usize,
}

fn i32_at(bytes: &[u8], index: usize) -> i32 {
    let bytes = bytes.get(index * 4..).and_then(|tail| tail.first_chunk());
    i32::from_le_bytes(bytes.copied().unwrap_or_default())
}

impl Weights<'_> {
    /// The bias of an output channel; 0 beyond the last.
    #[must_use]
    pub fn bias(&self, channel: usize) -> i32 {
        i32_at(self.biases, channel)
    }

    /// The requantization multiplier of an output channel; 0 beyond the last.
    #[must_use]
    pub fn multiplier(&self, channel: usize) -> i32 {
        i32_at(self.multipliers, channel)
    }

    /// The requantization shift of an output channel; 0 beyond the last.
    #[must_use]
    pub fn shift(&self, channel: usize) -> i32 {
        self.shifts.get(channel).map_or(0, |&shift| i32::from(shift as i8))
    }

    /// Elements between the starts of two rows.
    pub(super) fn stride(&self) -> usize {
        row_stride(self.row)
    }

    /// The real values of the sums.
    #[inline(always)]
    fn dequantize(&self, sums: &[i32], scales: &[u8], logits: &mut [f32]) {
        let biases = self.biases.as_chunks::<4>().0.iter();
        let scales = scales.as_chunks::<4>().0.iter();
        for ((&sum, &bias), (&scale, logit)) in sums.iter().zip(biases).zip(scales.zip(logits)) {
            let accumulator = sum.wrapping_add(i32::from_le_bytes(bias));
            *logit = accumulator as f32 * f32::from_le_bytes(scale);
        }
    }
}

impl<'a> Layer<'a> {
    /// What the layer computes.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// Shape of the input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input.shape
    }

    /// Shape of the output.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.output.shape
    }

    /// Real value of one step of the output.
    #[must_use]
    pub fn output_scale(&self) -> f32 {
        self.output.scale
    }

    /// Quantized output that stands for zero.
    #[must_use]
    pub fn output_zero_point(&self) -> i8 {
        self.output.zero_point
    }

    /// Smallest and largest output.
    #[must_use]
    pub fn clamp(&self) -> (i8, i8) {
        self.clamp
    }

    /// The layer's arrays; `None` for pooling.
    #[must_use]
    pub fn weights(&self) -> Option<&Weights<'a>> {
        self.weights.as_ref()
    }

    /// The max pool that `next`, the layer after this one, does on its accumulators, if
    /// it can be done there.
    ///
    /// Requantization never decreases, so the largest accumulator gives the
    /// largest output. Windows that overlap, reach outside, or are larger than
    /// [`MAX_FUSED_WINDOW`] are left to the pooling layer.
    pub(super) fn fused_with(&self, next: &Layer<'_>) -> Option<Pool> {
        let (Op::Conv { .. }, Op::MaxPool(window)) = (self.op, next.op) else { return None };
        let (input, output) = (next.input.shape, next.output.shape);
        let fuses = window.stride_y == window.height
            && window.stride_x == window.width
            && window.area() <= MAX_FUSED_WINDOW
            && next.clamp.0 <= self.clamp.0
            && next.clamp.1 >= self.clamp.1
            && output.height * window.height <= input.height
            && output.width * window.width <= input.width;
        fuses.then_some(Pool { height: window.height, width: window.width, output })
    }

    /// No pool: every position is an output.
    pub(super) fn unfused(&self) -> Pool {
        Pool { height: 1, width: 1, output: self.output.shape }
    }

    /// Elements of `patches` and `sums` for one output of this layer.
    pub(super) fn scratch(&self, pool: Pool) -> (usize, usize) {
        match (self.op, &self.weights) {
            (Op::DepthwiseConv { .. }, _) => (0, self.output.shape.channels),
            (_, Some(weights)) => {
                (pool.area() * weights.stride(), pool.area() * self.output.shape.channels)
            }
            _ => (0, 0),
        }
    }

    /// Runs the layer on images that lie one behind the other.
    ///
    /// Values are centred: minus their zero point, so −255 ..= 255.
    ///
    /// * `inputs`: `n` × [`input`](Self::input) values.
    /// * `outputs`: room for `n` × the output of `pool`, which is one that
    ///   [belongs to the layer](Self::fused_with), or [none](Self::unfused).
    /// * `patches`, `sums`: at least [`scratch`](Self::scratch) elements; more of
    ///   both let the kernel see more patches at a time.
    ///
    /// The caller has checked the lengths; what does not fit is not computed.
    #[inline(always)]
    pub(super) fn run(
        &self,
        pool: Pool,
        kernel: &impl Kernel,
        inputs: &[i16],
        mut outputs: Outputs<'_>,
        patches: &mut [i16],
        sums: &mut [i32],
    ) {
        let Some(weights) = &self.weights else {
            if let Outputs::Centred(outputs) = outputs {
                self.pool(inputs, outputs);
            }
            return;
        };
        let (stride, channels, group) = (weights.stride(), self.output.shape.channels, pool.area());
        // A dense layer takes images as a convolution takes the positions of one.
        let (image, positions) = match self.op {
            Op::Dense { .. } => (inputs.len(), inputs.len() / weights.row.max(1)),
            _ => (self.input.shape.len(), pool.output.positions()),
        };
        let room = match self.op {
            Op::DepthwiseConv { .. } => usize::MAX,
            _ => patches.len() / stride / group.max(1),
        };
        let block = room.min(sums.len() / (group * channels).max(1));
        if block == 0 || image == 0 {
            return;
        }
        for (index, input) in inputs.chunks_exact(image).enumerate() {
            let mut first = 0;
            while first < positions {
                let count = block.min(positions - first);
                let sums = sums.get_mut(..count * group * channels).unwrap_or_default();
                if let Op::DepthwiseConv { window, multiplier } = self.op {
                    self.convolve_depthwise(weights, window, multiplier, first, input, sums);
                } else {
                    let patches = patches.get_mut(..count * group * stride).unwrap_or_default();
                    if let Op::Conv { window, .. } = self.op {
                        self.gather(weights, window, pool, first, input, patches);
                    } else {
                        let images = input.chunks_exact(weights.row.max(1)).skip(first);
                        for (patch, input) in patches.chunks_exact_mut(stride).zip(images) {
                            copy_wide(input, weights.row, weights.row, patch);
                        }
                    }
                    kernel.multiply(weights.bytes, patches, weights.row, sums);
                }
                let start = (index * positions + first) * channels;
                self.finish(weights, group, sums, start, count, &mut outputs);
                first += count;
            }
        }
    }

    /// Turns the sums of `count` outputs, of `group` positions each, into values from
    /// `start` on.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    fn finish(
        &self,
        weights: &Weights<'_>,
        group: usize,
        sums: &mut [i32],
        start: usize,
        count: usize,
        outputs: &mut Outputs<'_>,
    ) {
        let channels = self.output.shape.channels.max(1);
        let range = start..start + count * channels;
        let groups = sums.chunks_exact_mut((group * channels).max(1));
        match outputs {
            Outputs::Centred(outputs) => {
                let outputs = outputs.get_mut(range).unwrap_or_default();
                for (sums, output) in groups.zip(outputs.chunks_exact_mut(channels)) {
                    self.requantize(weights, largest(sums, channels), output);
                }
            }
            Outputs::Logits { logits, scales } => {
                let logits = logits.get_mut(range).unwrap_or_default();
                for (sums, logits) in groups.zip(logits.chunks_exact_mut(channels)) {
                    weights.dequantize(sums, scales, logits);
                }
            }
        }
    }

    /// Fills the rows of `patches` with what the window sees, from output `first` on:
    /// an output has one row per position in its pooling window. Zeros outside the input;
    /// anything in the rest of a row.
    #[cfg_attr(target_os = "none", inline(never))]
    fn gather(
        &self,
        weights: &Weights<'_>,
        window: Window,
        pool: Pool,
        first: usize,
        input: &[i16],
        patches: &mut [i16],
    ) {
        let shape = self.input.shape;
        let (offset_y, offset_x) = window.offset(shape);
        let width = pool.output.width.max(1);
        let (pitch, segment) = (shape.width * shape.channels, window.width * shape.channels);
        let mut rows = patches.chunks_exact_mut(weights.stride());
        for output in first.. {
            let (top, left) = (output / width, output % width);
            for dy in 0..pool.height {
                for dx in 0..pool.width {
                    let Some(patch) = rows.next() else { return };
                    // A position before the edge wraps to a huge number.
                    let y = ((top * pool.height + dy) * window.stride_y).wrapping_sub(offset_y);
                    let x = ((left * pool.width + dx) * window.stride_x).wrapping_sub(offset_x);
                    let is_inside = y < shape.height
                        && y + window.height <= shape.height
                        && x < shape.width
                        && x + window.width <= shape.width;
                    let start = y.wrapping_mul(pitch).wrapping_add(x.wrapping_mul(shape.channels));
                    let source = input.get(start..);
                    match source {
                        Some(source) if is_inside && segment <= GROUP => {
                            copy_narrow(source, pitch, window.height, segment, patch);
                        }
                        Some(source) if is_inside => {
                            copy_wide(source, pitch, segment, patch);
                        }
                        _ => self.gather_at_edge(window, y, x, input, patch),
                    }
                }
            }
        }
    }

    /// [`gather`](Self::gather) for one window that reaches outside; its first row and
    /// column may have wrapped below zero.
    #[inline(never)]
    fn gather_at_edge(&self, window: Window, y: usize, x: usize, input: &[i16], patch: &mut [i16]) {
        let shape = self.input.shape;
        let mut pixels = patch.chunks_exact_mut(shape.channels.max(1));
        for ky in 0..window.height {
            for kx in 0..window.width {
                let Some(pixel) = pixels.next() else { return };
                let (row, column) = (y.wrapping_add(ky), x.wrapping_add(kx));
                if row < shape.height && column < shape.width {
                    let start = (row * shape.width + column) * shape.channels;
                    for (value, &source) in pixel.iter_mut().zip(input.iter().skip(start)) {
                        *value = source;
                    }
                } else {
                    pixel.fill(0);
                }
            }
        }
    }

    /// The sums of as many positions as there is room for, from `first` on.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    fn convolve_depthwise(
        &self,
        weights: &Weights<'_>,
        window: Window,
        multiplier: usize,
        first: usize,
        input: &[i16],
        sums: &mut [i32],
    ) {
        let positions = sums.chunks_exact_mut(self.output.shape.channels.max(1));
        for (position, sums) in (first..).zip(positions) {
            sums.fill(0);
            for (inner, start) in self.inside(window, position) {
                let pixel = input.get(start..start + self.input.shape.channels).unwrap_or_default();
                let row = weights.bytes.get(inner * weights.stride()..).unwrap_or_default();
                for (channel, &value) in pixel.iter().enumerate() {
                    let filters = channel * multiplier..(channel + 1) * multiplier;
                    let row = row.get(filters.clone()).unwrap_or_default();
                    let sums = sums.get_mut(filters).unwrap_or_default();
                    for (&w, sum) in row.iter().zip(sums) {
                        *sum += i32::from(value) * i32::from(w as i8);
                    }
                }
            }
        }
    }

    /// A pooling layer, on images that lie one behind the other.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    fn pool(&self, inputs: &[i16], outputs: &mut [i16]) {
        let images = inputs.chunks_exact(self.input.shape.len().max(1));
        let outputs = outputs.chunks_exact_mut(self.output.shape.len().max(1));
        for (input, output) in images.zip(outputs) {
            match self.op {
                Op::MaxPool(window) => self.max_pool(window, input, output),
                Op::AveragePool(window) => self.average_pool(window, input, output),
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn max_pool(&self, window: Window, input: &[i16], output: &mut [i16]) {
        let channels = self.input.shape.channels;
        for (position, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
            output.fill(i16::MIN);
            for (_, start) in self.inside(window, position) {
                let pixel = input.get(start..).unwrap_or_default();
                for (largest, &value) in output.iter_mut().zip(pixel) {
                    *largest = (*largest).max(value);
                }
            }
            for value in output {
                *value = self.clamp_centred(i32::from(*value));
            }
        }
    }

    #[inline(always)]
    fn average_pool(&self, window: Window, input: &[i16], output: &mut [i16]) {
        let channels = self.input.shape.channels;
        let zero_point = i32::from(self.input.zero_point);
        for (position, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
            for (channel, output) in output.iter_mut().enumerate() {
                let (mut sum, mut count) = (0i32, 0i32);
                for (_, start) in self.inside(window, position) {
                    let value = input.get(start + channel).copied().unwrap_or_default();
                    sum += i32::from(value) + zero_point;
                    count += 1;
                }
                let half = if sum > 0 { count / 2 } else { -(count / 2) };
                let mean = (sum + half).checked_div(count).unwrap_or(0);
                *output = self.clamp_centred(mean - zero_point);
            }
        }
    }

    /// The positions of the window that lie inside the input when it computes
    /// output `position`: index within the window, and index of the first channel.
    #[inline(always)]
    fn inside(&self, window: Window, position: usize) -> impl Iterator<Item = (usize, usize)> {
        let shape = self.input.shape;
        let (offset_y, offset_x) = window.offset(shape);
        let width = self.output.shape.width.max(1);
        let top = (position / width) * window.stride_y;
        let left = (position % width) * window.stride_x;
        (0..window.height).flat_map(move |ky| {
            (0..window.width).filter_map(move |kx| {
                let y = (top + ky).wrapping_sub(offset_y);
                let x = (left + kx).wrapping_sub(offset_x);
                (y < shape.height && x < shape.width)
                    .then(|| (ky * window.width + kx, (y * shape.width + x) * shape.channels))
            })
        })
    }

    /// One value per output channel, from its sum.
    ///
    /// In groups of eight, which a compiler turns into vector instructions; the last
    /// group overlaps the one before it. Fewer than eight channels go one by one.
    #[inline(always)]
    fn requantize(&self, weights: &Weights<'_>, sums: &[i32], output: &mut [i16]) {
        let biases = weights.biases.as_chunks::<4>().0;
        let multipliers = weights.multipliers.as_chunks::<4>().0;
        let mut start = 0;
        while let Some(last) = output.len().checked_sub(LANES)
            && start < output.len()
        {
            let first = start.min(last);
            if let (Some(sums), Some(biases), Some(multipliers), Some(shifts), Some(output)) = (
                lanes(sums, first),
                lanes(biases, first),
                lanes(multipliers, first),
                lanes(weights.shifts, first),
                output.get_mut(first..).and_then(<[i16]>::first_chunk_mut),
            ) {
                *output = self.requantize_lanes(sums, biases, multipliers, shifts);
            }
            start += LANES;
        }
        if start == 0 {
            let scales = multipliers.iter().zip(weights.shifts);
            let sums = sums.iter().zip(biases).zip(scales);
            for (output, ((sum, bias), (multiplier, shift))) in output.iter_mut().zip(sums) {
                [*output] = self.requantize_lanes(&[*sum], &[*bias], &[*multiplier], &[*shift]);
            }
        }
    }

    #[inline(always)]
    fn requantize_lanes<const N: usize>(
        &self,
        sums: &[i32; N],
        biases: &[[u8; 4]; N],
        multipliers: &[[u8; 4]; N],
        shifts: &[u8; N],
    ) -> [i16; N] {
        let mut output = [0; N];
        for lane in 0..N {
            // The blob's check leaves room for the bias.
            let accumulator = sums[lane].wrapping_add(i32::from_le_bytes(biases[lane]));
            let multiplier = i32::from_le_bytes(multipliers[lane]);
            let scaled = requantize(accumulator, multiplier, i32::from(shifts[lane] as i8));
            output[lane] = self.clamp_centred(scaled);
        }
        output
    }

    /// A centred output, clamped so that with the zero point it is in the layer's range.
    #[inline(always)]
    fn clamp_centred(&self, value: i32) -> i16 {
        let zero_point = i32::from(self.output.zero_point);
        let (smallest, largest) = (i32::from(self.clamp.0), i32::from(self.clamp.1));
        value.max(smallest - zero_point).min(largest - zero_point) as i16
    }
}

/// Channels that are requantized together.
const LANES: usize = 8;

/// The [`LANES`] elements from `start` on.
#[inline(always)]
fn lanes<T>(slice: &[T], start: usize) -> Option<&[T; LANES]> {
    slice.get(start..)?.first_chunk()
}

/// The largest of each channel's sums, collected in the first row.
#[inline(always)]
fn largest(sums: &mut [i32], channels: usize) -> &[i32] {
    let Some((largest, others)) = sums.split_at_mut_checked(channels) else { return &[] };
    for sums in others.chunks_exact(channels) {
        for (largest, &sum) in largest.iter_mut().zip(sums) {
            *largest = (*largest).max(sum);
        }
    }
    largest
}

/// Values that [`copy_narrow`] copies at a time.
const GROUP: usize = 8;

/// Copies the rows of a window, of `segment` ≤ [`GROUP`] values each, from lines that
/// are `pitch` apart.
///
/// Copies whole groups where there is room, and so may write up to seven elements
/// beyond a row: the next row is written over them, or they lie behind the last.
#[inline(always)]
fn copy_narrow(source: &[i16], pitch: usize, rows: usize, segment: usize, patch: &mut [i16]) {
    for row in 0..rows {
        let (source, patch) = (source.get(row * pitch..), patch.get_mut(row * segment..));
        let (Some(source), Some(patch)) = (source, patch) else { return };
        if let (Some(source), Some(patch)) =
            (source.first_chunk::<GROUP>(), patch.first_chunk_mut::<GROUP>())
        {
            *patch = *source;
        } else {
            copy_last(source, segment, patch);
        }
    }
}

/// A row of [`copy_narrow`] at the end of the memory; apart, to keep the common case
/// small.
#[cold]
#[inline(never)]
fn copy_last(source: &[i16], segment: usize, patch: &mut [i16]) {
    for (target, &source) in patch.iter_mut().zip(source).take(segment) {
        *target = source;
    }
}

/// Copies the rows of a window, of `segment` values each, from lines that are `pitch`
/// apart.
#[inline(always)]
fn copy_wide(source: &[i16], pitch: usize, segment: usize, patch: &mut [i16]) {
    let segment = segment.max(1);
    for row in 0.. {
        let source = source.get(row * pitch..).and_then(|source| source.get(..segment));
        let patch = patch.get_mut(row * segment..).and_then(|patch| patch.get_mut(..segment));
        let (Some(source), Some(patch)) = (source, patch) else { return };
        patch.copy_from_slice(source);
    }
}
