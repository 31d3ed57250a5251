//! `mirage transfer`: whether images that fool one network fool others.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::images::{Images, ImagesError};
use super::{CropsName, OutputError, print};
use crate::experiment::record::Manifest;
use crate::experiment::transfer::{Entry, Transfer, TransferError, matrix, transfer};
use crate::files;
use crate::model::{Crops, Model, ModelError};

/// Runs of at most so many classes are told image by image.
const FEW: usize = 20;

/// Arguments of `mirage transfer`.
#[derive(Args, Debug)]
pub struct TransferArgs {
    /// Folders of runs whose images are shown
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Whom to show them: names of `mirage models list`, or paths of int8 models or ONNX networks
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAME|FILE")]
    onto: Vec<String>,
    /// What of a picture the other networks look at [default: what the run's does, or center]
    #[arg(long, value_enum)]
    crops: Option<CropsName>,
    /// Write what is said of every image to a table
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage transfer` failed.
#[derive(Debug, Error)]
pub enum TransferCommandError {
    /// A run has no images that can be shown.
    #[error("{0}")]
    Images(#[from] ImagesError),
    /// A network that was to judge cannot be used.
    #[error("--onto: {0}")]
    Onto(ModelError),
    /// A network cannot judge a run's images.
    #[error("{0}")]
    Transfer(#[from] TransferError),
    /// The table cannot be written.
    #[error("--csv {}: {source}; choose another file, or make room", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// A run, and how its images do on other networks.
#[derive(Serialize)]
struct Shown {
    run: String,
    model: String,
    preset: String,
    seed: u64,
    #[serde(skip)]
    manifest: Manifest,
    onto: Vec<Transfer>,
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'a> {
    run: &'a str,
    model: &'a str,
    onto: &'a str,
    class: usize,
    label: &'a str,
    own_top: usize,
    own_confidence: f32,
    top: usize,
    confidence: f32,
}

/// Runs `mirage transfer`.
///
/// # Errors
/// [`TransferCommandError`]; nothing is printed or written then.
pub fn run(args: &TransferArgs) -> Result<(), TransferCommandError> {
    let onto: Vec<Model> = args
        .onto
        .iter()
        .map(|name| Model::load(name))
        .collect::<Result<_, _>>()
        .map_err(TransferCommandError::Onto)?;
    let shown: Vec<Shown> =
        args.runs.iter().map(|run| show(run, &onto, args.crops)).collect::<Result<_, _>>()?;
    if let Some(path) = &args.csv {
        let table = table(&shown).and_then(|bytes| files::write(path, &bytes));
        table.map_err(|source| TransferCommandError::Table { path: path.clone(), source })?;
    }
    let all = shown.iter().flat_map(|run| run.onto.iter().map(|onto| (&run.manifest, onto)));
    let matrix = matrix(all);
    if args.json {
        print(&format!("{}\n", serde_json::json!({ "runs": shown, "matrix": matrix })))?;
    } else {
        let mut text: String = shown.iter().map(Shown::in_words).collect();
        if shown.len() > 1 {
            text += &in_words(&matrix);
        }
        print(&text)?;
    }
    Ok(())
}

/// The matrix for a person.
fn in_words(matrix: &[Entry]) -> String {
    let names: Vec<[String; 2]> = matrix
        .iter()
        .map(|entry| [format!("{} {}", entry.own, entry.preset), entry.onto.clone()])
        .collect();
    let width = |column: usize, title: &str| {
        let widths = names.iter().map(|names| names[column].chars().count());
        widths.max().unwrap_or(0).max(title.len())
    };
    let (own, onto) = (width(0, "evolved against"), width(1, "shown to"));
    let mut text = format!(
        "means over the runs on a network\n  {:own$}  {:onto$}  {:>4}  {:>14}  {:>14}  {:>10}  {:>15}\n",
        "evolved against",
        "shown to",
        "runs",
        "same top class",
        "own confidence",
        "confidence",
        "99.99 % of both",
    );
    for (entry, [evolved, shown]) in matrix.iter().zip(&names) {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        text += &format!(
            "  {evolved:own$}  {shown:onto$}  {:>4}  {:>14}  {:>14}  {:>10}  {:>15}\n",
            entry.runs,
            percent(entry.same_top),
            percent(entry.own_mean_confidence),
            percent(entry.mean_confidence),
            percent(entry.certain_of_both),
        );
    }
    text
}

/// Shows the images of a run to networks.
fn show(
    path: &Path,
    onto: &[Model],
    crops: Option<CropsName>,
) -> Result<Shown, TransferCommandError> {
    let Images { plan, record, .. } = Images::of(path, None)?;
    let judge = |model: &Model| {
        let crops = match crops {
            Some(name) => name.into(),
            None if model.has_margin() => plan.crops,
            None => Crops::Center,
        };
        transfer(&record, model, crops)
    };
    Ok(Shown {
        run: path.display().to_string(),
        model: record.manifest.model.name.clone(),
        preset: record.manifest.preset.clone(),
        seed: record.manifest.seed,
        onto: onto.iter().map(judge).collect::<Result<_, _>>()?,
        manifest: record.manifest,
    })
}

/// Every image of every run on every network, as CSV.
fn table(shown: &[Shown]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for run in shown {
        for transfer in &run.onto {
            for image in &transfer.judgements {
                writer.serialize(Row {
                    run: &run.run,
                    model: &run.model,
                    onto: &transfer.onto,
                    class: image.class,
                    label: &run.manifest.model.labels[image.class],
                    own_top: image.own_top,
                    own_confidence: image.own_confidence,
                    top: image.top,
                    confidence: image.confidence,
                })?;
            }
        }
    }
    writer.into_inner().map_err(|error| error.into_error())
}

impl Shown {
    /// The result for a person.
    fn in_words(&self) -> String {
        let Self { run, model, preset, seed, manifest, .. } = self;
        let labels = &manifest.model.labels;
        let mut text = format!("{run}: evolved against {model} ({preset}, seed {seed})\n");
        let name = |transfer: &Transfer| transfer.onto.chars().count();
        let width = self.onto.iter().map(name).max().unwrap_or(0).max("shown to".len());
        text += &format!(
            "  {:width$}  {:>8}  {:>17}  {:>17}  {:>17}  {:>17}\n",
            "shown to",
            "images",
            "same top class",
            "their own class",
            "confidence",
            "99.99 % of both",
        );
        let share = |count: usize, all: usize| {
            format!("{count} ({:.1} %)", 100.0 * count as f64 / all.max(1) as f64)
        };
        for transfer in &self.onto {
            let Transfer { onto, images, same_top, fooled, certain_of_both, .. } = transfer;
            let all = *images;
            text += &format!(
                "  {onto:width$}  {images:>8}  {:>17}  {:>17}  {:>17}  {:>17}\n",
                share(*same_top, all),
                share(*fooled, all),
                format!("{:.2} %", transfer.mean_confidence * 100.0),
                share(*certain_of_both, all),
            );
        }
        if let Some(transfer) = self.onto.first() {
            text += &format!(
                "  mean confidence of {model} itself: {:.2} %\n",
                transfer.own_mean_confidence * 100.0
            );
        }
        if labels.len() > FEW {
            return text;
        }
        text += "  by class, from left to right as above; in brackets what the image is taken for instead\n";
        for (index, label) in labels.iter().enumerate() {
            let of = |transfer: &Transfer| {
                let image = transfer.judgements.iter().find(|image| image.class == index)?;
                let percent = format!("{:.2} %", f64::from(image.confidence) * 100.0);
                Some(match image.top == index {
                    true => format!("{percent:>10}{:8}", ""),
                    false => format!("{percent:>10} {:7}", format!("({})", labels[image.top])),
                })
            };
            let row: Option<String> = self.onto.iter().map(of).collect();
            if let Some(row) = row {
                text += &format!("  {label:>8}{}\n", row.trim_end());
            }
        }
        text
    }
}
