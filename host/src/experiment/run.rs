//! A run, from its first generation or from where it stopped, to its report.

use std::collections::BTreeSet;

use mirage_core::colour::Colour;
use mirage_core::evolve::{Encoding, Evolution};
use mirage_core::genome::Decode;

use super::checkpoint::{Pace, State};
use super::engine::{Engine, Setup};
use super::folder::Folder;
use super::journal::{Journal, RunError, check_model, check_not_lost, checkpoint_of, identity};
use super::log::Lineage;
use super::phylogeny::Individual;
use super::plan::Plan;
use super::record::{MachineRecord, Manifest, ModelRecord, RunRecord};
use super::summary::{News, Summary};
use crate::genome::{ColourCppn, GreyCppn, HeapDirect};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::simd::Simd;

/// How a run is worked on; changes nothing of what it computes.
#[derive(Clone, Debug)]
pub struct Work {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Whether to go on with the run that is in the folder.
    pub resume: bool,
    /// How often it is saved.
    pub pace: Pace,
    /// Stops the run, with a checkpoint, before its end.
    pub interrupt: Interrupt,
}

/// Starts a run in a new folder, or goes on with the one that is there, and works until
/// all its generations are done.
///
/// A resumed run computes what an undisturbed one computes, bit for bit. `observe` is
/// called after every generation, and when there is something to be warned of.
///
/// # Errors
/// [`RunError`]; what was done up to the last checkpoint is kept.
pub fn run(
    plan: &Plan,
    model: &Model,
    folder: &Folder,
    work: &Work,
    observe: &mut dyn FnMut(News),
) -> Result<(Summary, RunRecord), RunError> {
    if work.resume && folder.has_run() {
        check_model(&folder.manifest()?.model, model, folder)?;
    }
    plan.check_guard(model)?;
    plan.check_pictures(model.shape(), model.has_margin())?;
    match (plan.encoding, plan.colour) {
        (Encoding::Cppn(settings), Colour::Grey) => {
            evolve::<GreyCppn>(plan, settings, model, folder, work, observe)
        }
        (Encoding::Cppn(settings), _) => {
            evolve::<ColourCppn>(plan, settings, model, folder, work, observe)
        }
        (Encoding::Direct(settings), _) => {
            evolve::<HeapDirect>(plan, settings, model, folder, work, observe)
        }
    }
}

fn evolve<G>(
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    folder: &Folder,
    work: &Work,
    observe: &mut dyn FnMut(News),
) -> Result<(Summary, RunRecord), RunError>
where
    G: Decode + PartialEq + Send + Sync,
    G::Settings: Sync,
{
    let setup = setup(plan, work.threads, work.interrupt.clone());
    let machine = MachineRecord::here(setup.simd.name(), work.threads, model.board());
    let mut engine = Engine::<G>::new(evolution(plan, settings, model), model, setup)?;
    let is_new = !folder.has_run();
    let (mut journal, archive) =
        Journal::open(plan, model, folder, machine, work.resume, work.pace)?;
    if work.resume && is_new {
        let folder = folder.path().display();
        observe(News::Warning(format!("there is no run in {folder} yet: a new one begins")));
    }
    if let Some(archive) = archive {
        engine.restore(archive);
        observe(News::History(journal.history()?));
        let elites = (0..model.classes()).filter_map(|class| engine.elite(class)).collect();
        observe(News::Generation(journal.progress(engine.archive()), elites));
    }
    if let Some(warning) = journal.warning() {
        observe(News::Warning(warning));
    }
    while journal.generations() < plan.generations {
        let mut risen = BTreeSet::new();
        let result = engine.generation(journal.generations(), |child, takeover| {
            journal.take(child.origin, takeover);
            risen.insert(takeover.class);
        });
        match result {
            Ok(Some(done)) => journal.end_generation(done),
            Ok(None) => return Err(journal.interrupted(engine.archive())),
            Err(error) => return Err(journal.stop(engine.archive(), error)),
        }
        journal.save_when_due(engine.archive())?;
        if let Some(warning) = journal.warning() {
            observe(News::Warning(warning));
        }
        let elites = risen.into_iter().filter_map(|class| engine.elite(class)).collect();
        observe(News::Generation(journal.progress(engine.archive()), elites));
    }
    journal.finish(&engine)
}

/// The record of the run in a folder as of its last checkpoint, for a report; as of the
/// previous one if the last is missing or damaged.
///
/// # Errors
/// If there is no run, or it was made with another model.
pub fn record(model: &Model, folder: &Folder, threads: usize) -> Result<RunRecord, RunError> {
    record_with_lineage(model, folder, threads).map(|(record, _)| record)
}

/// The [`record`] of a run, and all who ever held a cell in it.
///
/// # Errors
/// If there is no run, or it was made with another model.
pub fn record_with_lineage(
    model: &Model,
    folder: &Folder,
    threads: usize,
) -> Result<(RunRecord, Vec<Individual>), RunError> {
    let manifest = folder.manifest()?;
    let plan = Plan::of(&manifest)?;
    check_model(&manifest.model, model, folder)?;
    plan.check_pictures(model.shape(), model.has_margin())?;
    match (plan.encoding, plan.colour) {
        (Encoding::Cppn(settings), Colour::Grey) => {
            read::<GreyCppn>(&plan, settings, model, folder, manifest, threads)
        }
        (Encoding::Cppn(settings), _) => {
            read::<ColourCppn>(&plan, settings, model, folder, manifest, threads)
        }
        (Encoding::Direct(settings), _) => {
            read::<HeapDirect>(&plan, settings, model, folder, manifest, threads)
        }
    }
}

/// How an engine makes and judges the pictures of a plan.
pub(crate) fn setup(plan: &Plan, threads: usize, interrupt: Interrupt) -> Setup {
    let (colour, crops) = (plan.colour, plan.crops);
    Setup { colour, crops, simd: Simd::detect(), threads, interrupt }
}

/// What the plan computes against the model.
pub(crate) fn evolution<S>(plan: &Plan, settings: S, model: &Model) -> Evolution<S> {
    Evolution { seed: plan.seed, children: plan.children, shape: model.shape(), settings }
}

/// The record of a run that is not at work.
fn read<G>(
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    folder: &Folder,
    mut manifest: Manifest,
    threads: usize,
) -> Result<(RunRecord, Vec<Individual>), RunError>
where
    G: Decode + PartialEq + Send + Sync,
    G::Settings: Sync,
{
    let setup = setup(plan, threads, Interrupt::default());
    let mut engine = Engine::<G>::new(evolution(plan, settings, model), model, setup)?;
    let mut state = State::default();
    let found = checkpoint_of::<G>(folder, &identity(plan, model), model)?;
    check_not_lost(&manifest, found.is_some(), folder)?;
    if let Some(found) = found {
        state = found.state;
        engine.restore(found.archive);
    }
    // The checkpoint may be one step ahead of the manifest.
    manifest.generations_done = state.generations;
    manifest.evaluations = state.evaluations;
    manifest.skipped = state.skipped;
    manifest.undefined = state.undefined;
    manifest.seconds = state.seconds;
    manifest.digest = engine.archive().digest().to_string();
    // Pictures and labels are the model's; the file may say anything.
    manifest.model = ModelRecord { name: manifest.model.name, ..model.record() };
    let history =
        if state.history_len > 0 { folder.history(state.history_len)? } else { Vec::new() };
    let elites = engine.archive().elites().map(|(_, elite)| elite.origin);
    let living = Lineage::restore(&state.living, elites);
    let lineage = match state.lineage_len {
        0 => Vec::new(),
        length => folder.lineage(length, living.survivors())?,
    };
    Ok((RunRecord { manifest, history, champions: engine.champions()? }, lineage))
}
