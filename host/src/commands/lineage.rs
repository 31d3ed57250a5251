//! `mirage lineage`: which classes' images descend from one another.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::images::{Images, ImagesError, warn_if_older};
use super::{OutputError, default_threads, print};
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::phylogeny::{Clade, Nearness, Phylogeny};
use crate::experiment::record::{Champion, RunRecord};
use crate::experiment::run;
use crate::model::{Model, ModelError};
use crate::report::{self, ReportError};
use crate::words::counted;

/// Families that are told one by one.
const TOLD: usize = 12;

/// Arguments of `mirage lineage`.
#[derive(Args, Debug)]
pub struct LineageArgs {
    /// The run folder; it may be of a run that is still at work
    run: PathBuf,
    /// The model of the run, if it is not where it was
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Another run on the same network, whose images tell which classes it confuses
    #[arg(long, value_name = "RUN")]
    confusion: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage lineage` failed.
#[derive(Debug, Error)]
pub enum LineageCommandError {
    /// The folder has no run.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The run's model cannot be used.
    #[error("{0}, or name the run's model with --model")]
    Model(#[from] ModelError),
    /// The run cannot be read.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The run has no image yet.
    #[error("{}: there is no image in this run yet; evolve some first", .0.display())]
    Empty(PathBuf),
    /// The run that tells of confusion has no images.
    #[error("--confusion: {0}")]
    Images(ImagesError),
    /// That run was evolved on another network.
    #[error(
        "--confusion {}: that run was evolved on {other}, and this one on {own}, whose SHA-256 differs; name one of the same network", path.display()
    )]
    Unlike {
        /// The other run's folder.
        path: PathBuf,
        /// Its network.
        other: String,
        /// The network of the run.
        own: String,
    },
    /// The tree cannot be drawn, or not be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// What is told of a run's lineage.
#[derive(Serialize)]
struct Told {
    run: String,
    /// All who ever held a cell.
    individuals: usize,
    /// Those who hold one.
    images: usize,
    classes: usize,
    families: Vec<Family>,
    /// Whether kin have neighbouring numbers, where numbers mean something.
    nearness: Option<Nearness>,
    /// Whether the network confuses kin, if there are images that tell.
    nearness_in_confusion: Option<Nearness>,
}

/// All that descends from one founder.
#[derive(Serialize)]
struct Family {
    founder: u64,
    classes: Vec<usize>,
    images: usize,
}

/// Runs `mirage lineage`.
///
/// # Errors
/// [`LineageCommandError`].
pub fn run(args: &LineageArgs) -> Result<(), LineageCommandError> {
    let folder = Folder::new(&args.run);
    let manifest = folder.manifest()?;
    let model = Model::load(args.model.as_deref().unwrap_or(&manifest.model.name))?;
    let (record, individuals) = run::record_with_lineage(&model, &folder, default_threads().get())?;
    warn_if_older(&manifest, &record, &args.run);
    if record.champions.is_empty() {
        return Err(LineageCommandError::Empty(args.run.clone()));
    }
    let told_by = match &args.confusion {
        Some(path) => confusion(path, &model)?,
        None => Vec::new(),
    };
    let phylogeny = Phylogeny::of_elites(&individuals, &record.champions, model.classes());
    report::tree::write(&record, &phylogeny, folder.path())?;
    let told = Told::of(&record, individuals.len(), &phylogeny, &told_by, folder);
    if args.json {
        print(&format!("{}\n", serde_json::json!(told)))?;
    } else {
        print(&told.in_words(model.labels()))?;
    }
    Ok(())
}

/// The images of another run on the model.
fn confusion(path: &Path, model: &Model) -> Result<Vec<Champion>, LineageCommandError> {
    let images = Images::of(path, None).map_err(LineageCommandError::Images)?;
    if images.model.sha256() != model.sha256() {
        return Err(LineageCommandError::Unlike {
            path: path.to_owned(),
            other: images.model.name().to_owned(),
            own: model.name().to_owned(),
        });
    }
    Ok(images.record.champions)
}

impl Told {
    fn of(
        record: &RunRecord,
        individuals: usize,
        phylogeny: &Phylogeny,
        told_by: &[Champion],
        folder: Folder,
    ) -> Self {
        let classes = record.manifest.model.labels.len();
        let family = |founder: &Clade| {
            let mut images = 0;
            founder.visit(&mut |clade| images += usize::from(!clade.classes.is_empty()));
            Family { founder: founder.id, classes: founder.all_classes(), images }
        };
        let mut families: Vec<Family> = phylogeny.founders.iter().map(family).collect();
        families.sort_by_key(|family| (usize::MAX - family.classes.len(), family.founder));
        let kin = phylogeny.kin(classes);
        Self {
            run: folder.path().display().to_string(),
            individuals,
            images: families.iter().map(|family| family.images).sum(),
            classes: families.iter().map(|family| family.classes.len()).sum(),
            families,
            nearness: Nearness::in_order(&kin),
            nearness_in_confusion: Nearness::in_confusion(&kin, told_by),
        }
    }

    /// The result for a person.
    fn in_words(&self, labels: &[String]) -> String {
        let Self { run, individuals, images, classes, families, .. } = self;
        let of = |count: usize, noun| counted(count as u64, noun);
        let mut text = format!(
            "{run}: {} once held a class; {} hold {} today and descend from {}\n",
            of(*individuals, "individual"),
            of(*images, "image"),
            of(*classes, "class"),
            of(families.len(), "founder"),
        );
        for Family { founder, classes, images } in families.iter().take(TOLD) {
            let names: Vec<&str> =
                classes.iter().take(TOLD).map(|&class| labels[class].as_str()).collect();
            let more = if classes.len() > TOLD { ", ..." } else { "" };
            text += &format!(
                "  from {founder}: {} by {}: {}{more}\n",
                of(classes.len(), "class"),
                of(*images, "image"),
                names.join(", "),
            );
        }
        if families.len() > TOLD {
            text += &format!("  and {} more\n", families.len() - TOLD);
        }
        if let Some(Nearness { distance, by_chance, p, .. }) = self.nearness {
            text += &format!(
                "the numbers of next of kin are {distance:.1} apart, by chance {by_chance:.1} (p = {p:.3}); ImageNet's follow WordNet\n"
            );
        }
        if let Some(Nearness { distance, by_chance, p, .. }) = self.nearness_in_confusion {
            let [kin, others] = [distance, by_chance].map(|distance| 10_f64.powf(-distance));
            text += &format!(
                "images of the other run score {kin:.1e} in the classes of next of kin, by chance {others:.1e} (geometric means; p = {p:.3})\n"
            );
        }
        for name in ["tree.svg", "tree.nwk"] {
            text += &format!("look at {}\n", PathBuf::from(run).join(name).display());
        }
        text
    }
}
