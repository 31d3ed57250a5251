//! What a run writes down as it goes: the two tables, the checkpoint, and `run.json`.
//!
//! Whoever computes the generations, here or on a board, tells the journal which cells
//! changed hands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mirage_core::archive::{Origin, Takeover};
use mirage_core::evolve::REVISION;
use mirage_core::genome::{Decode, Genome};
use thiserror::Error;

use super::checkpoint::{self, Pace, State};
use super::engine::{Engine, Generation, HeapArchive};
use super::folder::{Folder, FolderError};
use super::log::{HISTORY_HEADER, LINEAGE_HEADER, Lineage, Table, history_row};
use super::plan::{Plan, PlanError};
use super::record::{HistoryRow, MachineRecord, Manifest, ModelRecord, RunRecord, Status};
use super::summary::{CERTAIN, Meter, Progress, SURE, Summary, confidences, count_at, median};
use crate::model::{Model, ModelError};
use crate::words::{counted, quoted};

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
        "{source}; {done} of {} kept: go on with `{command}`",
        counted(*generations, "generation")
    )]
    Stopped {
        /// Generations that are whole.
        done: u32,
        /// Generations asked for.
        generations: u32,
        /// What to type to go on.
        command: String,
        /// What happened.
        source: ModelError,
    },
    /// The run was asked to stop.
    #[error(
        "stopped: {done} of {} kept: go on with `{command}`, or look at what there is with `mirage report {folder}`",
        counted(*generations, "generation")
    )]
    Interrupted {
        /// Generations that are whole.
        done: u32,
        /// Generations asked for.
        generations: u32,
        /// What to type to go on.
        command: String,
        /// The run folder, as one types it.
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
    /// The run's pictures were prepared otherwise.
    #[error(
        "{folder}: this run prepared pictures for {model} otherwise ({expected}, not {found}); restore the model's TOML file and what it names"
    )]
    OtherPreprocessing {
        /// The run folder.
        folder: String,
        /// The model.
        model: String,
        /// How the run prepares pictures.
        expected: String,
        /// How the model is described now.
        found: String,
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

impl RunError {
    /// The run in `folder` was asked to stop, and has been saved with `done` generations.
    pub(crate) fn interrupted(done: u32, plan: &Plan, folder: &Folder) -> Self {
        let (generations, command) = (plan.generations, command("", folder.path()));
        Self::Interrupted { done, generations, command, folder: typed(folder.path()) }
    }
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
    pace: Pace,
    /// When the checkpoint was written, and how many generations it knows.
    saved: Instant,
    saved_generations: u32,
    started: Instant,
    /// Time that this session has spent on saving.
    saving: Duration,
    meter: Meter,
    /// Seconds of earlier sessions.
    seconds_before: f64,
    /// What the owner of the run has yet to be told.
    warning: Option<String>,
}

/// A checkpoint that was found.
pub(super) struct Found<G> {
    pub(super) state: State,
    pub(super) archive: HeapArchive<G>,
    /// Why it is the previous one, if it is.
    pub(super) last_is: Option<String>,
}

impl<'a> Journal<'a> {
    /// Begins a new folder, or, with `resume`, goes on with the one that is there, whose
    /// archive is returned too; `None` if it has none yet. If the last checkpoint is
    /// missing or damaged and the previous is whole, the run goes on from there.
    ///
    /// # Errors
    /// If the folder cannot be used; it is then as it was.
    pub fn open<G: Decode + PartialEq>(
        plan: &'a Plan,
        model: &'a Model,
        folder: &'a Folder,
        machine: MachineRecord,
        resume: bool,
        pace: Pace,
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
        // A run that is done already was made where it was made.
        let done = resumed.as_ref().filter(|run| run.generations_done >= plan.generations);
        let machine = done.map_or(machine, |run| run.machine.clone());
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
            pace,
            saved: now,
            saved_generations: 0,
            started: now,
            saving: Duration::ZERO,
            meter: Meter::new(now, 0),
            seconds_before: 0.0,
            warning: None,
        };
        if resumed.is_none() {
            folder.begin(&journal.manifest(String::new()))?;
        }
        let found = checkpoint_of::<G>(folder, &journal.identity, model)?;
        journal.go_on(resumed.as_ref(), found.as_ref())?;
        Ok((journal, found.map(|found| found.archive)))
    }

    /// Begins a session of the run, at the checkpoint that was found if there is one.
    fn go_on<G: Genome>(
        &mut self,
        resumed: Option<&Manifest>,
        found: Option<&Found<G>>,
    ) -> Result<(), RunError> {
        self.state = found.map(|found| found.state.clone()).unwrap_or_default();
        let (plan, folder, state) = (self.plan, self.folder, &self.state);
        if state.generations > plan.generations {
            let (asked, done) = (plan.generations, state.generations);
            let folder = folder.path().display().to_string();
            return Err(RunError::Fewer { folder, asked, done });
        }
        if let Some(manifest) = resumed {
            check_not_lost(manifest, found.is_some(), folder)?;
            self.warning = warning_of_an_old_one(manifest, state, found, folder);
        }
        let of = |path| |error| folder.table_error(path, error);
        // Both are checked before one is cut.
        self.lineage_table.check(state.lineage_len).map_err(of(folder.lineage_path()))?;
        self.history.check(state.history_len).map_err(of(folder.history_path()))?;
        if found.is_some_and(|found| found.last_is.is_some()) {
            folder.restore_previous_checkpoint()?;
        }
        // From here on the run has as many generations as were asked for now, whatever
        // happens to this process.
        if resumed.is_some_and(|manifest| manifest.generations != plan.generations) {
            let digest = found.map(|found| found.archive.digest().to_string());
            let digest = digest.unwrap_or_default();
            folder.write_manifest(&self.manifest(digest))?;
        }
        self.history.begin(HISTORY_HEADER, state.history_len).map_err(of(folder.history_path()))?;
        self.lineage_table
            .begin(LINEAGE_HEADER, state.lineage_len)
            .map_err(of(folder.lineage_path()))?;
        let elites = found.iter().flat_map(|found| found.archive.elites());
        self.lineage = Lineage::restore(&state.living, elites.map(|(_, elite)| elite.origin));
        self.saved_generations = state.generations;
        self.meter = Meter::new(self.started, state.evaluations);
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

    /// What the owner of the run should know and was not told yet.
    pub fn warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Ends the present generation.
    pub fn end_generation(&mut self, done: Generation) {
        if self.state.undefined == 0 && done.undefined > 0 {
            self.warning = Some(format!(
                "model {}: for {} of {} images of generation {} it gave scores that are not numbers; such a score never wins a class",
                self.model.name(),
                done.undefined,
                done.children,
                self.state.generations + 1
            ));
        }
        self.state.undefined += done.undefined;
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

    /// Saves the run if it is [due](Pace::is_due). `archive` is the one after the last
    /// generation.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn save_when_due<G: Genome>(&mut self, archive: &HeapArchive<G>) -> Result<(), RunError> {
        let is_due = self.pace.is_due(
            self.saved_generations,
            self.state.generations,
            self.saved.elapsed(),
            self.saving,
            self.started.elapsed(),
        );
        if is_due { self.save(archive) } else { Ok(()) }
    }

    /// What has been written down so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self) -> Result<Vec<HistoryRow>, RunError> {
        Ok(self.folder.history(self.history.len())?)
    }

    /// How far the run is.
    #[must_use]
    pub fn progress<G: Genome>(&mut self, archive: &HeapArchive<G>) -> Progress {
        let confidences = confidences(archive);
        let rate = self.meter.rate(Instant::now(), self.state.evaluations);
        let left = self.plan.generations.saturating_sub(self.state.generations);
        let children = f64::from(left) * f64::from(self.plan.children);
        Progress {
            generation: self.state.generations,
            generations: self.plan.generations,
            evaluations: self.state.evaluations,
            rate,
            seconds_left: (rate > 0.0).then_some(children / rate),
            median: median(&confidences),
            sure: count_at(&confidences, SURE),
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
                command: self.command(),
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
                command: self.command(),
                folder: typed(self.folder.path()),
            },
        }
    }

    /// What to type to go on with the run.
    fn command(&self) -> String {
        // A model that is on a board and nowhere else.
        let is_on_board =
            self.model.board().is_some() && Model::built_in(self.model.sha256()).is_none();
        command(if is_on_board { " --device PORT" } else { "" }, self.folder.path())
    }

    fn flush(&mut self) -> Result<(), FolderError> {
        let write = |path| |source| FolderError::Write { path, source };
        self.history.flush().map_err(write(self.folder.history_path()))?;
        self.lineage_table.flush().map_err(write(self.folder.lineage_path()))
    }

    /// Brings what is new to the disk: the tables first, then the checkpoint that states
    /// their lengths, then the manifest, which nothing depends on. `archive` is the one
    /// after the last generation.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn save<G: Genome>(&mut self, archive: &HeapArchive<G>) -> Result<(), RunError> {
        if self.saved_generations == self.state.generations {
            return Ok(());
        }
        self.state.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        let began = Instant::now();
        self.flush()?;
        self.state.history_len = self.history.len();
        self.state.lineage_len = self.lineage_table.len();
        self.state.living = self.lineage.taxa();
        let digest = self.folder.write_checkpoint(|file| {
            checkpoint::encode(file, &self.identity, &self.state, archive)
        })?;
        self.folder.write_manifest(&self.manifest(digest.to_string()))?;
        (self.saved, self.saved_generations) = (Instant::now(), self.state.generations);
        self.saving += began.elapsed();
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
            undefined: state.undefined,
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
        // An int8 network has its pictures in its file, whatever the manifest says.
        let is_described = !model.is_int8() && model.board().is_none();
        let is_other =
            (&record.preprocessing, record.picture) != (&found.preprocessing, found.picture);
        if !(is_described && is_other) {
            return Ok(());
        }
        let in_words = |model: &ModelRecord| {
            let [height, width, _] = model.picture;
            format!("{}, picture = [{height}, {width}]", model.preprocessing)
        };
        return Err(RunError::OtherPreprocessing {
            folder: folder.path().display().to_string(),
            model: found.name.clone(),
            expected: in_words(record),
            found: in_words(&found),
        });
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
    let ModelRecord { sha256, picture: [height, width, _], preprocessing, .. } = model.record();
    format!(
        "algorithm {REVISION}, preset {}, {} children, seed {}, model {sha256}, {}, pictures of {width}×{height}, preprocessing {preprocessing}",
        plan.preset,
        plan.children,
        plan.seed,
        settings.join(", ")
    )
}

/// What to type to go on with the run in `folder`; `device` is the option for its board,
/// if it has one.
fn command(device: &str, folder: &Path) -> String {
    format!("mirage evolve --resume{device} --out {}", typed(folder))
}

/// A path as one types it in a shell.
fn typed(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// The last checkpoint in a folder or, if that is missing or damaged, the one before;
/// `None` if there is neither.
///
/// Either leads to the same bits: the tables are cut back to where the checkpoint was
/// written, and grow again as they did.
pub(super) fn checkpoint_of<G: Decode + PartialEq>(
    folder: &Folder,
    identity: &str,
    model: &Model,
) -> Result<Option<Found<G>>, FolderError> {
    let (classes, shape) = (model.classes(), model.shape());
    let most = checkpoint::max_len::<G>(identity, classes, shape);
    let read = |path: PathBuf| {
        let Some(bytes) = folder.checkpoint(path.clone(), most)? else { return Ok(None) };
        match checkpoint::decode(&bytes, identity, classes, shape) {
            Ok((state, archive)) => Ok(Some(Found { state, archive, last_is: None })),
            Err(source) => Err(FolderError::Checkpoint { path, source }),
        }
    };
    let last = read(folder.checkpoint_path());
    let why = match &last {
        Ok(None) => "missing".to_owned(),
        Err(FolderError::Checkpoint { source, .. }) if source.is_damage() => source.to_string(),
        _ => return last,
    };
    match (read(folder.previous_checkpoint_path()), last) {
        (Ok(Some(previous)), _) => Ok(Some(Found { last_is: Some(why), ..previous })),
        (Err(error), Ok(None)) => Err(error),
        (_, last) => last,
    }
}

/// The checkpoint is always written before the manifest that tells of it: without one,
/// it has been lost, and to begin again would cut the tables to nothing.
pub(super) fn check_not_lost(
    manifest: &Manifest,
    is_found: bool,
    folder: &Folder,
) -> Result<(), FolderError> {
    if is_found || manifest.generations_done == 0 {
        return Ok(());
    }
    let generations = counted(manifest.generations_done, "generation");
    let reason = format!("missing: run.json tells of {generations}");
    Err(FolderError::Damaged { path: folder.checkpoint_path(), reason })
}

/// What there is to say if the run goes on from another checkpoint than its last.
fn warning_of_an_old_one<G>(
    manifest: &Manifest,
    state: &State,
    found: Option<&Found<G>>,
    folder: &Folder,
) -> Option<String> {
    let why = match &found?.last_is {
        Some(why) => format!("{why}; going on from checkpoint.previous.bin,"),
        None if state.generations < manifest.generations_done => "old; going on from there,".into(),
        None => return None,
    };
    let path = folder.checkpoint_path();
    let (kept, done) = (state.generations, manifest.generations_done);
    Some(format!("{}: {why} generation {kept} of {done} that were done", path.display()))
}
