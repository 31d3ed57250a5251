//! Sliding windows over one image: patches for convolutions, depthwise convolution,
//! pooling, and the way back of each. Images are stored row by row, channels innermost.

use std::ops::Range;

use mirage_core::nn::{Shape, Window};

use super::real::Real;

/// The part of a window that lies inside the input, at one output position.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Rows of the input.
    rows: Range<usize>,
    /// Columns of the input.
    columns: Range<usize>,
    /// Row of the window that sees the first of `rows`.
    top: usize,
    /// Column of the window that sees the first of `columns`.
    left: usize,
}

/// The views of all output positions, row by row; none if the window does not fit.
pub(super) fn views(window: &Window, input: Shape) -> Vec<View> {
    let Some((height, width)) = window.output(input) else { return Vec::new() };
    let (above, before) = window.offset(input);
    let clip = |position: usize, stride: usize, reach: usize, padding: usize, size: usize| {
        let first = position * stride;
        let start = first.saturating_sub(padding);
        let end = (first + reach).saturating_sub(padding).min(size);
        (start..end, padding.saturating_sub(first))
    };
    let mut views = Vec::with_capacity(height * width);
    for y in 0..height {
        let (rows, top) = clip(y, window.stride_y, window.height, above, input.height);
        for x in 0..width {
            let (columns, left) = clip(x, window.stride_x, window.width, before, input.width);
            views.push(View { rows: rows.clone(), columns, top, left });
        }
    }
    views
}

/// A layer's window, its views, and the sizes to find elements with.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    window: Window,
    input: Shape,
    views: Vec<View>,
}

impl Sight {
    pub(super) fn new(window: Window, input: Shape) -> Self {
        Self { window, input, views: views(&window, input) }
    }

    /// Elements of one patch.
    fn patch_len(&self) -> usize {
        self.window.height * self.window.width * self.input.channels
    }

    /// For every row of a view: where its elements lie in the image and in the patch.
    fn runs(&self, view: &View) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let channels = self.input.channels;
        let len = view.columns.len() * channels;
        let (width, window_width) = (self.input.width, self.window.width);
        let (first_column, top, left) = (view.columns.start, view.top, view.left);
        view.rows.clone().enumerate().map(move |(k, row)| {
            let image = (row * width + first_column) * channels;
            let patch = ((top + k) * window_width + left) * channels;
            (image..image + len, patch..patch + len)
        })
    }

    /// For every position of a view: its place in the window, and the index of its
    /// first channel in the image.
    fn taps(&self, view: &View) -> impl Iterator<Item = (usize, usize)> {
        let (channels, width, window_width) =
            (self.input.channels, self.input.width, self.window.width);
        let (columns, top, left) = (view.columns.clone(), view.top, view.left);
        view.rows.clone().enumerate().flat_map(move |(k, row)| {
            columns.clone().enumerate().map(move |(j, column)| {
                ((top + k) * window_width + left + j, (row * width + column) * channels)
            })
        })
    }

    /// What every output position sees, one patch (row, column, channel) each; zero
    /// outside the image.
    pub(super) fn patches<T: Real>(&self, image: &[T], patches: &mut [T]) {
        for (view, patch) in self.views.iter().zip(patches.chunks_exact_mut(self.patch_len())) {
            if view.rows.len() < self.window.height || view.columns.len() < self.window.width {
                patch.fill(T::default());
            }
            for (from, to) in self.runs(view) {
                patch[to].copy_from_slice(&image[from]);
            }
        }
    }

    /// Adds every patch to the part of the image that it was taken from.
    pub(super) fn add_patches<T: Real>(&self, patches: &[T], image: &mut [T]) {
        for (view, patch) in self.views.iter().zip(patches.chunks_exact(self.patch_len())) {
            for (to, from) in self.runs(view) {
                add(&mut image[to], &patch[from]);
            }
        }
    }

    /// Depthwise convolution; adds to `output`, which holds the biases.
    pub(super) fn depthwise<T: Real>(&self, image: &[T], weights: &[T], output: &mut [T]) {
        let channels = self.input.channels;
        let width = output.len() / self.views.len();
        let multiplier = width / channels;
        for (view, output) in self.views.iter().zip(output.chunks_exact_mut(width)) {
            for (tap, from) in self.taps(view) {
                let weights = weights[tap * width..][..width].chunks_exact(multiplier);
                let pixels = &image[from..][..channels];
                let outputs = output.chunks_exact_mut(multiplier);
                for ((outputs, weights), &pixel) in outputs.zip(weights).zip(pixels) {
                    for (output, &weight) in outputs.iter_mut().zip(weights) {
                        *output += weight * pixel;
                    }
                }
            }
        }
    }

    /// The way back of [`depthwise`](Self::depthwise): adds to the gradients of the
    /// weights and of the image.
    pub(super) fn depthwise_back<T: Real>(
        &self,
        (image, weights): (&[T], &[T]),
        delta: &[T],
        gradient: &mut [T],
        image_delta: &mut [T],
    ) {
        let channels = self.input.channels;
        let width = delta.len() / self.views.len();
        let multiplier = width / channels;
        for (view, delta) in self.views.iter().zip(delta.chunks_exact(width)) {
            for (tap, from) in self.taps(view) {
                let at = tap * width;
                let parts = weights[at..][..width].chunks_exact(multiplier);
                let sums = gradient[at..][..width].chunks_exact_mut(multiplier);
                let pixels = image[from..][..channels].iter();
                let pixel_deltas = image_delta[from..][..channels].iter_mut();
                let deltas = delta.chunks_exact(multiplier);
                for ((weights, sums), (deltas, (&pixel, pixel_delta))) in
                    parts.zip(sums).zip(deltas.zip(pixels.zip(pixel_deltas)))
                {
                    for ((sum, &weight), &delta) in sums.iter_mut().zip(weights).zip(deltas) {
                        *sum += delta * pixel;
                        *pixel_delta += delta * weight;
                    }
                }
            }
        }
    }

    /// Max pooling; `chosen` receives the index of the element that each output is, the
    /// first among equals.
    pub(super) fn max_pool<T: Real>(&self, image: &[T], output: &mut [T], chosen: &mut [u32]) {
        let channels = self.input.channels;
        let outputs = output.chunks_exact_mut(channels).zip(chosen.chunks_exact_mut(channels));
        for (view, (output, chosen)) in self.views.iter().zip(outputs) {
            for (nth, (_, from)) in self.taps(view).enumerate() {
                let values = &image[from..][..channels];
                let pairs = output.iter_mut().zip(chosen.iter_mut());
                for (index, (&value, (output, chosen))) in
                    (from as u32..).zip(values.iter().zip(pairs))
                {
                    let better = nth == 0 || value > *output;
                    *output = if better { value } else { *output };
                    *chosen = if better { index } else { *chosen };
                }
            }
        }
    }

    /// Average pooling over the elements inside the image.
    pub(super) fn average_pool<T: Real>(&self, image: &[T], output: &mut [T]) {
        let channels = self.input.channels;
        for (view, output) in self.views.iter().zip(output.chunks_exact_mut(channels)) {
            output.fill(T::default());
            self.taps(view).for_each(|(_, from)| add(output, &image[from..][..channels]));
            let share = share(view);
            output.iter_mut().for_each(|output| *output = *output * share);
        }
    }

    /// The way back of [`average_pool`](Self::average_pool): adds to the gradient of the
    /// image.
    pub(super) fn average_pool_back<T: Real>(&self, delta: &[T], image_delta: &mut [T]) {
        let channels = self.input.channels;
        for (view, delta) in self.views.iter().zip(delta.chunks_exact(channels)) {
            let share: T = share(view);
            for (_, from) in self.taps(view) {
                let image_delta = &mut image_delta[from..][..channels];
                image_delta.iter_mut().zip(delta).for_each(|(sum, &d)| *sum += d * share);
            }
        }
    }
}

/// What one element of a view contributes to its mean.
fn share<T: Real>(view: &View) -> T {
    T::from(1.0) / T::from((view.rows.len() * view.columns.len()).max(1) as f32)
}

/// Adds `values` to `sums`, element by element.
pub(super) fn add<T: Real>(sums: &mut [T], values: &[T]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::nn::Padding;

    const IMAGE: Shape = Shape { height: 3, width: 3, channels: 1 };
    const PIXELS: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

    #[test]
    fn patches_see_zero_outside() {
        let sight = Sight::new(Window::square(3, 2, Padding::Same), IMAGE);
        let mut patches = [9.0; 36];
        sight.patches(&PIXELS, &mut patches);
        assert_eq!(patches[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 5.0]);
        assert_eq!(patches[27..], [5.0, 6.0, 0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn pools_ignore_what_is_outside() {
        let sight = Sight::new(Window::square(2, 2, Padding::Same), IMAGE);
        let (mut output, mut chosen) = ([0.0; 4], [0; 4]);
        sight.max_pool(&PIXELS.map(|p| -p), &mut output, &mut chosen);
        assert_eq!((output, chosen), ([-1.0, -3.0, -7.0, -9.0], [0, 2, 6, 8]));
        sight.average_pool(&PIXELS, &mut output);
        assert_eq!(output, [3.0, 4.5, 7.5, 9.0]);
    }

    #[test]
    fn the_first_of_equal_elements_is_chosen() {
        let sight = Sight::new(Window::square(3, 1, Padding::Valid), IMAGE);
        let (mut output, mut chosen) = ([0.0; 1], [0; 1]);
        sight.max_pool(&[0.5f32; 9], &mut output, &mut chosen);
        assert_eq!((output, chosen), ([0.5], [0]));
    }
}
