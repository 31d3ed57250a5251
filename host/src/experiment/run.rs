//! A run, from its first generation or from where it stopped, to its report.

use mirage_core::evolve::{Encoding, Evolution};
use mirage_core::genome::{Cppn, Decode, Direct};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};

use super::checkpoint::State;
use super::engine::Engine;
use super::folder::Folder;
use super::journal::{Journal, RunError, check_model, check_not_ahead, checkpoint_of, identity};
use super::plan::{MNIST, Plan};
use super::record::{MachineRecord, Manifest, ModelRecord, RunRecord};
use super::summary::{Progress, Summary};
use crate::model::Model;
use crate::simd::Simd;

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
        Encoding::Cppn(settings) => work::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>(
            plan, settings, model, folder, threads, resume, observe,
        ),
        Encoding::Direct(settings) => {
            work::<Direct<{ MNIST.len() }>>(plan, settings, model, folder, threads, resume, observe)
        }
    }
}

fn work<G>(
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    folder: &Folder,
    threads: usize,
    resume: bool,
    observe: &mut dyn FnMut(Progress),
) -> Result<(Summary, RunRecord), RunError>
where
    G: Decode + Send + Sync,
    G::Settings: Sync,
{
    let simd = Simd::detect();
    let mut engine = Engine::<G>::new(evolution(plan, settings, model), model, simd, threads)?;
    let machine = MachineRecord::here(simd.name(), threads, model.board());
    let (mut journal, archive) = Journal::open(plan, model, folder, machine, resume)?;
    if let Some(archive) = archive {
        engine.restore(archive);
    }
    while journal.generations() < plan.generations {
        let result = engine.generation(journal.generations(), |child, takeover| {
            journal.take(child.origin, takeover);
        });
        match result {
            Ok(done) => journal.end_generation(done),
            Err(error) => return Err(journal.stop(engine.archive(), error)),
        }
        journal.save_when_due(engine.archive())?;
        observe(journal.progress(engine.archive()));
    }
    journal.finish(&engine)
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
    Ok(RunRecord { manifest, history, champions: engine.champions()? })
}
