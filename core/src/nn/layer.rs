//! One layer: gathers patches, has the kernel multiply them, and requantizes.

use super::{Kernel, Op, ROW_ALIGN, Shape, Window, requantize};
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

/// The arrays of a layer with weights, as they lie in the blob.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub(super) biases: &'a [u8],
    pub(super) multipliers: &'a [u8],
    pub(super) shifts: &'a [u8],
    /// Rows of `row` weights, padded with zeros to a multiple of [`ROW_ALIGN`].
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
        self.row.next_multiple_of(ROW_ALIGN)
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
    /// * `outputs`: `n` × the output of `pool`, which is one that
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
        outputs: &mut [i16],
        patches: &mut [i16],
        sums: &mut [i32],
    ) {
        let output = pool.output;
        match self.op {
            Op::Dense { .. } => {
                let block = self.dense_block(patches, sums);
                let blocks = inputs.chunks(block * self.input.shape.len());
                let outputs = outputs.chunks_mut(block * output.len());
                for (inputs, outputs) in blocks.zip(outputs) {
                    let sums = self.dense(kernel, inputs, patches, sums);
                    for (sums, outputs) in
                        sums.chunks_exact(output.len()).zip(outputs.chunks_exact_mut(output.len()))
                    {
                        self.requantize(sums, outputs);
                    }
                }
            }
            _ => {
                let images = inputs.chunks_exact(self.input.shape.len());
                for (input, output) in images.zip(outputs.chunks_exact_mut(output.len())) {
                    match self.op {
                        Op::Conv { window, .. } => {
                            self.convolve(window, pool, kernel, input, output, patches, sums);
                        }
                        Op::DepthwiseConv { window, multiplier } => {
                            self.convolve_depthwise(window, multiplier, input, output, sums);
                        }
                        Op::MaxPool(window) => self.max_pool(window, input, output),
                        Op::AveragePool(window) => self.average_pool(window, input, output),
                        Op::Dense { .. } => {}
                    }
                }
            }
        }
    }

    /// Images that a dense layer can take at a time with this scratch memory, at least 1.
    #[inline(always)]
    pub(super) fn dense_block(&self, patches: &[i16], sums: &[i32]) -> usize {
        let stride = self.weights.as_ref().map_or(1, Weights::stride);
        (patches.len() / stride).min(sums.len() / self.output.shape.len()).max(1)
    }

    /// The sums of a dense layer, one row per image, biases not yet added; for at most
    /// [`dense_block`](Self::dense_block) images.
    #[inline(always)]
    pub(super) fn dense<'s>(
        &self,
        kernel: &impl Kernel,
        inputs: &[i16],
        patches: &mut [i16],
        sums: &'s mut [i32],
    ) -> &'s [i32] {
        let Some(weights) = &self.weights else { return &[] };
        let (depth, stride) = (weights.row, weights.stride());
        let count = inputs.len() / depth;
        for (input, patch) in inputs.chunks_exact(depth).zip(patches.chunks_exact_mut(stride)) {
            copy_wide(input, depth, depth, patch);
        }
        let used = (patches.get(..count * stride), sums.get_mut(..count * self.output.shape.len()));
        let (Some(patches), Some(sums)) = used else { return &[] };
        kernel.multiply(weights.bytes, patches, depth, sums);
        sums
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the buffers are borrowed one by one")]
    fn convolve(
        &self,
        window: Window,
        pool: Pool,
        kernel: &impl Kernel,
        input: &[i16],
        output: &mut [i16],
        patches: &mut [i16],
        sums: &mut [i32],
    ) {
        let Some(weights) = &self.weights else { return };
        let (depth, stride, filters) = (weights.row, weights.stride(), self.output.shape.channels);
        let (shape, group) = (pool.output, pool.area());
        let block = (patches.len() / stride).min(sums.len() / filters) / group;
        let mut first = 0;
        while block > 0 && first < shape.positions() {
            let count = block.min(shape.positions() - first);
            let (Some(patches), Some(sums), Some(output)) = (
                patches.get_mut(..count * group * stride),
                sums.get_mut(..count * group * filters),
                output.get_mut(first * filters..(first + count) * filters),
            ) else {
                return;
            };
            self.gather(window, pool, first, input, patches);
            kernel.multiply(weights.bytes, patches, depth, sums);
            let groups = sums.chunks_exact_mut(group * filters);
            for (sums, output) in groups.zip(output.chunks_exact_mut(filters)) {
                let (largest, others) = sums.split_at_mut(filters.min(sums.len()));
                for sums in others.chunks_exact(filters) {
                    for (largest, &sum) in largest.iter_mut().zip(sums) {
                        *largest = (*largest).max(sum);
                    }
                }
                self.requantize(largest, output);
            }
            first += count;
        }
    }

    /// Fills the rows of `patches` with what the window sees, from output `first` on:
    /// an output has one row per position in its pooling window. Zeros outside the input; anything in the rest of a row.
    fn gather(&self, window: Window, pool: Pool, first: usize, input: &[i16], patches: &mut [i16]) {
        let shape = self.input.shape;
        let (offset_y, offset_x) = window.offset(shape);
        let stride = self.weights.as_ref().map_or(0, Weights::stride);
        let (pitch, segment) = (shape.width * shape.channels, window.width * shape.channels);
        let mut rows = patches.chunks_exact_mut(stride);
        for output in first.. {
            let (top, left) = (output / pool.output.width, output % pool.output.width);
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
        let mut pixels = patch.chunks_exact_mut(shape.channels);
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

    #[inline(always)]
    fn convolve_depthwise(
        &self,
        window: Window,
        multiplier: usize,
        input: &[i16],
        output: &mut [i16],
        sums: &mut [i32],
    ) {
        let Some(weights) = &self.weights else { return };
        let channels = self.output.shape.channels;
        let Some(sums) = sums.get_mut(..channels) else { return };
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            sums.fill(0);
            for (inner, start) in self.inside(window, position) {
                let pixel = input.get(start..start + self.input.shape.channels).unwrap_or_default();
                let row = weights.bytes.get(inner * weights.stride()..).unwrap_or_default();
                let filters = row.chunks_exact(multiplier).zip(sums.chunks_exact_mut(multiplier));
                for (&value, (row, sums)) in pixel.iter().zip(filters) {
                    for (&w, sum) in row.iter().zip(sums) {
                        *sum += i32::from(value) * i32::from(w as i8);
                    }
                }
            }
            self.requantize(sums, output);
        }
    }

    #[inline(always)]
    fn max_pool(&self, window: Window, input: &[i16], output: &mut [i16]) {
        let channels = self.input.shape.channels;
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
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
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
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
        let top = (position / self.output.shape.width) * window.stride_y;
        let left = (position % self.output.shape.width) * window.stride_x;
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
    /// In groups of eight, which a compiler turns into vector instructions. The last
    /// group overlaps the one before it, or, with fewer than eight channels, is filled
    /// up with zeros.
    #[inline(always)]
    fn requantize(&self, sums: &[i32], output: &mut [i16]) {
        let Some(weights) = &self.weights else { return };
        let biases = weights.biases.as_chunks::<4>().0;
        let multipliers = weights.multipliers.as_chunks::<4>().0;
        let shifts = weights.shifts;
        let groups = sums.as_chunks::<LANES>().0.iter().zip(biases.as_chunks::<LANES>().0);
        let scales = multipliers.as_chunks::<LANES>().0.iter().zip(shifts.as_chunks::<LANES>().0);
        let outputs = output.as_chunks_mut::<LANES>().0;
        for (((sums, biases), (multipliers, shifts)), output) in groups.zip(scales).zip(outputs) {
            *output = self.requantize_lanes(sums, biases, multipliers, shifts);
        }
        if output.len().is_multiple_of(LANES) {
            return;
        }
        let last = (
            sums.last_chunk::<LANES>(),
            biases.last_chunk::<LANES>(),
            multipliers.last_chunk::<LANES>(),
            shifts.last_chunk::<LANES>(),
            output.last_chunk_mut::<LANES>(),
        );
        if let (Some(sums), Some(biases), Some(multipliers), Some(shifts), Some(output)) = last {
            *output = self.requantize_lanes(sums, biases, multipliers, shifts);
        } else {
            let values = self.requantize_lanes(
                &filled_up(sums),
                &filled_up(biases),
                &filled_up(multipliers),
                &filled_up(shifts),
            );
            for (output, value) in output.iter_mut().zip(values) {
                *output = value;
            }
        }
    }

    #[inline(always)]
    fn requantize_lanes(
        &self,
        sums: &[i32; LANES],
        biases: &[[u8; 4]; LANES],
        multipliers: &[[u8; 4]; LANES],
        shifts: &[u8; LANES],
    ) -> [i16; LANES] {
        let mut output = [0; LANES];
        for lane in 0..LANES {
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

/// The slice, then zeros.
#[inline(always)]
fn filled_up<T: Copy + Default>(slice: &[T]) -> [T; LANES] {
    let mut array = [T::default(); LANES];
    for (value, &source) in array.iter_mut().zip(slice) {
        *value = source;
    }
    array
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
    for (source, patch) in source.chunks(pitch).zip(patch.chunks_exact_mut(segment)) {
        if let Some(source) = source.get(..segment) {
            patch.copy_from_slice(source);
        }
    }
}
