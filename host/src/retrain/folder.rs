//! The folder of a retraining: networks and runs, each there whole or not at all.
//!
//! ```text
//! retraining.json      settings, data, and every iteration that is done
//! retraining.csv       the iterations as a table
//! iteration-01/        DNN_1
//!   network.onnx       the network
//!   network.json       its SHA-256, and how it does on digits
//!   run-SEED.npz       a run of evolution against it: 20 images, and how it fared
//! ```
//!
//! What is there is not computed again: a retraining killed at any instant loses the run or
//! the training that was at work, and its other bits are those of an undisturbed one.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::harvest::Harvest;
use super::record::{Iteration, NetworkRecord, Retraining};
use crate::experiment::log::{Table, TableError};
use crate::files;

/// The header of `retraining.csv`.
pub const HEADER: &str = "iteration,fooling_images,fooling_share,test_error,test_called_fooling,runs,median_confidence,median_generation_9999,fooled_share,called_fooling_share,halvings\n";

/// Most bytes of a JSON file here.
const MAX_JSON: u64 = 1 << 24;

/// Why the folder of a retraining cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A new retraining was to begin where there is one.
    #[error("--out {}: there is a retraining already; go on with it by --resume, or choose another", .0.display())]
    Exists(PathBuf),
    /// A new retraining was to begin where there is something else.
    #[error("--out {}: the folder is not empty, and there is no retraining in it; choose another", .0.display())]
    NotEmpty(PathBuf),
    /// The path is a file.
    #[error("--out {}: this is a file, not a folder; choose another", .0.display())]
    NotAFolder(PathBuf),
    /// Another process has the folder.
    #[error("--out {}: another mirage is at work in this folder; wait for it, or choose another", .0.display())]
    Busy(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space, then go on with --resume", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check permissions, or restore the file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged, or another one.
    #[error("{}: {reason}; {cure}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
}

/// What to do about a file that nothing can replace.
const RESTORE: &str = "restore the file, or begin again with another --out";

/// The folder of a retraining.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Who has the table has the folder.
    table: Table,
}

impl Folder {
    /// Opens a folder for this process alone: a new or empty one or, to `resume`, also one
    /// with a retraining, whose record is returned.
    ///
    /// # Errors
    /// If it has something else in it, or another process works there; it is then as it was.
    pub fn open(path: &Path, resume: bool) -> Result<(Self, Option<Retraining>), FolderError> {
        let owned = || path.to_owned();
        let write = |source| FolderError::Write { path: owned(), source };
        if path.exists() && !path.is_dir() {
            return Err(FolderError::NotAFolder(owned()));
        }
        let has_record = record_path(path).exists();
        if has_record && !resume {
            return Err(FolderError::Exists(owned()));
        }
        fs::create_dir_all(path).map_err(write)?;
        let table = path.join("retraining.csv");
        if !has_record {
            for entry in fs::read_dir(path).map_err(write)? {
                let found = entry.map_err(write)?.path();
                let name = found.file_name().and_then(OsStr::to_str);
                let is_temporary = name.is_some_and(|name| name.starts_with(files::TEMPORARY));
                let is_empty = || found.metadata().is_ok_and(|file| file.len() == 0);
                if !(is_temporary || found == table && is_empty()) {
                    return Err(FolderError::NotEmpty(owned()));
                }
            }
        }
        let record = if has_record { Some(Self::record(path)?) } else { None };
        let table = Table::open(&table).map_err(|error| match error {
            TableError::Busy => FolderError::Busy(owned()),
            error => FolderError::Write { path: table, source: io::Error::other(error) },
        })?;
        Ok((Self { path: owned(), table }, record))
    }

    /// The record of the retraining in a folder, which another process may work in.
    ///
    /// # Errors
    /// If there is none, or it is not one of this version.
    pub fn record(path: &Path) -> Result<Retraining, FolderError> {
        read_json(record_path(path), RESTORE)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the record and, after it, its iterations as a table: a folder with a table that
    /// is not empty has a record too.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&mut self, record: &Retraining) -> Result<(), FolderError> {
        write_json(record_path(&self.path), record)?;
        let path = self.path.join("retraining.csv");
        let table = &mut self.table;
        let written = table.begin(HEADER, 0).and_then(|()| {
            record.iterations.iter().for_each(|iteration| table.push(&row(iteration)));
            Ok(table.flush()?)
        });
        written.map_err(|error| FolderError::Write { path, source: io::Error::other(error) })
    }

    /// The folder of an iteration, counted from 1; it is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn iteration(&self, iteration: u32) -> Result<IterationFolder, FolderError> {
        let IterationFolder(path) = IterationFolder::of(&self.path, iteration);
        fs::create_dir_all(&path)
            .map_err(|source| FolderError::Write { path: path.clone(), source })?;
        Ok(IterationFolder(path))
    }
}

/// The folder of one iteration.
#[derive(Clone, Debug)]
pub struct IterationFolder(PathBuf);

impl IterationFolder {
    /// The folder of an iteration, counted from 1, of the retraining in a folder, whether or
    /// not it is there.
    #[must_use]
    pub fn of(retraining: &Path, iteration: u32) -> Self {
        Self(retraining.join(format!("iteration-{iteration:02}")))
    }

    /// The path of `network.onnx`.
    #[must_use]
    pub fn network_path(&self) -> PathBuf {
        self.0.join("network.onnx")
    }

    /// What is known of the network; `None` if it is still to be trained.
    ///
    /// # Errors
    /// If a file cannot be read, or the network is another.
    pub fn network(&self) -> Result<Option<NetworkRecord>, FolderError> {
        const CURE: &str = "restore it, or remove network.json beside it and go on with --resume: it is trained again";
        let path = self.0.join("network.json");
        if !path.exists() {
            return Ok(None);
        }
        let record: NetworkRecord = read_json(path, CURE)?;
        let path = self.network_path();
        match fs::read(&path) {
            Ok(bytes) if files::sha256(&bytes) == record.sha256 => Ok(Some(record)),
            Ok(_) => {
                let reason = "not the network that network.json tells of".to_owned();
                Err(FolderError::Damaged { path, reason, cure: CURE })
            }
            Err(source) => Err(FolderError::Read { path, source }),
        }
    }

    /// Writes a network, and then what is known of it.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write_network(&self, onnx: &[u8], record: &NetworkRecord) -> Result<(), FolderError> {
        let path = self.network_path();
        let written = files::sweep(&path).and_then(|()| files::write(&path, onnx));
        written.map_err(|source| FolderError::Write { path, source })?;
        write_json(self.0.join("network.json"), record)
    }

    /// What was kept of the run with this seed, of images with these sides; `None` if it is
    /// still to be done.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn run(&self, seed: u64, sides: [usize; 2]) -> Result<Option<Harvest>, FolderError> {
        let path = self.run_path(seed);
        match Harvest::read(&path, sides) {
            Ok(harvest) => Ok(Some(harvest)),
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => Ok(None),
            Err(error) => {
                let cure = "remove it and go on with --resume: its run is done again";
                Err(FolderError::Damaged { path, reason: error.to_string(), cure })
            }
        }
    }

    /// Writes what is kept of the run with this seed.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write_run(&self, seed: u64, harvest: &Harvest) -> Result<(), FolderError> {
        let path = self.run_path(seed);
        harvest.write(&path).map_err(|source| FolderError::Write { path, source })
    }

    fn run_path(&self, seed: u64) -> PathBuf {
        self.0.join(format!("run-{seed}.npz"))
    }
}

fn record_path(folder: &Path) -> PathBuf {
    folder.join("retraining.json")
}

fn read_json<T: DeserializeOwned>(path: PathBuf, cure: &'static str) -> Result<T, FolderError> {
    let bytes = files::read(&path, MAX_JSON)
        .map_err(|source| FolderError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| FolderError::Damaged {
        path,
        reason: error.to_string(),
        cure,
    })
}

fn write_json(path: PathBuf, value: &impl Serialize) -> Result<(), FolderError> {
    let json = serde_json::to_string_pretty(value).map_err(io::Error::from);
    json.and_then(|json| files::write(&path, (json + "\n").as_bytes()))
        .map_err(|source| FolderError::Write { path, source })
}

/// A row of `retraining.csv`; what is not known is empty.
fn row(iteration: &Iteration) -> String {
    let known = |value: Option<String>| value.unwrap_or_default();
    let Iteration { fooling_images, fooling_share, test_error, test_called_fooling, .. } =
        iteration;
    format!(
        "{},{fooling_images},{fooling_share},{test_error},{test_called_fooling},{},{},{},{},{},{}",
        iteration.iteration,
        iteration.runs,
        iteration.median_confidence,
        known(iteration.median_generation_9999.map(|generation| generation.to_string())),
        iteration.fooled_share,
        known(iteration.called_fooling_share.map(|share| share.to_string())),
        iteration.halvings,
    )
}
