//! A run, from its first generation or from where it stopped, to its report.

use std::time::{Duration, Instant};

use mirage_core::evolve::{Encoding, Evolution, REVISION};
use mirage_core::genome::{Cppn, Decode, Direct, Genome};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use serde::Serialize;
use thiserror::Error;

use super::checkpoint::{self, State};
use super::engine::{Engine, HeapArchive};
use super::folder::{Folder, FolderError};
use super::log::{HISTORY_HEADER, LINEAGE_HEADER, Lineage, Table, history_row};
use super::plan::{MNIST, Plan, PlanError};
use super::record::{
    Champion, HistoryRow, MachineRecord, Manifest, ModelRecord, RunRecord, Status,
};
use crate::model::{Model, ModelError};
use crate::simd::Simd;

/// The confidence that the paper's title figure shows, and that runs are measured by.
pub const CERTAIN: f32 = 0.9999;

/// The lower mark that the released code's hardest classes are compared by.
const SURE: f32 = 0.99;

/// Generations from one checkpoint to the next.
const CHECKPOINT_GENERATIONS: u32 = 20;

/// Longest time from one checkpoint to the next, if a generation takes no longer.
const CHECKPOINT_TIME: Duration = Duration::from_secs(10);

/// Why a run did not come to its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// The plan does not suit the model, or is not one of this version.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The run folder cannot be used.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The model cannot be used.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The run is past the generations that were asked for.
    #[error(
        "--generations {asked}: the run in {folder} has done {done}; ask for at least as many, or choose another --out"
    )]
    Fewer {
        /// The run folder.
        folder: String,
        /// Generations asked for.
        asked: u32,
        /// Generations done.
        done: u32,
    },
    /// The run was made with another model.
    #[error(
        "{folder}: this run was made with another model ({expected}, not {found}); name that one with --model"
    )]
    OtherModel {
        /// The run folder.
        folder: String,
        /// The run's model, by the first digits of its SHA-256.
        expected: String,
        /// The model given, likewise.
        found: String,
    },
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
    /// Median over the classes of the elites' confidence.
    pub median: f32,
    /// Classes with a confidence of at least [`CERTAIN`].
    pub certain: usize,
    /// Number of classes.
    pub classes: usize,
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
    /// The run folder.
    pub folder: String,
}

/// Starts a run in a new folder, or, with `resume`, goes on with the one that is there,
/// and works until all its generations are done.
///
/// A resumed run computes what an undisturbed one computes, bit for bit. `observe` is
/// called after every generation.
///
/// # Errors
/// [`RunError`]; what was done up to the last checkpoint is kept.
pub fn run(
    plan: &Plan,
    model: &Model,
    folder: &Folder,
    threads: usize,
    resume: bool,
    observe: &mut dyn FnMut(Progress),
) -> Result<(Summary, RunRecord), RunError> {
    plan.check_shape(model.shape())?;
    match plan.encoding {
        Encoding::Cppn(settings) => Session::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>::open(
            plan, settings, model, folder, threads, resume,
        )?
        .work(observe),
        Encoding::Direct(settings) => Session::<Direct<{ MNIST.len() }>>::open(
            plan, settings, model, folder, threads, resume,
        )?
        .work(observe),
    }
}

/// The record of the run in a folder as of its last checkpoint, for a report.
///
/// # Errors
/// If there is no run, or it was made with another model.
pub fn record(model: &Model, folder: &Folder) -> Result<RunRecord, RunError> {
    let manifest = folder.manifest()?;
    let plan = Plan::of(&manifest)?;
    check_model(&manifest.model, model, folder)?;
    plan.check_shape(model.shape())?;
    match plan.encoding {
        Encoding::Cppn(settings) => {
            read::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>(&plan, settings, model, folder, manifest)
        }
        Encoding::Direct(settings) => {
            read::<Direct<{ MNIST.len() }>>(&plan, settings, model, folder, manifest)
        }
    }
}

fn check_model(record: &ModelRecord, model: &Model, folder: &Folder) -> Result<(), RunError> {
    let found = model.record();
    if record.sha256 == found.sha256 {
        return Ok(());
    }
    let short = |model: &ModelRecord| {
        let digits = model.sha256.get(..12).unwrap_or(&model.sha256);
        format!("{} {digits}…", model.name)
    };
    Err(RunError::OtherModel {
        folder: folder.path().display().to_string(),
        expected: short(record),
        found: short(&found),
    })
}

/// A text that differs between runs that compute different things.
fn identity(plan: &Plan, model: &Model) -> String {
    let settings: Vec<String> =
        plan.settings().iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!(
        "algorithm {REVISION}, preset {}, {} children, seed {}, model {}, {}",
        plan.preset,
        plan.children,
        plan.seed,
        model.record().sha256,
        settings.join(", ")
    )
}

/// A run at work.
struct Session<'a, G: Genome> {
    plan: &'a Plan,
    model: &'a Model,
    folder: &'a Folder,
    engine: Engine<'a, G>,
    simd: Simd,
    threads: usize,
    identity: String,
    state: State,
    history: Table,
    lineage_table: Table,
    lineage: Lineage,
    started: Instant,
    seconds_before: f64,
}

fn evolution<S>(plan: &Plan, settings: S, model: &Model) -> Evolution<S> {
    Evolution { seed: plan.seed, children: plan.children, shape: model.shape(), settings }
}

impl<'a, G> Session<'a, G>
where
    G: Decode + Send + Sync,
    G::Settings: Sync,
{
    fn open(
        plan: &'a Plan,
        settings: G::Settings,
        model: &'a Model,
        folder: &'a Folder,
        threads: usize,
        resume: bool,
    ) -> Result<Self, RunError> {
        let simd = Simd::detect();
        let mut engine = Engine::new(evolution(plan, settings, model), model, simd, threads)?;
        let identity = identity(plan, model);
        let mut state = State::default();
        let resumed = if resume && folder.has_run() { Some(folder.manifest()?) } else { None };
        match &resumed {
            Some(manifest) => check_model(&manifest.model, model, folder)?,
            None => folder.create()?,
        }
        // With the tables in hand the folder stays what it is: whoever worked here before
        // has ended.
        let [mut history, mut lineage_table] = folder.tables()?;
        if resumed.is_none() {
            folder.begin(&manifest(plan, model, simd, threads, &state, String::new()))?;
        }
        if let Some((found, archive)) = checkpoint_of::<G>(folder, &identity, model)? {
            if found.generations > plan.generations {
                let (asked, done) = (plan.generations, found.generations);
                let folder = folder.path().display().to_string();
                return Err(RunError::Fewer { folder, asked, done });
            }
            state = found;
            engine.restore(archive);
        }
        if let Some(manifest) = &resumed {
            check_not_ahead(manifest, &state, folder)?;
        }
        let seconds_before = state.seconds;
        let origins = engine.archive().elites().map(|(_, elite)| elite.origin);
        let lineage = Lineage::restore(&state.living, origins);
        let of = |path| |error| folder.table_error(path, error);
        // Both are checked before one is cut.
        lineage_table.check(state.lineage_len).map_err(of(folder.lineage_path()))?;
        history.check(state.history_len).map_err(of(folder.history_path()))?;
        // From here on the run has as many generations as were asked for now, whatever
        // happens to this process.
        if resumed.is_some_and(|manifest| manifest.generations != plan.generations) {
            let digest = engine.archive().digest().to_string();
            folder.write_manifest(&manifest(plan, model, simd, threads, &state, digest))?;
        }
        history.begin(HISTORY_HEADER, state.history_len).map_err(of(folder.history_path()))?;
        lineage_table
            .begin(LINEAGE_HEADER, state.lineage_len)
            .map_err(of(folder.lineage_path()))?;
        let started = Instant::now();
        Ok(Self {
            plan,
            model,
            folder,
            engine,
            simd,
            threads,
            identity,
            state,
            history,
            lineage_table,
            lineage,
            started,
            seconds_before,
        })
    }

    fn work(mut self, observe: &mut dyn FnMut(Progress)) -> Result<(Summary, RunRecord), RunError> {
        let mut saved = Instant::now();
        let mut is_saved = false;
        while self.state.generations < self.plan.generations {
            self.generation()?;
            observe(self.progress());
            let generations = self.state.generations;
            is_saved = generations.is_multiple_of(CHECKPOINT_GENERATIONS)
                || saved.elapsed() >= CHECKPOINT_TIME;
            if is_saved {
                self.save()?;
                saved = Instant::now();
            }
        }
        if !is_saved {
            self.save()?;
        }
        for row in self.lineage.survivors() {
            self.lineage_table.push(&row);
        }
        self.flush()?;
        let history = self.folder.history(self.history.len())?;
        let manifest = Manifest { status: Status::Done, ..self.manifest() };
        self.folder.write_manifest(&manifest)?;
        let summary = summary(&manifest, &history, self.engine.archive(), self.folder);
        let champions = champions(&self.engine)?;
        Ok((summary, RunRecord { manifest, history, champions }))
    }

    fn generation(&mut self) -> Result<(), RunError> {
        let generation = self.state.generations;
        let mut risen = Vec::new();
        let (lineage, table) = (&mut self.lineage, &mut self.lineage_table);
        let done = self.engine.generation(generation, |child, takeover| {
            if !risen.contains(&takeover.class) {
                risen.push(takeover.class);
            }
            if let Some(row) = lineage.take(child.origin, takeover, generation) {
                table.push(&row);
            }
        })?;
        self.state.generations += 1;
        self.state.evaluations += done.children;
        self.state.skipped += done.skipped;
        risen.sort_unstable();
        for class in risen {
            let elite = self.engine.archive().cells().get(class).and_then(Option::as_ref);
            if let Some(elite) = elite {
                self.history.push(&history_row(&HistoryRow {
                    generation: self.state.generations,
                    evaluations: self.state.evaluations,
                    class: class as u32,
                    confidence: elite.confidence,
                }));
            }
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        let confidences = confidences(self.engine.archive());
        Progress {
            generation: self.state.generations,
            generations: self.plan.generations,
            evaluations: self.state.evaluations,
            median: median(&confidences),
            certain: count_at(&confidences, CERTAIN),
            classes: confidences.len(),
        }
    }

    fn flush(&mut self) -> Result<(), FolderError> {
        let write = |path| |source| FolderError::Write { path, source };
        self.history.flush().map_err(write(self.folder.history_path()))?;
        self.lineage_table.flush().map_err(write(self.folder.lineage_path()))
    }

    /// Brings everything to the disk: the tables first, then the checkpoint that states
    /// their lengths, then the manifest, which nothing depends on.
    fn save(&mut self) -> Result<(), RunError> {
        self.flush()?;
        self.state.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        self.state.history_len = self.history.len();
        self.state.lineage_len = self.lineage_table.len();
        self.state.living = self.lineage.taxa();
        let bytes = checkpoint::encode(&self.identity, &self.state, self.engine.archive());
        self.folder.write_checkpoint(&bytes)?;
        self.folder.write_manifest(&self.manifest())?;
        Ok(())
    }

    fn manifest(&self) -> Manifest {
        let digest = self.engine.archive().digest().to_string();
        manifest(self.plan, self.model, self.simd, self.threads, &self.state, digest)
    }
}

fn manifest(
    plan: &Plan,
    model: &Model,
    simd: Simd,
    threads: usize,
    state: &State,
    digest: String,
) -> Manifest {
    Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        preset: plan.preset.clone(),
        encoding: plan.encoding_name().to_owned(),
        settings: plan.settings(),
        seed: plan.seed,
        children: plan.children,
        generations: plan.generations,
        model: model.record(),
        machine: MachineRecord {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: simd.name().to_owned(),
            threads,
        },
        status: Status::Running,
        generations_done: state.generations,
        evaluations: state.evaluations,
        skipped: state.skipped,
        seconds: state.seconds,
        digest,
    }
}

/// The record of a run that is not at work.
fn read<G>(
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    folder: &Folder,
    mut manifest: Manifest,
) -> Result<RunRecord, RunError>
where
    G: Decode + Send + Sync,
    G::Settings: Sync,
{
    let mut engine = Engine::<G>::new(evolution(plan, settings, model), model, Simd::detect(), 1)?;
    let mut state = State::default();
    if let Some((found, archive)) = checkpoint_of::<G>(folder, &identity(plan, model), model)? {
        state = found;
        engine.restore(archive);
    }
    check_not_ahead(&manifest, &state, folder)?;
    // The checkpoint may be one step ahead of the manifest.
    manifest.generations_done = state.generations;
    manifest.evaluations = state.evaluations;
    manifest.skipped = state.skipped;
    manifest.seconds = state.seconds;
    manifest.digest = engine.archive().digest().to_string();
    // Pictures and labels are the model's; the file may say anything.
    manifest.model = ModelRecord { name: manifest.model.name, ..model.record() };
    let history =
        if state.history_len > 0 { folder.history(state.history_len)? } else { Vec::new() };
    let champions = champions(&engine)?;
    Ok(RunRecord { manifest, history, champions })
}

/// The checkpoint in a folder; `None` if there is none.
fn checkpoint_of<G: Decode>(
    folder: &Folder,
    identity: &str,
    model: &Model,
) -> Result<Option<(State, HeapArchive<G>)>, FolderError> {
    let Some(bytes) = folder.checkpoint()? else { return Ok(None) };
    let path = folder.checkpoint_path();
    checkpoint::decode(&bytes, identity, model.classes(), model.shape())
        .map(Some)
        .map_err(|source| FolderError::Checkpoint { path, source })
}

/// The checkpoint is always written before the manifest that tells of it: one that knows
/// of less has been lost or replaced, and going on from it would cut the tables.
fn check_not_ahead(manifest: &Manifest, state: &State, folder: &Folder) -> Result<(), FolderError> {
    if manifest.generations_done <= state.generations {
        return Ok(());
    }
    let (done, kept) = (manifest.generations_done, state.generations);
    let reason = format!("missing or old: it knows {kept} generations, run.json tells of {done}");
    Err(FolderError::Damaged { path: folder.checkpoint_path(), reason })
}

/// The elites as pictures, in class order.
fn champions<G>(engine: &Engine<'_, G>) -> Result<Vec<Champion>, ModelError>
where
    G: Decode + Send + Sync,
    G::Settings: Sync,
{
    let champion = |(class, elite): (usize, &mirage_core::archive::Elite<G>)| {
        let image = engine.picture(class).unwrap_or_default().to_vec();
        let scores = engine.classify(&image)?;
        Ok(Champion {
            class,
            confidence: elite.confidence,
            generation: elite.origin.generation + 1,
            id: elite.origin.id,
            image,
            scores,
        })
    };
    engine.archive().elites().map(champion).collect()
}

fn summary<G: Genome>(
    manifest: &Manifest,
    history: &[HistoryRow],
    archive: &HeapArchive<G>,
    folder: &Folder,
) -> Summary {
    let known = confidences(archive);
    Summary {
        digest: manifest.digest.clone(),
        seed: manifest.seed,
        preset: manifest.preset.clone(),
        model: manifest.model.name.clone(),
        model_sha256: manifest.model.sha256.clone(),
        generations: manifest.generations_done,
        children: manifest.children,
        evaluations: manifest.evaluations,
        skipped: manifest.skipped,
        seconds: manifest.seconds,
        median_confidence: median(&known),
        classes: known.len(),
        classes_at_99: count_at(&known, SURE),
        classes_at_9999: count_at(&known, CERTAIN),
        median_generation_9999: generation_of_certainty(history, known.len()),
        confidences: archive.cells().iter().map(|c| c.as_ref().map(|e| e.confidence)).collect(),
        folder: folder.path().display().to_string(),
    }
}

/// The confidence of every class, 0 for an empty cell.
fn confidences<G: Genome>(archive: &HeapArchive<G>) -> Vec<f32> {
    archive.cells().iter().map(|cell| cell.as_ref().map_or(0.0, |elite| elite.confidence)).collect()
}

/// The median; of an even number, the mean of the two in the middle. 0 of none.
#[must_use]
pub fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => at(len / 2),
        len => (at(len / 2 - 1) + at(len / 2)) / 2.0,
    }
}

fn count_at(confidences: &[f32], least: f32) -> usize {
    confidences.iter().filter(|&&confidence| confidence >= least).count()
}

/// The first generation after which the median over the classes is at least
/// [`CERTAIN`].
fn generation_of_certainty(history: &[HistoryRow], classes: usize) -> Option<u32> {
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
