//! `mirage report`: what a person looks at, made again from a run.

use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use super::{OutputError, default_threads, print};
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::record::ModelRecord;
use crate::experiment::run;
use crate::model::{Model, ModelError};
use crate::report::{self, ReportError};

/// Arguments of `mirage report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The run folder; it may be of a run that is still at work
    run: PathBuf,
    /// The model of the run, if it is not where it was
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
}

/// Why `mirage report` failed.
#[derive(Debug, Error)]
pub enum ReportCommandError {
    /// The folder has no run.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The run's model cannot be used.
    #[error("{0}, or name the run's model with --model")]
    Model(#[from] ModelError),
    /// The run's model is on a board, and nowhere else.
    #[error(
        "{0}: this run's model, {model}, is on a board; its report is made when it ends: mirage evolve --resume --device PORT --out {0}", .folder.display()
    )]
    OnBoard {
        /// The run folder.
        folder: PathBuf,
        /// The board's name for the model.
        model: String,
    },
    /// The run cannot be read.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The report cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// Runs `mirage report`.
///
/// # Errors
/// [`ReportCommandError`].
pub fn run(args: &ReportArgs) -> Result<(), ReportCommandError> {
    let folder = Folder::new(&args.run);
    let manifest = folder.manifest()?;
    let is_here = || Model::built_in(&manifest.model.sha256).is_some();
    if args.model.is_none() && manifest.model.kind == ModelRecord::BOARD && !is_here() {
        let (folder, model) = (args.run.clone(), manifest.model.name);
        return Err(ReportCommandError::OnBoard { folder, model });
    }
    let model = Model::load(args.model.as_deref().unwrap_or(&manifest.model.name))?;
    let record = run::record(&model, &folder, default_threads().get())?;
    report::write_all(&record, folder.path())?;
    print(&format!("{}\n", folder.path().join("report.html").display()))?;
    Ok(())
}
