//! What all experiments share: where their runs lie, how they are worked on, who watches.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ReproduceError;
use super::outcome::{Finding, Outcome};
use crate::ascent::run::Progress as AscentProgress;
use crate::data::data_dir;
use crate::experiment::checkpoint::Pace;
use crate::experiment::folder::Folder;
use crate::experiment::plan::Plan;
use crate::experiment::record::{RunRecord, Status};
use crate::experiment::run::{self, Work};
use crate::experiment::summary::News;
use crate::interrupt::Interrupt;
use crate::model::{Crops, Model, ModelError};
use crate::report;
use crate::retrain::mnist::Progress as RetrainingProgress;

/// The folder of runs in that of a reproduction.
pub const RUNS: &str = "runs";

/// What an experiment tells as it goes.
#[derive(Debug)]
pub enum Told {
    /// Evolution.
    Evolution(News),
    /// Gradient ascent.
    Ascent(AscentProgress),
    /// Retraining.
    Retraining(RetrainingProgress),
    /// Something else that takes time, in a few words.
    Work(String),
}

/// How experiments are worked on.
pub struct Context<'a> {
    /// The folder of the reproduction.
    pub out: &'a Path,
    /// The folder with MNIST, for experiments that need it; that of all data if `None`.
    pub data: Option<&'a Path>,
    /// Worker threads, at least 1; they change no result.
    pub threads: usize,
    /// Stops the work, with a checkpoint.
    pub interrupt: Interrupt,
    /// Is told what is done, such as `mnist-cppn, lenet, seed 3 of 30`, and how far it is.
    pub tell: &'a (dyn Fn(&str, Told) + Sync),
}

/// Runs of evolution that differ by their seeds: 1, 2, 3 and so on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Series {
    /// The models to fool, each with the same seeds.
    pub models: Vec<String>,
    /// How many seeds.
    pub seeds: u32,
    /// Generations of each run.
    pub generations: u32,
    /// Children per generation.
    pub children: u32,
    /// What of a picture the network looks at; the middle of pictures that have no margin.
    pub crops: Option<Crops>,
}

impl Series {
    /// The plans of the runs against a model, by a preset.
    ///
    /// # Errors
    /// If there is no such preset, or its pictures are not the model's.
    pub fn plans(&self, preset: &str, model: &Model) -> Result<Vec<Plan>, ReproduceError> {
        let plan = |seed: u32| {
            let mut plan = Plan::preset(preset, seed.into())?;
            plan.generations = self.generations;
            plan.children = self.children;
            if model.has_margin() {
                plan.crops = self.crops.unwrap_or(plan.crops);
            } else {
                plan.crops = Crops::Center;
            }
            plan.check_pictures(model.shape(), model.has_margin())?;
            Ok(plan)
        };
        (1..=self.seeds).map(plan).collect()
    }

    /// Does an experiment with each model. Where the model or something else that it needs is
    /// not here, a finding says so.
    ///
    /// # Errors
    /// Those of the experiment, but for [`ReproduceError::Missing`].
    pub fn each(
        &self,
        context: &Context,
        mut experiment: impl FnMut(&Model) -> Result<Outcome, ReproduceError>,
    ) -> Result<Outcome, ReproduceError> {
        let mut outcome = Outcome::default();
        for name in &self.models {
            match context.model(name).and_then(|model| experiment(&model)) {
                Ok(found) => outcome.extend(found),
                Err(ReproduceError::Missing(why)) => {
                    outcome.findings.push(Finding::missing(name, name, why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }
}

impl Context<'_> {
    /// Loads a model.
    ///
    /// # Errors
    /// [`ReproduceError::Missing`] if it is not here and can be had.
    pub fn model(&self, name: &str) -> Result<Model, ReproduceError> {
        Model::load(name).map_err(|error| match error {
            ModelError::NotHere { .. } | ModelError::NoDataDir(_) => {
                ReproduceError::Missing(error.to_string())
            }
            other => other.into(),
        })
    }

    /// The folder of data with MNIST, or what would be it.
    ///
    /// # Errors
    /// [`ReproduceError::Missing`] if none is known.
    pub fn data_dir(&self) -> Result<PathBuf, ReproduceError> {
        Ok(self.data.map_or_else(data_dir, |folder| Ok(folder.to_owned()))?)
    }

    /// The run of a plan, from its first generation, from where it stopped, or as it was
    /// done before. Its folder is `runs/MODEL-PRESET-CHILDREN-seedS`, with the crops before
    /// the seed where there is a choice.
    ///
    /// # Errors
    /// If the folder has the run of another plan or model, or as `experiment::run`.
    pub fn evolve(
        &self,
        plan: &Plan,
        model: &Model,
        label: &str,
    ) -> Result<(String, RunRecord), ReproduceError> {
        self.evolve_guarded(plan, model, model, label)
    }

    /// The run of a plan with a guard, likewise, on `guarded`: the model behind that guard.
    /// Its record tells what the model itself makes of the images, and its folder has
    /// `-under-GUARD` before the seed.
    ///
    /// # Errors
    /// As [`evolve`](Self::evolve); the run under a guard that was made from other images is
    /// one of another plan.
    pub fn evolve_guarded(
        &self,
        plan: &Plan,
        model: &Model,
        guarded: &Model,
        label: &str,
    ) -> Result<(String, RunRecord), ReproduceError> {
        let crops =
            if model.has_margin() { format!("-{}", plan.crops.name()) } else { String::new() };
        let guard = plan.guard.as_ref();
        let under = guard.map_or(String::new(), |rule| format!("-under-{}", rule.score.name()));
        let Plan { preset, children, seed, .. } = plan;
        let name = format!("{RUNS}/{}-{preset}-{children}{crops}{under}-seed{seed}", model.stem());
        let folder = Folder::new(self.out.join(&name));
        let label = format!("{label}, {}, seed {seed}", model.stem());
        if folder.has_run() {
            let manifest = folder.manifest()?;
            let made = Plan::of(&manifest)?;
            if (Plan { generations: plan.generations, ..made.clone() }) != *plan {
                return Err(ReproduceError::OtherPlan(folder.path().to_owned()));
            }
            if manifest.status == Status::Done && made == *plan {
                let record = run::record(model, &folder, self.threads)?;
                // Where the last checkpoint is damaged, it is that of the one before.
                if record.manifest.digest == manifest.digest {
                    (self.tell)(&label, Told::Work("done before".to_owned()));
                    // It may have been killed just before its report.
                    if !folder.path().join("report.html").exists() {
                        report::write_all(&record, folder.path())?;
                    }
                    return Ok((name, record));
                }
            }
        }
        let work = Work {
            threads: self.threads,
            resume: folder.has_run(),
            pace: Pace::default(),
            interrupt: self.interrupt.clone(),
        };
        let observe = &mut |news| (self.tell)(&label, Told::Evolution(news));
        let (_, mut record) = run::run(plan, guarded, &folder, &work, observe)?;
        if guard.is_some() {
            record = run::record(model, &folder, self.threads)?;
        }
        (self.tell)(&label, Told::Work("making the report".to_owned()));
        report::write_all(&record, folder.path())?;
        Ok((name, record))
    }

    /// Stops here if that was asked for.
    ///
    /// # Errors
    /// [`ReproduceError::Interrupted`].
    pub fn go_on(&self) -> Result<(), ReproduceError> {
        if self.interrupt.is_set() { Err(ReproduceError::Interrupted) } else { Ok(()) }
    }

    /// The path of something in the folder of the reproduction.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }
}
