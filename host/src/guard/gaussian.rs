//! Gaussians with one covariance, one for each class or one for all: how far features lie
//! from those of natural images.
//!
//! All in `f64`, and in an order that does not depend on the threads: an int8 network has
//! the same Gaussian on every machine.

use mirage_core::digest::Digest;
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

/// Images of every class that it takes to have a mean for each.
pub const LEAST_PER_CLASS: usize = 10;

/// Most features: their covariance takes 8 bytes for every two of them.
pub const MOST_FEATURES: usize = 8192;

/// The least weight of the sphere in the covariance: features that never varied, as those
/// of a ReLU that is always shut, would leave it without an inverse.
const LEAST_SHRINKAGE: f64 = 1e-6;

/// Rows of the covariance that are summed in one pass over the images.
const BLOCK: usize = 16;

/// Why there is no Gaussian.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GaussianError {
    /// There are too few images, or all have the same features.
    #[error("the features of {0} natural images do not vary; name more, and different ones")]
    Constant(usize),
    /// There are too many features.
    #[error("the network has {0} features, and at most {MOST_FEATURES} have a Gaussian")]
    Features(usize),
    /// A feature is not a number.
    #[error("the features of natural image {0} are not all finite numbers")]
    NotANumber(usize),
}

/// Gaussians with one covariance.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    width: usize,
    images: usize,
    shrinkage: f64,
    /// The lower triangle L of the covariance, L·Lᵀ: row i has i + 1 values.
    factor: Vec<Vec<f64>>,
    /// L⁻¹·mean of each Gaussian.
    means: Vec<Vec<f64>>,
}

/// What a Gaussian was fitted to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Number of means: that of the classes, or 1.
    pub means: usize,
    /// Images.
    pub images: usize,
    /// Features of an image.
    pub features: usize,
    /// Weight of the sphere in the covariance, 0 ..= 1.
    pub shrinkage: f64,
    /// Digest of its numbers, hexadecimal.
    pub digest: String,
}

impl Gaussian {
    /// Fits to the `features` of images, `width` of each. `classes`: that of every image,
    /// and how many there are; if each has at least [`LEAST_PER_CLASS`] images, it has
    /// its own mean, else all share one.
    ///
    /// The covariance of what remains is shrunk towards a sphere of the same size, by
    /// Ledoit and Wolf, *A well-conditioned estimator for large-dimensional covariance
    /// matrices*, 2004, equation 14 ff: much for a few images, hardly for many.
    ///
    /// # Errors
    /// [`GaussianError`].
    pub fn fit(
        features: &[f32],
        width: usize,
        classes: Option<(&[usize], usize)>,
    ) -> Result<Self, GaussianError> {
        if !(1..=MOST_FEATURES).contains(&width) {
            return Err(GaussianError::Features(width));
        }
        let images = features.len() / width;
        if let Some(at) = features.iter().position(|feature| !feature.is_finite()) {
            return Err(GaussianError::NotANumber(at / width));
        }
        let (of, count) = means_of(classes, images);
        let means = means(features, width, &of, count);
        let residuals = Residuals { features, width, means: &means, of: &of };
        let mut covariance = residuals.covariance();
        let shrinkage = shrinkage(&covariance, residuals.fourth_moment(), images);
        let size = trace(&covariance) / width as f64;
        if !(size > 0.0 && size.is_finite()) {
            return Err(GaussianError::Constant(images));
        }
        for (index, row) in covariance.iter_mut().enumerate() {
            row.iter_mut().for_each(|value| *value *= 1.0 - shrinkage);
            row[index] += shrinkage * size;
        }
        let factor = cholesky(covariance).ok_or(GaussianError::Constant(images))?;
        let means = means.iter().map(|mean| solve(&factor, mean.clone())).collect();
        Ok(Self { width, images, shrinkage, factor, means })
    }

    /// The squared Mahalanobis distance to the nearest mean; NaN of other than its number
    /// of features.
    #[must_use]
    pub fn distance(&self, features: &[f32]) -> f32 {
        if features.len() != self.width {
            return f32::NAN;
        }
        let white = solve(&self.factor, features.iter().map(|&x| f64::from(x)).collect());
        let distances = self.means.iter().map(|mean| {
            let apart: Vec<f64> = white.iter().zip(mean).map(|(x, mean)| x - mean).collect();
            dot(&apart, &apart)
        });
        distances.fold(f64::NAN, f64::min) as f32
    }

    /// What it was fitted to.
    #[must_use]
    pub fn fit_record(&self) -> Fit {
        let mut digest = Digest::new();
        let values = self.factor.iter().chain(&self.means).flatten();
        values.for_each(|value| digest.update(&value.to_bits().to_le_bytes()));
        Fit {
            means: self.means.len(),
            images: self.images,
            features: self.width,
            shrinkage: self.shrinkage,
            digest: digest.to_string(),
        }
    }
}

/// The mean that each image belongs to, and how many there are.
fn means_of(classes: Option<(&[usize], usize)>, images: usize) -> (Vec<usize>, usize) {
    if let Some((of, count)) = classes {
        let mut images = vec![0; count];
        of.iter().for_each(|&class| images[class] += 1);
        if images.iter().all(|&images| images >= LEAST_PER_CLASS) {
            return (of.to_vec(), count);
        }
    }
    (vec![0; images], 1)
}

fn means(features: &[f32], width: usize, of: &[usize], count: usize) -> Vec<Vec<f64>> {
    let mut means = vec![vec![0.0; width]; count];
    let mut images = vec![0_u32; count];
    for (row, &mean) in features.chunks_exact(width).zip(of) {
        images[mean] += 1;
        means[mean].iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    for (mean, images) in means.iter_mut().zip(images) {
        mean.iter_mut().for_each(|sum| *sum /= f64::from(images.max(1)));
    }
    means
}

/// Features minus the mean that they belong to.
struct Residuals<'a> {
    features: &'a [f32],
    width: usize,
    means: &'a [Vec<f64>],
    of: &'a [usize],
}

impl Residuals<'_> {
    /// Those of each image, up to the feature `end`.
    fn rows(&self, end: usize) -> impl Iterator<Item = Vec<f64>> {
        let rows = self.features.chunks_exact(self.width).zip(self.of);
        rows.map(move |(row, &mean)| {
            let pairs = row[..end].iter().zip(&self.means[mean]);
            pairs.map(|(&x, mean)| f64::from(x) - mean).collect()
        })
    }

    /// The lower triangle of the mean of x·xᵀ.
    fn covariance(&self) -> Vec<Vec<f64>> {
        let blocks = self.width.div_ceil(BLOCK);
        let rows = |block: usize| {
            let range = block * BLOCK..self.width.min((block + 1) * BLOCK);
            let mut sums: Vec<Vec<f64>> = range.clone().map(|row| vec![0.0; row + 1]).collect();
            for residual in self.rows(range.end) {
                for (row, sums) in range.clone().zip(&mut sums) {
                    let factor = residual[row];
                    sums.iter_mut().zip(&residual).for_each(|(sum, x)| *sum += factor * x);
                }
            }
            let images = self.of.len().max(1) as f64;
            sums.iter_mut().flatten().for_each(|sum| *sum /= images);
            sums
        };
        (0..blocks).into_par_iter().flat_map_iter(rows).collect()
    }

    /// The sum of |x|⁴.
    fn fourth_moment(&self) -> f64 {
        self.rows(self.width).map(|row| dot(&row, &row).powi(2)).sum()
    }
}

fn trace(matrix: &[Vec<f64>]) -> f64 {
    matrix.iter().enumerate().map(|(index, row)| row[index]).sum()
}

/// The weight of the sphere: b² / d² of Ledoit and Wolf. Σ |x·xᵀ − S|² = Σ |x|⁴ − n·|S|².
fn shrinkage(covariance: &[Vec<f64>], fourth_moment: f64, images: usize) -> f64 {
    let size = trace(covariance) / covariance.len() as f64;
    let (mut norm, mut from_sphere) = (0.0, 0.0);
    for (index, row) in covariance.iter().enumerate() {
        let beside = 2.0 * dot(&row[..index], &row[..index]);
        norm += beside + row[index].powi(2);
        from_sphere += beside + (row[index] - size).powi(2);
    }
    let images = images.max(1) as f64;
    let error = (fourth_moment - images * norm) / images.powi(2);
    let share = if from_sphere > 0.0 { error / from_sphere } else { 1.0 };
    share.clamp(LEAST_SHRINKAGE, 1.0)
}

/// L of a positive definite matrix L·Lᵀ, both lower triangles; `None` if it is none.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    for index in 0..matrix.len() {
        let (above, rest) = matrix.split_at_mut(index);
        let row = &mut rest[0];
        for (column, pivot) in above.iter().enumerate() {
            let sum = row[column] - dot(&row[..column], &pivot[..column]);
            row[column] = sum / pivot[column];
        }
        let square = row[index] - dot(&row[..index], &row[..index]);
        if square.is_nan() || square <= 0.0 {
            return None;
        }
        row[index] = square.sqrt();
    }
    Some(matrix)
}

/// L⁻¹·x.
fn solve(factor: &[Vec<f64>], mut x: Vec<f64>) -> Vec<f64> {
    for (index, row) in factor.iter().enumerate() {
        x[index] = (x[index] - dot(&row[..index], &x[..index])) / row[index];
    }
    x
}

/// Σ aᵢ·bᵢ in eight sums that go on side by side, which a compiler may put into vectors.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use mirage_core::rng::Stream;

    use super::*;

    /// Normally distributed numbers, near enough: sums of twelve uniform ones.
    fn normal(random: &mut Stream) -> f32 {
        let unit = |random: &mut Stream| random.below(1 << 24) as f32 / (1 << 24) as f32;
        (0..12).map(|_| unit(random)).sum::<f32>() - 6.0
    }

    /// Two clusters at ±10 on the first axis, stretched threefold along the second and
    /// bound to it along the third.
    fn clusters(images: usize) -> (Vec<f32>, Vec<usize>) {
        let mut random = Stream::new(1, 2, 3);
        let mut features = Vec::new();
        let classes = (0..images).map(|image| image % 2).collect();
        for image in 0..images {
            let [a, b, c] = [(); 3].map(|()| normal(&mut random));
            let centre = if image % 2 == 0 { 10.0 } else { -10.0 };
            features.extend([centre + a, 3.0 * b, 3.0 * b + c]);
        }
        (features, classes)
    }

    #[test]
    fn distances_are_those_of_the_clusters() {
        let (features, classes) = clusters(20_000);
        let gaussian = Gaussian::fit(&features, 3, Some((&classes, 2))).unwrap();
        let fit = gaussian.fit_record();
        assert_eq!((fit.means, fit.images, fit.features), (2, 20_000, 3));
        assert!(fit.shrinkage < 1e-3, "{fit:?}");
        for (features, expected) in [
            ([10.0, 0.0, 0.0], 0.0),
            ([-10.0, 0.0, 0.0], 0.0),
            ([12.0, 0.0, 0.0], 4.0),
            ([0.0, 0.0, 0.0], 100.0),
            // b = 2, and c = 0: two deviations along the stretched direction.
            ([10.0, 6.0, 6.0], 4.0),
            // b = 0, c = 6: against it, six.
            ([10.0, 0.0, 6.0], 36.0),
        ] {
            let found = gaussian.distance(&features);
            assert!((found - expected).abs() < 0.02 + 0.05 * expected, "{features:?}: {found}");
        }
        assert!(gaussian.distance(&[1.0]).is_nan());
        assert!(gaussian.distance(&[f32::NAN; 3]).is_nan());
    }

    #[test]
    fn too_few_images_of_a_class_share_one_mean() {
        let (features, mut classes) = clusters(100);
        classes.iter_mut().skip(2 * LEAST_PER_CLASS - 2).for_each(|class| *class = 0);
        let gaussian = Gaussian::fit(&features, 3, Some((&classes, 2))).unwrap();
        assert_eq!(gaussian.fit_record().means, 1);
        assert_eq!(gaussian, Gaussian::fit(&features, 3, None).unwrap());
        // Both clusters are equally far from the middle.
        let [a, b] = [10.0, -10.0].map(|x| gaussian.distance(&[x, 0.0, 0.0]));
        assert!(a > 0.5 && (a - b).abs() < 0.5, "{a} {b}");
    }

    #[test]
    fn fewer_images_than_features_are_shrunk_to_a_sphere() {
        let mut random = Stream::new(4, 5, 6);
        let features: Vec<f32> = (0..20 * 200).map(|_| normal(&mut random)).collect();
        let gaussian = Gaussian::fit(&features, 200, None).unwrap();
        assert!(gaussian.shrinkage > 0.8, "{}", gaussian.shrinkage);
        // Features that never vary do not stand in the way, and are missed when they do.
        let features: Vec<f32> = features.chunks(4).flat_map(|x| [x[0], x[1], x[2], 0.0]).collect();
        let gaussian = Gaussian::fit(&features, 4, None).unwrap();
        let [seen, unseen] = [2, 3].map(|axis| {
            let mut features = [0.0; 4];
            features[axis] = 1.0;
            gaussian.distance(&features)
        });
        assert!(seen < 2.0 && unseen > 50.0, "{seen} {unseen}");
    }

    #[test]
    fn the_threads_change_no_bit() {
        let (features, classes) = clusters(300);
        let wide: Vec<f32> = features
            .chunks(3)
            .flat_map(|x| [*x.first_chunk::<3>().unwrap(); 20].concat())
            .collect();
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Gaussian::fit(&wide, 60, Some((&classes, 2)))).unwrap()
        };
        assert_eq!(fit(1).fit_record(), fit(3).fit_record());
    }

    #[test]
    fn what_has_no_gaussian_is_refused() {
        assert_eq!(Gaussian::fit(&[1.0; 20], 2, None), Err(GaussianError::Constant(10)));
        assert_eq!(Gaussian::fit(&[], 2, None), Err(GaussianError::Constant(0)));
        assert_eq!(Gaussian::fit(&[], 0, None), Err(GaussianError::Features(0)));
        let features = [1.0, 2.0, 3.0, f32::INFINITY];
        assert_eq!(Gaussian::fit(&features, 2, None), Err(GaussianError::NotANumber(1)));
    }
}
