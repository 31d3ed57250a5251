//! What a retraining on MNIST computes.

use mirage_core::evolve::{MNIST_CHILDREN, MNIST_GENERATIONS};
use mirage_core::nn::Op;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::data::idx::CLASSES;
use crate::experiment::plan::{Plan, PlanError};
use crate::train::{sgd, spec};

/// Networks that are trained one after the other (paper, section “Training networks to recognize
/// fooling images”, as all numbers here).
pub const ITERATIONS: u32 = 15;
/// Fooling images that the second network is trained with: as many as there are of a digit.
pub const FIRST: u32 = 6000;
/// Fooling images that come to the training set at every later iteration.
pub const MORE: u32 = 1000;
/// Fooling images that one run of evolution gives: for each digit its elite after the first
/// generation and its elite after the last (in the paper 20, half from the first generation and
/// half from the last; so 300 runs give the first 6000).
pub const PER_RUN: u32 = 2 * CLASSES as u32;
/// Index of the class of fooling images: behind the digits.
pub const FOOLING: usize = CLASSES;

/// Everything that determines a retraining, apart from the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Preset of the evolution: `mnist-cppn`, as in the paper, or `mnist-direct`.
    pub preset: String,
    /// Networks to train and to evolve against, at least 1.
    pub iterations: u32,
    /// Fooling images that the second network is trained with, at least 1.
    pub first: u32,
    /// Fooling images that come to them at every later iteration, at least 1.
    pub more: u32,
    /// Generations of every run, at least 1.
    pub generations: u32,
    /// Children per generation, at least 1.
    pub children: u32,
    /// The network, in the words of [`spec`]; its last layer has ten units, and from the
    /// second network on one more.
    pub network: String,
    /// Times that every image is seen in training, at least 1.
    pub epochs: u32,
    /// Seed of the first training and of the first run. The trainings have seeds that follow
    /// each other, and so do all runs of all iterations: every network begins with other
    /// weights, every run with other images.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preset: "mnist-cppn".to_owned(),
            iterations: ITERATIONS,
            first: FIRST,
            more: MORE,
            generations: MNIST_GENERATIONS,
            children: MNIST_CHILDREN,
            network: "lenet".to_owned(),
            epochs: sgd::EPOCHS,
            seed: 1,
        }
    }
}

/// Why settings make no retraining.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// The preset is none, or one of colour pictures.
    #[error("--encoding: preset {0:?} draws no digits; use cppn or direct")]
    Preset(String),
    /// The network is not understood.
    #[error("--network: {0}")]
    Spec(#[from] spec::SpecError),
    /// The network does not end in ten units.
    #[error(
        "--network: the last layer must be dense10: one unit per digit, to which one is added for fooling images"
    )]
    Units,
}

impl Settings {
    /// The plan of the run with this seed.
    pub(super) fn plan(&self, seed: u64) -> Result<Plan, PlanError> {
        let plan = Plan::preset(&self.preset, seed)?;
        Ok(Plan { children: self.children, generations: self.generations, ..plan })
    }

    /// The layers of a network, with a class for fooling images or without.
    pub(super) fn layers(&self, with_fooling: bool) -> Result<Vec<(Op, bool)>, SettingsError> {
        let mut layers = spec::parse(&self.network)?;
        match layers.last_mut() {
            Some((Op::Dense { units: units @ CLASSES }, _)) => *units += usize::from(with_fooling),
            _ => return Err(SettingsError::Units),
        }
        Ok(layers)
    }

    /// Checks what does not depend on the data.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if !["mnist-cppn", "mnist-direct"].contains(&self.preset.as_str()) {
            return Err(SettingsError::Preset(self.preset.clone()));
        }
        self.layers(true).map(|_| ())
    }

    /// Fooling images that the runs of an iteration, counted from 1, give to the next.
    #[must_use]
    pub fn images(&self, iteration: u32) -> u32 {
        if iteration <= 1 { self.first } else { self.more }
    }

    /// Runs of an iteration: as many as its images need.
    #[must_use]
    pub fn runs(&self, iteration: u32) -> u32 {
        self.images(iteration).div_ceil(PER_RUN)
    }

    /// Seeds of the runs of an iteration.
    pub fn run_seeds(&self, iteration: u32) -> impl Iterator<Item = u64> + use<> {
        let before: u64 = (1..iteration).map(|earlier| u64::from(self.runs(earlier))).sum();
        let first = self.seed.wrapping_add(before);
        (0..u64::from(self.runs(iteration))).map(move |run| first.wrapping_add(run))
    }

    /// Seed of the training of an iteration.
    #[must_use]
    pub fn training_seed(&self, iteration: u32) -> u64 {
        self.seed.wrapping_add(u64::from(iteration.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_numbers() {
        let settings = Settings::default();
        assert_eq!(PER_RUN, 20);
        assert_eq!([1, 2, 15].map(|iteration| settings.runs(iteration)), [300, 50, 50]);
        // What the last network is trained with, beside 60 000 digits: about a quarter.
        let images: u32 = (1..ITERATIONS).map(|iteration| settings.images(iteration)).sum();
        let share = f64::from(images) / (60_000.0 + f64::from(images));
        assert!((0.24..0.25).contains(&share), "{share}");
    }

    #[test]
    fn no_two_runs_have_the_same_seed() {
        let settings = Settings { first: 45, more: 20, seed: u64::MAX, ..Settings::default() };
        let seeds: Vec<u64> = (1..=4).flat_map(|i| settings.run_seeds(i)).collect();
        assert_eq!(seeds, [u64::MAX, 0, 1, 2, 3, 4]);
        assert_eq!([1, 2].map(|i| settings.training_seed(i)), [u64::MAX, 0]);
    }

    #[test]
    fn networks_grow_by_one_unit() {
        let with = |network: &str| Settings { network: network.to_owned(), ..Settings::default() };
        let units = |settings: &Settings, fooling| match settings.layers(fooling).unwrap().last() {
            Some((Op::Dense { units }, false)) => *units,
            other => panic!("{other:?}"),
        };
        for network in ["lenet", "lenet-small", "dense30 relu, dense10"] {
            assert_eq!([false, true].map(|fooling| units(&with(network), fooling)), [10, 11]);
            assert_eq!(with(network).check(), Ok(()));
        }
        assert_eq!(with("dense11").check(), Err(SettingsError::Units));
        assert_eq!(with("dense10, maxpool2").check(), Err(SettingsError::Units));
        assert!(matches!(with("dence10").check(), Err(SettingsError::Spec(_))));
        let colour = Settings { preset: "imagenet-cppn".to_owned(), ..Settings::default() };
        assert!(matches!(colour.check(), Err(SettingsError::Preset(_))));
    }
}
