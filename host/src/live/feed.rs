//! What a run tells those who watch.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mirage_core::image::Shape;
use serde::Serialize;

use crate::experiment::record::HistoryRow;
use crate::experiment::summary::{Change, Progress, quantile};

/// A point of the curve is kept when this share of its generation has passed since the
/// one before: the page shows generations by ratio, and 20 000 of them take 470 points.
const STEP: u32 = 64;

/// The shares of the classes below the curve's lines: the lowest tenth, the median, the
/// highest tenth.
const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

/// What stays the same while a run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Name of the preset.
    pub preset: String,
    /// Name of the model.
    pub model: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Name of every class, in class order.
    pub labels: Vec<String>,
    /// Shape of the pictures, with 1 (grey) or 3 channels (red, green, blue).
    pub shape: Shape,
    /// The run folder.
    pub folder: PathBuf,
}

/// Whether a run is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It goes on.
    Working,
    /// All its generations are done.
    Done,
    /// It ended before, and can be resumed.
    Stopped,
}

/// What a run has told so far, shared by the run and a [`Server`](super::Server).
#[derive(Debug)]
pub struct Feed {
    run: Run,
    first: u64,
    state: Mutex<Arc<State>>,
}

/// A moment of a run. Whoever reads it holds it by its pointer; the run changes it in
/// place where nobody does, and else a copy.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Counts what the run told.
    pub(super) version: u64,
    pub(super) phase: Phase,
    /// `None` before the first generation.
    pub(super) progress: Option<Progress>,
    /// The current end of the curve.
    pub(super) spread: Spread,
    /// The elite of every class, in class order.
    pub(super) elites: Vec<Option<Shown>>,
    /// The curve's past.
    pub(super) curve: Vec<Point>,
}

/// An elite and the version that brought it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) version: u64,
    pub(super) elite: Change,
}

/// The confidence that a tenth, a half and nine tenths of the classes do not exceed.
pub(super) type Spread = [f32; LEVELS.len()];

/// A point of the curve and the version that brought it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) version: u64,
    pub(super) generation: u32,
    pub(super) spread: Spread,
}

impl Feed {
    /// A feed of a run that has not told anything yet.
    ///
    /// Versions begin at the microseconds since 1970, so that those of an earlier run,
    /// which a page may still know, are older.
    #[must_use]
    pub fn new(run: Run) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let first = now.as_micros() as u64;
        let state = State {
            version: first,
            phase: Phase::Working,
            progress: None,
            spread: Spread::default(),
            elites: vec![None; run.labels.len()],
            curve: Vec::new(),
        };
        Self { run, first, state: Mutex::new(Arc::new(state)) }
    }

    /// Tells the history of a run that is resumed, which the curve begins with; the
    /// elites follow with the next [`Self::publish`]. Rows are in the order of their
    /// generations.
    pub fn replay(&self, history: &[HistoryRow]) {
        let mut confidences = vec![0.0; self.run.labels.len()];
        self.change(|state| {
            for rows in history.chunk_by(|a, b| a.generation == b.generation) {
                for row in rows {
                    if let Some(confidence) = confidences.get_mut(row.class as usize) {
                        *confidence = row.confidence;
                    }
                }
                state.extend_curve(rows[0].generation, spread(confidences.clone()));
            }
        });
    }

    /// Tells how far the run is and which elites are new since the last call; in the
    /// first call those are all that there are. Elites that do not fit the run's classes
    /// and shape are left out.
    ///
    /// Meant to be called after every generation: it costs microseconds and never waits
    /// for a watcher.
    pub fn publish(&self, progress: Progress, changes: impl IntoIterator<Item = Change>) {
        // Before the lock: the iterator may take its time.
        let fits = |change: &Change| change.picture.len() == self.run.shape.len();
        let changes: Vec<Change> = changes.into_iter().filter(fits).collect();
        self.change(|state| {
            for elite in changes {
                if let Some(cell) = state.elites.get_mut(elite.class) {
                    *cell = Some(Shown { version: state.version, elite });
                }
            }
            state.spread = spread(state.confidences().collect());
            state.progress = Some(progress);
            state.extend_curve(progress.generation, state.spread);
        });
    }

    /// Tells that the run ended, or goes on.
    pub fn set_phase(&self, phase: Phase) {
        self.change(|state| state.phase = phase);
    }

    /// What stays the same.
    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// The version before anything was told.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// This moment.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut shared = self.lock();
        let state = Arc::make_mut(&mut shared);
        state.version += 1;
        change(state);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<State>> {
        // What a panic may leave behind is an incomplete moment; the next is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The confidence of every class, 0 without an elite.
    pub(super) fn confidences(&self) -> impl Iterator<Item = f32> {
        self.elites.iter().map(|shown| shown.as_ref().map_or(0.0, |shown| shown.elite.confidence))
    }

    fn extend_curve(&mut self, generation: u32, spread: Spread) {
        let due = |last: &Point| last.generation + (last.generation / STEP).max(1);
        if self.curve.last().is_none_or(|last| generation >= due(last)) {
            self.curve.push(Point { version: self.version, generation, spread });
        }
    }
}

fn spread(mut confidences: Vec<f32>) -> Spread {
    LEVELS.map(|level| quantile(&mut confidences, level).unwrap_or(0.0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A feed of `classes` classes with grey pictures of 2 × 1.
    pub(in super::super) fn feed(classes: usize) -> Feed {
        Feed::new(Run {
            preset: "mnist-cppn".to_owned(),
            model: "lenet".to_owned(),
            seed: 1,
            labels: (0..classes).map(|class| format!("label {class}")).collect(),
            shape: Shape { height: 1, width: 2, channels: 1 },
            folder: "runs/a".into(),
        })
    }

    /// Ten children per generation, of which there are 100.
    pub(in super::super) fn progress(generation: u32) -> Progress {
        Progress {
            generation,
            generations: 100,
            evaluations: u64::from(generation) * 10,
            rate: 20.0,
            seconds_left: Some(f64::from(100 - generation) * 0.5),
            median: 0.0,
            sure: 0,
            certain: 0,
            classes: 0,
        }
    }

    pub(in super::super) fn change(class: usize, confidence: f32) -> Change {
        Change { class, confidence, generation: 1, picture: Arc::new([0, 255]) }
    }

    #[test]
    fn elites_carry_the_version_that_brought_them() {
        let feed = feed(3);
        feed.publish(progress(1), [change(0, 0.5), change(2, 0.25)]);
        feed.publish(progress(2), [change(2, 0.75)]);
        let state = feed.state();
        let versions: Vec<_> =
            state.elites.iter().map(|e| e.as_ref().map(|e| e.version - feed.first())).collect();
        assert_eq!(versions, [Some(1), None, Some(2)]);
        assert_eq!(state.spread, [0.1, 0.5, 0.7]);
        assert_eq!(state.version, feed.first() + 2);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let feed = feed(1);
        let small = Change { picture: Arc::new([1]), ..change(0, 0.9) };
        feed.publish(progress(1), [small, change(1, 0.9)]);
        assert!(feed.state().elites[0].is_none());
    }

    #[test]
    fn a_moment_that_is_being_read_does_not_change() {
        let feed = feed(1);
        let before = feed.state();
        feed.publish(progress(1), [change(0, 0.5)]);
        assert!(before.elites[0].is_none() && before.progress.is_none());
        assert!(feed.state().elites[0].is_some());
    }

    #[test]
    fn the_curve_of_a_long_run_stays_short() {
        let feed = feed(2);
        for generation in 1..=20_000 {
            feed.publish(progress(generation), []);
        }
        let state = feed.state();
        assert!(state.curve.len() < 500, "{}", state.curve.len());
        let early: Vec<u32> = state.curve.iter().map(|p| p.generation).take(64).collect();
        assert_eq!(early, (1..=64).collect::<Vec<u32>>());
    }

    #[test]
    fn a_replayed_history_is_the_curve_that_was() {
        let (undisturbed, resumed) = (feed(2), feed(2));
        let row = |generation, class, confidence| HistoryRow {
            generation,
            evaluations: 0,
            class,
            confidence,
        };
        undisturbed.publish(progress(1), [change(0, 0.5)]);
        undisturbed.publish(progress(2), [change(0, 0.6), change(1, 0.25)]);
        resumed.replay(&[row(1, 0, 0.5), row(2, 0, 0.6), row(2, 1, 0.25), row(2, 9, 1.0)]);
        for feed in [&undisturbed, &resumed] {
            feed.publish(progress(3), [change(0, 0.7), change(1, 0.5)]);
        }
        let curve = |feed: &Feed| -> Vec<_> {
            feed.state().curve.iter().map(|point| (point.generation, point.spread)).collect()
        };
        assert_eq!(curve(&resumed), curve(&undisturbed));
    }
}
