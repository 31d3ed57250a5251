//! A run on a board, followed into a run folder, and held against the same run here.

use std::time::{Duration, Instant};

use mirage_core::archive::Cell;
use mirage_core::evolve::{Encoding, Evolution, REVISION};
use mirage_core::genome::{Decode, Genome};
use mirage_core::link::Run;
use serde::Serialize;
use thiserror::Error;

use super::connection::{Claim, Connection, Event, Ticks};
use super::error::{DeviceError, Trouble};
use super::mirror::{self, Mirror};
use crate::experiment::engine::Engine;
use crate::experiment::folder::Folder;
use crate::experiment::journal::{Journal, RunError};
use crate::experiment::plan::Plan;
use crate::experiment::record::{MachineRecord, RunRecord};
use crate::experiment::run::{Work, evolution, setup};
use crate::experiment::summary::{Progress, Summary};
use crate::genome::{GreyCppn, HeapDirect};
use crate::interrupt::Interrupt;
use crate::model::{Model, ModelError};

/// Silence after which the board is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);

/// Silence, beyond four times what a generation takes, after which a board that answers
/// is asked to stop: the end of its run was told, and lost.
const GRACE: Duration = Duration::from_secs(10);

/// Tries to have the board begin, and to catch up with it between two generations.
const TRIES: u32 = 3;

/// Why a run on a board did not come to its end.
#[derive(Debug, Error)]
pub enum EvolveError {
    /// The board cannot be used.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// The folder or the model cannot be used.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The board's algorithm is another revision, or it has none.
    #[error("port {port}: {}", match found {
        Some(found) => format!(
            "the board evolves by revision {found} of the algorithm and this program by {REVISION}; flash the firmware of this version"
        ),
        None => "this board only classifies; evolve with `mirage evolve --device`".to_owned(),
    })]
    Revision {
        /// The port.
        port: String,
        /// The board's revision.
        found: Option<u32>,
    },
    /// The board carries another model.
    #[error(
        "--model: {model} is not what the board carries ({carried}, SHA-256 {}…); name that model's file, or flash the board with this one",
        sha256.get(..12).unwrap_or(sha256)
    )]
    OtherModel {
        /// The model that was to be replayed.
        model: String,
        /// The board's name for its own.
        carried: String,
        /// The SHA-256 of the board's.
        sha256: String,
    },
}

impl From<ModelError> for EvolveError {
    fn from(error: ModelError) -> Self {
        Self::Run(error.into())
    }
}

/// What a board and a host made of the same run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The board's run.
    pub summary: Summary,
    /// The record of it, for the report.
    pub record: RunRecord,
    /// How it compares.
    pub comparison: Comparison,
}

/// A board's run beside the host's; with [`Summary`] the keys of
/// `mirage device evolve --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Whether all digests were equal.
    pub agree: bool,
    /// Digest of the host's archive at the end, hexadecimal.
    pub host_digest: String,
    /// The first generation, counted from 1, after which the digests differ.
    pub first_difference: Option<u32>,
    /// Name of the board.
    pub board: String,
    /// Seconds that the board spent on making children, by its own clock; 0 if it has none.
    pub vary_seconds: f64,
    /// Likewise on drawing them.
    pub render_seconds: f64,
    /// Likewise on classifying them.
    pub classify_seconds: f64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The board has done a generation.
    Board(Progress),
    /// The host has done a generation of the replay.
    Host(u32),
}

/// Has the board run a plan, writes what it tells into a new folder, and replays it here.
/// A board always begins anew: `work` says nothing of that.
///
/// # Errors
/// [`EvolveError`]; once the run has begun, what the board told is kept up to the last
/// whole generation, and the run can go on without it.
pub fn evolve(
    connection: &mut Connection,
    plan: &Plan,
    model: &Model,
    folder: &Folder,
    work: &Work,
    observe: &mut dyn FnMut(Step),
) -> Result<Outcome, EvolveError> {
    check_revision(connection)?;
    check_model(connection, model)?;
    plan.check_pictures(model.shape(), model.has_margin()).map_err(RunError::from)?;
    match plan.encoding {
        Encoding::Cppn(settings) => {
            compare::<GreyCppn>(connection, plan, settings, model, folder, work, observe)
        }
        Encoding::Direct(settings) => {
            compare::<HeapDirect>(connection, plan, settings, model, folder, work, observe)
        }
    }
}

/// Checks that a board evolves by the algorithm that this program has.
///
/// # Errors
/// [`EvolveError::Revision`] if it does not.
pub fn check_revision(connection: &Connection) -> Result<(), EvolveError> {
    match connection.info().revision {
        Some(REVISION) => Ok(()),
        found => Err(EvolveError::Revision { port: connection.port().to_owned(), found }),
    }
}

/// Checks that a board carries a model.
///
/// # Errors
/// [`EvolveError::OtherModel`] if it does not.
pub fn check_model(connection: &Connection, model: &Model) -> Result<(), EvolveError> {
    let info = connection.info();
    if info.model_sha256 != model.sha256() {
        return Err(EvolveError::OtherModel {
            model: model.name().to_owned(),
            carried: info.model.clone(),
            sha256: info.model_sha256.clone(),
        });
    }
    Ok(())
}

fn compare<G>(
    connection: &mut Connection,
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    folder: &Folder,
    work: &Work,
    observe: &mut dyn FnMut(Step),
) -> Result<Outcome, EvolveError>
where
    G: Decode + PartialEq + Send + Sync,
    G::Settings: Clone + Sync,
{
    let setup = setup(plan, work.threads, work.interrupt.clone());
    let machine =
        MachineRecord::here(setup.simd.name(), work.threads, Some(&connection.info().board));
    let evolution = evolution(plan, settings, model);
    let mut engine = Engine::<G>::new(evolution.clone(), model, setup)?;
    let (journal, _) = Journal::open::<G>(plan, model, folder, machine, false, work.pace)?;
    let mirror = Mirror::new(evolution.clone(), model.classes());
    let mut follower = Follower {
        mirror,
        connection,
        plan,
        evolution,
        journal,
        began: Instant::now(),
        beginnings: 0,
        heard: None,
        seen: 0,
        ticks: Ticks::default(),
    };
    let followed = follower.follow(observe, &work.interrupt);
    if work.interrupt.is_set() && follower.mirror.generations() < plan.generations {
        // The board may have heard of it as well, and be gone.
        return Err(follower.journal.interrupted(follower.mirror.archive()).into());
    }
    if let Err(error) = followed {
        return Err(match error {
            EvolveError::Device(error) => {
                follower.journal.stop(follower.mirror.archive(), error.into()).into()
            }
            error => error,
        });
    }
    let Follower { mirror, journal, ticks, .. } = follower;
    let empty = engine.archive().clone();
    engine.restore(mirror.archive().clone());
    let (summary, record) = journal.finish(&engine)?;
    engine.restore(empty);
    let first_difference = replay(&mut engine, plan, mirror.digests(), folder, observe)?;
    let seconds = |ticks: u64| ticks as f64 / f64::from(connection.info().hertz.max(1));
    let comparison = Comparison {
        agree: first_difference.is_none(),
        host_digest: engine.archive().digest().to_string(),
        first_difference,
        board: connection.info().board.clone(),
        vary_seconds: seconds(ticks.vary),
        render_seconds: seconds(ticks.render),
        classify_seconds: seconds(ticks.classify),
    };
    Ok(Outcome { summary, record, comparison })
}

/// Runs the plan here; the first of the generations in `digests` that ends otherwise.
fn replay<G>(
    engine: &mut Engine<'_, G>,
    plan: &Plan,
    digests: &[(u32, u64)],
    folder: &Folder,
    observe: &mut dyn FnMut(Step),
) -> Result<Option<u32>, RunError>
where
    G: Genome + Send + Sync,
    G::Settings: Sync,
{
    let mut digests = digests.iter().peekable();
    let mut first_difference = None;
    for generation in 0..plan.generations {
        if engine.generation(generation, |_, _| {})?.is_none() {
            // The board's run is whole.
            return Err(RunError::interrupted(plan.generations, plan, folder));
        }
        let done = generation + 1;
        if let Some((_, digest)) = digests.next_if(|(told, _)| *told == done)
            && engine.archive().digest().value() != *digest
        {
            first_difference = first_difference.or(Some(done));
        }
        observe(Step::Host(done));
    }
    Ok(first_difference)
}

/// A run on a board and its mirror here.
struct Follower<'a, G: Genome> {
    connection: &'a mut Connection,
    plan: &'a Plan,
    evolution: Evolution<G::Settings>,
    mirror: Mirror<G>,
    journal: Journal<'a>,
    began: Instant,
    beginnings: u32,
    /// When the board last told of its run.
    heard: Option<Instant>,
    /// Children that it must have tested by then.
    seen: u64,
    ticks: Ticks,
}

impl<G: Decode + PartialEq> Follower<'_, G> {
    /// Follows the run from its beginning to its end, or has the board stop.
    fn follow(
        &mut self,
        observe: &mut dyn FnMut(Step),
        interrupt: &Interrupt,
    ) -> Result<(), EvolveError> {
        self.begin()?;
        while self.mirror.generations() < self.plan.generations {
            if interrupt.is_set() {
                self.connection.stop()?;
                return Ok(());
            }
            let Some(event) = self.connection.event(SILENCE)? else {
                self.inquire()?;
                continue;
            };
            self.heard = Some(Instant::now());
            match event {
                Event::Takeover(claim) => self.note(claim),
                Event::Generation { done, digest, ticks } => {
                    self.ticks.vary = self.ticks.vary.saturating_add(ticks.vary);
                    self.ticks.render = self.ticks.render.saturating_add(ticks.render);
                    self.ticks.classify = self.ticks.classify.saturating_add(ticks.classify);
                    self.reach(done, digest)?;
                    observe(Step::Board(self.journal.progress(self.mirror.archive())));
                }
                Event::Ended { done, digest } => self.end(done, digest)?,
                Event::Refused(fault) => {
                    return Err(self.connection.error(Trouble::Fault(fault)).into());
                }
            }
        }
        self.confirm()
    }

    fn begin(&mut self) -> Result<(), DeviceError> {
        self.beginnings += 1;
        self.began = Instant::now();
        self.connection.begin(Run {
            preset: &self.plan.preset,
            seed: self.plan.seed,
            children: self.plan.children,
            generations: self.plan.generations,
            scores: false,
        })
    }

    /// Asks a silent board whether it is there, and does something about a run that was
    /// not begun, or whose end was lost.
    fn inquire(&mut self) -> Result<(), EvolveError> {
        let (done, digest) = self.connection.digest()?;
        if self.connection.has_news() {
            return Ok(());
        }
        match self.heard {
            None if self.beginnings == TRIES => {
                Err(self.connection.error(Trouble::Unanswered).into())
            }
            None => Ok(self.begin()?),
            // The end of a generation was lost, or the board was reset.
            Some(_) if done > self.mirror.generations() => self.reach(done, digest),
            Some(_) if done < self.mirror.generations() => self.end(done, digest),
            Some(heard) if heard.elapsed() > self.patience() => {
                let (done, digest) = self.connection.stop()?;
                self.end(done, digest)
            }
            Some(_) => Ok(()),
        }
    }

    fn note(&mut self, claim: Claim) {
        self.seen = self.seen.max(claim.id.saturating_add(1));
        self.mirror.claim(claim);
    }

    /// How long a board that answers may keep silent of its run.
    fn patience(&self) -> Duration {
        let so_far = self.heard.unwrap_or(self.began) - self.began;
        let share = f64::from(self.plan.children) / self.seen.max(1) as f64;
        let generation = Duration::try_from_secs_f64(so_far.as_secs_f64() * share);
        GRACE.saturating_add(generation.unwrap_or(Duration::MAX).saturating_mul(4))
    }

    /// The board has done so many generations; the mirror follows, if not now, then at the
    /// end of a later one.
    fn reach(&mut self, done: u32, digest: u64) -> Result<(), EvolveError> {
        if done <= self.mirror.generations() || done > self.plan.generations {
            return Ok(());
        }
        self.seen = self.seen.max(u64::from(done) * u64::from(self.plan.children));
        if !self.mirror.advance(done, digest, &mut self.journal)
            && !self.catch_up(done, digest)?
            && done == self.plan.generations
        {
            let what = "its images do not have the digest that it tells".to_owned();
            return Err(self.connection.error(Trouble::Absurd(what)).into());
        }
        self.journal.save_when_due(self.mirror.archive())?;
        Ok(())
    }

    /// Asks for the board's elites, to be where it is; returns whether that came about
    /// before the end of its next generation.
    fn catch_up(&mut self, done: u32, digest: u64) -> Result<bool, EvolveError> {
        for _ in 0..TRIES {
            let cells = self.cells(done)?;
            if self.connection.is_past(done) {
                return Ok(false);
            }
            if let Some(cells) = cells
                && self.mirror.catch_up(done, digest, &cells, &mut self.journal)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The board's elites; `None` if one is none that generations before `end` make.
    fn cells(&mut self, end: u32) -> Result<Option<Vec<Cell<G>>>, DeviceError> {
        let mut cells = Vec::new();
        for class in 0..self.mirror.archive().cells().len() {
            let cell = match self.connection.elite(class)? {
                None => None,
                Some(description) => match mirror::elite(&self.evolution, &description, end) {
                    None => return Ok(None),
                    elite => elite,
                },
            };
            cells.push(cell);
        }
        Ok(Some(cells))
    }

    /// The board's run is over.
    fn end(&mut self, done: u32, digest: u64) -> Result<(), EvolveError> {
        self.reach(done, digest)?;
        if self.mirror.generations() < self.plan.generations {
            let done = self.mirror.generations();
            return Err(self.connection.error(Trouble::Ended(done)).into());
        }
        Ok(())
    }

    /// Asks the board once more for all that it has, now that it rests.
    fn confirm(&mut self) -> Result<(), EvolveError> {
        let digest = self.mirror.archive().digest().value();
        let cells = self.cells(self.plan.generations)?;
        let is_same = self.connection.digest()?.1 == digest
            && cells.is_some_and(|cells| cells == self.mirror.archive().cells());
        if is_same {
            return Ok(());
        }
        let what = "its images are not those that it told of".to_owned();
        Err(self.connection.error(Trouble::Absurd(what)).into())
    }
}
