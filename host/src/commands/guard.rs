//! `mirage guard`: whether simple guards tell fooling images from natural ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;

use super::images::warn_if_older;
use super::{Answer, OutputError, default_threads, print, progress};
use crate::data::{NoDataDir, data_dir};
use crate::experiment::checkpoint::Pace;
use crate::experiment::folder::{Folder, FolderError};
use crate::experiment::journal::RunError;
use crate::experiment::plan::{Plan, PlanError};
use crate::experiment::record::RunRecord;
use crate::experiment::run::{self, Work};
use crate::files;
use crate::guard::Score;
use crate::guard::natural::{Natural, NaturalError};
use crate::guard::study::{Guards, Study, StudyError};
use crate::interrupt::Interrupt;
use crate::model::{Crops, Model, ModelError};
use crate::report::{self, ReportError};
use crate::words::{counted, quoted};

/// Arguments of `mirage guard`.
#[derive(Args, Debug)]
pub struct GuardArgs {
    /// Folders of runs against one model
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The model of the runs, if it is not where it was
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Natural images: a folder of photographs, or a file of lines `path class` [default: MNIST]
    #[arg(long, value_name = "DIR|LIST")]
    natural: Option<PathBuf>,
    /// Folder with MNIST's four files, or with a folder mnist of them
    /// [default: $MIRAGE_DATA, else the platform's]
    #[arg(long, value_name = "DIR", conflicts_with = "natural")]
    data: Option<PathBuf>,
    /// Evolve each run once more for each guard, with the guard in the objective, in folders of --out
    #[arg(long, requires = "out")]
    evolve: bool,
    /// Generations of those [default: as many as their run was to have]
    #[arg(long, value_name = "N", requires = "evolve", value_parser = clap::value_parser!(u32).range(1..))]
    generations: Option<u32>,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", requires = "evolve", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write guard.html and scores.csv to a folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage guard` failed.
#[derive(Debug, Error)]
pub enum GuardCommandError {
    /// A folder has no run.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// A run's settings cannot be read.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The runs' model cannot be used.
    #[error("{0}, or name the runs' model with --model")]
    Model(#[from] ModelError),
    /// A run cannot be read, or not be evolved.
    #[error("{0}")]
    Run(#[from] RunError),
    /// A run has no image yet.
    #[error("{}: there is no image in this run yet; evolve some first", .0.display())]
    Empty(PathBuf),
    /// There is no folder for data.
    #[error("{0}, or give --data DIR")]
    NoDataDir(#[from] NoDataDir),
    /// There are no natural images.
    #[error("{0}")]
    Natural(#[from] NaturalError),
    /// There are no guards.
    #[error("{0}")]
    Study(#[from] StudyError),
    /// What a run under a guard would be is there, and is another one.
    #[error("--out: {}: this run was evolved otherwise, or under another guard; choose another --out", .0.display())]
    Other(PathBuf),
    /// The folder cannot be made, or a file not be written.
    #[error("--out {}: {source}; choose another folder, or make room", path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// A page cannot be made.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// A run that is to be evolved under a guard.
struct Task {
    score: Score,
    plan: Plan,
    folder: Folder,
}

/// Runs `mirage guard`.
///
/// # Errors
/// [`GuardCommandError`]. Runs under guards that were begun are kept, and go on when the
/// same is asked for again.
pub fn run(args: &GuardArgs) -> Result<Answer, GuardCommandError> {
    let manifests: Vec<_> =
        args.runs.iter().map(|path| Folder::new(path).manifest()).collect::<Result<_, _>>()?;
    let name = args.model.as_deref().or(manifests.first().map(|m| m.model.name.as_str()));
    let model = Model::load(name.unwrap_or_default())?;
    let mut runs: Vec<(String, RunRecord)> =
        args.runs.iter().map(|path| read(&model, path)).collect::<Result<_, _>>()?;
    let data = match &args.natural {
        // Photographs need no folder of data.
        Some(_) => PathBuf::new(),
        None => args.data.clone().map_or_else(data_dir, Ok)?,
    };
    let natural = Natural::of(&model, args.natural.as_deref(), &data)?;
    let guards = Guards::new(&model, &natural)?;
    let tasks = match &args.out {
        Some(out) if args.evolve => tasks(args, &runs, &guards, out)?,
        _ => Vec::new(),
    };
    if let Some(out) = &args.out {
        fs::create_dir_all(out)
            .map_err(|source| GuardCommandError::Write { path: out.clone(), source })?;
    }
    let interrupt = match tasks.is_empty() {
        true => Interrupt::default(),
        false => Interrupt::by_signals().map_err(GuardCommandError::Signals)?,
    };
    for task in &tasks {
        match evolve(args, &model, &guards, task, &interrupt) {
            Err(GuardCommandError::Run(RunError::Interrupted { .. })) => {
                let folder = task.folder.path().display();
                complain!("stopped in {folder}: what is done is kept; the same command goes on");
                return Ok(Answer::Interrupted);
            }
            evolved => runs.push(evolved?),
        }
    }
    let study = guards.judge(&runs)?;
    if let Some(out) = &args.out {
        let path = out.join("scores.csv");
        let table = study.csv().and_then(|bytes| files::write(&path, &bytes));
        table.map_err(|source| GuardCommandError::Write { path, source })?;
        report::guard::write(&study, &command(args), out)?;
    }
    if args.json {
        print(&format!("{}\n", serde_json::json!(study)))?;
    } else {
        print(&in_words(&study, &model, args.out.as_deref()))?;
    }
    Ok(Answer::Yes)
}

/// Reads a run that has images.
fn read(model: &Model, path: &Path) -> Result<(String, RunRecord), GuardCommandError> {
    let folder = Folder::new(path);
    let record = run::record(model, &folder, default_threads().get())?;
    warn_if_older(&folder.manifest()?, &record, path);
    if record.champions.is_empty() {
        return Err(GuardCommandError::Empty(path.to_owned()));
    }
    Ok((path.display().to_string(), record))
}

/// What is to be evolved: each run that has no guard, once under each guard.
fn tasks(
    args: &GuardArgs,
    runs: &[(String, RunRecord)],
    guards: &Guards,
    out: &Path,
) -> Result<Vec<Task>, GuardCommandError> {
    let mut tasks: Vec<Task> = Vec::new();
    for (_, record) in runs {
        let own = Plan::of(&record.manifest)?;
        if own.guard.is_some() {
            continue;
        }
        for score in Score::ALL {
            let plan = Plan {
                guard: Some(guards.rule(score).clone()),
                crops: Crops::Center,
                generations: args.generations.unwrap_or(own.generations),
                ..own.clone()
            };
            let name = format!("{}-seed{}-{}", plan.preset, plan.seed, score.name());
            let folder = Folder::new(out.join(name));
            let there = match tasks.iter().find(|task| task.folder == folder) {
                Some(task) => Some(task.plan.clone()),
                None if folder.has_run() => Some(Plan::of(&folder.manifest()?)?),
                None => None,
            };
            let generations = plan.generations;
            if there.is_some_and(|there| Plan { generations, ..there } != plan) {
                return Err(GuardCommandError::Other(folder.path().to_owned()));
            }
            if tasks.iter().all(|task| task.folder != folder) {
                tasks.push(Task { score, plan, folder });
            }
        }
    }
    Ok(tasks)
}

/// Evolves a run under a guard, or goes on with it, and makes its report.
fn evolve(
    args: &GuardArgs,
    model: &Model,
    guards: &Guards,
    task: &Task,
    interrupt: &Interrupt,
) -> Result<(String, RunRecord), GuardCommandError> {
    let Task { score, plan, folder } = task;
    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let (resume, interrupt) = (folder.has_run(), interrupt.clone());
    let work = Work { threads, resume, pace: Pace::default(), interrupt };
    let line = progress::line();
    let guarded = guards.before(model, *score);
    let result = run::run(plan, &guarded, folder, &work, &mut |news| progress::show(&line, news));
    line.finish_and_clear();
    result?;
    // With what the network says by itself.
    let read = read(model, folder.path())?;
    report::write_all(&read.1, folder.path())?;
    Ok(read)
}

/// What to type to have the same again.
fn command(args: &GuardArgs) -> String {
    let path = |path: &PathBuf| quoted(&path.display().to_string());
    let mut words = vec!["mirage guard".to_owned()];
    words.extend(args.runs.iter().map(path));
    words.extend(args.model.iter().map(|name| format!("--model {}", quoted(name))));
    words.extend(args.natural.iter().map(|natural| format!("--natural {}", path(natural))));
    words.extend(args.data.iter().map(|data| format!("--data {}", path(data))));
    words.extend(args.evolve.then(|| "--evolve".to_owned()));
    words.extend(args.generations.map(|generations| format!("--generations {generations}")));
    words.extend(args.out.iter().map(|out| format!("--out {}", path(out))));
    words.join(" ")
}

/// The result for a person.
fn in_words(study: &Study, model: &Model, out: Option<&Path>) -> String {
    let Study { natural, gaussian, .. } = study;
    let mut text = format!(
        "{}: guards that accept 95 % of {}, tested on {} more ({}); Gaussian with {} of {} features, fitted to {}\n",
        study.model,
        counted(natural.threshold as u64, "natural image"),
        natural.tested,
        natural.source,
        counted(gaussian.means as u64, "mean"),
        gaussian.features,
        gaussian.images,
    );
    for guard in &study.guards {
        text += &format!(
            "  {:<11}  accepts {} {}: {:.1} % of natural images\n",
            guard.score.name(),
            guard.accepts,
            guard.threshold,
            100.0 * guard.natural_accepted
        );
    }
    let width = study.groups.iter().map(|group| group.name().chars().count()).max().unwrap_or(0);
    let width = width.max("evolved images".len());
    text += &format!("  {:width$}  {:>6}  {:>11}", "evolved images", "images", "confidence");
    for guard in &study.guards {
        text += &format!("  {:>17}", guard.score.name());
    }
    text += "\n";
    for group in &study.groups {
        let confidence = format!("{:.3} %", f64::from(group.median_confidence) * 100.0);
        text += &format!("  {:width$}  {:>6}  {confidence:>11}", group.name(), group.images);
        for detection in &group.detections {
            let cell = format!("{:.1} % ({:.3})", 100.0 * detection.fpr_at_95, detection.auroc);
            text += &format!("  {cell:>17}");
        }
        text += "\n";
    }
    text += "the share of images that each guard accepts (and AUROC: 1 tells all from natural ones, 0.5 is chance)\n";
    if model.is_int8() {
        text += &format!(
            "in firmware: mirage_core::nn::EnergyGuard {{ threshold: {:?} }}\n",
            study.guards[Score::Energy.index()].threshold
        );
    }
    if let Some(out) = out {
        text += &format!("look at {}\n", out.join("guard.html").display());
    }
    text
}
