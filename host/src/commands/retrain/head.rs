//! `mirage retrain head`: an ONNX network with one class more, for fooling images.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::super::train::json;
use super::super::{OutputError, default_threads, print};
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::run;
use crate::files;
use crate::image::{Image, ImageError};
use crate::model::{HeadModel, Model, ModelError};
use crate::retrain::head::{EPOCHS, HELD_OUT, HeadError, Outcome, Picture, Settings, retrain};
use crate::words::counted;

/// The name of the new class.
const LABEL: &str = "fooling";

/// Largest list of images that is read, bytes.
const MAX_LIST: u64 = 1 << 24;

/// Arguments of `mirage retrain head`.
#[derive(Args, Debug)]
pub(super) struct HeadArgs {
    /// The network: a name of `mirage models list`, or the path of an ONNX network
    #[arg(long, value_name = "NAME|FILE")]
    model: String,
    /// A list of images that are no fooling images: in each line a path, from the list's folder, and the number of a class
    #[arg(long, value_name = "LIST")]
    images: PathBuf,
    /// Folders of runs whose images are fooling images
    #[arg(long, required = true, value_delimiter = ',', value_name = "RUN")]
    fooling: Vec<PathBuf>,
    /// The share of either kind of images that is kept to test with
    #[arg(long, value_name = "SHARE", default_value_t = HELD_OUT)]
    held_out: f64,
    /// Times that every image is seen
    #[arg(long, value_name = "N", default_value_t = EPOCHS, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Seed of which images are kept, and of the order of the others
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// ONNX file to write; beside it come a TOML file and the names of the classes
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Replace the files if there are such
    #[arg(long)]
    force: bool,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage retrain head` failed.
#[derive(Debug, Error)]
pub enum HeadCommandError {
    /// The network cannot be used.
    #[error("--model: {0}")]
    Model(ModelError),
    /// The share leaves nothing of one kind.
    #[error("--held-out: {0} is not a share above 0 and below 1; try 0.2")]
    HeldOut(f64),
    /// The file to write is no ONNX file by its name.
    #[error("--out {}: give a name that ends in .onnx", .0.display())]
    Ending(PathBuf),
    /// There is such a file already.
    #[error("--out: {} exists; name another file or add --force", .0.display())]
    Exists(PathBuf),
    /// The file's folder is missing.
    #[error("--out: {}: no such folder; make it first", .0.display())]
    NoFolder(PathBuf),
    /// A run is named twice: its images would be learned from and held out, too.
    #[error("--fooling {}: this run is named twice; leave one out", .0.display())]
    Twice(PathBuf),
    /// The list cannot be read.
    #[error("--images {}: {source}; name a text file", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the list is none.
    #[error("--images {}, line {line}: {reason}; write a path and the number of a class, below {classes}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// Classes of the network.
        classes: usize,
    },
    /// An image of the list cannot be read.
    #[error("--images: {0}")]
    Image(#[from] ImageError),
    /// An image cannot be brought to the size of the network's pictures.
    #[error("{}: {reason}", path.display())]
    Size {
        /// The image, or the run.
        path: PathBuf,
        /// What the resampler said.
        reason: String,
    },
    /// A folder has no run.
    #[error("--fooling: {0}")]
    Folder(#[from] FolderError),
    /// The model of a run cannot be used.
    #[error("--fooling {}: {source}; put the model back where it was", folder.display())]
    Own {
        /// The run folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// A run cannot be read.
    #[error("--fooling: {0}")]
    Run(#[from] RunError),
    /// There is no new row.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// A file cannot be written.
    #[error("--out: {}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// What is told in the end.
#[derive(Serialize)]
struct Told<'a> {
    version: &'static str,
    model: &'a str,
    model_sha256: &'a str,
    classes: usize,
    #[serde(flatten)]
    outcome: Outcome,
    epochs: u32,
    seed: u64,
    seconds: f64,
    out: String,
    sha256: String,
}

/// Runs `mirage retrain head`.
///
/// # Errors
/// [`HeadCommandError`]; no network is written then.
pub(super) fn run(args: &HeadArgs) -> Result<(), HeadCommandError> {
    let started = Instant::now();
    if !(args.held_out > 0.0 && args.held_out < 1.0) {
        return Err(HeadCommandError::HeldOut(args.held_out));
    }
    if args.out.extension().is_none_or(|ending| ending != "onnx") {
        return Err(HeadCommandError::Ending(args.out.clone()));
    }
    let [toml, labels] = ["toml", "labels.txt"].map(|ending| args.out.with_extension(ending));
    let existing = [&args.out, &toml, &labels].into_iter().find(|path| path.exists());
    if let Some(path) = existing.filter(|_| !args.force) {
        return Err(HeadCommandError::Exists(path.clone()));
    }
    // Said now rather than in the end.
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        return Err(HeadCommandError::NoFolder(parent.to_owned()));
    }
    let mut named = HashSet::new();
    for folder in &args.fooling {
        if !named.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
            return Err(HeadCommandError::Twice(folder.clone()));
        }
    }
    let model = HeadModel::load(&args.model).map_err(HeadCommandError::Model)?;
    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let mut pictures = listed(&args.images, &model)?;
    for folder in &args.fooling {
        pictures.extend(evolved(folder, &model, threads)?);
    }
    let settings = Settings { epochs: args.epochs, held_out: args.held_out, seed: args.seed };
    let (bytes, outcome) = retrain(&model, &pictures, settings, threads)?;
    let names = model.labels().iter().map(String::as_str).chain([LABEL]);
    let names: String = names.map(|name| format!("{name}\n")).collect();
    let file_name = labels.file_name().map(PathBuf::from).unwrap_or_default();
    let description = model.description(&file_name);
    // The network last: what is there then says all that it needs.
    for (path, bytes) in
        [(&labels, names.as_bytes()), (&toml, description.as_bytes()), (&args.out, &bytes[..])]
    {
        files::write(path, bytes)
            .map_err(|source| HeadCommandError::Write { path: path.clone(), source })?;
    }
    let told = Told {
        version: env!("CARGO_PKG_VERSION"),
        model: model.name(),
        model_sha256: model.sha256(),
        classes: model.labels().len() + 1,
        outcome,
        epochs: settings.epochs,
        seed: settings.seed,
        seconds: started.elapsed().as_secs_f64(),
        out: args.out.display().to_string(),
        sha256: files::sha256(&bytes),
    };
    Ok(print(&if args.json { json(&told) } else { in_words(&told) })?)
}

/// The images of a list.
fn listed(list: &Path, model: &HeadModel) -> Result<Vec<Picture>, HeadCommandError> {
    let text = files::read(list, MAX_LIST)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
        .map_err(|source| HeadCommandError::List { path: list.to_owned(), source })?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let classes = model.labels().len();
    let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty());
    let entry = |(line, text): (usize, &str)| {
        let wrong = |reason: String| {
            let path = list.to_owned();
            HeadCommandError::Line { path, line, reason, classes }
        };
        let (path, class) = text
            .trim()
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| wrong(format!("{text:?} has no class")))?;
        let number = class.parse().ok().filter(|&class: &usize| class < classes);
        let class = number.ok_or_else(|| wrong(format!("{class:?} is no class")))?;
        let path = folder.join(path.trim_end());
        let pixels = fitted(Image::open(&path)?, &path, model)?;
        Ok(Picture { pixels, class: Some(class) })
    };
    lines.map(entry).collect()
}

/// The images of a run, each once.
fn evolved(
    path: &Path,
    model: &HeadModel,
    threads: usize,
) -> Result<Vec<Picture>, HeadCommandError> {
    let folder = Folder::new(path);
    let name = folder.manifest()?.model.name;
    let own = Model::load(&name)
        .map_err(|source| HeadCommandError::Own { folder: path.to_owned(), source })?;
    let record = run::record(&own, &folder, threads)?;
    let [height, width, channels] = record.manifest.model.picture;
    let mut seen = HashSet::new();
    let distinct = record.champions.iter().filter(|champion| seen.insert(champion.id));
    let picture = |pixels: &[u8]| {
        let image = Image { width, height, channels, pixels: pixels.to_vec() };
        Ok(Picture { pixels: fitted(image, path, model)?, class: None })
    };
    distinct.map(|champion| picture(&champion.picture)).collect()
}

/// An image as the network judges it.
fn fitted(image: Image, path: &Path, model: &HeadModel) -> Result<Vec<u8>, HeadCommandError> {
    let shape = model.shape();
    image
        .with_channels(shape.channels)
        .fitted(shape.width, shape.height, model.resize())
        .map(|image| image.pixels)
        .map_err(|reason| HeadCommandError::Size { path: path.to_owned(), reason })
}

/// The result for a person.
fn in_words(told: &Told) -> String {
    let Told { model, classes, outcome, .. } = told;
    let images = |count: usize| counted(count as u64, "image");
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    format!(
        "{model} with one class more, of {classes}: its weights learned from {} and {} of runs, the others as they were\n\
         {} held out: {} right before, {} after, {} called fooling\n\
         {} of runs held out: {} called fooling\n\
         wrote {}\nsha256 {}\n",
        images(outcome.images - outcome.images_held_out),
        images(outcome.fooling_images - outcome.fooling_images_held_out),
        images(outcome.images_held_out),
        percent(outcome.accuracy_before),
        percent(outcome.accuracy_after),
        percent(outcome.called_fooling_share),
        images(outcome.fooling_images_held_out),
        percent(outcome.recognised_share),
        told.out,
        told.sha256,
    )
}
