//! The command line: what there is to type, and what comes back to the shell.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0
//! done, 1 ran and the answer is no, 2 error.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{classify, completions, data, evolve, quantize, report, train};

/// Evolves images that mean nothing to a person and that a neural network is sure of.
#[derive(Debug, Parser)]
#[command(name = "mirage", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Begin with `mirage evolve`: it fools the built-in LeNet in seconds.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Evolve one image per class that the model is sure of
    Evolve(evolve::EvolveArgs),
    /// Tell what the model sees in images
    Classify(classify::ClassifyArgs),
    /// Make a run's gallery, champions and report again
    Report(report::ReportArgs),
    /// Fetch data sets
    Data(data::DataArgs),
    /// Train a network on MNIST and write it as ONNX
    Train(train::TrainArgs),
    /// Pack an ONNX network into an int8 model
    Quantize(quantize::QuantizeArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

/// The exit code of an error.
const ERROR: u8 = 2;

/// Parses the arguments, runs the command, and reports its error, in one line.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Evolve(args) => evolve::run(&args).map_err(Into::into),
        Command::Classify(args) => classify::run(&args).map_err(Into::into),
        Command::Report(args) => report::run(&args).map_err(Into::into),
        Command::Data(args) => data::run(&args).map_err(Into::into),
        Command::Train(args) => train::run(&args).map_err(Into::into),
        Command::Quantize(args) => quantize::run(&args).map_err(Into::into),
        Command::Completions(args) => {
            completions::run(&args, &mut Cli::command()).map_err(Into::into)
        }
        Command::Man => completions::man(Cli::command()).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: Box<dyn std::error::Error> = error;
            eprintln!("error: {error}");
            ExitCode::from(ERROR)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
