//! `mirage diversity`: whether different runs give different images for a class.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::images::{Images, ImagesError};
use super::{OutputError, print};
use crate::experiment::diversity::{Distances, Diversity, DiversityError, Space, diversity};
use crate::experiment::record::RunRecord;
use crate::files;
use crate::report::{self, ReportError};
use crate::words::counted;

/// Arguments of `mirage diversity`.
#[derive(Args, Debug)]
pub struct DiversityArgs {
    /// Folders of two or more runs on one network
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the page and the table go [default: the first run's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage diversity` failed.
#[derive(Debug, Error)]
pub enum DiversityCommandError {
    /// A run has no images.
    #[error("{0}")]
    Images(#[from] ImagesError),
    /// The runs cannot be compared.
    #[error("{0}")]
    Diversity(#[from] DiversityError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space, or give another --out", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The page cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// What is told of the runs.
#[derive(Serialize)]
struct Told<'a> {
    model: &'a str,
    seed: u64,
    folders: Vec<String>,
    seeds: Vec<u64>,
    presets: Vec<&'a str>,
    #[serde(flatten)]
    diversity: &'a Diversity,
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'a> {
    space: Space,
    class: usize,
    label: &'a str,
    between_runs: f64,
    between_classes: f64,
}

/// Runs `mirage diversity`.
///
/// # Errors
/// [`DiversityCommandError`].
pub fn run(args: &DiversityArgs) -> Result<(), DiversityCommandError> {
    let mut records: Vec<RunRecord> = Vec::new();
    let mut network = None;
    for path in &args.runs {
        let Images { model, record, .. } = Images::of(path, None)?;
        network.get_or_insert(model);
        records.push(record);
    }
    let network = network.ok_or(DiversityError::Alone)?;
    let diversity = diversity(&records, &network, args.seed)?;
    let folder = args.out.as_ref().unwrap_or(&args.runs[0]);
    let write = |path: PathBuf| move |source| DiversityCommandError::Write { path, source };
    std::fs::create_dir_all(folder).map_err(write(folder.clone()))?;
    let path = folder.join("diversity.csv");
    table(&diversity, &records[0].manifest.model.labels)
        .and_then(|bytes| files::write(&path, &bytes))
        .map_err(write(path.clone()))?;
    let folders: Vec<String> = args.runs.iter().map(|run| run.display().to_string()).collect();
    report::diversity::write(&records, &folders, &diversity, args.seed, folder)?;
    let manifests = || records.iter().map(|record| &record.manifest);
    let told = Told {
        model: &records[0].manifest.model.name,
        seed: args.seed,
        folders,
        seeds: manifests().map(|manifest| manifest.seed).collect(),
        presets: manifests().map(|manifest| manifest.preset.as_str()).collect(),
        diversity: &diversity,
    };
    if args.json {
        print(&format!("{}\n", serde_json::json!(told)))?;
    } else {
        let page = folder.join("diversity.html");
        print(&format!("{}look at {}\n", told.in_words(), page.display()))?;
    }
    Ok(())
}

/// Every class in every space, as CSV.
fn table(diversity: &Diversity, labels: &[String]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for distances in &diversity.spaces {
        for class in &distances.by_class {
            writer.serialize(Row {
                space: distances.space,
                class: class.class,
                label: &labels[class.class],
                between_runs: class.between_runs,
                between_classes: class.between_classes,
            })?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error())
}

impl Told<'_> {
    /// The result for a person.
    fn in_words(&self) -> String {
        let Diversity { runs, classes, spaces, without_features } = self.diversity;
        let mut text = format!(
            "{} against {}, {} with an image in each\n  {:24}  {:>12}  {:>15}  {:>5}  95 % interval\n",
            counted(*runs as u64, "run"),
            self.model,
            counted(*classes as u64, "class"),
            "mean distance",
            "between runs",
            "between classes",
            "ratio",
        );
        for Distances { space, between_runs, between_classes, ratio, interval, .. } in spaces {
            let [low, high] = interval;
            text += &format!(
                "  {:24}  {between_runs:>12.4}  {between_classes:>15.4}  {ratio:>5.2}  {low:.2} to {high:.2}\n",
                space.name(),
            );
        }
        for distances in spaces {
            text += &format!("{}: {}\n", distances.space.name(), distances.verdict());
        }
        if let Some(reason) = without_features {
            text += &format!("features are left out: {reason}\n");
        }
        text
    }
}
