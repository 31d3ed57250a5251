//! `mirage device`: boards, real or emulated.

use std::io;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use mirage_core::evolve::REVISION;
use mirage_core::link::BAUD;
use serde::Serialize;
use thiserror::Error;

use super::classify::{self, ClassifyError};
use super::evolve::{PlanArgs, in_words, on_board};
use super::{Answer, OutputError, default_threads, print, progress};
use crate::device::emulator::{self, Emulator, EmulatorError, MACHINES, Machine};
use crate::device::evolve::{self, Comparison, EvolveError, Outcome, Step};
use crate::device::port::Address;
use crate::device::{BoardInfo, Connection, DeviceError, Trouble};
use crate::experiment::checkpoint::Pace;
use crate::experiment::folder::Folder;
use crate::experiment::journal::RunError;
use crate::experiment::plan::{Plan, PlanError};
use crate::experiment::run::Work;
use crate::experiment::summary::{News, Summary};
use crate::interrupt::Interrupt;
use crate::model::{Crops, Model, ModelError};
use crate::report::{self, ReportError};

/// Arguments of `mirage device`.
#[derive(Args, Debug)]
#[command(after_help = "Without a board: `mirage device evolve --emulate m4f`. \
    To evolve here and classify on a board: `mirage evolve --device PORT`.")]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Tell what a board is and carries
    Info(InfoArgs),
    /// Tell what the network on a board sees in images
    Classify(ClassifyArgs),
    /// Evolve on a board, then here, and compare
    ///
    /// Writes the board's run into a run folder as it goes, then replays it on this machine.
    /// Exit code 0: both have the same digest after every generation; 1: they differ.
    Evolve(EvolveArgs),
}

#[derive(Args, Debug)]
struct InfoArgs {
    #[command(flatten)]
    board: BoardArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ClassifyArgs {
    #[command(flatten)]
    board: BoardArgs,
    /// PNG files of the model's size: white digits on black for the LeNets
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct EvolveArgs {
    #[command(flatten)]
    board: BoardArgs,
    #[command(flatten)]
    plan: PlanArgs,
    /// The run folder, a new one [default: runs/BOARD-MODEL-PRESET-seedS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads of the replay [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Which board.
#[derive(Args, Debug)]
struct BoardArgs {
    #[command(flatten)]
    place: Place,
    /// Bits per second on a serial line
    #[arg(long, value_name = "N", default_value_t = BAUD, conflicts_with = "emulate")]
    baud: u32,
    /// What the board carries, if it is none of lenet and lenet-small; emulated boards are built with it
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Run this firmware in the emulator instead of building one
    #[arg(long, value_name = "ELF", conflicts_with = "port")]
    firmware: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Place {
    /// Where the board is: /dev/ttyACM0, unix:PATH or tcp:HOST:PORT
    #[arg(long)]
    port: Option<Address>,
    /// Emulate a board in QEMU
    #[arg(long, value_name = "BOARD", value_parser = machines())]
    emulate: Option<&'static Machine>,
}

/// Boards by their names.
fn machines() -> impl TypedValueParser<Value = &'static Machine> {
    let values = MACHINES.iter().map(|m| PossibleValue::new(m.name).help(m.about));
    PossibleValuesParser::new(values)
        .try_map(|name| Machine::named(&name).ok_or("there is no such board"))
}

/// Why `mirage device` failed.
#[derive(Debug, Error)]
pub enum DeviceCommandError {
    /// The board cannot be used.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// The board cannot be emulated.
    #[error("{0}")]
    Emulator(#[from] EmulatorError),
    /// The emulator ended while the board was at work.
    #[error("{error}; {failure}")]
    Emulated {
        /// How the emulator ended.
        failure: EmulatorError,
        /// What that looked like.
        error: Box<DeviceCommandError>,
    },
    /// The firmware in the emulator says nothing.
    #[error("--emulate {machine}: {} does not answer; is it mirage's firmware for this board, with a whole model?", firmware.display())]
    Mute {
        /// The board.
        machine: &'static str,
        /// The firmware.
        firmware: PathBuf,
    },
    /// The options make no plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The model to build or replay cannot be used.
    #[error("--model: {0}")]
    Model(#[from] ModelError),
    /// No model was named, and the board's is not built in.
    #[error(
        "port {port}: the board carries {model} (SHA-256 {}…), which is not built in; name its file with --model FILE",
        sha256.get(..12).unwrap_or(sha256)
    )]
    UnknownModel {
        /// The port.
        port: String,
        /// The board's name for its model.
        model: String,
        /// The model's SHA-256.
        sha256: String,
    },
    /// The images cannot be classified.
    #[error("{0}")]
    Classify(#[from] ClassifyError),
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// The run did not come to its end.
    #[error("{0}")]
    Evolve(#[from] EvolveError),
    /// The run is done and its report cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// Runs `mirage device`.
///
/// # Errors
/// [`DeviceCommandError`].
pub fn run(args: &DeviceArgs) -> Result<Answer, DeviceCommandError> {
    match &args.command {
        DeviceCommand::Info(args) => args.board.with(|connection, _| {
            let info = connection.info();
            let json = || serde_json::json!(info).to_string();
            print(&format!("{}\n", if args.json { json() } else { about(info) }))?;
            Ok(Answer::Yes)
        }),
        DeviceCommand::Classify(args) => args.board.with(|connection, _| {
            let model = Model::on_board(connection);
            classify::tell(&model, Crops::Center, &args.images, args.json)?;
            Ok(Answer::Yes)
        }),
        DeviceCommand::Evolve(args) => {
            // Boards evolve grey pictures only.
            let plan = args.plan.plan(false)?;
            args.board.with(|connection, model| args.run(&plan, connection, model))
        }
    }
}

impl BoardArgs {
    /// Does something with the board and, if one was named, the model that it carries. An
    /// emulated board lasts as long as that.
    fn with(
        &self,
        work: impl FnOnce(Connection, Option<&Model>) -> Result<Answer, DeviceCommandError>,
    ) -> Result<Answer, DeviceCommandError> {
        let model = self.model.as_deref().map(Model::load).transpose()?;
        let work = |address: &Address| {
            let connection = Connection::open(address, self.baud)?;
            if let Some(model) = &model {
                evolve::check_model(&connection, model)?;
            }
            work(connection, model.as_ref())
        };
        let machine = match &self.place {
            Place { emulate: Some(machine), .. } => machine,
            Place { port: Some(port), .. } => return work(port),
            // Clap has asked for one of the two.
            Place { .. } => return Ok(Answer::No),
        };
        let firmware = match &self.firmware {
            Some(firmware) => firmware,
            None => &emulator::build(machine, model.as_ref())?,
        };
        let mut emulator = Emulator::start(machine, firmware)?;
        work(&emulator.address()).map_err(|error| match (emulator.failure(), error) {
            (Some(failure), error) => {
                let error = Box::new(error);
                DeviceCommandError::Emulated { failure, error }
            }
            (None, DeviceCommandError::Device(DeviceError { trouble: Trouble::Silent, .. })) => {
                DeviceCommandError::Mute { machine: machine.name, firmware: firmware.clone() }
            }
            (None, error) => error,
        })
    }
}

impl EvolveArgs {
    fn run(
        &self,
        plan: &Plan,
        mut connection: Connection,
        model: Option<&Model>,
    ) -> Result<Answer, DeviceCommandError> {
        evolve::check_revision(&connection)?;
        let info = connection.info().clone();
        let built_in;
        let model = match (model, Model::built_in(&info.model_sha256)) {
            (Some(model), _) => model,
            (None, Some(name)) => {
                built_in = Model::load(name)?;
                &built_in
            }
            (None, None) => {
                let (port, sha256) = (connection.port().to_owned(), info.model_sha256);
                return Err(DeviceCommandError::UnknownModel { port, model: info.model, sha256 });
            }
        };
        let board = self.board.place.emulate.map_or(info.board.as_str(), |machine| machine.name);
        let default = || self.plan.folder(&on_board(board, &info.model), false);
        let folder = Folder::new(self.out.clone().unwrap_or_else(default));
        let threads = self.threads.map_or_else(|| default_threads().get(), usize::from);
        let interrupt = Interrupt::by_signals().map_err(DeviceCommandError::Signals)?;
        let line = progress::line();
        let observe = &mut |step| match step {
            Step::Board(now) => progress::show(&line, News::Generation(now, Vec::new())),
            Step::Host(done) => {
                line.set_message(format!(
                    "again on the host: generation {done}/{}",
                    plan.generations
                ));
            }
        };
        let work = Work { threads, resume: false, pace: Pace::default(), interrupt };
        let result = evolve::evolve(&mut connection, plan, model, &folder, &work, observe);
        line.finish_and_clear();
        let outcome = match result {
            Err(EvolveError::Run(stopped @ RunError::Interrupted { .. })) => {
                complain!("{stopped}");
                return Ok(Answer::Interrupted);
            }
            result => result?,
        };
        report::write_all(&outcome.record, folder.path())?;
        if self.json {
            let Outcome { summary, comparison, .. } = &outcome;
            print(&format!("{}\n", serde_json::json!(Compared { summary, comparison })))?;
        } else {
            print(&compared(&outcome))?;
        }
        Ok(if outcome.comparison.agree { Answer::Yes } else { Answer::No })
    }
}

/// The keys of `mirage device evolve --json`.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// The result of a comparison for a person.
fn compared(Outcome { summary, comparison, .. }: &Outcome) -> String {
    let mut text = in_words(summary);
    let Comparison { board, vary_seconds, render_seconds, classify_seconds, .. } = comparison;
    let total = vary_seconds + render_seconds + classify_seconds;
    if total > 0.0 {
        let share = |seconds: &f64| 100.0 * seconds / total;
        text += &format!(
            "on {board}: {:.1} % of the time for making children, {:.1} % for drawing, {:.1} % for classifying\n",
            share(vary_seconds),
            share(render_seconds),
            share(classify_seconds)
        );
    }
    text += &match comparison.first_difference {
        None => format!("host and board agree: digest {}\n", summary.digest),
        Some(generation) => format!(
            "host and board differ after generation {generation}: at the end digest {} on the board, {} on the host\n",
            summary.digest, comparison.host_digest
        ),
    };
    text
}

/// A board for a person.
fn about(info: &BoardInfo) -> String {
    let BoardInfo { board, model, model_sha256, input: [height, width, channels], .. } = info;
    let built_in = match Model::built_in(model_sha256) {
        Some(name) => format!("built in as {name}"),
        None => "not built in".to_owned(),
    };
    let evolves = match info.revision {
        Some(REVISION) => "yes".to_owned(),
        Some(other) => format!("by revision {other} of the algorithm; this program has {REVISION}"),
        None => "no, it only classifies".to_owned(),
    };
    let stack = info.stack.map_or("unknown".to_owned(), |bytes| format!("{bytes} bytes at most"));
    format!(
        "board    {board}\n\
         model    {model} ({built_in})\n\
         SHA-256  {model_sha256}\n\
         input    {height} × {width} × {channels}, {} classes\n\
         evolves  {evolves}\n\
         clock    {} ticks per second\n\
         stack    {stack}",
        info.classes, info.hertz
    )
}
