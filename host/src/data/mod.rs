//! Data sets on disk: where they are, how they get there, how they are read.

pub mod idx;
pub mod pull;

use std::env;
use std::path::PathBuf;

use etcetera::BaseStrategy;

/// No place for data is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no home folder is known; set MIRAGE_DATA to the folder for data")]
pub struct NoDataDir;

/// The folder of all data: `MIRAGE_DATA` if it is set and not empty, else `mirage` in
/// the platform's folder for data (`~/.local/share` or `XDG_DATA_HOME` on Linux).
/// The folder need not exist.
///
/// # Errors
/// [`NoDataDir`] without `MIRAGE_DATA` and home folder.
pub fn data_dir() -> Result<PathBuf, NoDataDir> {
    match env::var_os("MIRAGE_DATA") {
        Some(folder) if !folder.is_empty() => Ok(folder.into()),
        _ => etcetera::base_strategy::choose_native_strategy()
            .map(|platform| platform.data_dir().join("mirage"))
            .map_err(|_| NoDataDir),
    }
}
