//! One layer: gathers patches, has the kernel multiply them, and requantizes.

use super::{Kernel, Op, ROW_ALIGN, Shape, Window, requantize};

/// A checked layer of a [`Network`](super::Network), reading its arrays in place.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub(super) op: Op,
    pub(super) input: Shape,
    pub(super) output: Shape,
    pub(super) input_zero_point: i8,
    pub(super) output_zero_point: i8,
    pub(super) output_scale: f32,
    pub(super) clamp: (i8, i8),
    pub(super) weights: Option<Weights<'a>>,
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
        self.input
    }

    /// Shape of the output.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Real value of one step of the output.
    #[must_use]
    pub fn output_scale(&self) -> f32 {
        self.output_scale
    }

    /// Quantized output that stands for zero.
    #[must_use]
    pub fn output_zero_point(&self) -> i8 {
        self.output_zero_point
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

    /// Whether `pool`, which follows this layer, can be done on accumulators.
    ///
    /// Requantization never decreases, so the largest accumulator gives the
    /// largest output. Windows that overlap or reach outside are left to the
    /// pooling layer.
    pub(super) fn fuses_with(&self, pool: &Layer<'_>) -> bool {
        let Op::MaxPool(window) = pool.op else { return false };
        matches!(self.op, Op::Conv { .. })
            && window.stride_y == window.height
            && window.stride_x == window.width
            && pool.clamp.0 <= self.clamp.0
            && pool.clamp.1 >= self.clamp.1
            && pool.output.height * window.height <= pool.input.height
            && pool.output.width * window.width <= pool.input.width
    }

    /// Patches whose sums one output needs: the positions of a fused pool's window.
    pub(super) fn group(pool: Option<&Layer<'_>>) -> usize {
        match pool.map(|pool| pool.op) {
            Some(Op::MaxPool(window)) => window.height * window.width,
            _ => 1,
        }
    }

    /// Elements of `patches` and `sums` for one output of this layer.
    pub(super) fn scratch(&self, pool: Option<&Layer<'_>>) -> (usize, usize) {
        match (self.op, &self.weights) {
            (Op::DepthwiseConv { .. }, _) => (0, self.output.channels),
            (_, Some(weights)) => {
                let group = Self::group(pool);
                (group * weights.stride(), group * self.output.channels)
            }
            _ => (0, 0),
        }
    }

    /// Runs the layer on images that lie one behind the other.
    ///
    /// * `inputs`: `n` × [`input`](Self::input) values.
    /// * `outputs`: `n` × the output of the layer or of `pool`, if given, which
    ///   must be one that it [fuses with](Self::fuses_with).
    /// * `patches`, `sums`: at least [`scratch`](Self::scratch) elements; more of
    ///   both let the kernel see more patches at a time.
    ///
    /// The caller has checked the lengths; what does not fit is not computed.
    #[inline(always)]
    pub(super) fn run(
        &self,
        pool: Option<&Layer<'_>>,
        kernel: &impl Kernel,
        inputs: &[i8],
        outputs: &mut [i8],
        patches: &mut [i16],
        sums: &mut [i32],
    ) {
        let output = pool.map_or(self.output, |pool| pool.output);
        match self.op {
            Op::Dense { .. } => self.dense(kernel, inputs, patches, sums, |first, sums| {
                let outputs = outputs.get_mut(first * output.len()..).unwrap_or_default();
                for (sums, outputs) in
                    sums.chunks_exact(output.len()).zip(outputs.chunks_exact_mut(output.len()))
                {
                    self.requantize(sums, outputs);
                }
            }),
            _ => {
                let images = inputs.chunks_exact(self.input.len());
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

    /// Runs a dense layer up to its sums, biases not yet added.
    ///
    /// Calls `finish` with the index of an image and the sums of that image and
    /// some that follow it.
    #[inline(always)]
    pub(super) fn dense(
        &self,
        kernel: &impl Kernel,
        inputs: &[i8],
        patches: &mut [i16],
        sums: &mut [i32],
        mut finish: impl FnMut(usize, &[i32]),
    ) {
        let Some(weights) = &self.weights else { return };
        let (depth, stride, units) = (weights.row, weights.stride(), self.output.len());
        let images = inputs.len() / depth;
        let block = (patches.len() / stride).min(sums.len() / units).min(images);
        let zero_point = i16::from(self.input_zero_point);
        let mut first = 0;
        while block > 0 && first < images {
            let count = block.min(images - first);
            let inputs = inputs.get(first * depth..).unwrap_or_default();
            for (input, patch) in
                inputs.chunks_exact(depth).zip(patches.chunks_exact_mut(stride)).take(count)
            {
                widen(input, depth, zero_point, patch);
                patch.get_mut(depth..).unwrap_or_default().fill(0);
            }
            if let (Some(patches), Some(sums)) =
                (patches.get(..count * stride), sums.get_mut(..count * units))
            {
                kernel.multiply(weights.bytes, patches, depth, sums);
                finish(first, sums);
            }
            first += count;
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "the buffers are borrowed one by one")]
    fn convolve(
        &self,
        window: Window,
        pool: Option<&Layer<'_>>,
        kernel: &impl Kernel,
        input: &[i8],
        output: &mut [i8],
        patches: &mut [i16],
        sums: &mut [i32],
    ) {
        let Some(weights) = &self.weights else { return };
        let (depth, stride, filters) = (weights.row, weights.stride(), self.output.channels);
        let (pool_height, pool_width) = match pool.map(|pool| pool.op) {
            Some(Op::MaxPool(window)) => (window.height, window.width),
            _ => (1, 1),
        };
        let shape = pool.map_or(self.output, |pool| pool.output);
        let group = pool_height * pool_width;
        let block = (patches.len() / stride).min(sums.len() / filters) / group;
        let mut first = 0;
        while block > 0 && first < shape.positions() {
            let count = block.min(shape.positions() - first);
            let mut rows = patches.chunks_exact_mut(stride);
            for position in first..first + count {
                let (top, left) = (position / shape.width, position % shape.width);
                for inner in 0..group {
                    let y = top * pool_height + inner / pool_width;
                    let x = left * pool_width + inner % pool_width;
                    if let Some(patch) = rows.next() {
                        self.gather(window, y, x, input, patch);
                    }
                }
            }
            let (Some(patches), Some(sums), Some(output)) = (
                patches.get(..count * group * stride),
                sums.get_mut(..count * group * filters),
                output.get_mut(first * filters..(first + count) * filters),
            ) else {
                return;
            };
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

    /// Copies what the window sees at position (`y`, `x`) of the output, minus the
    /// zero point; zeros outside and in the rest of `patch`.
    #[inline(always)]
    fn gather(&self, window: Window, y: usize, x: usize, input: &[i8], patch: &mut [i16]) {
        let (shape, zero_point) = (self.input, i16::from(self.input_zero_point));
        let (offset_y, offset_x) = window.offset(shape);
        let (top, left) = (y * window.stride_y, x * window.stride_x);
        let segment = window.width * shape.channels;
        let inside = left >= offset_x && left - offset_x + window.width <= shape.width;
        for ky in 0..window.height {
            let Some(patch) = patch.get_mut(ky * segment..) else { return };
            let row = (top + ky).wrapping_sub(offset_y);
            if row >= shape.height {
                patch.get_mut(..segment).unwrap_or_default().fill(0);
            } else if inside {
                let start = (row * shape.width + left - offset_x) * shape.channels;
                widen(input.get(start..).unwrap_or_default(), segment, zero_point, patch);
            } else {
                let pixels = patch.chunks_exact_mut(shape.channels).take(window.width);
                for (kx, pixel) in pixels.enumerate() {
                    let column = (left + kx).wrapping_sub(offset_x);
                    if column < shape.width {
                        let start = (row * shape.width + column) * shape.channels;
                        let source = input.get(start..).unwrap_or_default();
                        for (value, &source) in pixel.iter_mut().zip(source) {
                            *value = i16::from(source) - zero_point;
                        }
                    } else {
                        pixel.fill(0);
                    }
                }
            }
        }
        patch.get_mut(window.height * segment..).unwrap_or_default().fill(0);
    }

    #[inline(always)]
    fn convolve_depthwise(
        &self,
        window: Window,
        multiplier: usize,
        input: &[i8],
        output: &mut [i8],
        sums: &mut [i32],
    ) {
        let Some(weights) = &self.weights else { return };
        let zero_point = i32::from(self.input_zero_point);
        let channels = self.output.channels;
        let Some(sums) = sums.get_mut(..channels) else { return };
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            sums.fill(0);
            for (inner, start) in self.inside(window, position) {
                let pixel = input.get(start..start + self.input.channels).unwrap_or_default();
                let row = weights.bytes.get(inner * weights.stride()..).unwrap_or_default();
                let filters = row.chunks_exact(multiplier).zip(sums.chunks_exact_mut(multiplier));
                for (&value, (row, sums)) in pixel.iter().zip(filters) {
                    for (&w, sum) in row.iter().zip(sums) {
                        *sum += (i32::from(value) - zero_point) * i32::from(w as i8);
                    }
                }
            }
            self.requantize(sums, output);
        }
    }

    #[inline(always)]
    fn max_pool(&self, window: Window, input: &[i8], output: &mut [i8]) {
        let channels = self.input.channels;
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            output.fill(i8::MIN);
            for (_, start) in self.inside(window, position) {
                let pixel = input.get(start..).unwrap_or_default();
                for (largest, &value) in output.iter_mut().zip(pixel) {
                    *largest = (*largest).max(value);
                }
            }
            for value in output {
                *value = (*value).clamp(self.clamp.0, self.clamp.1);
            }
        }
    }

    #[inline(always)]
    fn average_pool(&self, window: Window, input: &[i8], output: &mut [i8]) {
        let channels = self.input.channels;
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            for (channel, output) in output.iter_mut().enumerate() {
                let (mut sum, mut count) = (0i32, 0i32);
                for (_, start) in self.inside(window, position) {
                    sum += input.get(start + channel).map_or(0, |&value| i32::from(value));
                    count += 1;
                }
                let half = if sum > 0 { count / 2 } else { -(count / 2) };
                let mean = (sum + half).checked_div(count).unwrap_or(0);
                *output = clamp(mean, self.clamp);
            }
        }
    }

    /// The positions of the window that lie inside the input when it computes
    /// output `position`: index within the window, and index of the first channel.
    #[inline(always)]
    fn inside(&self, window: Window, position: usize) -> impl Iterator<Item = (usize, usize)> {
        let shape = self.input;
        let (offset_y, offset_x) = window.offset(shape);
        let top = (position / self.output.width) * window.stride_y;
        let left = (position % self.output.width) * window.stride_x;
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
    #[inline(always)]
    fn requantize(&self, sums: &[i32], output: &mut [i8]) {
        let Some(weights) = &self.weights else { return };
        let biases = weights.biases.as_chunks::<4>().0.iter();
        let scales = weights.multipliers.as_chunks::<4>().0.iter().zip(weights.shifts);
        let channels = biases.zip(scales).zip(sums.iter().zip(output));
        let zero_point = i32::from(self.output_zero_point);
        for ((&bias, (&multiplier, &shift)), (&sum, output)) in channels {
            // The blob's check leaves room for the bias.
            let accumulator = sum.wrapping_add(i32::from_le_bytes(bias));
            let multiplier = i32::from_le_bytes(multiplier);
            let scaled = requantize(accumulator, multiplier, i32::from(shift as i8));
            *output = clamp(scaled.saturating_add(zero_point), self.clamp);
        }
    }
}

#[inline(always)]
fn clamp(value: i32, (smallest, largest): (i8, i8)) -> i8 {
    value.max(i32::from(smallest)).min(i32::from(largest)) as i8
}

/// Copies `len` values, minus the zero point, from the front of `source` to the
/// front of `patch`.
///
/// Works on whole groups of eight where both slices have room, and so may write
/// up to seven elements beyond `len`; callers fill those later.
#[inline(always)]
fn widen(source: &[i8], len: usize, zero_point: i16, patch: &mut [i16]) {
    const GROUP: usize = 8;
    let groups = len.next_multiple_of(GROUP);
    if let (Some(source), Some(patch)) = (source.get(..groups), patch.get_mut(..groups)) {
        let (source, patch) = (source.as_chunks::<GROUP>().0, patch.as_chunks_mut::<GROUP>().0);
        for (source, patch) in source.iter().zip(patch) {
            *patch = source.map(|value| i16::from(value) - zero_point);
        }
    } else {
        for (&source, patch) in source.iter().zip(patch).take(len) {
            *patch = i16::from(source) - zero_point;
        }
    }
}
