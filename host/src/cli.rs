//! The command line: what there is to type, and what comes back to the shell.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0
//! done, 1 ran and the answer is no, 2 error, 130 stopped by Ctrl-C or another signal that
//! asks programs to stop, after what was done is saved.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    Answer, ablate, ascend, classify, completions, data, device, diversity, evolve, guard, lineage,
    models, quantize, report, reproduce, retrain, train, transfer,
};
use crate::interrupt::Interrupt;

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
    /// Follow a network's gradient until it is sure of a class
    Ascend(ascend::AscendArgs),
    /// Tell what the model sees in images
    Classify(classify::ClassifyArgs),
    /// Talk to a board, real or emulated
    Device(device::DeviceArgs),
    /// Repeat the paper's experiments, and tell them beside what it reports
    Reproduce(reproduce::ReproduceArgs),
    /// Show the images of runs to other networks
    Transfer(transfer::TransferArgs),
    /// Take repeated elements out of a run's images: does the network need them all?
    Ablate(ablate::AblateArgs),
    /// Compare runs: do they give different images for a class?
    Diversity(diversity::DiversityArgs),
    /// Draw the tree of a run's images: which descend from one another
    Lineage(lineage::LineageArgs),
    /// Tell how well simple guards see the images of runs
    Guard(guard::GuardArgs),
    /// Train networks to know what fooled them, and evolve against them
    Retrain(retrain::RetrainArgs),
    /// Make a run's gallery, champions and report again
    Report(report::ReportArgs),
    /// Fetch data sets
    Data(data::DataArgs),
    /// List, fetch and look at networks
    Models(models::ModelsArgs),
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match perform(cli.command) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        Ok(Answer::Interrupted) => ExitCode::from(Interrupt::EXIT_CODE),
        Err(error) => {
            complain!("error: {}", in_one_line(&error.to_string()));
            ExitCode::from(ERROR)
        }
    }
}

fn perform(command: Command) -> Result<Answer, Box<dyn Error>> {
    match command {
        Command::Device(args) => return Ok(device::run(&args)?),
        Command::Evolve(args) => return Ok(evolve::run(&args)?),
        Command::Ascend(args) => return Ok(ascend::run(&args)?),
        Command::Guard(args) => return Ok(guard::run(&args)?),
        Command::Ablate(args) => ablate::run(&args)?,
        Command::Retrain(args) => return Ok(retrain::run(&args)?),
        Command::Reproduce(args) => return Ok(reproduce::run(&args)?),
        Command::Classify(args) => classify::run(&args)?,
        Command::Diversity(args) => diversity::run(&args)?,
        Command::Lineage(args) => lineage::run(&args)?,
        Command::Report(args) => report::run(&args)?,
        Command::Transfer(args) => transfer::run(&args)?,
        Command::Data(args) => data::run(&args)?,
        Command::Models(args) => models::run(&args)?,
        Command::Train(args) => train::run(&args)?,
        Command::Quantize(args) => quantize::run(&args)?,
        Command::Completions(args) => completions::run(&args, &mut Cli::command())?,
        Command::Man => completions::man(Cli::command())?,
    }
    Ok(Answer::Yes)
}

/// Prints what was asked for (help, version), or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A reader that has closed the pipe is no error.
            let _ = error.print();
            if error.exit_code() == 0 { ExitCode::SUCCESS } else { ExitCode::from(ERROR) }
        }
        _ => {
            let arguments: Vec<_> = std::env::args_os().skip(1).collect();
            complain!("{}", usage_line(error, &arguments));
            ExitCode::from(ERROR)
        }
    }
}

/// What clap says over several lines, in one: without the usage, and with the command
/// that tells more.
fn usage_line(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = error.to_string();
    let is_end =
        |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    let mut line = String::new();
    for part in text.lines().take_while(|line| !is_end(line)).map(str::trim) {
        match part {
            "" => continue,
            tip if tip.starts_with("tip:") => line += "; ",
            _ if !line.is_empty() => line.push(' '),
            _ => {}
        }
        line += part;
    }
    let mut command = &Cli::command();
    let mut name = command.get_name().to_owned();
    for argument in arguments {
        let Some(inner) = command.find_subcommand(argument) else { break };
        command = inner;
        name = format!("{name} {}", command.get_name());
    }
    format!("{}; see `{name} --help`", in_one_line(&line))
}

/// The text with line ends and other control characters, such as a path may have, made
/// visible.
fn in_one_line(text: &str) -> String {
    let visible = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line_that_says_where_to_read_on() {
        let line = |words: &str| {
            let arguments: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let all = std::iter::once("mirage".into()).chain(arguments.clone());
            usage_line(&Cli::try_parse_from(all).unwrap_err(), &arguments)
        };
        assert_eq!(
            line("evolve --encoding cpn"),
            "error: invalid value 'cpn' for '--encoding <ENCODING>' \
             [possible values: cppn, direct]; tip: a similar value exists: 'cppn'; \
             see `mirage evolve --help`"
        );
        assert_eq!(
            line("classify"),
            "error: the following required arguments were not provided: <IMAGE>...; \
             see `mirage classify --help`"
        );
        assert!(line("data pull x").ends_with("; see `mirage data pull --help`"));
        assert!(line("x").ends_with("; see `mirage --help`"));
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(in_one_line("a\nb\u{1b}[0m é☃"), "a\\nb\\u{1b}[0m é☃");
    }
}
