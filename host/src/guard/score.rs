//! What a guard goes by.

use mirage_core::math::softmax;
use mirage_core::nn::energy;
use serde::{Deserialize, Serialize};

use super::gaussian::Gaussian;

/// A number that tells natural images from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The probability of the most probable class, as an `f32`: above 1 − 2⁻²⁵ it is 1.
    ///
    /// Hendrycks and Gimpel 2017, arXiv:1610.02136.
    MaxSoftmax,
    /// The largest logit.
    ///
    /// Hendrycks et al. 2022, *Scaling Out-of-Distribution Detection for Real-World
    /// Settings*, arXiv:1911.11132.
    MaxLogit,
    /// The [`energy`] at temperature 1, which is low for natural images.
    ///
    /// Liu et al. 2020, arXiv:2010.03759.
    Energy,
    /// The squared Mahalanobis distance of the features to the nearest mean of a
    /// [`Gaussian`], which is small for natural images. Of the last layer's inputs only, and
    /// without the disturbance of images that the source adds.
    ///
    /// Lee et al. 2018, arXiv:1807.03888, equation 2.
    Gaussian,
}

impl Score {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MaxSoftmax, Self::MaxLogit, Self::Energy, Self::Gaussian];

    /// Its name, such as `max-softmax`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxSoftmax => "max-softmax",
            Self::MaxLogit => "max-logit",
            Self::Energy => "energy",
            Self::Gaussian => "gaussian",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it is higher for natural images than for others.
    #[must_use]
    pub fn is_high_for_natural(self) -> bool {
        matches!(self, Self::MaxSoftmax | Self::MaxLogit)
    }

    /// The score of an image with these logits; NaN if one of them is. `features` count for
    /// [`Gaussian`](Self::Gaussian) alone.
    #[must_use]
    pub fn value(self, logits: &[f32], features: &[f32], gaussian: &Gaussian) -> f32 {
        match self {
            Self::MaxSoftmax => {
                let mut probabilities = logits.to_vec();
                softmax(&mut probabilities);
                largest(&probabilities)
            }
            Self::MaxLogit => largest(logits),
            Self::Energy => energy(logits),
            Self::Gaussian => gaussian.distance(features),
        }
    }

    /// A score turned so that more is more like natural images; −∞ for NaN.
    #[must_use]
    pub fn naturalness(self, value: f32) -> f32 {
        match value {
            value if value.is_nan() => f32::NEG_INFINITY,
            value if self.is_high_for_natural() => value,
            value => -value,
        }
    }
}

/// The largest value; NaN if one is, or there is none.
fn largest(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
    values.iter().copied().reduce(larger).unwrap_or(f32::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feature, with mean 0 and variance 1.
    fn gaussian() -> Gaussian {
        Gaussian::fit(&[-1.0, 1.0, -1.0, 1.0], 1, None).unwrap()
    }

    #[test]
    fn scores_of_known_logits() {
        let gaussian = gaussian();
        let values = |logits: &[f32]| Score::ALL.map(|s| s.value(logits, &[3.0], &gaussian));
        let [softmax, logit, energy, distance] = values(&[1.0, 1.0 + 3_f32.ln()]);
        assert!((softmax - 0.75).abs() < 1e-6);
        assert_eq!(logit, 1.0 + 3_f32.ln());
        assert!((energy + 1.0 + 4_f32.ln()).abs() < 1e-6);
        assert_eq!(distance, 9.0);
        for logits in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(values(&logits)[..3].iter().all(|value| value.is_nan()));
        }
        assert!(Score::MaxLogit.value(&[], &[], &gaussian).is_nan());
    }

    #[test]
    fn more_natural_is_more() {
        assert_eq!(Score::ALL.map(|s| s.naturalness(2.0)), [2.0, 2.0, -2.0, -2.0]);
        assert_eq!(Score::ALL.map(|s| s.naturalness(f32::NAN)), [f32::NEG_INFINITY; 4]);
        assert_eq!(Score::ALL.map(Score::index), [0, 1, 2, 3]);
    }
}
