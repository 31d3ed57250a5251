//! The folder of a run.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::checkpoint::CheckpointError;
use super::log::{Table, TableError};
use super::phylogeny::{self, Individual};
use super::record::{HistoryRow, Manifest};
use crate::files;

/// Why a run folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder of a new run exists and is not empty.
    #[error("--out {}: the folder exists already; `mirage evolve --resume` goes on with its run, or choose another", .0.display())]
    Exists(PathBuf),
    /// The folder of a new run holds something that is no run.
    #[error("--out {}: the folder is not empty, and there is no run in it; choose another", .0.display())]
    NotEmpty(PathBuf),
    /// The path is a file.
    #[error("--out {}: this is a file, not a folder; choose another", .0.display())]
    NotAFolder(PathBuf),
    /// There is no run in the folder.
    #[error("{}: there is no run in this folder (no run.json); name the folder of a run", .0.display())]
    NoRun(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space, then go on with --resume", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("--out {}: another mirage is at work in this folder; wait for it, or choose another", .0.display())]
    Busy(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check permissions, or restore the file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text file is damaged.
    #[error("{}: {reason}; restore the file, or start again with another --out", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint is damaged or another run's.
    #[error("{}: {source}; restore the file, or start again with another --out", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CheckpointError,
    },
}

/// The folder of a run, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, whether or not it exists.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `run.json`.
    #[must_use]
    pub fn manifest_path(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// The path of `checkpoint.bin`.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint.bin")
    }

    /// The path of `checkpoint.previous.bin`: the checkpoint before the last.
    #[must_use]
    pub fn previous_checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint.previous.bin")
    }

    /// The path of `history.csv`.
    #[must_use]
    pub fn history_path(&self) -> PathBuf {
        self.path.join("history.csv")
    }

    /// The path of `lineage.csv`.
    #[must_use]
    pub fn lineage_path(&self) -> PathBuf {
        self.path.join("lineage.csv")
    }

    /// Whether the folder has a run, that is, a `run.json`.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.manifest_path().exists()
    }

    /// Makes the folder for a new run, with its parents; an empty one will do, and one
    /// where a run was killed before it wrote its first file.
    ///
    /// # Errors
    /// If there is something in it already, or it cannot be made.
    pub fn create(&self) -> Result<(), FolderError> {
        let write = |source| FolderError::Write { path: self.path.clone(), source };
        if self.path.exists() && !self.path.is_dir() {
            return Err(FolderError::NotAFolder(self.path.clone()));
        }
        fs::create_dir_all(&self.path).map_err(write)?;
        for entry in fs::read_dir(&self.path).map_err(write)? {
            let path = entry.map_err(write)?.path();
            let name = path.file_name().and_then(OsStr::to_str);
            let is_temporary = name.is_some_and(|name| name.starts_with(files::TEMPORARY));
            let is_table = [self.history_path(), self.lineage_path()].contains(&path);
            let is_empty = || path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0);
            if !(is_temporary || is_table && is_empty()) {
                let path = self.path.clone();
                return Err(if self.has_run() {
                    FolderError::Exists(path)
                } else {
                    FolderError::NotEmpty(path)
                });
            }
        }
        Ok(())
    }

    /// Writes the first `run.json`. The caller has the [`tables`](Self::tables).
    ///
    /// # Errors
    /// If another process began a run here meanwhile, or the disk does not take it.
    pub fn begin(&self, manifest: &Manifest) -> Result<(), FolderError> {
        if self.has_run() {
            return Err(FolderError::Exists(self.path.clone()));
        }
        self.write_manifest(manifest)
    }

    /// The tables `history.csv` and `lineage.csv`, for this process alone: who has them
    /// has the folder. Half a checkpoint that a killed process left is removed.
    ///
    /// # Errors
    /// If another process has them, or they cannot be opened.
    pub fn tables(&self) -> Result<[Table; 2], FolderError> {
        let open =
            |path: PathBuf| Table::open(&path).map_err(|error| self.table_error(path, error));
        let tables = [open(self.history_path())?, open(self.lineage_path())?];
        let path = self.checkpoint_path();
        files::sweep(&path).map_err(|source| FolderError::Write { path, source })?;
        Ok(tables)
    }

    /// What went wrong with the table at `path`, one of this folder.
    #[must_use]
    pub fn table_error(&self, path: PathBuf, error: TableError) -> FolderError {
        match error {
            TableError::Busy => FolderError::Busy(self.path.clone()),
            TableError::Io(source) => FolderError::Write { path, source },
            short @ TableError::Short { .. } => {
                FolderError::Damaged { path, reason: short.to_string() }
            }
        }
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), FolderError> {
        let path = self.manifest_path();
        let json = serde_json::to_string_pretty(manifest).map_err(io::Error::from);
        json.and_then(|json| files::write(&path, (json + "\n").as_bytes()))
            .map_err(|source| FolderError::Write { path, source })
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// If there is none, or it is not one of this version.
    pub fn manifest(&self) -> Result<Manifest, FolderError> {
        let path = self.manifest_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(FolderError::NoRun(self.path.clone()));
            }
            Err(source) => return Err(FolderError::Read { path, source }),
        };
        serde_json::from_str(&text)
            .map_err(|error| FolderError::Damaged { path, reason: error.to_string() })
    }

    /// Writes `checkpoint.bin` by `contents`, and keeps the one that was there as
    /// `checkpoint.previous.bin`. The caller has the [`tables`](Self::tables).
    ///
    /// # Errors
    /// If the disk does not take it; then one of the two at least is what the last was.
    pub fn write_checkpoint<T>(
        &self,
        contents: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<T>,
    ) -> Result<T, FolderError> {
        let path = self.checkpoint_path();
        files::replace(&path, Some(&self.previous_checkpoint_path()), contents)
            .map_err(|source| FolderError::Write { path, source })
    }

    /// Makes the previous checkpoint the last one again.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn restore_previous_checkpoint(&self) -> Result<(), FolderError> {
        let path = self.checkpoint_path();
        fs::rename(self.previous_checkpoint_path(), &path)
            .map_err(|source| FolderError::Write { path, source })
    }

    /// Reads a checkpoint of at most `most` bytes, the one at `path`; `None` if there is
    /// none.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is larger.
    pub fn checkpoint(&self, path: PathBuf, most: u64) -> Result<Option<Vec<u8>>, FolderError> {
        match files::read(&path, most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(None),
                ErrorKind::FileTooLarge => {
                    let source = CheckpointError::TooLarge(most);
                    Err(FolderError::Checkpoint { path, source })
                }
                _ => Err(FolderError::Read { path, source: error }),
            },
        }
    }

    /// Reads `history.csv`, up to `length` bytes.
    ///
    /// # Errors
    /// If it cannot be read, is shorter, or a row is not one.
    pub fn history(&self, length: u64) -> Result<Vec<HistoryRow>, FolderError> {
        let path = self.history_path();
        csv::Reader::from_reader(beginning(&path, length)?.as_slice())
            .deserialize()
            .collect::<Result<_, csv::Error>>()
            .map_err(|error| FolderError::Damaged { path, reason: error.to_string() })
    }

    /// Reads `lineage.csv`, up to `length` bytes, and then `rows`, of those who hold cells.
    ///
    /// # Errors
    /// If it cannot be read, is shorter, or a row is not one.
    pub fn lineage(
        &self,
        length: u64,
        rows: impl Iterator<Item = String>,
    ) -> Result<Vec<Individual>, FolderError> {
        let path = self.lineage_path();
        let mut table = beginning(&path, length)?;
        rows.for_each(|row| table.extend((row + "\n").as_bytes()));
        phylogeny::individuals(&table)
            .map_err(|error| FolderError::Damaged { path, reason: error.to_string() })
    }
}

/// The first `length` bytes of a table.
fn beginning(path: &Path, length: u64) -> Result<Vec<u8>, FolderError> {
    let path = path.to_owned();
    let mut bytes =
        fs::read(&path).map_err(|source| FolderError::Read { path: path.clone(), source })?;
    let found = bytes.len() as u64;
    if found < length {
        let source = TableError::Short { expected: length, found };
        return Err(FolderError::Damaged { path, reason: source.to_string() });
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}
