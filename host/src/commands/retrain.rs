//! `mirage retrain`: whether a class of fooling images makes networks harder to fool.

mod mnist;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::Answer;
pub use mnist::MnistCommandError;

/// Arguments of `mirage retrain`.
#[derive(Args, Debug)]
pub struct RetrainArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train networks on digits and on the images that fooled the ones before, in turns with evolution
    Mnist(mnist::MnistArgs),
}

/// Why `mirage retrain` failed.
#[derive(Debug, Error)]
pub enum RetrainCommandError {
    /// `mirage retrain mnist` failed.
    #[error("{0}")]
    Mnist(#[from] MnistCommandError),
}

/// Runs `mirage retrain`.
///
/// # Errors
/// [`RetrainCommandError`].
pub fn run(args: &RetrainArgs) -> Result<Answer, RetrainCommandError> {
    match &args.what {
        What::Mnist(args) => Ok(mnist::run(args)?),
    }
}
