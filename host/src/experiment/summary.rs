//! How far a run is, and its result.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use std::sync::Arc;

use mirage_core::genome::Genome;
use serde::Serialize;

use super::engine::HeapArchive;
use super::folder::Folder;
use super::groups::{self, Group};
use super::record::{HistoryRow, Manifest};

/// The confidence that the paper's title figure shows, and that runs are measured by.
pub const CERTAIN: f32 = 0.9999;

/// The lower mark that the paper counts ImageNet's classes by.
pub const SURE: f32 = 0.99;

/// Where logarithms of scores are compared, smaller ones count as this: below it there is
/// only rounding.
pub const LEAST_SCORE: f32 = 1e-7;

/// What a run tells as it goes.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// What was written down before this session.
    History(Vec<HistoryRow>),
    /// How far it is after a generation, and the elites that are new since it last told.
    Generation(Progress, Vec<Change>),
    /// Something that its owner should know, in one line.
    Warning(String),
}

/// A class's new elite.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Index of the class.
    pub class: usize,
    /// Confidence in that class, 0 ..= 1.
    pub confidence: f32,
    /// The generation, counted from 1, that made it.
    pub generation: u32,
    /// Height × width × channels pixel bytes.
    pub picture: Arc<[u8]>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Generations done.
    pub generation: u32,
    /// Generations asked for.
    pub generations: u32,
    /// Children tested.
    pub evaluations: u64,
    /// How many of them per second of wall-clock time, over the last minute of this session.
    pub rate: f64,
    /// Seconds until the last generation is done, at that rate; `None` before a session's
    /// first generation.
    pub seconds_left: Option<f64>,
    /// Median over the classes of the elites' confidence.
    pub median: f32,
    /// Classes with a confidence of at least [`SURE`].
    pub sure: usize,
    /// Classes with a confidence of at least [`CERTAIN`].
    pub certain: usize,
    /// Number of classes.
    pub classes: usize,
}

/// Measures how fast something grows, over the last minute or so.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// Moments, at least [`STEP`](Self::STEP) apart, and the counts then; never empty.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// What is looked back over.
    const WINDOW: Duration = Duration::from_secs(60);

    /// What bounds the memory.
    const STEP: Duration = Duration::from_secs(1);

    /// A meter that begins with `count` at `now`.
    pub(super) fn new(now: Instant, count: u64) -> Self {
        Self { marks: VecDeque::from([(now, count)]) }
    }

    /// The count is `count` now; how many per second it has grown since the last moment
    /// that is a minute ago, or the first.
    pub(super) fn rate(&mut self, now: Instant, count: u64) -> f64 {
        let age = |mark: Option<&(Instant, u64)>| mark.map(|&(then, _)| now - then);
        while age(self.marks.get(1)).is_some_and(|age| age >= Self::WINDOW) {
            self.marks.pop_front();
        }
        let (then, before) = self.marks[0];
        if age(self.marks.back()).is_some_and(|age| age >= Self::STEP) {
            self.marks.push_back((now, count));
        }
        (count - before) as f64 / (now - then).as_secs_f64().max(1e-9)
    }
}

/// The result of a run; the keys of `mirage evolve --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Digest of the archive, hexadecimal.
    pub digest: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Name of the preset.
    pub preset: String,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model, hexadecimal.
    pub model_sha256: String,
    /// Generations done.
    pub generations: u32,
    /// Children per generation.
    pub children: u32,
    /// Children tested.
    pub evaluations: u64,
    /// Of those, children whose picture was their parent's, not classified again.
    pub skipped: u64,
    /// Children with a score that was not a number: it takes no cell.
    pub undefined: u64,
    /// Wall-clock seconds, over all sessions, without the report.
    pub seconds: f64,
    /// Median over the classes of the elites' confidence.
    pub median_confidence: f32,
    /// Number of classes.
    pub classes: usize,
    /// Classes with a confidence of at least 0.99.
    pub classes_at_99: usize,
    /// Classes with a confidence of at least 0.9999.
    pub classes_at_9999: usize,
    /// The first generation, counted from 1, after which the median confidence was at
    /// least 0.9999.
    pub median_generation_9999: Option<u32>,
    /// Confidence per class; `null` for an empty cell.
    pub confidences: Vec<Option<f32>>,
    /// The model's sets of classes beside the rest.
    pub groups: Vec<Group>,
    /// The run folder.
    pub folder: String,
}

impl Summary {
    /// The result of the run in a folder.
    pub(super) fn of<G: Genome>(
        manifest: &Manifest,
        history: &[HistoryRow],
        archive: &HeapArchive<G>,
        folder: &Folder,
    ) -> Self {
        let known = confidences(archive);
        Self {
            digest: manifest.digest.clone(),
            seed: manifest.seed,
            preset: manifest.preset.clone(),
            model: manifest.model.name.clone(),
            model_sha256: manifest.model.sha256.clone(),
            generations: manifest.generations_done,
            children: manifest.children,
            evaluations: manifest.evaluations,
            skipped: manifest.skipped,
            undefined: manifest.undefined,
            seconds: manifest.seconds,
            median_confidence: median(&known),
            classes: known.len(),
            classes_at_99: count_at(&known, SURE),
            classes_at_9999: count_at(&known, CERTAIN),
            median_generation_9999: generation_of_certainty(history, known.len()),
            confidences: archive.cells().iter().map(|c| c.as_ref().map(|e| e.confidence)).collect(),
            groups: groups::compare(&manifest.model.groups, &known),
            folder: folder.path().display().to_string(),
        }
    }
}

/// The confidence of every class, 0 for an empty cell.
pub(super) fn confidences<G: Genome>(archive: &HeapArchive<G>) -> Vec<f32> {
    archive.cells().iter().map(|cell| cell.as_ref().map_or(0.0, |elite| elite.confidence)).collect()
}

/// The median; of an even number, the mean of the two in the middle. 0 of none.
#[must_use]
pub fn median(values: &[f32]) -> f32 {
    quantile(&mut values.to_vec(), 0.5).unwrap_or(0.0)
}

/// The value below which a share `q` (0 ..= 1) of the values lies, between neighbours
/// on a straight line. The values are sorted in place; `None` if there are none.
#[must_use]
pub fn quantile(values: &mut [f32], q: f64) -> Option<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let position = q * values.len().checked_sub(1)? as f64;
    let [low, high] = [position.floor(), position.ceil()].map(|at| f64::from(values[at as usize]));
    Some((low + (high - low) * position.fract()) as f32)
}

/// How many of the confidences are at least `least`.
#[must_use]
pub fn count_at(confidences: &[f32], least: f32) -> usize {
    confidences.iter().filter(|&&confidence| confidence >= least).count()
}

/// The first generation after which the median over the classes is at least
/// [`CERTAIN`].
pub(crate) fn generation_of_certainty(history: &[HistoryRow], classes: usize) -> Option<u32> {
    let mut now = vec![0.0; classes];
    for rows in history.chunk_by(|a, b| a.generation == b.generation) {
        for row in rows {
            if let Some(confidence) = now.get_mut(row.class as usize) {
                *confidence = row.confidence;
            }
        }
        if median(&now) >= CERTAIN {
            return rows.first().map(|row| row.generation);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(quantile(&mut [4.0, 1.0], 0.5), Some(2.5));
        assert_eq!(quantile(&mut [4.0, 1.0, 2.0], 0.25), Some(1.5));
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        // After a resume: what was there before does not count.
        let mut meter = Meter::new(start, 1_000_000);
        assert_eq!(meter.rate(at(0.5), 1_000_050), 100.0);
        // Ten per second for ten minutes, then twenty.
        let mut meter = Meter::new(start, 0);
        for step in 1..=6000_u32 {
            let rate = meter.rate(at(f64::from(step) / 10.0), step.into());
            assert!((rate - 10.0).abs() < 1e-6, "{rate}");
        }
        assert!(meter.marks.len() <= 62, "{}", meter.marks.len());
        assert_eq!(meter.rate(at(630.0), 6600), 15.0);
        assert_eq!(meter.rate(at(660.0), 7200), 20.0);
        // Generations that take longer than the window.
        assert_eq!(meter.rate(at(1660.0), 12200), 5.0);
        assert_eq!(meter.rate(at(1760.0), 12200), 0.0);
    }

    #[test]
    fn certainty_comes_with_the_row_that_lifts_the_median() {
        let row = |generation, class, confidence| HistoryRow {
            generation,
            evaluations: 0,
            class,
            confidence,
        };
        let rows = [row(1, 0, 0.5), row(1, 1, 0.5), row(1, 2, 1.0), row(7, 1, 1.0), row(9, 0, 1.0)];
        assert_eq!(generation_of_certainty(&rows, 3), Some(7));
        assert_eq!(generation_of_certainty(&rows[..3], 3), None);
    }
}
