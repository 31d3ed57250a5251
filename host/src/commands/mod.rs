//! What the command line can do, one module per command.

pub mod ablate;
pub mod ascend;
pub mod classify;
pub mod completions;
pub mod data;
pub mod device;
pub mod diversity;
pub mod evolve;
pub mod guard;
pub mod lineage;
pub mod models;
pub mod quantize;
pub mod report;
pub mod reproduce;
pub mod retrain;
pub mod train;
pub mod transfer;

mod columns;
mod images;
mod progress;

use std::io::{self, Write};
use std::num::NonZeroUsize;

use clap::ValueEnum;

use crate::model::Crops;

/// What a command found, if it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; what was asked holds.
    Yes,
    /// It ran, and what was asked does not hold.
    No,
    /// It was asked to stop before its end, and has said where it stands.
    Interrupted,
}

/// [`Crops`] as they are called on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CropsName {
    /// One from the centre
    Center,
    /// The mean over the corners, the centre, and their mirror images, as in the paper
    Ten,
}

impl From<CropsName> for Crops {
    fn from(name: CropsName) -> Self {
        match name {
            CropsName::Center => Self::Center,
            CropsName::Ten => Self::Ten,
        }
    }
}

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(io::Error);

/// Prints a result. A reader that has closed the pipe is no error.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError(error)),
        _ => Ok(()),
    }
}

/// Threads to use unless told: as many as the machine runs at a time.
#[must_use]
pub fn default_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
