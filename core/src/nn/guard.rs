//! A guard that a device can afford: it tells by the logits alone, with one exponential a
//! class and one logarithm, whether an image is like those that a network was made for.
//!
//! Softmax keeps only the differences between logits. How large they are together is lost
//! there, and is what the energy measures: an image that excites a network little has
//! a high energy, however sure the softmax is. Such are images of nothing, of noise, or of
//! what the network does not know. Images that were evolved until a network is certain of
//! them excite it more than natural ones do: those pass.

use crate::math::log_sum_exp;

/// The energy of logits at temperature 1, −log Σ e^logit: the lower, the more an image is
/// like those that the network was trained on.
///
/// The same bits everywhere. [`f32::NAN`] if a logit is NaN; +∞ without logits.
///
/// W. Liu, X. Wang, J. Owens and Y. Li, *Energy-based Out-of-distribution Detection*,
/// NeurIPS 2020, equation 4.
#[must_use]
pub fn energy(logits: &[f32]) -> f32 {
    let sum = log_sum_exp(logits);
    // Not the negative of a NaN, whose sign would differ.
    if sum.is_nan() { sum } else { -sum }
}

/// Accepts images of low energy.
///
/// `mirage guard` finds the threshold that lets through 95 % of natural images, and tells
/// how many fooling images come with them. An int8 network has the same logits there as on
/// a device, so that the threshold means the same on both.
///
/// ```
/// use mirage_core::nn::EnergyGuard;
///
/// let guard = EnergyGuard { threshold: -9.5 };
/// assert!(guard.accepts(&[1.0, 12.0, 0.5]));
/// // As sure of the second class by softmax (99.998 %), and yet hardly excited.
/// assert!(!guard.accepts(&[-10.5, 1.0, -11.0]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyGuard {
    /// The highest [`energy`] that is accepted.
    pub threshold: f32,
}

impl EnergyGuard {
    /// Whether an image with these logits, as [`Network::forward`](super::Network::forward)
    /// computes them, is accepted: its energy is at most the threshold. If a logit is NaN,
    /// it is not.
    #[must_use]
    pub fn accepts(&self, logits: &[f32]) -> bool {
        energy(logits) <= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_of_known_logits() {
        // In bits: the same on every machine.
        for (logits, bits) in [
            (&[0.0; 2][..], 0xbf31_7218_u32), // -ln 2
            (&[0.0; 10], 0xc013_5d8e),        // -ln 10
            (&[5.0], 0xc0a0_0000),
            (&[1.0, 2.0, 3.0], 0xc05a_1637), // -3.407606
            (&[], f32::INFINITY.to_bits()),
            (&[f32::NEG_INFINITY], f32::INFINITY.to_bits()),
            (&[f32::INFINITY, 0.0], f32::NEG_INFINITY.to_bits()),
            (&[0.0, -f32::NAN], f32::NAN.to_bits()),
        ] {
            let found = energy(logits);
            assert_eq!(found.to_bits(), bits, "{logits:?}: {found} {:#x}", found.to_bits());
        }
    }

    #[test]
    fn a_guard_accepts_up_to_its_threshold() {
        let logits = [1.0, 2.0, 3.0];
        let at = energy(&logits);
        assert!(EnergyGuard { threshold: at }.accepts(&logits));
        assert!(!EnergyGuard { threshold: at.next_down() }.accepts(&logits));
        // A bound that everything is below accepts numbers, and no NaN.
        let open = EnergyGuard { threshold: f32::INFINITY };
        assert!(open.accepts(&logits) && !open.accepts(&[f32::NAN, 100.0]));
        assert!(!EnergyGuard { threshold: f32::NAN }.accepts(&logits));
    }
}
