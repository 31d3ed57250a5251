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

/// Runs `mirage man`: the page of `mirage` and, after it, those of its commands and of
/// theirs.
///
/// # Errors
/// If the result cannot be printed.
pub fn man(mut command: Command) -> Result<(), CompletionsError> {
    command.build();
    let mut page = Vec::new();
    write_pages(&command, &mut page)?;
    Ok(print(&String::from_utf8_lossy(&page))?)
}

fn write_pages(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(page)?;
    // `help` would repeat every command.
    let mut commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    commands.try_for_each(|command| write_pages(command, page))
}
