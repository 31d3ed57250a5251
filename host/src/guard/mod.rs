//! Can a simple guard see fooling images? Beyond the paper, whose discussion supposes that a
//! network which knew how probable an image is would not be fooled.
//!
//! A guard computes a [score] of an image from a network's logits or features,
//! and accepts those whose score is like that of natural images. How well it tells the two
//! apart ([roc]) is measured on images that were evolved against the network alone, and on
//! images that were evolved against the network and the guard together: a [`Guard`] makes
//! a classifier of both ([`Model::guarded`](crate::model::Model::guarded)).
//!
//! [`study`] ties it together; [`natural`] reads the natural images.

pub mod gaussian;
pub mod natural;
pub mod roc;
pub mod rule;
pub mod score;
pub mod study;

use std::sync::Arc;

pub use gaussian::Gaussian;
pub use rule::Rule;
pub use score::Score;

/// A rule, and what its score is computed with.
#[derive(Clone, Debug)]
pub struct Guard {
    pub(super) rule: Rule,
    pub(super) gaussian: Arc<Gaussian>,
}

impl Guard {
    /// Which images it accepts.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether it needs the features of an image, and not its logits alone.
    #[must_use]
    pub fn needs_features(&self) -> bool {
        self.rule.score == Score::Gaussian
    }

    /// What the confidences of an image with these logits and features are multiplied with
    /// while images are evolved under the guard; see [`Rule::factor`].
    #[must_use]
    pub fn factor(&self, logits: &[f32], features: &[f32]) -> f32 {
        self.rule.factor(self.rule.score.value(logits, features, &self.gaussian))
    }
}
