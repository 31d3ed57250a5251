//! `mirage evolve`: a run, from the command line to the report.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mirage_core::colour::Colour;
use mirage_core::genome::cppn::{Coordinates, Math};
use mirage_core::link::BAUD;
use thiserror::Error;

use super::{Answer, CropsName, OutputError, default_threads, print, progress};
use crate::device::port::Address;
use crate::device::{Connection, DeviceError};
use crate::experiment::checkpoint::Pace;
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::groups;
use crate::experiment::journal::RunError;
use crate::experiment::plan::{MAX_CHILDREN, Plan, PlanError};
use crate::experiment::run::{self, Work};
use crate::experiment::summary::{News, Summary};
use crate::interrupt::Interrupt;
use crate::live::{self, Feed, Phase, ServeError, Server};
use crate::model::{Crops, Model, ModelError};
use crate::report::{self, ReportError};
use crate::words::counted;

/// Arguments of `mirage evolve`.
#[derive(Args, Debug)]
pub struct EvolveArgs {
    /// What to fool: a name of `mirage models list`, or the path of an int8 model or ONNX network [default: lenet]
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// What to fool: the network on a board, which classifies while this machine evolves: /dev/ttyACM0, unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "PORT", conflicts_with_all = ["model", "threads"])]
    device: Option<Address>,
    /// Bits per second on the board's serial line
    #[arg(long, value_name = "N", default_value_t = BAUD, requires = "device")]
    baud: u32,
    #[command(flatten)]
    plan: PlanArgs,
    /// What a CPPN's x and y are [default: the preset's]
    #[arg(long, value_enum)]
    coordinates: Option<CoordinatesName>,
    /// What a CPPN's sine and exponential are made of [default: the preset's]
    #[arg(long, value_enum)]
    math: Option<MathName>,
    /// What the values of a colour picture's pixels mean [default: the preset's]
    #[arg(long, value_enum)]
    colour: Option<ColourName>,
    /// What of a colour picture the network looks at; center is ten times as fast [default: ten, or center if pictures have the network's size]
    #[arg(long, value_enum)]
    crops: Option<CropsName>,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The run folder [default: runs/MODEL-PRESET-seedS, after the board if there is one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show the run while it goes on, as a page at a port of this machine (8080), or at IP:PORT for whoever reaches it
    #[arg(long, value_name = "ADDR", value_parser = live::address)]
    serve: Option<SocketAddr>,
    /// Go on with the run in the folder; with a larger --generations also past its end
    #[arg(long)]
    resume: bool,
    /// Save the run at least every N generations, unless saving takes too much of the time
    #[arg(long, value_name = "N", default_value_t = Pace::default().generations, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_generations: u32,
    /// Save the run at the end of a generation that ends T seconds or more after the last time
    #[arg(long, value_name = "T", default_value_t = Pace::default().time.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_seconds: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What to evolve, wherever it is evolved.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// The experiment: mnist-cppn, mnist-direct, imagenet-cppn, imagenet-direct, each also with -released [default: mnist-cppn, for a model of colour pictures imagenet-cppn]
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,
    /// Short for --preset mnist-ENCODING, or imagenet-ENCODING
    #[arg(long, value_enum, conflicts_with = "preset")]
    encoding: Option<EncodingName>,
    /// Generations [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generations: Option<u32>,
    /// Children per generation [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CHILDREN)))]
    children: Option<u32>,
    /// Seed of all randomness: the same seed gives the same images [default: 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncodingName {
    /// A pattern-producing network
    Cppn,
    /// One gene per pixel
    Direct,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CoordinatesName {
    /// −1 to 1 across the image, as in Picbreeder
    Centred,
    /// Column and row, as in the paper's released code
    Pixels,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColourName {
    /// Hue, saturation and value, as in the paper
    Hsv,
    /// Hue, lightness and saturation, as in the paper's released code
    Hls,
    /// Red, green and blue
    Rgb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MathName {
    /// Accurate to the last bits, and fast where there are vectors
    Polynomial,
    /// Accurate to about 0.001, small and fast on small processors
    Micromath,
}

impl From<CoordinatesName> for Coordinates {
    fn from(name: CoordinatesName) -> Self {
        match name {
            CoordinatesName::Centred => Self::Centred,
            CoordinatesName::Pixels => Self::Pixels,
        }
    }
}

impl From<ColourName> for Colour {
    fn from(name: ColourName) -> Self {
        match name {
            ColourName::Hsv => Self::Hsv,
            ColourName::Hls => Self::Hls,
            ColourName::Rgb => Self::Rgb,
        }
    }
}

impl From<MathName> for Math {
    fn from(name: MathName) -> Self {
        match name {
            MathName::Polynomial => Self::Polynomial,
            MathName::Micromath => Self::Micromath,
        }
    }
}

/// Why `mirage evolve` failed.
#[derive(Debug, Error)]
pub enum EvolveError {
    /// The options make no plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The model cannot be used.
    #[error("--model: {0}")]
    Model(#[from] ModelError),
    /// The model of the run that is to go on cannot be used.
    #[error("{}: {source}; or name the run's model with --model", folder.display())]
    RunModel {
        /// The run folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// The board that was to classify cannot be used.
    #[error("--device: {0}")]
    Device(#[from] DeviceError),
    /// The folder of the run to resume cannot be read.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// The run stopped.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The run is done and its report cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The page cannot be served.
    #[error("--serve: {0}")]
    Serve(#[from] ServeError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
    /// An option contradicts the run that is to go on.
    #[error("{option}: the run in {} was made with {value}; leave the option out, or choose another --out", folder.display())]
    Contradiction {
        /// The option.
        option: &'static str,
        /// The value in the run.
        value: String,
        /// The run folder.
        folder: PathBuf,
    },
}

/// Runs `mirage evolve`.
///
/// # Errors
/// [`EvolveError`].
pub fn run(args: &EvolveArgs) -> Result<Answer, EvolveError> {
    let mut model = match &args.device {
        Some(address) => Some(Model::on_board(Connection::open(address, args.baud)?)),
        None => None,
    };
    let folder = match &args.out {
        Some(folder) => Folder::new(folder),
        None => {
            let loaded = match model.take() {
                Some(model) => model,
                None => Model::load(args.model_name())?,
            };
            Folder::new(args.default_folder(model.insert(loaded)))
        }
    };
    let load = |name| model.map_or_else(|| Model::load(name), Ok);
    let (plan, model) = if args.resume && folder.has_run() {
        let manifest = folder.manifest()?;
        let mut plan = Plan::of(&manifest)?;
        args.check(&plan, &folder)?;
        plan.generations = args.plan.generations.unwrap_or(plan.generations);
        let model = match &args.model {
            Some(name) => load(name)?,
            None => load(&manifest.model.name).map_err(|source| EvolveError::RunModel {
                folder: folder.path().to_owned(),
                source,
            })?,
        };
        (plan, model)
    } else {
        let model = load(args.model_name())?;
        (args.plan(&model)?, model)
    };
    let threads = match (&args.device, args.threads) {
        (Some(_), _) => 1,
        (None, Some(threads)) => threads.into(),
        (None, None) => default_threads().get(),
    };
    let pace = Pace {
        generations: args.checkpoint_generations,
        time: Duration::from_secs(args.checkpoint_seconds),
    };
    let interrupt = Interrupt::by_signals().map_err(EvolveError::Signals)?;
    let work = Work { threads, resume: args.resume, pace, interrupt };
    let feed = Arc::new(Feed::new(live::Run {
        preset: plan.preset.clone(),
        model: model.title().to_owned(),
        seed: plan.seed,
        labels: model.labels().to_vec(),
        shape: model.shape(),
        folder: folder.path().to_owned(),
    }));
    let mut server = args.serve.map(|address| Server::start(address, feed.clone())).transpose()?;
    if let Some(server) = &server {
        complain!("watch at {}", live::in_words(server.address()));
    }
    let line = progress::line();
    let result = run::run(&plan, &model, &folder, &work, &mut |news| {
        match &news {
            News::History(rows) => feed.replay(rows),
            News::Generation(now, elites) => feed.publish(*now, elites.iter().cloned()),
            News::Warning(_) => {}
        }
        progress::show(&line, news);
    });
    let (summary, record) = match result {
        Ok(done) => done,
        Err(stopped) => {
            line.finish_and_clear();
            feed.set_phase(Phase::Stopped);
            if let Some(server) = server {
                server.farewell();
            }
            if matches!(stopped, RunError::Interrupted { .. }) {
                complain!("{stopped}");
                return Ok(Answer::Interrupted);
            }
            return Err(stopped.into());
        }
    };
    line.set_message("making the report");
    // Whoever has the tables has the folder.
    let _tables = folder.tables()?;
    let report = report::write_all(&record, folder.path());
    line.finish_and_clear();
    feed.set_phase(if report.is_ok() { Phase::Done } else { Phase::Stopped });
    if report.is_err()
        && let Some(server) = server.take()
    {
        server.farewell();
    }
    report?;
    if args.json {
        print(&format!("{}\n", serde_json::json!(summary)))?;
    } else {
        print(&in_words(&summary))?;
    }
    if let Some(server) = server {
        server.farewell();
    }
    Ok(Answer::Yes)
}

impl PlanArgs {
    /// The plan for a model of colour pictures, or of grey ones.
    pub(super) fn plan(&self, is_colour: bool) -> Result<Plan, PlanError> {
        let mut plan = Plan::preset(self.preset_for(is_colour), self.seed_or_default())?;
        plan.children = self.children.unwrap_or(plan.children);
        plan.generations = self.generations.unwrap_or(plan.generations);
        Ok(plan)
    }

    /// The folder of a run of this plan, unless another is named: `runs/MODEL-PRESET-seedS`.
    pub(super) fn folder(&self, model: &str, is_colour: bool) -> PathBuf {
        let (preset, seed) = (self.preset_for(is_colour), self.seed_or_default());
        PathBuf::from("runs").join(format!("{model}-{preset}-seed{seed}"))
    }

    /// The preset of a new run.
    fn preset_for(&self, is_colour: bool) -> &str {
        match (self.encoding, &self.preset, is_colour) {
            (None, Some(preset), _) => preset,
            (Some(EncodingName::Direct), _, false) => "mnist-direct",
            (Some(EncodingName::Direct), _, true) => "imagenet-direct",
            (_, _, false) => "mnist-cppn",
            (_, _, true) => "imagenet-cppn",
        }
    }

    /// The seed of a new run.
    fn seed_or_default(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

/// Whether a model's pictures are in colour.
fn is_colour(model: &Model) -> bool {
    model.shape().channels > 1
}

/// A board and its model as part of a file's name.
pub(super) fn on_board(board: &str, model: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    format!("{board}-{model}").replace(|c| !is_plain(c), "-")
}

impl EvolveArgs {
    /// The run folder, if none is named: with the model by its file name.
    fn default_folder(&self, model: &Model) -> PathBuf {
        let name = match model.board() {
            Some(board) => on_board(board, model.name()),
            None => model.stem(),
        };
        self.plan.folder(&name, is_colour(model))
    }

    /// The model of a new run.
    fn model_name(&self) -> &str {
        self.model.as_deref().unwrap_or("lenet")
    }

    /// The plan of a new run.
    fn plan(&self, model: &Model) -> Result<Plan, PlanError> {
        let mut plan = self.plan.plan(is_colour(model))?;
        if let Some(name) = self.coordinates {
            plan.set_coordinates(name.into())?;
        }
        if let Some(name) = self.math {
            plan.set_math(name.into())?;
        }
        if let Some(name) = self.colour {
            plan.set_colour(name.into())?;
        }
        if !model.has_margin() {
            plan.crops = Crops::Center;
        }
        if let Some(name) = self.crops {
            plan.crops = name.into();
        }
        Ok(plan)
    }

    /// Checks that no option contradicts the plan of the run that is to go on.
    fn check(&self, plan: &Plan, folder: &Folder) -> Result<(), EvolveError> {
        let contradiction = |option, value: String| {
            Err(EvolveError::Contradiction { option, value, folder: folder.path().to_owned() })
        };
        let encoding = self.plan.encoding.map(|encoding| match encoding {
            EncodingName::Cppn => "cppn",
            EncodingName::Direct => "direct",
        });
        let is_other = match (encoding, &self.plan.preset) {
            (Some(encoding), _) => encoding != plan.encoding_name(),
            (None, Some(preset)) => *preset != plan.preset,
            (None, None) => false,
        };
        if is_other {
            let option = if self.plan.encoding.is_some() { "--encoding" } else { "--preset" };
            return contradiction(option, format!("preset {}", plan.preset));
        }
        if self.plan.seed.is_some_and(|seed| seed != plan.seed) {
            return contradiction("--seed", format!("seed {}", plan.seed));
        }
        if self.plan.children.is_some_and(|children| children != plan.children) {
            return contradiction("--children", format!("--children {}", plan.children));
        }
        let with = |change: &dyn Fn(&mut Plan) -> Result<(), PlanError>| {
            let mut asked = plan.clone();
            change(&mut asked).map(|()| asked != *plan)
        };
        for (option, differs) in [
            (
                "--coordinates",
                self.coordinates.map(|name| with(&|p| p.set_coordinates(name.into()))),
            ),
            ("--math", self.math.map(|name| with(&|p| p.set_math(name.into())))),
            ("--colour", self.colour.map(|name| with(&|p| p.set_colour(name.into())))),
            ("--crops", self.crops.map(|name| Ok(plan.crops != name.into()))),
        ] {
            if differs.transpose()? == Some(true) {
                return contradiction(option, "another one".to_owned());
            }
        }
        Ok(())
    }
}

/// The result for a person.
pub(super) fn in_words(summary: &Summary) -> String {
    let rate = summary.evaluations as f64 / summary.seconds.max(1e-9);
    let mut text = format!(
        "{} evolved against {} for {}, {} in {:.1} s ({rate:.0} per second)\n",
        summary.preset,
        summary.model,
        counted(summary.generations, "generation"),
        counted(summary.evaluations, "image"),
        summary.seconds
    );
    if summary.classes <= 20 {
        for (class, confidence) in summary.confidences.iter().enumerate() {
            match confidence {
                Some(confidence) => {
                    text += &format!("  {class:>3}  {:.4} %\n", f64::from(*confidence) * 100.0);
                }
                None => text += &format!("  {class:>3}  no image\n"),
            }
        }
    }
    text += &format!(
        "median confidence {:.4} %, {} of {} classes at 99.99 % or more\n",
        f64::from(summary.median_confidence) * 100.0,
        summary.classes_at_9999,
        summary.classes
    );
    text += &groups::in_words(&summary.groups);
    text += &format!(
        "digest {}\nlook at {}\n",
        summary.digest,
        PathBuf::from(&summary.folder).join("report.html").display()
    );
    text
}
