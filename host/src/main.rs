//! The `mirage` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirage::cli::main()
}
