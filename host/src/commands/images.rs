//! The images of the runs that a command is given.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::default_threads;
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::plan::{Plan, PlanError};
use crate::experiment::record::RunRecord;
use crate::experiment::run;
use crate::model::{Model, ModelError};

/// Why there are no images.
#[derive(Debug, Error)]
pub enum ImagesError {
    /// The folder has no run.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The run's settings cannot be read.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The model of the run cannot be used.
    #[error("{}: {source}; put the model back where it was", folder.display())]
    Own {
        /// The run folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// The model that was named for the run cannot be used.
    #[error("--model: {0}")]
    Named(ModelError),
    /// The run cannot be read.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The run has no image yet.
    #[error("{}: there is no image in this run yet; evolve some first", .0.display())]
    Empty(PathBuf),
}

/// A run with at least one image, and the model that it was evolved on.
pub(super) struct Images {
    pub(super) model: Model,
    pub(super) plan: Plan,
    pub(super) record: RunRecord,
}

impl Images {
    /// Those of the run in a folder, whose model may be `elsewhere`.
    pub(super) fn of(path: &Path, elsewhere: Option<&str>) -> Result<Self, ImagesError> {
        let folder = Folder::new(path);
        let manifest = folder.manifest()?;
        let plan = Plan::of(&manifest)?;
        let model = match elsewhere {
            Some(name) => Model::load(name).map_err(ImagesError::Named)?,
            None => Model::load(&manifest.model.name)
                .map_err(|source| ImagesError::Own { folder: path.to_owned(), source })?,
        };
        let record = run::record(&model, &folder, default_threads().get())?;
        if record.champions.is_empty() {
            return Err(ImagesError::Empty(path.to_owned()));
        }
        Ok(Self { model, plan, record })
    }
}
