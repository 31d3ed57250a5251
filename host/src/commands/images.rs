//! The images of the runs that a command is given.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::default_threads;
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::plan::{Plan, PlanError};
use crate::experiment::record::{Manifest, RunRecord, Status};
use crate::experiment::run;
use crate::model::{Model, ModelError};
use crate::words::{counted, quoted};

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
        warn_if_older(&manifest, &record, path);
        if record.champions.is_empty() {
            return Err(ImagesError::Empty(path.to_owned()));
        }
        Ok(Self { model, plan, record })
    }
}

/// Says so if the record of a run that is done is of an earlier checkpoint, because the last
/// one is damaged. `manifest` is what the run said of itself when it ended.
pub(super) fn warn_if_older(manifest: &Manifest, record: &RunRecord, path: &Path) {
    if manifest.status == Status::Done && record.manifest.digest != manifest.digest {
        let path = path.display().to_string();
        complain!(
            "warning: {path}: the last checkpoint is damaged: these are the images after {}; `mirage evolve --resume --out {}` makes the last ones again",
            counted(record.manifest.generations_done, "generation"),
            quoted(&path),
        );
    }
}
