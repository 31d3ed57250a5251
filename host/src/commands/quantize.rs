//! `mirage quantize`: from an ONNX network to an int8 model.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use mirage_core::nn::{ForwardError, Network};
use serde::Serialize;
use thiserror::Error;

use super::train::{json, share};
use super::{OutputError, default_threads, print};
use crate::data::idx::{Dataset, DatasetError, Images, Split};
use crate::data::{NoDataDir, data_dir};
use crate::files;
use crate::model::MAX_FILE;
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
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
    #[error("{}: cannot read: {error}; name another file", path.display())]
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
    let bytes = files::read(&args.model, MAX_FILE)
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

    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let compare = || quantize::compare(&network, rule, &int8, Simd::detect(), &test);
    let Comparison { images: test_images, float_errors, int8_errors, agreeing } = pool
        .install(compare)
        .map_err(|error| QuantizeCommandError::Test { path: folder.clone(), error })?;
    files::write(&args.out, &blob)
        .map_err(|error| QuantizeCommandError::Write { path: args.out.clone(), error })?;
    let outcome = Outcome {
        version: env!("CARGO_PKG_VERSION"),
        model: &args.model,
        calibration_images: images.count,
        test_images,
        float_error: share(float_errors, test_images),
        int8_error: share(int8_errors, test_images),
        agreement: share(agreeing, test_images),
        bytes: blob.len(),
        out: &args.out,
        sha256: files::sha256(&blob),
    };
    Ok(print(&if args.json { json(&outcome) } else { text(&outcome) })?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use super::super::train;

    #[derive(Parser)]
    enum Cli {
        Train(train::TrainArgs),
        Quantize(QuantizeArgs),
    }

    /// Runs a command line and gives the error it ends with.
    fn run_line(line: &str) -> Result<(), String> {
        match Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())? {
            Cli::Train(args) => train::run(&args).map_err(|error| error.to_string()),
            Cli::Quantize(args) => run(&args).map_err(|error| error.to_string()),
        }
    }

    /// A data set of 40 + 20 images of 6 × 6 pixels, whose brightness is their label.
    fn write_data(folder: &Path) {
        for (split, count) in [(Split::Train, 40u8), (Split::Test, 20)] {
            let (images, labels) = split.files();
            let header = |magic: u32, dimensions: &[u32]| -> Vec<u8> {
                std::iter::once(&magic).chain(dimensions).flat_map(|n| n.to_be_bytes()).collect()
            };
            let mut bytes = header(0x0803, &[count.into(), 6, 6]);
            bytes.extend((0..count).flat_map(|i| [i % 10 * 25; 36]));
            std::fs::write(folder.join(images), bytes).unwrap();
            let mut bytes = header(0x0801, &[count.into()]);
            bytes.extend((0..count).map(|i| i % 10));
            std::fs::write(folder.join(labels), bytes).unwrap();
        }
    }

    #[test]
    fn from_idx_files_to_an_int8_model_and_nothing_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        write_data(folder.path());
        let dir = folder.path().display();
        let train = format!("mirage train --data {dir} --epochs 2 --json --out {dir}/n.onnx");
        let error = run_line(&train).unwrap_err();
        assert!(error.starts_with("--network: layer 3"), "{error}");

        let train = format!("{train} --network maxpool2,dense10");
        run_line(&format!("{train} --threads 1")).unwrap();
        let first = std::fs::read(folder.path().join("n.onnx")).unwrap();
        let error = run_line(&train).unwrap_err();
        assert!(error.contains("n.onnx exists") && error.contains("--force"), "{error}");
        run_line(&format!("{train} --force --threads 3")).unwrap();
        assert!(std::fs::read(folder.path().join("n.onnx")).unwrap() == first);

        let quantize = format!("mirage quantize --data {dir} {dir}/n.onnx --out {dir}/n.q8");
        let error = run_line(&quantize).unwrap_err();
        assert!(error.starts_with("--calibrate: 500 is not within 1 to 40"), "{error}");
        run_line(&format!("{quantize} --calibrate 40")).unwrap();
        let blob = std::fs::read(folder.path().join("n.q8")).unwrap();
        assert_eq!(Network::parse(&blob).unwrap().classes(), 10);
        let error = run_line(&format!("{quantize} --calibrate 40")).unwrap_err();
        assert!(error.contains("n.q8 exists"), "{error}");
    }

    #[test]
    fn errors_name_the_option_or_file() {
        for (line, beginning) in [
            ("mirage train --out o --network conv", "--network: cannot read layer \"conv\""),
            ("mirage train --out o --learning-rate -1", "error: unexpected argument"),
            ("mirage train --out o --learning-rate 0", "--learning-rate: 0"),
            ("mirage train --out no/o", "--out: no: no such folder"),
            ("mirage train --out o --data nowhere", "--data: nowhere"),
            ("mirage train --out o --epochs 0", "error: invalid value '0'"),
            ("mirage train --out o --threads 0", "error: invalid value '0'"),
            ("mirage quantize no.onnx --out o --data nowhere", "no.onnx: cannot read"),
        ] {
            let error = run_line(line).unwrap_err();
            assert!(error.starts_with(beginning), "{line}: {error}");
        }
    }
}
