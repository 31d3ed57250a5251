//! `mirage train`: a network of our own, from IDX files to ONNX.

use std::io;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mirage_core::nn::Shape;
use serde::Serialize;
use thiserror::Error;

use super::{OutputError, default_threads, print};
use crate::data::idx::{Dataset, DatasetError, Split};
use crate::data::{NoDataDir, data_dir};
use crate::files;
use crate::train::spec::SpecError;
use crate::train::{FloatNetwork, NetworkError, Preprocessing, evaluate, onnx, sgd, spec};
use crate::words::counted;

/// Arguments of `mirage train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Folder with MNIST's four files, or with a folder mnist of them
    /// [default: $MIRAGE_DATA, else the platform's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// lenet, lenet-small, or layers such as "conv5x5x8/2 same relu, depthwise3x3 relu,
    /// maxpool2, avgpool3, dense10"
    #[arg(long, value_name = "NAME|LAYERS", default_value = "lenet")]
    network: String,
    /// Seed of the initial weights and of the order of the images
    #[arg(long, value_name = "N", default_value_t = sgd::Settings::default().seed)]
    seed: u64,
    /// Times that every image is seen
    #[arg(long, value_name = "N", default_value = "10")]
    epochs: NonZeroU32,
    /// Learning rate at the start; it falls to zero along half a cosine
    #[arg(long, value_name = "RATE", default_value_t = sgd::LEARNING_RATE)]
    learning_rate: f32,
    /// ONNX file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Worker threads; the result does not depend on them [default: all, up to 4 are busy]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage train` failed.
#[derive(Debug, Error)]
pub enum TrainCommandError {
    /// There is such a file already.
    #[error("--out: {} exists; name another file or add --force", .0.display())]
    Exists(PathBuf),
    /// The file's folder is missing.
    #[error("--out: {}: no such folder; make it first", .0.display())]
    NoFolder(PathBuf),
    /// The description is not understood.
    #[error("--network: {0}")]
    Spec(#[from] SpecError),
    /// The layers do not make a network.
    #[error("--network: {0}")]
    Network(#[from] NetworkError),
    /// The learning rate is no positive number.
    #[error("--learning-rate: {0} is not a positive number; try 0.01")]
    LearningRate(f32),
    /// There is no folder for data.
    #[error("{0}, or give --data DIR")]
    NoDataDir(#[from] NoDataDir),
    /// The data set cannot be used.
    #[error("--data: {0}")]
    Dataset(#[from] DatasetError),
    /// The test images do not have the training images' size.
    #[error("--data: {}: test and training images differ in size; fetch them again", .0.display())]
    TestSize(PathBuf),
    /// Training was not possible.
    #[error("{0}")]
    Train(#[from] sgd::TrainError),
    /// The threads cannot be started.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The file cannot be written.
    #[error("--out: {}: cannot write: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

#[derive(Serialize)]
struct Outcome<'a> {
    version: &'static str,
    network: &'a str,
    seed: u64,
    epochs: u32,
    learning_rate: f32,
    parameters: usize,
    multiply_adds: u64,
    loss: f64,
    test_images: usize,
    test_error: f64,
    seconds: f64,
    out: &'a Path,
    sha256: String,
}

/// Runs `mirage train`.
///
/// # Errors
/// [`TrainCommandError`]; no file is written then.
pub fn run(args: &TrainArgs) -> Result<(), TrainCommandError> {
    let layers = spec::parse(&args.network)?;
    if !(args.learning_rate > 0.0 && args.learning_rate.is_finite()) {
        return Err(TrainCommandError::LearningRate(args.learning_rate));
    }
    if args.out.exists() && !args.force {
        return Err(TrainCommandError::Exists(args.out.clone()));
    }
    // Said now rather than after minutes of training.
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        return Err(TrainCommandError::NoFolder(parent.to_owned()));
    }
    let folder = args.data.clone().map_or_else(data_dir, Ok)?;
    let data = Dataset::load(&folder, Split::Train)?;
    let test = Dataset::load(&folder, Split::Test)?;
    let (height, width) = (data.images.rows, data.images.columns);
    if (test.images.rows, test.images.columns) != (height, width) {
        return Err(TrainCommandError::TestSize(folder));
    }
    let mut network = FloatNetwork::new(Shape { height, width, channels: 1 }, &layers)?;
    let settings = sgd::Settings {
        seed: args.seed,
        epochs: args.epochs.get(),
        learning_rate: args.learning_rate,
    };
    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;

    let rule = Preprocessing::PIXEL_OVER_256;
    let start = Instant::now();
    let (loss, errors) = pool.install(|| {
        let loss = train(&mut network, &data, rule, settings)?;
        let classes = evaluate::classify_float(&network, rule, &test.images);
        Ok::<_, sgd::TrainError>((loss, evaluate::errors(&classes, &test.labels)))
    })?;
    let bytes = onnx::encode(&network, &rule);
    files::write(&args.out, &bytes)
        .map_err(|error| TrainCommandError::Write { path: args.out.clone(), error })?;
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        network: &args.network,
        seed: settings.seed,
        epochs: settings.epochs,
        learning_rate: settings.learning_rate,
        parameters: network.parameters().len(),
        multiply_adds: network.multiply_adds(),
        loss,
        test_images: test.len(),
        test_error: share(errors, test.len()),
        seconds: start.elapsed().as_secs_f64(),
        out: &args.out,
        sha256: files::sha256(&bytes),
    };
    Ok(print(&if args.json { json(&outcome) } else { text(&outcome) })?)
}

/// Trains with a progress bar on standard error, which only a terminal sees; returns the
/// mean loss of the last epoch.
fn train(
    network: &mut FloatNetwork,
    data: &Dataset,
    rule: Preprocessing,
    settings: sgd::Settings,
) -> Result<f64, sgd::TrainError> {
    let steps = data.len().div_ceil(sgd::BATCH) as u64;
    let bar = ProgressBar::new(steps * u64::from(settings.epochs));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}, {eta} left") {
        bar.set_style(style);
    }
    let mut loss = 0.0;
    sgd::train(network, data, rule, settings, |progress| {
        loss = progress.loss;
        bar.inc(1);
        bar.set_message(format!("epoch {}/{}: loss {loss:.4}", progress.epoch, settings.epochs));
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(loss)
}

/// One object and a line feed.
pub(super) fn json(outcome: &impl Serialize) -> String {
    // Numbers and texts always have a JSON form.
    serde_json::to_string(outcome).unwrap_or_default() + "\n"
}

fn text(outcome: &Outcome<'_>) -> String {
    format!(
        "{}: {} parameters, {} multiply-adds\n\
         test error {:.2} % of {} images after {} in {:.0} s\n\
         wrote {}\nsha256 {}\n",
        outcome.network,
        outcome.parameters,
        outcome.multiply_adds,
        100.0 * outcome.test_error,
        outcome.test_images,
        counted(outcome.epochs, "epoch"),
        outcome.seconds,
        outcome.out.display(),
        outcome.sha256
    )
}

/// `part` of `whole`, 0 ..= 1; 0 of nothing.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
