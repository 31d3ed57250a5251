//! `mirage completions` and `mirage man`: what shells and manuals want to know.

use clap::{Args, Command};
use clap_complete::Shell;
use thiserror::Error;

use super::{OutputError, print};

/// Arguments of `mirage completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Why `mirage completions` or `mirage man` failed.
#[derive(Debug, Error)]
pub enum CompletionsError {
    /// The page cannot be composed.
    #[error("cannot compose the manual page: {0}")]
    Compose(#[from] std::io::Error),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// Runs `mirage completions`.
///
/// # Errors
/// If the result cannot be printed.
pub fn run(args: &CompletionsArgs, command: &mut Command) -> Result<(), CompletionsError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mirage", &mut script);
    Ok(print(&String::from_utf8_lossy(&script))?)
}

/// Runs `mirage man`: the page of `mirage` and, after it, those of its commands.
///
/// # Errors
/// If the result cannot be printed.
pub fn man(mut command: Command) -> Result<(), CompletionsError> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for command in command.get_subcommands() {
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
    }
    Ok(print(&String::from_utf8_lossy(&page))?)
}
