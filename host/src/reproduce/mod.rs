//! The experiments of the paper, repeated and measured beside what it reports.
//!
//! [`table`] says what there is, as data. Each kind of experiment has a file of its own,
//! gets a [`Context`] and gives an [`Outcome`]: numbers, from which [`verdict`] follows, and
//! things to look at. Every number comes with how well it is known ([`bootstrap`]) and from
//! runs that lie in the folder of the reproduction, where what is done is used again.
//!
//! Another kind of experiment is another file, with its settings and a `run`, an arm of
//! [`Kind`], and an entry in `figures.toml`.

pub mod bootstrap;
pub mod context;
pub mod outcome;
pub mod table;
pub mod verdict;

mod ablation;
mod ascent;
mod diversity;
mod evolution;
mod guard;
mod lineage;
mod page;
mod retraining;
mod transfer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::ascent::run::AscentError;
use crate::data::NoDataDir;
use crate::data::idx::DatasetError;
use crate::experiment::diversity::DiversityError;
use crate::experiment::folder::FolderError;
use crate::experiment::journal::RunError;
use crate::experiment::plan::PlanError;
use crate::experiment::record::MachineRecord;
use crate::experiment::transfer::TransferError;
use crate::files;
use crate::guard::natural::NaturalError;
use crate::guard::study::StudyError;
use crate::model::ModelError;
use crate::report::ReportError;
use crate::retrain::mnist::RetrainError;
use crate::simd::Simd;
use context::Context;
use outcome::{Outcome, Results, Row};
use table::{Figure, Overrides, TableError};
use verdict::Verdict;

/// A kind of experiment, with its settings.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// Runs of evolution, and how confidence rises in them.
    Evolution(evolution::Evolution),
    /// Climbs along the gradient.
    Ascent(ascent::Ascent),
    /// Images of one network shown to others.
    Transfer(transfer::Transfer),
    /// Who descends from whom.
    Lineage(lineage::Lineage),
    /// Images without some of the copies of what is repeated in them.
    Ablation(ablation::Ablation),
    /// Whether other runs give other images.
    Diversity(diversity::Diversity),
    /// Networks that learn to recognize what fooled the ones before.
    Retraining(retraining::Retraining),
    /// Guards that are to see fooling images.
    Guard(guard::Guard),
}

impl Kind {
    fn run(&self, figure: &Figure, context: &Context) -> Result<Outcome, ReproduceError> {
        match self {
            Self::Evolution(kind) => kind.run(figure, context),
            Self::Ascent(kind) => kind.run(figure, context),
            Self::Transfer(kind) => kind.run(figure, context),
            Self::Lineage(kind) => kind.run(figure, context),
            Self::Ablation(kind) => kind.run(figure, context),
            Self::Diversity(kind) => kind.run(figure, context),
            Self::Retraining(kind) => kind.run(figure, context),
            Self::Guard(kind) => kind.run(figure, context),
        }
    }
}

/// Why an experiment could not be done.
#[derive(Debug, Error)]
pub enum ReproduceError {
    /// There is no such figure, or its settings make no experiment.
    #[error("{0}")]
    Table(#[from] TableError),
    /// Something that it needs is not here: what, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// A model cannot be used.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The settings make no plan for the model.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A run stopped.
    #[error("{0}")]
    Run(RunError),
    /// A run cannot be read.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The folder of a run has another one.
    #[error("{}: this run was made with other settings; choose another --out", .0.display())]
    OtherPlan(PathBuf),
    /// A run of gradient ascent stopped.
    #[error("{0}")]
    Ascent(#[from] AscentError),
    /// The networks do not go together.
    #[error("{0}")]
    Transfer(#[from] TransferError),
    /// The runs cannot be compared.
    #[error("{0}")]
    Diversity(#[from] DiversityError),
    /// Networks could not be retrained.
    #[error("{0}")]
    Retrain(RetrainError),
    /// Natural images cannot be used.
    #[error("{0}")]
    Natural(NaturalError),
    /// There are no guards, or they cannot judge.
    #[error("{0}")]
    Guard(#[from] StudyError),
    /// Something to look at could not be made.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// A file cannot be written.
    #[error("--out: cannot write {}: {source}; check permissions and free space, or choose another folder", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}; remove its folder to make it again", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It was asked to stop; what is done is kept.
    #[error("stopped")]
    Interrupted,
}

impl From<RunError> for ReproduceError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Interrupted { .. } => Self::Interrupted,
            other => Self::Run(other),
        }
    }
}

impl From<RetrainError> for ReproduceError {
    fn from(error: RetrainError) -> Self {
        match error {
            RetrainError::Interrupted { .. } => Self::Interrupted,
            RetrainError::Dataset(DatasetError::NotFound { .. }) => {
                Self::Missing(error.to_string())
            }
            other => Self::Retrain(other),
        }
    }
}

impl From<NaturalError> for ReproduceError {
    fn from(error: NaturalError) -> Self {
        match error {
            NaturalError::Mnist(missing @ DatasetError::NotFound { .. }) => {
                Self::Missing(format!("--data: {missing}"))
            }
            other => Self::Natural(other),
        }
    }
}

impl From<NoDataDir> for ReproduceError {
    fn from(error: NoDataDir) -> Self {
        Self::Missing(format!("{error}, or give --data DIR"))
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// The figures.
    pub figures: Vec<&'static Figure>,
    /// Whether they were not named: then those that need what is not here are left out, and
    /// settings that one has not are no error.
    pub all: bool,
    /// Whether a quick look will do.
    pub quick: bool,
    /// What was asked for instead of what the table says.
    pub overrides: Overrides,
    /// The command, but for its figures: `mirage reproduce`, and the options after them.
    pub options: String,
}

impl Order {
    /// The command for some figures.
    fn command(&self, figures: &str) -> String {
        format!("mirage reproduce {figures}{}", self.options)
    }

    /// The command for all that is to be done.
    #[must_use]
    pub fn whole_command(&self) -> String {
        let names: Vec<&str> = self.figures.iter().map(|figure| figure.name.as_str()).collect();
        self.command(&if self.all { "all".to_owned() } else { names.join(" ") })
    }
}

/// Does what was ordered, and writes `results.json` and `index.html` into the folder of the
/// context.
///
/// # Errors
/// [`ReproduceError`]. Runs that were done are kept. Figures that were done before one that
/// could not be are told all the same; if there are none, or it was stopped, files of earlier
/// results are as they were.
pub fn reproduce(order: &Order, context: &Context) -> Result<Results, ReproduceError> {
    // Whatever is wrong with the order is said before anything is done.
    let mut experiments = Vec::new();
    for figure in &order.figures {
        let settings = figure.settings(order.quick, &order.overrides, order.all)?;
        experiments.push((*figure, figure.kind(&settings)?, settings));
    }
    let write = |source| ReproduceError::Write { path: context.out.to_owned(), source };
    fs::create_dir_all(context.out).map_err(write)?;
    // Hours of work are not to end at a folder that takes no file.
    tempfile::tempfile_in(context.out).map_err(write)?;
    let (mut rows, mut sections) = (Vec::new(), Vec::new());
    let mut failed = None;
    for (figure, kind, settings) in experiments {
        let outcome = match context.go_on().and_then(|()| kind.run(figure, context)) {
            Ok(outcome) => outcome,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let missing = outcome.findings.iter().filter_map(|finding| finding.missing.as_ref());
        if let (false, Some(why)) = (order.all, missing.clone().next())
            && missing.count() == outcome.findings.len()
        {
            failed = Some(ReproduceError::Missing(why.clone()));
            break;
        }
        let command = order.command(&figure.name);
        let judged = outcome
            .findings
            .into_iter()
            .map(|finding| Row::new(figure, &settings, command.clone(), finding));
        let judged: Vec<Row> = judged.collect();
        sections.push(page::section(figure, &judged, outcome.exhibits, command));
        rows.extend(judged);
    }
    match failed {
        Some(error) if rows.is_empty() || context.interrupt.is_set() => return Err(error),
        _ => {}
    }
    let machine = MachineRecord::here(Simd::detect().name(), context.threads, None);
    let results = Results::new(machine, order.whole_command(), order.quick, rows);
    crate::report::reproduction::write(&page::of(&results, sections), context.out)?;
    let path = context.path("results.json");
    write_json(&path, &results)?;
    failed.map_or(Ok(results), Err)
}

fn write_json(path: &Path, results: &Results) -> Result<(), ReproduceError> {
    let json = serde_json::to_string_pretty(results).map_err(io::Error::from);
    json.and_then(|json| files::write(path, (json + "\n").as_bytes()))
        .map_err(|source| ReproduceError::Write { path: path.to_owned(), source })
}

impl Results {
    /// Whether nothing that was done as in the paper came out otherwise.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.count(Verdict::NotReproduced) == 0
    }
}
