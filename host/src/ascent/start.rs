//! Pictures to begin with.

use std::fmt;
use std::path::PathBuf;

use mirage_core::math::ln;
use mirage_core::rng::Stream;

/// The picture that every class of a run begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// The mean picture and N(0, 1) on every value, each class its own.
    Mean,
    /// Every value uniform in 0 ..= 255, each class its own.
    Uniform,
    /// Black. (The published code calls the mean picture so.)
    Zero,
    /// An image.
    Image {
        /// The file it was read from.
        path: PathBuf,
        /// Its pixels, of the shape of pictures.
        pixels: Vec<u8>,
    },
}

impl Start {
    /// The picture for a class, not clipped to 0 ..= 255 yet. It depends on
    /// nothing but the seed, the class and `mean`, the mean picture.
    pub(super) fn picture(&self, mean: &[f32], seed: u64, class: usize) -> Vec<f32> {
        // Classes are far fewer than 2³².
        let mut stream = Stream::new(seed, 0, class as u32);
        match self {
            Self::Mean => {
                let mut noise = Normal::new(stream);
                mean.iter().map(|mean| mean + noise.draw() as f32).collect()
            }
            Self::Uniform => mean.iter().map(|_| 255.0 * stream.unit()).collect(),
            Self::Zero => vec![0.0; mean.len()],
            Self::Image { pixels, .. } => pixels.iter().copied().map(f32::from).collect(),
        }
    }
}

impl fmt::Display for Start {
    /// What it is called on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            Self::Uniform => f.write_str("uniform"),
            Self::Zero => f.write_str("zero"),
            Self::Image { path, .. } => path.display().fmt(f),
        }
    }
}

/// Normally distributed numbers of mean 0 and variance 1, two at a time by the polar
/// method (Marsaglia and Bray, SIAM Review 1964).
struct Normal {
    stream: Stream,
    spare: Option<f64>,
}

impl Normal {
    fn new(stream: Stream) -> Self {
        Self { stream, spare: None }
    }

    fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let mut side = || 2.0 * f64::from(self.stream.unit()) - 1.0;
            let (x, y) = (side(), side());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * ln(square) / square).sqrt();
                self.spare = Some(factor * y);
                return factor * x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal() {
        let mut noise = Normal::new(Stream::new(1, 0, 0));
        let values: Vec<f64> = (0..100_000).map(|_| noise.draw()).collect();
        let moment = |n: i32| values.iter().map(|x| x.powi(n)).sum::<f64>() / 1e5;
        // Five standard deviations of the sample's moments: √(1, 2, 15, 96 / 10⁵).
        for (n, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
        {
            let error: f64 = (moment(n) - expected) / f64::sqrt(variance / 1e5);
            assert!(error.abs() < 5.0, "moment {n}: {error}");
        }
        let beyond = values.iter().filter(|x| x.abs() > 1.959_964).count();
        assert!(beyond.abs_diff(5000) < 345, "{beyond} of 100 000 beyond 5 %");
    }

    #[test]
    fn classes_begin_apart_and_each_where_it_did() {
        let mean = vec![100.0; 50];
        for start in [Start::Mean, Start::Uniform] {
            let picture = |seed, class| start.picture(&mean, seed, class);
            assert_eq!(picture(1, 7), picture(1, 7));
            assert_ne!(picture(1, 7), picture(1, 8));
            assert_ne!(picture(1, 7), picture(2, 7));
        }
        let far = Start::Mean.picture(&mean, 1, 0).into_iter().filter(|x| (x - 100.0).abs() > 6.0);
        assert_eq!(far.count(), 0);
        assert!(Start::Uniform.picture(&mean, 1, 0).iter().all(|x| (0.0..=255.0).contains(x)));
        assert_eq!(Start::Zero.picture(&mean, 1, 0), [0.0; 50]);
        let image = Start::Image { path: "x.png".into(), pixels: vec![0, 9, 255] };
        assert_eq!(image.picture(&mean[..3], 1, 0), [0.0, 9.0, 255.0]);
    }
}
