//! Every float function that reaches a result.
//!
//! Two families, both the same bits on every platform:
//!
//! * **Activations**, evaluated millions of times: branch-free `f32` polynomials
//!   ([`Polynomial`]) in plain multiplication, addition and division, so that a
//!   compiler may use wider vectors but can change no result. [`Micromath`] (with
//!   the feature `micromath`) is the alternative for parts without a float unit or
//!   with little flash; it is accurate to about 1e-3. Which one a run uses is part
//!   of its preset.
//! * **Everything else** (softmax, mutation): `libm`, called by its full path.
//!   Float methods of `std` give other bits on other machines.

/// Adding and subtracting this rounds to the nearest integer (ties to even) for
/// magnitudes below 2²²: 1.5 · 2²³.
const ROUNDER: f32 = 12_582_912.0;

/// The two functions that the CPPN activations are made of.
pub trait ActivationMath {
    /// The sine of `x` radians.
    fn sin(x: f32) -> f32;
    /// e to the power `x`; finite for every `x`.
    fn exp(x: f32) -> f32;
}

/// Branch-free polynomials: the default.
///
/// * sine: at most 2 ulp from the true value for |x| ≤ 50 and 1e-6 absolute for
///   |x| ≤ 10⁴; stays within [−1, 1] by clamping; 0 from |x| = 10⁷ on.
/// * exp: at most 1 ulp for −87.3 ≤ x ≤ 88.3, which `x` is clamped to.
#[derive(Clone, Copy, Debug)]
pub struct Polynomial;

impl ActivationMath for Polynomial {
    #[inline(always)]
    fn sin(x: f32) -> f32 {
        // x = n·π + r; π in four parts, each product exact for |n| < 2¹⁵ (Shibata and
        // Petrogalli, SLEEF, IEEE TPDS 2020: the parts and the polynomial).
        let shifted = x * core::f32::consts::FRAC_1_PI + ROUNDER;
        let n = shifted - ROUNDER;
        let r = ((x - n * 3.140_625) - n * 0.000_967_025_76) - n * 6.277_114e-7;
        let r = r - n * 1.215_420_1e-10;
        let r2 = r * r;
        let p = 2.608_316e-6;
        let p = p * r2 - 0.000_198_106_9;
        let p = p * r2 + 0.008_333_079;
        let p = p * r2 - 0.166_666_6;
        let y = r + r * (r2 * p);
        // sin(n·π + r) = (−1)ⁿ sin(r); the parity of n is the last bit of its sum.
        let y = f32::from_bits(y.to_bits() ^ (shifted.to_bits() << 31));
        // Selections written so that a NaN or a failed reduction ends as 0.
        let y = if y > -1.0 { y } else { -1.0 };
        let y = if y < 1.0 { y } else { 1.0 };
        if x > -LARGEST_ANGLE && x < LARGEST_ANGLE { y } else { 0.0 }
    }

    #[inline(always)]
    fn exp(x: f32) -> f32 {
        // x = n·ln 2 + r, ln 2 in two parts; the polynomial is that of Cephes expf.
        let x = if x > -87.3 { x } else { -87.3 };
        let x = if x < 88.3 { x } else { 88.3 };
        let shifted = x * core::f32::consts::LOG2_E + ROUNDER;
        let n = shifted - ROUNDER;
        let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
        let p = 1.987_569_1e-4;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 5e-1;
        let y = p * (r * r) + r + 1.0;
        // 2ⁿ, its exponent bits taken from the sum that rounded n.
        let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127);
        y * f32::from_bits(exponent << 23)
    }
}

/// From here on the sine is 0: long before, an `f32` cannot tell one part of a period
/// from another, and a little beyond, the quotient by π no longer rounds to an integer.
const LARGEST_ANGLE: f32 = 1.0e7;

/// The `micromath` crate's approximations, about 1e-3 accurate.
#[cfg(feature = "micromath")]
#[derive(Clone, Copy, Debug)]
pub struct Micromath;

#[cfg(feature = "micromath")]
impl ActivationMath for Micromath {
    #[inline(always)]
    fn sin(x: f32) -> f32 {
        micromath::F32(x).sin().0
    }

    #[inline(always)]
    fn exp(x: f32) -> f32 {
        let x = if x > -87.3 { x } else { -87.3 };
        let x = if x < 88.3 { x } else { 88.3 };
        micromath::F32(x).exp().0
    }
}

/// The square root of `x` ≥ 0, at most 1 ulp from the true value; branch-free.
///
/// An estimate from the exponent bits and three Newton steps for 1/√x, then one
/// for √x: a vector unit does eight at a time, and a Cortex-M4F does not fall back
/// to a software routine.
#[inline(always)]
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    let half = 0.5 * x;
    let r = f32::from_bits(0x5f37_59df_u32.wrapping_sub(x.to_bits() >> 1));
    let r = r * (1.5 - half * r * r);
    let r = r * (1.5 - half * r * r);
    let r = r * (1.5 - half * r * r);
    let root = x * r;
    root + 0.5 * r * (x - root * root)
}

/// `x` to the power `y`, by `libm`.
#[must_use]
pub fn powf(x: f32, y: f32) -> f32 {
    libm::powf(x, y)
}

/// e to the power `x`, by `libm`.
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// The natural logarithm of `x`, by `libm`.
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Turns logits into probabilities in place: e^(xᵢ − max) / Σ e^(xⱼ − max).
///
/// Sums in index order, by `libm`. Equal logits give equal probabilities; a NaN or +∞
/// among the logits makes NaN of them.
pub fn softmax(logits: &mut [f32]) {
    let largest = largest(logits);
    let mut sum = 0.0;
    for value in logits.iter_mut() {
        *value = libm::expf(*value - largest);
        sum += *value;
    }
    for value in logits {
        *value /= sum;
    }
}

/// log Σ e^xᵢ, as max + log Σ e^(xᵢ − max): as finite as the values are.
///
/// Sums in index order, by `libm`. −∞ of no values; a NaN among them gives
/// [`f32::NAN`], else +∞ gives +∞.
#[must_use]
pub fn log_sum_exp(values: &[f32]) -> f32 {
    if values.iter().any(|value| value.is_nan()) {
        return f32::NAN;
    }
    let largest = largest(values);
    if largest.is_infinite() {
        return largest;
    }
    let sum = values.iter().fold(0.0, |sum, &value| sum + libm::expf(value - largest));
    largest + libm::logf(sum)
}

/// The largest of the values that are numbers, −∞ of none.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// The bits of `x`, with one representation for all NaNs (a quiet one, positive).
///
/// The sign and payload of a NaN differ between processors; nothing that is stored
/// or hashed may depend on them.
#[must_use]
pub fn canonical_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance of `y` from `truth` in units of the last place of `truth`.
    fn ulps(y: f32, truth: f64) -> f64 {
        let nearest = truth as f32;
        let next = f32::from_bits(nearest.abs().to_bits() + 1);
        (f64::from(y) - truth).abs() / (f64::from(next) - f64::from(nearest.abs()))
    }

    /// The largest distance in ulps over evenly spaced points.
    fn worst(low: f32, high: f32, f: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        (0..200_000)
            .map(|i| low + (high - low) * (i as f32 + 0.37) / 200_000.0)
            .map(|x| ulps(f(x), truth(f64::from(x))))
            .fold(0.0, f64::max)
    }

    #[test]
    fn polynomials_are_close_to_the_oracle() {
        assert!(worst(-50.0, 50.0, Polynomial::sin, libm::sin) < 2.0);
        assert!(worst(-87.3, 88.3, Polynomial::exp, libm::exp) <= 1.0);
        assert!(worst(1e-6, 4.0, sqrt, libm::sqrt) < 1.0);
    }

    #[test]
    fn sine_of_large_angles_stays_accurate() {
        for i in 0..10_000 {
            let x = i as f32 * 1.003;
            assert!((f64::from(Polynomial::sin(x)) - libm::sin(f64::from(x))).abs() < 1e-6);
        }
    }

    #[test]
    fn edges_are_finite() {
        assert_eq!(sqrt(0.0), 0.0);
        assert_eq!(sqrt(1.0), 1.0);
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -0.0] {
            let (sin, exp) = (Polynomial::sin(x), Polynomial::exp(x));
            assert!((-1.0..=1.0).contains(&sin), "sin {x} = {sin}");
            assert!(exp.is_finite() && exp > 0.0, "exp {x} = {exp}");
        }
    }

    #[test]
    fn softmax_reaches_certainty_and_keeps_ties() {
        let mut certain = [0.0, 200.0, -200.0];
        softmax(&mut certain);
        assert_eq!(certain, [0.0, 1.0, 0.0]);
        let mut even = [3.5; 4];
        softmax(&mut even);
        assert_eq!(even, [0.25; 4]);
        softmax(&mut []);
    }

    #[test]
    fn the_logarithm_of_a_sum_stays_where_the_sum_would_not() {
        for (values, sum) in [
            (&[0.0, 0.0][..], core::f32::consts::LN_2),
            (&[1000.0, 1000.0], 1000.0 + core::f32::consts::LN_2),
            (&[-1000.0, 0.0], 0.0),
            (&[3.5], 3.5),
            (&[f32::NEG_INFINITY, 2.0], 2.0),
            (&[f32::NEG_INFINITY; 2], f32::NEG_INFINITY),
            (&[], f32::NEG_INFINITY),
            (&[f32::INFINITY, 1.0], f32::INFINITY),
            (&[f32::INFINITY, f32::NEG_INFINITY], f32::INFINITY),
        ] {
            assert_eq!(log_sum_exp(values), sum, "{values:?}");
        }
        for values in [[-f32::NAN, 1.0], [f32::INFINITY, f32::NAN]] {
            assert_eq!(log_sum_exp(&values).to_bits(), f32::NAN.to_bits());
        }
    }

    #[test]
    fn nan_has_one_representation() {
        assert_eq!(canonical_bits(-f32::NAN), canonical_bits(f32::NAN));
        assert_eq!(canonical_bits(-0.0), 0x8000_0000);
    }
}
