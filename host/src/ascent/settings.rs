//! What a climb is made of: the published settings, and what one may choose beside them.

use serde::Serialize;

use super::start::Start;
use crate::model::Objective;

/// Largest learning rate towards a probability; keeps steps finite where the probability
/// is next to nothing. `lr_params` of `find_fooling_image.py`.
pub const MAX_RATE_PROBABILITY: f64 = 1e12;

/// Largest learning rate towards a logit. `max_lr` in `doc/running-optimize-image.md` of
/// `yosinski/deep-visualization-toolbox`.
pub const MAX_RATE_LOGIT: f64 = 1e8;

/// What a step would add to a logit if it were linear. `desired_prog`, in the same place.
pub const LOGIT_RISE: f64 = 2.0;

/// Largest number of steps.
pub const MAX_STEPS: u32 = 1_000_000;

/// One of the four published settings.
///
/// Table of the gradient ascent of Nguyen, Yosinski and Clune 2015 (supplement).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// Steps after the start.
    pub steps: u32,
    /// What a step would add to the probability, at most, if it were linear.
    pub early: f64,
    /// The share of what the probability lacks to 1 that a step would add, at most.
    pub late: f64,
    /// The share by which each step draws the picture to the mean picture.
    pub decay: f64,
    /// Standard deviation of the Gaussian that blurs, in pixels; 0: none does.
    pub blur_radius: f64,
    /// Steps from one blurring to the next, at least 1.
    pub blur_every: u32,
    /// Per cent of the pixels, those with the smallest norm, that become the mean
    /// picture's.
    pub norm_percent: f64,
    /// Per cent of the pixels, those that contribute least to the objective, that do.
    pub contribution_percent: f64,
}

/// The gradient and nothing else.
pub const PLAIN: Preset = Preset {
    name: "plain",
    steps: 500,
    early: 0.02,
    late: 0.1,
    decay: 0.0,
    blur_radius: 0.0,
    blur_every: 1,
    norm_percent: 0.0,
    contribution_percent: 0.0,
};

/// Drawn to the mean picture.
pub const L2: Preset =
    Preset { name: "l2", steps: 1500, early: 0.03, late: 0.02, decay: 0.01, ..PLAIN };

/// Drawn to it weakly, and blurred.
pub const BLUR: Preset = Preset {
    name: "blur",
    steps: 1000,
    early: 0.03,
    late: 0.05,
    decay: 0.001,
    blur_radius: 0.4,
    blur_every: 2,
    ..PLAIN
};

/// Blurred, and only pixels that matter.
pub const BLUR_SPARSE: Preset = Preset {
    name: "blur-sparse",
    steps: 1500,
    blur_radius: 0.3,
    blur_every: 1,
    norm_percent: 20.0,
    contribution_percent: 20.0,
    ..BLUR
};

impl Preset {
    /// The learning rate: how far a step goes along a gradient, in grey levels per unit of
    /// the gradient. `gradient_norm` is the Euclidean norm of the gradient as written,
    /// `scale` what it is to be multiplied by, `probability` that of the class.
    ///
    /// Towards a probability the step would add min(early, late·(1 − p)), were the network
    /// linear. The published code has the same rule for any objective, under which a logit
    /// would never pass 1; its successor adds a constant to logits, and so does this.
    #[must_use]
    pub fn rate(
        &self,
        objective: Objective,
        probability: f64,
        gradient_norm: f64,
        scale: f64,
    ) -> f64 {
        let (rise, most) = match objective {
            Objective::Probability => {
                (self.early.min(self.late * (1.0 - probability)), MAX_RATE_PROBABILITY)
            }
            Objective::Logit => (LOGIT_RISE, MAX_RATE_LOGIT),
        };
        // In this order nothing underflows that is not far beyond `most`.
        most.min(rise / gradient_norm / gradient_norm / scale / scale)
    }
}

/// Everything that a climb's result depends on, beside the network and the class.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The published numbers, but for the steps, which may be others.
    pub preset: Preset,
    /// What is to rise.
    pub objective: Objective,
    /// The picture to begin with.
    pub start: Start,
    /// Seed of the start's noise.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_adds_what_the_preset_says() {
        let near = |rate: f64, expected: f64| {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rate} {expected}");
        };
        // Early: .02 / |g|², |g| = .5 · 3.
        near(PLAIN.rate(Objective::Probability, 0.5, 3.0, 0.5), 0.02 / 2.25);
        // Late: .1 · (1 − p).
        near(PLAIN.rate(Objective::Probability, 0.9, 3.0, 0.9), 0.1 * (1.0 - 0.9) / 7.29);
        near(L2.rate(Objective::Probability, 0.0, 2.0, 1.0), 0.02 / 4.0);
        near(PLAIN.rate(Objective::Logit, 0.9, 4.0, 1.0), 2.0 / 16.0);
        assert_eq!(PLAIN.rate(Objective::Logit, 0.9, 1e-9, 1.0), MAX_RATE_LOGIT);
    }

    #[test]
    fn next_to_nothing_has_the_largest_rate() {
        for probability in [1e-60, 1e-200, 0.0] {
            let rate = PLAIN.rate(Objective::Probability, probability, 1e-3, probability);
            assert_eq!(rate, MAX_RATE_PROBABILITY);
        }
    }
}
