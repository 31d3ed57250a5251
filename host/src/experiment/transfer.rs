//! Whether images that were evolved on one network fool another.
//!
//! Nguyen, Yosinski and Clune 2015, section “Images that fool one DNN generalize to others”:
//! images that fool DNN_A are shown to DNN_B. The other network gets the same pictures,
//! prepared as it needs them.

use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use super::record::{Champion, Manifest, ModelRecord, RunRecord};
use super::summary::CERTAIN;
use crate::image::Image;
use crate::model::{Crops, Model, ModelError};
use crate::simd::Simd;
use crate::train::evaluate::argmax;

/// Why a network cannot judge the images of a run.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The networks know different classes.
    #[error(
        "--onto {onto}: it has {theirs} classes, and {own}, which the images were evolved on, has {ours}; name a network of the same classes"
    )]
    Classes {
        /// The network that was to judge.
        onto: String,
        /// Its classes.
        theirs: usize,
        /// The network of the run.
        own: String,
        /// Its classes.
        ours: usize,
    },
    /// A picture cannot be brought to the size of the network's.
    #[error("--onto {onto}: {reason}")]
    Size {
        /// The network that was to judge.
        onto: String,
        /// What the resampler said.
        reason: String,
    },
    /// The network fails.
    #[error("--onto {0}: {1}")]
    Model(String, ModelError),
}

/// What two networks say of the image that was evolved for a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Index of the class.
    pub class: usize,
    /// The most probable class to the network that the image was evolved on.
    pub own_top: usize,
    /// That network's confidence in the image's class.
    pub own_confidence: f32,
    /// The most probable class to the other network.
    pub top: usize,
    /// The other network's confidence in the image's class.
    pub confidence: f32,
}

/// How the images of all runs on one network do on another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The network that the images were evolved on.
    pub own: String,
    /// Its SHA-256, hexadecimal.
    pub own_sha256: String,
    /// The preset that they were evolved by.
    pub preset: String,
    /// The other network.
    pub onto: String,
    /// Its SHA-256, hexadecimal.
    pub onto_sha256: String,
    /// Runs that the shares and confidences beneath are means over.
    pub runs: usize,
    /// Images of all of them.
    pub images: usize,
    /// Share of images with the same most probable class to both networks, 0 ..= 1.
    pub same_top: f64,
    /// Confidence, in the image's class, of the network that it was evolved on.
    pub own_mean_confidence: f64,
    /// That of the other network.
    pub mean_confidence: f64,
    /// Share of images of which both are at least 99.99 % sure that they are of their class.
    pub certain_of_both: f64,
}

/// Which images fool which networks: an entry for each network and preset that there are
/// runs of, and each network that they were shown to, in the order in which they first come.
///
/// `shown` are the manifests of runs with what became of their images.
#[must_use]
pub fn matrix<'a>(shown: impl Iterator<Item = (&'a Manifest, &'a Transfer)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (run, transfer) in shown {
        let (own, preset) = (&run.model, &run.preset);
        let is_same = |entry: &Entry| {
            (&entry.own_sha256, &entry.preset, &entry.onto_sha256)
                == (&own.sha256, preset, &transfer.onto_sha256)
        };
        let place = entries.iter().position(is_same).unwrap_or_else(|| {
            entries.push(Entry::empty(run, transfer));
            entries.len() - 1
        });
        entries[place].add(transfer);
    }
    entries
}

impl Entry {
    fn empty(run: &Manifest, transfer: &Transfer) -> Self {
        Self {
            own: run.model.name.clone(),
            own_sha256: run.model.sha256.clone(),
            preset: run.preset.clone(),
            onto: transfer.onto.clone(),
            onto_sha256: transfer.onto_sha256.clone(),
            runs: 0,
            images: 0,
            same_top: 0.0,
            own_mean_confidence: 0.0,
            mean_confidence: 0.0,
            certain_of_both: 0.0,
        }
    }

    /// Takes one run more into the means.
    fn add(&mut self, run: &Transfer) {
        self.runs += 1;
        self.images += run.images;
        let share = |count: usize| count as f64 / run.images.max(1) as f64;
        for (mean, value) in [
            (&mut self.same_top, share(run.same_top)),
            (&mut self.own_mean_confidence, run.own_mean_confidence),
            (&mut self.mean_confidence, run.mean_confidence),
            (&mut self.certain_of_both, share(run.certain_of_both)),
        ] {
            *mean += (value - *mean) / self.runs as f64;
        }
    }
}

/// How a run's images do on another network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transfer {
    /// The other network.
    pub onto: String,
    /// Its SHA-256, hexadecimal.
    pub onto_sha256: String,
    /// Images judged.
    pub images: usize,
    /// Images with the same most probable class to both networks.
    pub same_top: usize,
    /// Images whose own class is the most probable to the other network.
    pub fooled: usize,
    /// Mean confidence in the image's class of the network that it was evolved on.
    pub own_mean_confidence: f64,
    /// That of the other network.
    pub mean_confidence: f64,
    /// Images of which both are at least 99.99 % sure that they are of their class.
    pub certain_of_both: usize,
    /// Every image, in class order.
    pub judgements: Vec<Judgement>,
}

/// Shows the champions of a run to another network.
///
/// `crops` is what that network looks at. Pictures of another size are scaled as it has
/// them scaled; grey ones become colour ones and the other way round where needed.
///
/// # Errors
/// If the networks have different numbers of classes, or the other one fails.
pub fn transfer(record: &RunRecord, onto: &Model, crops: Crops) -> Result<Transfer, TransferError> {
    let own = &record.manifest.model;
    let (ours, theirs) = (own.labels.len(), onto.classes());
    if ours != theirs {
        let (own, onto) = (own.name.clone(), onto.name().to_owned());
        return Err(TransferError::Classes { onto, theirs, own, ours });
    }
    let tasks = record.champions.par_chunks(onto.pictures_at_once(crops));
    let judged: Vec<Vec<Judgement>> = tasks
        .map(|champions| judge(champions, own, onto, crops))
        .collect::<Result<_, TransferError>>()?;
    Ok(Transfer::of(onto, judged.into_iter().flatten().collect()))
}

/// What a network says of some champions of a run on another.
fn judge(
    champions: &[Champion],
    own: &ModelRecord,
    onto: &Model,
    crops: Crops,
) -> Result<Vec<Judgement>, TransferError> {
    let failed = |error| TransferError::Model(onto.name().to_owned(), error);
    let mut classifier = onto.classifier(Simd::detect(), crops).map_err(failed)?;
    let (shape, [height, width, channels]) = (onto.shape(), own.picture);
    let mut pictures = Vec::with_capacity(champions.len() * shape.len());
    for champion in champions {
        let image = Image { width, height, channels, pixels: champion.picture.to_vec() };
        let fitted = image
            .with_channels(shape.channels)
            .fitted(shape.width, shape.height, onto.resize())
            .map_err(|reason| TransferError::Size { onto: onto.name().to_owned(), reason })?;
        pictures.extend(fitted.pixels);
    }
    let mut scores = vec![0.0; champions.len() * onto.classes()];
    classifier.classify(&pictures, &mut scores).map_err(failed)?;
    let rows = scores.chunks_exact(onto.classes());
    let judgement = |(champion, scores): (&Champion, &[f32])| Judgement {
        class: champion.class,
        own_top: argmax(&champion.scores),
        own_confidence: champion.scores[champion.class],
        top: argmax(scores),
        confidence: scores[champion.class],
    };
    Ok(champions.iter().zip(rows).map(judgement).collect())
}

impl Transfer {
    fn of(onto: &Model, judgements: Vec<Judgement>) -> Self {
        let count = |holds: fn(&Judgement) -> bool| judgements.iter().filter(|j| holds(j)).count();
        let mean = |confidence: fn(&Judgement) -> f32| {
            let sum: f64 = judgements.iter().map(|j| f64::from(confidence(j).max(0.0))).sum();
            sum / judgements.len().max(1) as f64
        };
        Self {
            onto: onto.name().to_owned(),
            onto_sha256: onto.sha256().to_owned(),
            images: judgements.len(),
            same_top: count(|j| j.own_top == j.top),
            fooled: count(|j| j.top == j.class),
            own_mean_confidence: mean(|j| j.own_confidence),
            mean_confidence: mean(|j| j.confidence),
            certain_of_both: count(|j| j.own_confidence.min(j.confidence) >= CERTAIN),
            judgements,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn shares_count_what_they_say() {
        let judgement = |own_top, own_confidence, top, confidence| Judgement {
            class: 1,
            own_top,
            own_confidence,
            top,
            confidence,
        };
        let model = Model::load("lenet").unwrap();
        let judgements = vec![
            judgement(1, 1.0, 1, 0.9999),
            judgement(1, 1.0, 2, 0.25),
            judgement(2, 0.25, 2, 0.125),
            judgement(1, 0.75, 1, f32::NAN),
        ];
        let transfer = Transfer::of(&model, judgements);
        assert_eq!((transfer.images, transfer.same_top, transfer.fooled), (4, 3, 2));
        assert_eq!(transfer.certain_of_both, 1);
        assert_eq!(transfer.own_mean_confidence, 0.75);
        assert!((transfer.mean_confidence - (0.9999 + 0.375) / 4.0).abs() < 1e-7);
        assert_eq!(Transfer::of(&model, Vec::new()).mean_confidence, 0.0);
    }

    #[test]
    fn runs_of_one_network_are_one_entry_of_the_matrix() {
        let model = Model::load("lenet").unwrap();
        let judgement = |top, confidence| Judgement {
            class: 1,
            own_top: 1,
            own_confidence: 1.0,
            top,
            confidence,
        };
        // One image of which nothing is left, and three of which all is: runs count alike.
        let poor = Transfer::of(&model, vec![judgement(2, 0.25)]);
        let good = Transfer::of(&model, vec![judgement(1, 1.0); 3]);
        let run = sample::digits().manifest;
        let mut other = run.clone();
        other.model.sha256 = "0".to_owned();
        let shown = [(&run, &poor), (&other, &good), (&run, &good)];
        let [first, second] = &matrix(shown.into_iter())[..] else { panic!("two entries") };
        assert_eq!((first.runs, first.images, first.same_top), (2, 4, 0.5));
        assert_eq!((first.mean_confidence, first.certain_of_both), (0.625, 0.5));
        assert_eq!((second.runs, second.images, second.same_top), (1, 3, 1.0));
        assert_eq!((first.own.as_str(), second.own_sha256.as_str()), ("lenet", "0"));
    }
}
