//! What a retraining leaves behind: the contents of `retraining.json`.

use serde::{Deserialize, Serialize};

use super::harvest::Harvest;
use super::settings::{FOOLING, Settings};
use crate::experiment::record::MachineRecord;
use crate::experiment::summary::{CERTAIN, median};

/// A retraining, as far as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retraining {
    /// Version of mirage that made it.
    pub version: String,
    /// What it computes.
    pub settings: Settings,
    /// The digits.
    pub data: DataRecord,
    /// The machine that ran it last.
    pub machine: MachineRecord,
    /// Whether all iterations are done.
    pub complete: bool,
    /// Wall-clock seconds, over all sessions, up to the last iteration that is done.
    pub seconds: f64,
    /// Every iteration that is done: DNN_1, DNN_2 and so on.
    pub iterations: Vec<Iteration>,
}

/// The digits of a retraining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Digits that every network is trained with.
    pub train_images: usize,
    /// Digits that it is tested with.
    pub test_images: usize,
    /// Rows and columns of an image.
    pub sides: [usize; 2],
    /// SHA-256 of all images and labels, hexadecimal.
    pub sha256: String,
}

/// The contents of `network.json`: what is known of a network before evolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// SHA-256 of `network.onnx`, hexadecimal.
    pub sha256: String,
    /// Fooling images that it was trained with.
    pub fooling_images: usize,
    /// Test digits that it takes for something else, be it fooling images.
    pub test_errors: usize,
    /// Of those, digits that it takes for fooling images.
    pub test_called_fooling: usize,
    /// How often its training diverged, and began again with half the learning rate:
    /// 0 ..= [`HALVINGS`](crate::train::sgd::HALVINGS).
    #[serde(default)]
    pub halvings: u32,
}

/// A network, and how evolution fared against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Its number, from 1.
    pub iteration: u32,
    /// SHA-256 of the network's file, hexadecimal.
    pub network_sha256: String,
    /// Fooling images in its training set.
    pub fooling_images: usize,
    /// Their share of the training set.
    pub fooling_share: f64,
    /// The share of test digits that it takes for something else.
    pub test_error: f64,
    /// The share of test digits that it takes for fooling images.
    pub test_called_fooling: f64,
    /// Runs of evolution against it.
    pub runs: usize,
    /// The median over the digits of the confidence reached, mean over the runs.
    pub median_confidence: f64,
    /// The first generation, counted from 1, after which at least half of the digits of all
    /// runs had a confidence of 0.9999; `None` if there is none.
    pub median_generation_9999: Option<u32>,
    /// The share of digits, of all runs, that an image was found for with a confidence of at
    /// least 0.9999 and with that digit as the most probable class.
    pub fooled_share: f64,
    /// The share of last elites, of all runs, that the network takes for fooling images;
    /// `None` if it has no such class.
    pub called_fooling_share: Option<f64>,
    /// How often the learning rate was halved because training diverged.
    #[serde(default)]
    pub halvings: u32,
}

impl Iteration {
    /// `DNN_3`, and if its training was not that of the others, how it was.
    #[must_use]
    pub fn name(&self) -> String {
        match self.halvings {
            0 => format!("DNN_{}", self.iteration),
            n => format!("DNN_{} (learning rate / {})", self.iteration, 1 << n),
        }
    }

    /// Sums up the runs against a network.
    #[must_use]
    pub fn of(
        iteration: u32,
        network: &NetworkRecord,
        data: &DataRecord,
        runs: &[Harvest],
    ) -> Self {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let digits =
            || runs.iter().flat_map(|run| run.confidences.iter().zip(&run.tops).enumerate());
        let count = |holds: &dyn Fn(usize, f32, usize) -> bool| {
            digits().filter(|&(digit, (&sure, &top))| holds(digit, sure, top as usize)).count()
        };
        let all = digits().count();
        let medians = runs.iter().map(|run| f64::from(median(&run.confidences)));
        let images = network.fooling_images;
        Self {
            iteration,
            network_sha256: network.sha256.clone(),
            fooling_images: images,
            fooling_share: share(images, data.train_images + images),
            test_error: share(network.test_errors, data.test_images),
            test_called_fooling: share(network.test_called_fooling, data.test_images),
            runs: runs.len(),
            median_confidence: medians.sum::<f64>() / runs.len().max(1) as f64,
            median_generation_9999: median_generation(runs),
            fooled_share: share(count(&|digit, sure, top| sure >= CERTAIN && top == digit), all),
            called_fooling_share: (images > 0)
                .then(|| share(count(&|_, _, top| top == FOOLING), all)),
            halvings: network.halvings,
        }
    }
}

/// The first generation after which at least half of the digits of all runs were certain.
fn median_generation(runs: &[Harvest]) -> Option<u32> {
    let mut generations: Vec<u32> = runs.iter().flat_map(|run| &run.certain).copied().collect();
    let half = generations.len().div_ceil(2);
    generations.retain(|&generation| generation > 0);
    generations.sort_unstable();
    generations.get(half.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::idx::CLASSES;

    /// Two runs whose sums are known.
    fn runs() -> [Harvest; 2] {
        let empty = Harvest {
            sides: [1, 1],
            first: vec![0; CLASSES],
            last: vec![0; CLASSES],
            confidences: vec![1.0; CLASSES],
            certain: vec![3; CLASSES],
            tops: (0..CLASSES as u32).collect(),
        };
        let mut other = empty.clone();
        other.confidences = vec![0.9999, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25];
        other.certain = vec![7, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        other.tops = vec![0, 10, 10, 10, 1, 4, 5, 6, 7, 8];
        [empty, other]
    }

    fn iteration(fooling_images: usize, runs: &[Harvest]) -> Iteration {
        let sha256 = "abc".to_owned();
        let network = NetworkRecord {
            sha256: sha256.clone(),
            fooling_images,
            test_errors: 3,
            test_called_fooling: 1,
            halvings: 0,
        };
        let data = DataRecord { train_images: 90, test_images: 40, sides: [1, 1], sha256 };
        Iteration::of(2, &network, &data, runs)
    }

    #[test]
    fn sums_are_what_they_say() {
        let both = iteration(30, &runs());
        assert_eq!((both.fooling_share, both.test_error, both.runs), (0.25, 0.075, 2));
        assert_eq!(both.test_called_fooling, 0.025);
        assert_eq!(both.median_confidence, 0.75);
        assert_eq!(both.fooled_share, 0.55);
        assert_eq!(both.called_fooling_share, Some(0.15));
        // Ten of twenty digits are certain after generation 3, eleven after 7.
        assert_eq!(both.median_generation_9999, Some(3));
        let weak = iteration(0, &runs()[1..]);
        assert_eq!((weak.median_generation_9999, weak.called_fooling_share), (None, None));
        assert_eq!(iteration(0, &[]).median_generation_9999, None);
    }

    #[test]
    fn certain_without_being_the_top_does_not_count() {
        let mut runs = runs();
        runs[0].tops = vec![10; CLASSES];
        assert_eq!(iteration(30, &runs).fooled_share, 0.05);
    }
}
