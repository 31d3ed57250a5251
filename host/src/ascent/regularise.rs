//! What keeps a picture from becoming mere noise: blurring it, and doing without pixels
//! that matter little.
//!
//! Pictures are here what they differ by from the mean picture: height × width × channels
//! values, row by row, channels together.

use mirage_core::image::Shape;
use mirage_core::math::exp;

/// A Gaussian blur of every channel.
///
/// The weights reach four standard deviations far, rounded to whole pixels, and beyond its
/// edges the picture goes on as its mirror image (d c b a | a b c d | d c b a): what
/// `scipy.ndimage.gaussian_filter` does.
#[derive(Clone, Debug)]
pub(super) struct Blur {
    /// From the middle outwards.
    weights: Vec<f64>,
    scratch: Vec<f64>,
}

impl Blur {
    /// A blur by a standard deviation of `radius` > 0 pixels.
    pub(super) fn new(radius: f64) -> Self {
        let reach = (4.0 * radius + 0.5) as usize;
        let height = |distance: usize| exp(-0.5 * (distance as f64 / radius).powi(2));
        let sum = 1.0 + 2.0 * (1..=reach).map(height).sum::<f64>();
        let weights = (0..=reach).map(|distance| height(distance) / sum).collect();
        Self { weights, scratch: Vec::new() }
    }

    /// Blurs a picture, first down its columns and then along its rows.
    pub(super) fn apply(&mut self, picture: &mut [f64], shape: Shape) {
        let Shape { height, width, channels } = shape;
        self.scratch.resize(picture.len(), 0.0);
        along(&self.weights, picture, &mut self.scratch, height, width * channels);
        along(&self.weights, &self.scratch, picture, width, channels);
    }
}

/// Blurs `from`, lines of `length` points of `inner` values each, along the lines.
fn along(weights: &[f64], from: &[f64], to: &mut [f64], length: usize, inner: usize) {
    let line = length * inner;
    for (from, to) in from.chunks_exact(line).zip(to.chunks_exact_mut(line)) {
        let point = |i: usize| &from[i * inner..][..inner];
        for (i, to) in to.chunks_exact_mut(inner).enumerate() {
            to.iter_mut().zip(point(i)).for_each(|(to, from)| *to = weights[0] * from);
            for (distance, weight) in weights.iter().enumerate().skip(1) {
                let before = point(mirrored(i as isize - distance as isize, length));
                let after = point(mirrored(i as isize + distance as isize, length));
                for ((to, before), after) in to.iter_mut().zip(before).zip(after) {
                    *to += weight * (before + after);
                }
            }
        }
    }
}

/// The place on a line of `length` points of one that may lie beyond its ends.
fn mirrored(place: isize, length: usize) -> usize {
    let place = place.rem_euclid(2 * length as isize) as usize;
    place.min(2 * length - 1 - place)
}

/// Zeroes the pixels whose norm over the channels is below the `percent`-th percentile.
pub(super) fn drop_small(picture: &mut [f64], channels: usize, percent: f64) {
    let norms = picture.chunks_exact(channels).map(|pixel| pixel.iter().map(|x| x * x).sum());
    let norms: Vec<f64> = norms.map(f64::sqrt).collect();
    drop_below(picture, channels, &norms, percent);
}

/// Zeroes the pixels whose contribution, |Σ gradient · value| over the channels, is below
/// the `percent`-th percentile.
pub(super) fn drop_idle(picture: &mut [f64], gradient: &[f32], channels: usize, percent: f64) {
    let pixels = picture.chunks_exact(channels).zip(gradient.chunks_exact(channels));
    let contribution = |(pixel, gradient): (&[f64], &[f32])| {
        pixel.iter().zip(gradient).map(|(x, &g)| x * f64::from(g)).sum::<f64>().abs()
    };
    let contributions: Vec<f64> = pixels.map(contribution).collect();
    drop_below(picture, channels, &contributions, percent);
}

/// Zeroes the pixels of a rank below the `percent`-th percentile of all. Pixels that are
/// zero already count among all, as in the published code.
fn drop_below(picture: &mut [f64], channels: usize, ranks: &[f64], percent: f64) {
    let Some(least) = percentile(ranks.to_vec(), percent) else { return };
    for (pixel, &rank) in picture.chunks_exact_mut(channels).zip(ranks) {
        if rank < least {
            pixel.fill(0.0);
        }
    }
}

/// The value below which `percent` per cent of the values lie, between neighbours on a
/// straight line; `None` of none.
fn percentile(mut values: Vec<f64>, percent: f64) -> Option<f64> {
    let position = percent / 100.0 * values.len().checked_sub(1)? as f64;
    let (_, &mut low, above) = values.select_nth_unstable_by(position as usize, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, pixel by pixel: a two-dimensional Gaussian over the picture and its
    /// mirror images.
    fn slow_blur(picture: &[f64], shape: Shape, radius: f64) -> Vec<f64> {
        let Shape { height, width, channels } = shape;
        let reach = (4.0 * radius + 0.5).floor() as i64;
        let gauss =
            |dy: i64, dx: i64| (-((dy * dy + dx * dx) as f64) / (2.0 * radius * radius)).exp();
        let inside = |mut place: i64, length: i64| {
            while !(0..length).contains(&place) {
                place = if place < 0 { -1 - place } else { 2 * length - 1 - place };
            }
            place as usize
        };
        let mut blurred = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..channels {
                    let (mut sum, mut weights) = (0.0, 0.0);
                    for dy in -reach..=reach {
                        for dx in -reach..=reach {
                            let row = inside(y as i64 + dy, height as i64);
                            let column = inside(x as i64 + dx, width as i64);
                            sum += gauss(dy, dx)
                                * picture[(row * width + column) * channels + channel];
                            weights += gauss(dy, dx);
                        }
                    }
                    blurred.push(sum / weights);
                }
            }
        }
        blurred
    }

    #[test]
    fn the_blur_is_a_gaussian() {
        for (shape, radius) in [
            (Shape { height: 7, width: 5, channels: 1 }, 0.4),
            (Shape { height: 5, width: 9, channels: 3 }, 0.3),
            (Shape { height: 2, width: 3, channels: 3 }, 1.5),
            (Shape { height: 1, width: 1, channels: 1 }, 1.0),
        ] {
            let picture: Vec<f64> =
                (0..shape.len()).map(|i| ((i * i * 31 + 7) % 101) as f64 - 50.0).collect();
            let mut blurred = picture.clone();
            Blur::new(radius).apply(&mut blurred, shape);
            for (fast, slow) in blurred.iter().zip(slow_blur(&picture, shape, radius)) {
                assert!((fast - slow).abs() < 1e-12, "{shape:?}: {fast} {slow}");
            }
        }
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let values = vec![4.0, 1.0, 2.0];
        for (percent, expected) in [(0.0, 1.0), (25.0, 1.5), (50.0, 2.0), (75.0, 3.0), (100.0, 4.0)]
        {
            assert_eq!(percentile(values.clone(), percent), Some(expected));
        }
        assert_eq!(percentile(vec![], 50.0), None);
    }

    #[test]
    fn small_pixels_become_the_mean_pictures() {
        // Norms 5, 1, 13, 0, 2: the 40th percentile is between 1 and 2.
        let pixels = [3.0, -4.0, 0.0, 1.0, -12.0, 5.0, 0.0, 0.0, 2.0, 0.0];
        let mut picture = pixels.to_vec();
        drop_small(&mut picture, 2, 40.0);
        assert_eq!(picture, [3.0, -4.0, 0.0, 0.0, -12.0, 5.0, 0.0, 0.0, 2.0, 0.0]);
        drop_small(&mut picture, 2, 0.0);
        assert_eq!(picture[8], 2.0, "nothing is below the smallest");
    }

    #[test]
    fn idle_pixels_become_the_mean_pictures() {
        // Contributions |3 − 4| = 1, |−6| = 6, |2 − 2| = 0, |5 · 0| = 0.
        let mut picture = [3.0, 4.0, -6.0, 0.0, 1.0, 1.0, 0.0, 5.0];
        let gradient = [1.0, -1.0, 1.0, 9.0, 2.0, -2.0, 7.0, 0.0];
        drop_idle(&mut picture, &gradient, 2, 50.0);
        assert_eq!(picture, [3.0, 4.0, -6.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
