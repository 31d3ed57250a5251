//! The float functions in `f64`, and how far an `f32` is from them.

/// σ(x) = 1 / (1 + e^−x), scaled to (−1, 1): 2σ(x) − 1.
#[must_use]
pub fn bipolar_sigmoid(x: f64) -> f64 {
    2.0 / (1.0 + (-x).exp()) - 1.0
}

/// e^(−x²).
#[must_use]
pub fn gaussian(x: f64) -> f64 {
    (-x * x).exp()
}

/// The identity within ±3, scaled to [−1, 1].
#[must_use]
pub fn clamped_linear(x: f64) -> f64 {
    x.clamp(-3.0, 3.0) / 3.0
}

/// e^(xᵢ) / Σ e^(xⱼ), shifted by the largest.
#[must_use]
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The distance of `y` from `truth` in units of the last place of `truth` as an
/// `f32`: the gap between floats at its binade, 2⁻¹⁴⁹ at the least.
#[must_use]
pub fn ulps(y: f32, truth: f64) -> f64 {
    let mut gap = 2f64.powi(-149);
    while gap * f64::from(1u32 << 24) <= truth.abs() {
        gap *= 2.0;
    }
    (f64::from(y) - truth).abs() / gap
}

#[cfg(test)]
mod tests {
    use super::ulps;

    #[test]
    fn units_of_the_last_place() {
        assert_eq!(ulps(1.0, 1.0), 0.0);
        assert_eq!(ulps(1.0 + f32::EPSILON, 1.0), 1.0);
        assert_eq!(ulps(f32::from_bits(3), 0.0), 3.0);
        assert_eq!(ulps(1.0 - f32::EPSILON / 2.0, 1.0), 0.5);
    }
}
