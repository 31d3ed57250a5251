//! `mirage quantize`: from an ONNX network to an int8 model.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use mirage_core::nn::{ForwardError, Network};
use serde::Serialize;
use thiserror::Error;

use super::{OutputError, default_threads, print};
use crate::data::idx::{Dataset, DatasetError, Images, Split};
use crate::data::{NoDataDir, data_dir};
use crate::files;
use crate::simd::Simd;
use crate::train::onnx::{self, OnnxError};
use crate::train::quantize::{self, CALIBRATION, Comparison, QuantizeError};

/// Arguments of `mirage quantize`.
#[derive(Args, Debug)]
pub struct QuantizeArgs {
    /// ONNX file of a sequential network, such as `mirage train` writes
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Folder with MNIST's four files, or with a folder mnist of them
    /// [default: $MIRAGE_DATA, else the platform's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// int8 model to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Training digits, from the first, whose activations set the scales
    #[arg(long, value_name = "N", default_value_t = CALIBRATION)]
    calibrate: usize,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Worker threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage quantize` failed.
#[derive(Debug, Error)]
pub enum QuantizeCommandError {
    /// There is such a file already.
    #[error("--out: {} exists; name another file or add --force", .0.display())]
    Exists(PathBuf),
    /// The ONNX file cannot be read from the disk.
    #[error("{}: cannot read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The ONNX file is not one that can be quantized.
    #[error("{}: {error}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: OnnxError,
    },
    /// Too few or too many images to calibrate with.
    #[error("--calibrate: {asked} is not within 1 to {available}, the training digits there are")]
    Calibrate {
        /// The number that was asked for.
        asked: usize,
        /// Training images in the data set.
        available: usize,
    },
    /// There is no folder for data.
    #[error("{0}, or give --data DIR")]
    NoDataDir(#[from] NoDataDir),
    /// The data set cannot be used.
    #[error("--data: {0}")]
    Dataset(#[from] DatasetError),
    /// The network cannot be quantized with these data.
    #[error("{}: {error}", path.display())]
    Quantize {
        /// The ONNX file.
        path: PathBuf,
        /// Why not.
        error: QuantizeError,
    },
    /// The test images do not fit the network.
    #[error("--data: {}: test images: {error}; fetch them again", path.display())]
    Test {
        /// The folder.
        path: PathBuf,
        /// Why they do not fit.
        error: ForwardError,
    },
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
    model: &'a Path,
    calibration_images: usize,
    test_images: usize,
    float_error: f64,
    int8_error: f64,
    agreement: f64,
    bytes: usize,
    out: &'a Path,
    sha256: String,
}

/// Runs `mirage quantize`.
///
/// # Errors
/// [`QuantizeCommandError`]; no file is written then.
pub fn run(args: &QuantizeArgs) -> Result<(), QuantizeCommandError> {
    if args.out.exists() && !args.force {
        return Err(QuantizeCommandError::Exists(args.out.clone()));
    }
    let path = || args.model.clone();
    let bytes = std::fs::read(&args.model)
        .map_err(|error| QuantizeCommandError::Read { path: path(), error })?;
    let (network, rule) =
        onnx::decode(&bytes).map_err(|error| QuantizeCommandError::Onnx { path: path(), error })?;
    let folder = args.data.clone().map_or_else(data_dir, Ok)?;
    let data = Dataset::load(&folder, Split::Train)?;
    let test = Dataset::load(&folder, Split::Test)?;
    let images = first(data.images, args.calibrate)?;
    let blob = quantize::quantize(&network, &rule, &images)
        .map_err(|error| QuantizeCommandError::Quantize { path: path(), error })?;
    let int8 = Network::parse(&blob)
        .map_err(|error| QuantizeCommandError::Quantize { path: path(), error: error.into() })?;

    let threads = args.threads.unwrap_or_else(default_threads).get();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let compare = || quantize::compare(&network, rule, &int8, Simd::detect(), &test);
    let Comparison { images: test_images, float_accuracy, int8_accuracy, agreement } = pool
        .install(compare)
        .map_err(|error| QuantizeCommandError::Test { path: folder.clone(), error })?;
    files::write(&args.out, &blob)
        .map_err(|error| QuantizeCommandError::Write { path: args.out.clone(), error })?;
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        model: &args.model,
        calibration_images: images.count,
        test_images,
        float_error: 1.0 - float_accuracy,
        int8_error: 1.0 - int8_accuracy,
        agreement,
        bytes: blob.len(),
        out: &args.out,
        sha256: super::train::sha256(&blob),
    };
    Ok(print(&if args.json { super::train::json(&outcome) } else { text(&outcome) })?)
}

/// The first `count` images.
fn first(images: Images, count: usize) -> Result<Images, QuantizeCommandError> {
    if !(1..=images.count).contains(&count) {
        let available = images.count;
        return Err(QuantizeCommandError::Calibrate { asked: count, available });
    }
    let mut pixels = images.pixels;
    pixels.truncate(count * images.rows * images.columns);
    Ok(Images { count, pixels, ..images })
}

fn text(outcome: &Outcome<'_>) -> String {
    format!(
        "float {:.2} % test error, int8 {:.2} %, the same answer for {:.2} % of {} images\n\
         wrote {}: {} bytes\nsha256 {}\n",
        100.0 * outcome.float_error,
        100.0 * outcome.int8_error,
        100.0 * outcome.agreement,
        outcome.test_images,
        outcome.out.display(),
        outcome.bytes,
        outcome.sha256
    )
}
