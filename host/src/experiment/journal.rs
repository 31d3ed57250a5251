//! What a run writes down as it goes: the two tables, the checkpoint, and `run.json`.
//!
//! Whoever computes the generations, here or on a board, tells the journal which cells
//! changed hands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mirage_core::archive::{Origin, Takeover};
use mirage_core::evolve::REVISION;
use mirage_core::genome::{Decode, Genome};
use thiserror::Error;

use super::checkpoint::{self, State};
use super::engine::{Engine, Generation, HeapArchive};
use super::folder::{Folder, FolderError};
use super::log::{HISTORY_HEADER, LINEAGE_HEADER, Lineage, Table, history_row};
use super::plan::{Plan, PlanError};
use super::record::{HistoryRow, MachineRecord, Manifest, ModelRecord, RunRecord, Status};
use super::summary::{CERTAIN, Progress, Summary, confidences, count_at, median};
use crate::model::{Model, ModelError};

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
    /// The model failed on the way, for example because its board has gone.
    #[error(
        "{source}; {done} of {generations} generations are kept: go on by `mirage evolve --resume{device} --out {folder}`"
    )]
    Stopped {
        /// Generations that are whole.
        done: u32,
        /// Generations asked for.
        generations: u32,
        /// The option that the model is only to be had by, with a space before it, if
        /// there is one.
        device: &'static str,
        /// The run folder.
        folder: String,
        /// What happened.
        source: ModelError,
    },
    /// The run was asked to stop.
    #[error(
        "stopped: {done} of {generations} generations are kept: go on by `mirage evolve --resume --out {folder}`"
    )]
    Interrupted {
        /// Generations that are whole.
        done: u32,
        /// Generations asked for.
        generations: u32,
        /// The run folder.
        folder: String,
    },
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

/// The folder of a run at work.
#[derive(Debug)]
pub struct Journal<'a> {
    plan: &'a Plan,
    model: &'a Model,
    folder: &'a Folder,
    machine: MachineRecord,
    identity: String,
    state: State,
    history: Table,
    lineage_table: Table,
    lineage: Lineage,
    /// The classes whose confidence rose in the present generation.
    risen: BTreeMap<usize, f32>,
    /// When the checkpoint was written, and how many generations it knows.
    saved: Instant,
    saved_generations: u32,
    started: Instant,
    /// Children and seconds of earlier sessions.
    evaluations_before: u64,
    seconds_before: f64,
}

impl<'a> Journal<'a> {
    /// Begins a new folder, or, with `resume`, goes on with the one that is there, whose
    /// archive is returned too; `None` if it has none yet.
    ///
    /// # Errors
    /// If the folder cannot be used; it is then as it was.
    pub fn open<G: Decode>(
        plan: &'a Plan,
        model: &'a Model,
        folder: &'a Folder,
        machine: MachineRecord,
        resume: bool,
    ) -> Result<(Self, Option<HeapArchive<G>>), RunError> {
        let identity = identity(plan, model);
        let resumed = if resume && folder.has_run() { Some(folder.manifest()?) } else { None };
        match &resumed {
            Some(manifest) => check_model(&manifest.model, model, folder)?,
            None => folder.create()?,
        }
        // With the tables in hand the folder stays what it is: whoever worked here before
        // has ended.
        let [history, lineage_table] = folder.tables()?;
        let now = Instant::now();
        let mut journal = Self {
            plan,
            model,
            folder,
            machine,
            identity,
            state: State::default(),
            history,
            lineage_table,
            lineage: Lineage::default(),
            risen: BTreeMap::new(),
            saved: now,
            saved_generations: 0,
            started: now,
            evaluations_before: 0,
            seconds_before: 0.0,
        };
        if resumed.is_none() {
            folder.begin(&journal.manifest(String::new()))?;
        }
        let found = checkpoint_of::<G>(folder, &journal.identity, model)?;
        let archive = found.map(|(state, archive)| {
            journal.state = state;
            archive
        });
        journal.go_on(resumed.as_ref(), archive.as_ref())?;
        Ok((journal, archive))
    }

    /// Begins a session of the run at `self.state`.
    fn go_on<G: Genome>(
        &mut self,
        resumed: Option<&Manifest>,
        archive: Option<&HeapArchive<G>>,
    ) -> Result<(), RunError> {
        let (plan, folder, state) = (self.plan, self.folder, &self.state);
        if state.generations > plan.generations {
            let (asked, done) = (plan.generations, state.generations);
            let folder = folder.path().display().to_string();
            return Err(RunError::Fewer { folder, asked, done });
        }
        if let Some(manifest) = resumed {
            check_not_ahead(manifest, state, folder)?;
        }
        let of = |path| |error| folder.table_error(path, error);
        // Both are checked before one is cut.
        self.lineage_table.check(state.lineage_len).map_err(of(folder.lineage_path()))?;
        self.history.check(state.history_len).map_err(of(folder.history_path()))?;
        // From here on the run has as many generations as were asked for now, whatever
        // happens to this process.
        if resumed.is_some_and(|manifest| manifest.generations != plan.generations) {
            let digest = archive.map(|archive| archive.digest().to_string()).unwrap_or_default();
            folder.write_manifest(&self.manifest(digest))?;
        }
        self.history.begin(HISTORY_HEADER, state.history_len).map_err(of(folder.history_path()))?;
        self.lineage_table
            .begin(LINEAGE_HEADER, state.lineage_len)
            .map_err(of(folder.lineage_path()))?;
        let elites = archive.iter().flat_map(|archive| archive.elites());
        self.lineage = Lineage::restore(&state.living, elites.map(|(_, elite)| elite.origin));
        self.saved_generations = state.generations;
        self.evaluations_before = state.evaluations;
        self.seconds_before = state.seconds;
        Ok(())
    }

    /// Generations done; the present one, counted from 0.
    #[must_use]
    pub fn generations(&self) -> u32 {
        self.state.generations
    }

    /// Notes that `origin` took a cell in the present generation.
    pub fn take(&mut self, origin: Origin, takeover: Takeover) {
        self.risen.insert(takeover.class, takeover.confidence);
        if let Some(row) = self.lineage.take(origin, takeover, self.state.generations) {
            self.lineage_table.push(&row);
        }
    }

    /// Ends the present generation.
    pub fn end_generation(&mut self, done: Generation) {
        self.state.generations += 1;
        self.state.evaluations += done.children;
        self.state.skipped += done.skipped;
        for (class, confidence) in std::mem::take(&mut self.risen) {
            self.history.push(&history_row(&HistoryRow {
                generation: self.state.generations,
                evaluations: self.state.evaluations,
                class: class as u32,
                confidence,
            }));
        }
    }

    /// Saves the run now and then: every so many generations, or seconds. `archive` is the
    /// one after the last generation.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn save_when_due<G: Genome>(&mut self, archive: &HeapArchive<G>) -> Result<(), RunError> {
        let blocks = |generations: u32| generations / CHECKPOINT_GENERATIONS;
        let is_due = blocks(self.state.generations) > blocks(self.saved_generations)
            || self.saved.elapsed() >= CHECKPOINT_TIME;
        if is_due { self.save(archive) } else { Ok(()) }
    }

    /// How far the run is.
    #[must_use]
    pub fn progress<G: Genome>(&self, archive: &HeapArchive<G>) -> Progress {
        let confidences = confidences(archive);
        let new = self.state.evaluations - self.evaluations_before;
        Progress {
            generation: self.state.generations,
            generations: self.plan.generations,
            evaluations: self.state.evaluations,
            rate: new as f64 / self.started.elapsed().as_secs_f64().max(1e-9),
            median: median(&confidences),
            certain: count_at(&confidences, CERTAIN),
            classes: confidences.len(),
        }
    }

    /// Ends the run, whose last generation is done; `engine` has its archive.
    ///
    /// # Errors
    /// If the disk does not take it, or the model fails on an elite.
    pub fn finish<G>(mut self, engine: &Engine<'_, G>) -> Result<(Summary, RunRecord), RunError>
    where
        G: Genome + Send + Sync,
        G::Settings: Sync,
    {
        let archive = engine.archive();
        self.save(archive)?;
        for row in self.lineage.survivors() {
            self.lineage_table.push(&row);
        }
        self.flush()?;
        let history = self.folder.history(self.history.len())?;
        let digest = archive.digest().to_string();
        let manifest = Manifest { status: Status::Done, ..self.manifest(digest) };
        self.folder.write_manifest(&manifest)?;
        let summary = Summary::of(&manifest, &history, archive, self.folder);
        Ok((summary, RunRecord { manifest, history, champions: engine.champions()? }))
    }

    /// Saves the run, which cannot go on for now, at the end of its last whole generation;
    /// the error that says so.
    pub fn stop<G: Genome>(&mut self, archive: &HeapArchive<G>, source: ModelError) -> RunError {
        match self.save(archive) {
            Err(error) => error,
            Ok(()) => RunError::Stopped {
                done: self.state.generations,
                generations: self.plan.generations,
                device: if self.is_on_board() { " --device PORT" } else { "" },
                folder: self.folder.path().display().to_string(),
                source,
            },
        }
    }

    /// Saves the run, which was asked to stop, at the end of its last whole generation; the
    /// error that says so.
    pub fn interrupted<G: Genome>(&mut self, archive: &HeapArchive<G>) -> RunError {
        match self.save(archive) {
            Err(error) => error,
            Ok(()) => RunError::Interrupted {
                done: self.state.generations,
                generations: self.plan.generations,
                folder: self.folder.path().display().to_string(),
            },
        }
    }

    /// Whether the model is on a board and nowhere else.
    fn is_on_board(&self) -> bool {
        self.model.board().is_some() && Model::built_in(self.model.sha256()).is_none()
    }

    fn flush(&mut self) -> Result<(), FolderError> {
        let write = |path| |source| FolderError::Write { path, source };
        self.history.flush().map_err(write(self.folder.history_path()))?;
        self.lineage_table.flush().map_err(write(self.folder.lineage_path()))
    }

    /// Brings everything to the disk: the tables first, then the checkpoint that states
    /// their lengths, then the manifest, which nothing depends on. `archive` is the one
    /// after the last generation.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn save<G: Genome>(&mut self, archive: &HeapArchive<G>) -> Result<(), RunError> {
        self.flush()?;
        self.state.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        self.state.history_len = self.history.len();
        self.state.lineage_len = self.lineage_table.len();
        self.state.living = self.lineage.taxa();
        let bytes = checkpoint::encode(&self.identity, &self.state, archive);
        self.folder.write_checkpoint(&bytes)?;
        self.folder.write_manifest(&self.manifest(archive.digest().to_string()))?;
        (self.saved, self.saved_generations) = (Instant::now(), self.state.generations);
        Ok(())
    }

    fn manifest(&self, digest: String) -> Manifest {
        let (plan, state) = (self.plan, &self.state);
        Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            preset: plan.preset.clone(),
            encoding: plan.encoding_name().to_owned(),
            settings: plan.settings(),
            seed: plan.seed,
            children: plan.children,
            generations: plan.generations,
            model: self.model.record(),
            machine: self.machine.clone(),
            status: Status::Running,
            generations_done: state.generations,
            evaluations: state.evaluations,
            skipped: state.skipped,
            seconds: state.seconds,
            digest,
        }
    }
}

pub(super) fn check_model(
    record: &ModelRecord,
    model: &Model,
    folder: &Folder,
) -> Result<(), RunError> {
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
pub(super) fn identity(plan: &Plan, model: &Model) -> String {
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

/// The checkpoint in a folder; `None` if there is none.
pub(super) fn checkpoint_of<G: Decode>(
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
pub(super) fn check_not_ahead(
    manifest: &Manifest,
    state: &State,
    folder: &Folder,
) -> Result<(), FolderError> {
    if manifest.generations_done <= state.generations {
        return Ok(());
    }
    let (done, kept) = (manifest.generations_done, state.generations);
    let reason = format!("missing or old: it knows {kept} generations, run.json tells of {done}");
    Err(FolderError::Damaged { path: folder.checkpoint_path(), reason })
}
