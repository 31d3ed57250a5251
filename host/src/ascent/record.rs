//! What a run of gradient ascent leaves behind: the record that its report is made from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::climb::{Ending, Milestone};
use super::settings::Preset;
use crate::experiment::record::{MachineRecord, ModelRecord};
use crate::experiment::summary::{CERTAIN, SURE, count_at, median};

/// The contents of `ascent.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Version of mirage that made the run.
    pub version: String,
    /// Whether all classes are done; not so while the run is at work, or if it was stopped.
    pub complete: bool,
    /// The classifier that is to be fooled.
    pub model: ModelRecord,
    /// The float network that was ascended on in its place, if it is an int8 one.
    pub twin: Option<ModelRecord>,
    /// The numbers of the steps; `steps` is what the run used.
    pub preset: Preset,
    /// What rises: `prob` or `logit`.
    pub objective: &'static str,
    /// The picture that it began with: `mean`, `uniform`, `zero` or a file.
    pub start: String,
    /// Seed of the start's noise.
    pub seed: u64,
    /// The classes asked for: `all`, or a list of indices and ranges.
    pub asked: String,
    /// How many they are.
    pub classes_asked: usize,
    /// The machine that ran it.
    pub machine: MachineRecord,
    /// Wall-clock seconds, without the report.
    pub seconds: f64,
    /// The classes that are done, in the order of their indices.
    pub classes: Vec<ClassRecord>,
}

/// What became of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRecord {
    /// Its index.
    pub class: usize,
    /// What it is called.
    pub label: String,
    /// How its climb ended.
    pub ending: Ending,
    /// What was reached.
    pub reached: BTreeMap<Milestone, Mark>,
}

/// The picture that reached a milestone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// After how many steps; 0 is the start.
    pub step: u32,
    /// The class's probability, before the picture was rounded to 8 bits.
    pub confidence: f64,
    /// The class's confidence as the network that was ascended on classifies the file.
    pub as_saved: f32,
    /// As the int8 model classifies it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8: Option<f32>,
    /// The file, as seen from the run folder.
    pub picture: String,
}

/// Everything that a report shows, beside the pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct AscentRecord {
    /// The contents of `ascent.json`.
    pub manifest: Manifest,
    /// Step and confidence of each class that is done, at some hundreds of the steps.
    pub curves: Vec<Vec<(u32, f32)>>,
}

/// The result of a run; the keys of `mirage ascend --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// SHA-256 of the model, hexadecimal.
    pub model_sha256: &'a str,
    /// Name of its float twin, if it is an int8 model.
    pub twin: Option<&'a str>,
    /// Name of the preset.
    pub preset: &'a str,
    /// `prob` or `logit`.
    pub objective: &'a str,
    /// `mean`, `uniform`, `zero` or a file.
    pub start: &'a str,
    /// Seed of the start's noise.
    pub seed: u64,
    /// Steps per class.
    pub steps: u32,
    /// Whether all classes are done.
    pub complete: bool,
    /// Wall-clock seconds, without the report.
    pub seconds: f64,
    /// Number of classes that are done.
    pub classes: usize,
    /// Those that were ever the most probable one.
    pub classes_won: usize,
    /// Those that reached 0.99.
    pub classes_at_99: usize,
    /// Those that reached 0.9999.
    pub classes_at_9999: usize,
    /// Those whose best picture has at least 0.9999 as it is saved.
    pub classes_at_9999_as_saved: usize,
    /// Those whose best picture has at least 0.99 by the int8 model.
    pub classes_at_99_int8: Option<usize>,
    /// And at least 0.9999.
    pub classes_at_9999_int8: Option<usize>,
    /// Those whose climb ended for want of a gradient, or with something that is no number.
    pub classes_stopped: usize,
    /// Median of the best confidence as saved.
    pub median_confidence: f32,
    /// The same by the int8 model.
    pub median_confidence_int8: Option<f32>,
    /// Median over the classes of the steps until the class won; a class that never did
    /// counts as one that took for ever.
    pub median_step_win: Option<u32>,
    /// Until 0.99.
    pub median_step_99: Option<u32>,
    /// Until 0.9999.
    pub median_step_9999: Option<u32>,
    /// The run folder.
    pub folder: String,
    /// One record per class.
    pub records: &'a [ClassRecord],
}

impl Manifest {
    /// The result, of a run in `folder`.
    #[must_use]
    pub fn summary(&self, folder: String) -> Summary<'_> {
        let reached =
            |milestone| self.classes.iter().filter_map(|class| class.mark(milestone)).count();
        let int8 = self.twin.is_some().then(|| self.best(|mark| mark.int8));
        let as_saved = self.as_saved();
        Summary {
            model: &self.model.name,
            model_sha256: &self.model.sha256,
            twin: self.twin.as_ref().map(|twin| twin.name.as_str()),
            preset: self.preset.name,
            objective: self.objective,
            start: &self.start,
            seed: self.seed,
            steps: self.preset.steps,
            complete: self.complete,
            seconds: self.seconds,
            classes: self.classes.len(),
            classes_won: reached(Milestone::Win),
            classes_at_99: reached(Milestone::At99),
            classes_at_9999: reached(Milestone::At9999),
            classes_at_9999_as_saved: count_at(&as_saved, CERTAIN),
            classes_at_99_int8: int8.as_ref().map(|all| count_at(all, SURE)),
            classes_at_9999_int8: int8.as_ref().map(|all| count_at(all, CERTAIN)),
            classes_stopped: self.stopped().count(),
            median_confidence: median(&as_saved),
            median_confidence_int8: int8.as_deref().map(median),
            median_step_win: self.median_step(Milestone::Win),
            median_step_99: self.median_step(Milestone::At99),
            median_step_9999: self.median_step(Milestone::At9999),
            folder,
            records: &self.classes,
        }
    }

    /// The network that was ascended on: the model, or its twin.
    #[must_use]
    pub fn network(&self) -> &ModelRecord {
        self.twin.as_ref().unwrap_or(&self.model)
    }

    /// The confidence of every class's best picture as saved; 0 without one.
    #[must_use]
    pub fn as_saved(&self) -> Vec<f32> {
        self.best(|mark| Some(mark.as_saved))
    }

    fn best(&self, confidence: impl Fn(&Mark) -> Option<f32>) -> Vec<f32> {
        let best = |class: &ClassRecord| class.mark(Milestone::Best).and_then(&confidence);
        self.classes.iter().map(|class| best(class).unwrap_or(0.0)).collect()
    }

    /// The classes whose climb ended before its time, with nothing to show for it.
    pub fn stopped(&self) -> impl Iterator<Item = &ClassRecord> {
        let is_stopped = |class: &&ClassRecord| {
            matches!(class.ending, Ending::NoGradient { .. } | Ending::NotANumber { .. })
        };
        self.classes.iter().filter(is_stopped)
    }

    /// Steps until half of the classes had reached a milestone; `None` if they have not.
    #[must_use]
    pub fn median_step(&self, milestone: Milestone) -> Option<u32> {
        let step = |class: &ClassRecord| class.mark(milestone).map(|mark| mark.step);
        let mut steps: Vec<u32> =
            self.classes.iter().map(|class| step(class).unwrap_or(u32::MAX)).collect();
        steps.sort_unstable();
        // Of an even number the upper one: at least half are there.
        steps.get(steps.len() / 2).copied().filter(|&step| step != u32::MAX)
    }
}

impl ClassRecord {
    /// The picture that reached a milestone.
    #[must_use]
    pub fn mark(&self, milestone: Milestone) -> Option<&Mark> {
        self.reached.get(&milestone)
    }
}
