//! `mirage data`: fetches data sets.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{OutputError, print};
use crate::data::pull::{self, DataSet, MNIST, Placed, PullError};
use crate::data::{self, NoDataDir};

/// Arguments of `mirage data`.
#[derive(Args, Debug)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand, Debug)]
enum DataCommand {
    /// Fetch a data set, verify it, and put it in the folder of data
    Pull(PullArgs),
}

#[derive(Args, Debug)]
struct PullArgs {
    /// The data set
    set: SetName,
    /// Take the files from this folder instead of the network
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The folder of data [default: $MIRAGE_DATA, else the platform's]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SetName {
    /// 70 000 handwritten digits, 11 MB
    Mnist,
}

impl SetName {
    fn set(self) -> &'static DataSet<'static> {
        match self {
            Self::Mnist => &MNIST,
        }
    }
}

/// Why `mirage data` failed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no folder for data.
    #[error("{0}, or give --to DIR")]
    NoDataDir(#[from] NoDataDir),
    /// The data set could not be put in its place.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The result could not be printed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Runs `mirage data`: puts the files in their place and prints where they are.
///
/// # Errors
/// [`DataError`]; a closed standard output is none.
pub fn run(args: &DataArgs) -> Result<(), DataError> {
    let DataCommand::Pull(args) = &args.command;
    let to = match &args.to {
        Some(folder) => folder.clone(),
        None => data::data_dir()?,
    };
    let set = args.set.set();
    let placed = pull::pull(set, &to, args.from.as_deref())?;
    let text = if args.json {
        format!("{}\n", serde_json::json!({ "set": set.name, "files": placed }))
    } else {
        let line = |p: &Placed| format!("{}  {}\n", p.path.display(), p.origin.words());
        placed.iter().map(line).collect()
    };
    Ok(print(&text)?)
}
