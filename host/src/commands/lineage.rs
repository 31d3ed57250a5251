//! `mirage lineage`: which classes' images descend from one another.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::{OutputError, default_threads, print};
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::phylogeny::{Clade, Nearness, Phylogeny};
use crate::experiment::record::RunRecord;
use crate::experiment::run;
use crate::files;
use crate::model::{Model, ModelError};
use crate::report::{self, ReportError};
use crate::words::counted;

/// Families that are told one by one.
const TOLD: usize = 12;

/// Models of more classes have them in some order: ImageNet's is WordNet's.
const FEW: usize = 20;

/// Arguments of `mirage lineage`.
#[derive(Args, Debug)]
pub struct LineageArgs {
    /// The run folder; it may be of a run that is still at work
    run: PathBuf,
    /// The model of the run, if it is not where it was
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
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
    /// The tree cannot be drawn.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The tree cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
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
    let name = folder.manifest()?.model.name;
    let model = Model::load(args.model.as_deref().unwrap_or(&name))?;
    let (record, individuals) = run::record_with_lineage(&model, &folder, default_threads().get())?;
    if record.champions.is_empty() {
        return Err(LineageCommandError::Empty(args.run.clone()));
    }
    let mut holders = vec![None; model.classes()];
    record.champions.iter().for_each(|champion| holders[champion.class] = Some(champion.id));
    let phylogeny = Phylogeny::new(&individuals, &holders);
    report::tree::write(&record, &phylogeny, folder.path())?;
    let path = folder.path().join("tree.nwk");
    files::write(&path, phylogeny.newick(model.labels()).as_bytes())
        .map_err(|source| LineageCommandError::Write { path, source })?;
    let told = Told::of(&record, individuals.len(), &phylogeny, folder);
    if args.json {
        print(&format!("{}\n", serde_json::json!(told)))?;
    } else {
        print(&told.in_words(model.labels()))?;
    }
    Ok(())
}

impl Told {
    fn of(record: &RunRecord, individuals: usize, phylogeny: &Phylogeny, folder: Folder) -> Self {
        let classes = record.manifest.model.labels.len();
        let family = |founder: &Clade| {
            let mut images = 0;
            founder.visit(&mut |clade| images += usize::from(!clade.classes.is_empty()));
            Family { founder: founder.id, classes: founder.all_classes(), images }
        };
        let mut families: Vec<Family> = phylogeny.founders.iter().map(family).collect();
        families.sort_by_key(|family| (usize::MAX - family.classes.len(), family.founder));
        let distance = |a: usize, b: usize| a.abs_diff(b) as f64;
        let nearness = (classes > FEW).then(|| Nearness::of(&phylogeny.kin(classes), distance));
        Self {
            run: folder.path().display().to_string(),
            individuals,
            images: families.iter().map(|family| family.images).sum(),
            classes: families.iter().map(|family| family.classes.len()).sum(),
            families,
            nearness: nearness.flatten(),
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
        for name in ["tree.svg", "tree.nwk"] {
            text += &format!("look at {}\n", PathBuf::from(run).join(name).display());
        }
        text
    }
}
