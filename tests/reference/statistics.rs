//! Goodness of fit: how surprising a sample is under a distribution.

/// Kolmogorov and Smirnov: √n times the largest distance between the sample's
/// distribution function and `cdf`, which is continuous.
///
/// For a large sample from that distribution it exceeds 1.95 with probability
/// 0.001 and 2.23 with probability 0.0001.
#[must_use]
pub fn kolmogorov_smirnov(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let mut largest: f64 = 0.0;
    for (i, &x) in sorted.iter().enumerate() {
        let expected = cdf(x);
        largest = largest.max((expected - i as f64 / n).abs());
        largest = largest.max(((i + 1) as f64 / n - expected).abs());
    }
    largest * n.sqrt()
}

/// What [`kolmogorov_smirnov`] stays below but for one sample in ten thousand.
pub const KS_LIMIT: f64 = 2.23;

/// Pearson: Σ (observed − expected)² / expected.
#[must_use]
pub fn chi_square(observed: &[u64], expected: &[f64]) -> f64 {
    let terms = observed.iter().zip(expected);
    terms.map(|(&o, &e)| (o as f64 - e) * (o as f64 - e) / e).sum()
}

/// What [`chi_square`] with `freedom` degrees stays below but for about one sample
/// in ten thousand (Wilson and Hilferty 1931).
#[must_use]
pub fn chi_square_limit(freedom: f64) -> f64 {
    let quantile = 3.719; // of the standard normal at 0.9999
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + quantile * spread.sqrt()).powi(3)
}

/// Standard deviations between `hits` of `trials` and the binomial's mean.
#[must_use]
pub fn binomial_deviation(hits: u64, trials: u64, p: f64) -> f64 {
    let n = trials as f64;
    (hits as f64 - n * p).abs() / (n * p * (1.0 - p)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_samples_fit_and_skewed_ones_do_not() {
        let even: Vec<f64> = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0).collect();
        assert!(kolmogorov_smirnov(&even, |x| x) < 0.02);
        assert!(kolmogorov_smirnov(&even, |x| x * x) > 7.0);
    }

    #[test]
    fn the_limit_is_near_the_tables() {
        assert!((chi_square_limit(9.0) - 33.72).abs() < 0.5);
        assert_eq!(chi_square(&[12, 8], &[10.0, 10.0]), 0.8);
    }
}
