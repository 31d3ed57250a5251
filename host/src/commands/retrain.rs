//! `mirage retrain`: whether a class of fooling images makes networks harder to fool.

mod head;
mod mnist;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::Answer;
pub use head::HeadCommandError;
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
    /// Give an ONNX network one class more, for the images of runs
    Head(head::HeadArgs),
}

/// Why `mirage retrain` failed.
#[derive(Debug, Error)]
pub enum RetrainCommandError {
    /// `mirage retrain mnist` failed.
    #[error("{0}")]
    Mnist(#[from] MnistCommandError),
    /// `mirage retrain head` failed.
    #[error("{0}")]
    Head(#[from] HeadCommandError),
}

/// Runs `mirage retrain`.
///
/// # Errors
/// [`RetrainCommandError`].
pub fn run(args: &RetrainArgs) -> Result<Answer, RetrainCommandError> {
    match &args.what {
        What::Mnist(args) => return Ok(mnist::run(args)?),
        What::Head(args) => head::run(args)?,
    }
    Ok(Answer::Yes)
}
