//! `mirage retrain mnist`: fifteen networks, each trained with what fooled the ones before.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use super::super::{Answer, OutputError, default_threads, print, progress};
use crate::data::{NoDataDir, data_dir};
use crate::experiment::plan::MAX_CHILDREN;
use crate::interrupt::Interrupt;
use crate::report::{self, ReportError};
use crate::retrain::folder::{Folder, FolderError};
use crate::retrain::mnist::{self, Digits, RetrainError, Work};
use crate::retrain::record::{Iteration, Retraining};
use crate::retrain::settings::Settings;
use crate::words::counted;

/// Most networks, and most images that an iteration adds.
const MOST: i64 = 1_000_000;

/// Arguments of `mirage retrain mnist`.
#[derive(Args, Debug)]
pub(super) struct MnistArgs {
    /// How images are encoded [default: cppn, as in the paper]
    #[arg(long, value_enum)]
    encoding: Option<EncodingName>,
    /// Networks to train and to evolve against; with --resume also more than before [default: 15]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    iterations: Option<u32>,
    /// Fooling images that the second network is trained with; a run of evolution gives 20 [default: 6000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    first: Option<u32>,
    /// Fooling images that come to them at every later iteration [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    more: Option<u32>,
    /// Generations of every run [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generations: Option<u32>,
    /// Children per generation [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CHILDREN)))]
    children: Option<u32>,
    /// lenet, lenet-small, or layers as for `mirage train`, the last dense10 [default: lenet]
    #[arg(long, value_name = "NAME|LAYERS")]
    network: Option<String>,
    /// Times that every image is seen in a training [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Seed of the first training and the first run; the others follow [default: 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Folder with MNIST's four files, or with a folder mnist of them
    /// [default: $MIRAGE_DATA, else the platform's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The folder for networks, runs and report [default: runs/retrain-mnist-ENCODING-seedS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the retraining in the folder, with its settings
    #[arg(long)]
    resume: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncodingName {
    /// A pattern-producing network
    Cppn,
    /// One gene per pixel
    Direct,
}

impl EncodingName {
    fn preset(self) -> &'static str {
        match self {
            Self::Cppn => "mnist-cppn",
            Self::Direct => "mnist-direct",
        }
    }
}

/// Why `mirage retrain mnist` failed.
#[derive(Debug, Error)]
pub enum MnistCommandError {
    /// There is no folder for data.
    #[error("{0}, or give --data DIR")]
    NoDataDir(#[from] NoDataDir),
    /// The folder of the retraining to go on with cannot be read.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// An option contradicts the retraining that is to go on.
    #[error("{option}: the retraining in {} was begun with {value}; leave the option out, or choose another --out", folder.display())]
    Contradiction {
        /// The option.
        option: &'static str,
        /// The value in the retraining.
        value: String,
        /// The folder.
        folder: PathBuf,
    },
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// It did not come to its end.
    #[error("{0}")]
    Retrain(#[from] RetrainError),
    /// It is done and its report cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

/// The result, and where it is.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    retraining: &'a Retraining,
    folder: String,
}

/// Runs `mirage retrain mnist`.
///
/// # Errors
/// [`MnistCommandError`]; the networks and runs that were done are kept.
pub(super) fn run(args: &MnistArgs) -> Result<Answer, MnistCommandError> {
    let (settings, path) = args.settings()?;
    let digits = Digits::load(&args.data.clone().map_or_else(data_dir, Ok)?)?;
    let interrupt = Interrupt::by_signals().map_err(MnistCommandError::Signals)?;
    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let work = Work { threads, resume: args.resume, interrupt };
    let mut begins_anew = args.resume && !has_retraining(&path);
    let line = progress::line();
    let result = mnist::run(&settings, &digits, &path, &work, &mut |now| {
        if std::mem::take(&mut begins_anew) {
            let path = path.display();
            line.suspend(|| {
                complain!("warning: there is no retraining in {path} yet: a new one begins");
            });
        }
        line.set_message(progress::retraining_in_words(now));
    });
    let retraining = match result {
        Ok(retraining) => retraining,
        Err(stopped) => {
            line.finish_and_clear();
            if matches!(stopped, RetrainError::Interrupted { .. }) {
                complain!("{stopped}");
                return Ok(Answer::Interrupted);
            }
            return Err(stopped.into());
        }
    };
    line.set_message("making the report");
    let report = report::retraining::write(&retraining, &path);
    line.finish_and_clear();
    report?;
    let told = Told { retraining: &retraining, folder: path.display().to_string() };
    if args.json {
        print(&format!("{}\n", serde_json::json!(told)))?;
    } else {
        print(&in_words(&told))?;
    }
    Ok(Answer::Yes)
}

impl MnistArgs {
    /// The settings, of the retraining in the folder if it is to go on, and the folder.
    fn settings(&self) -> Result<(Settings, PathBuf), MnistCommandError> {
        let path = self.out.clone().unwrap_or_else(|| {
            let preset = self.encoding.unwrap_or(EncodingName::Cppn).preset();
            let seed = self.seed.unwrap_or(Settings::default().seed);
            PathBuf::from("runs").join(format!("retrain-{preset}-seed{seed}"))
        });
        let is_old = self.resume && has_retraining(&path);
        let base = if is_old { Folder::record(&path)?.settings } else { Settings::default() };
        let asked = Settings {
            preset: self.encoding.map_or(base.preset.clone(), |name| name.preset().to_owned()),
            iterations: self.iterations.unwrap_or(base.iterations),
            first: self.first.unwrap_or(base.first),
            more: self.more.unwrap_or(base.more),
            generations: self.generations.unwrap_or(base.generations),
            children: self.children.unwrap_or(base.children),
            network: self.network.clone().unwrap_or_else(|| base.network.clone()),
            epochs: self.epochs.unwrap_or(base.epochs),
            seed: self.seed.unwrap_or(base.seed),
        };
        let differs = [
            ("--encoding", base.preset != asked.preset, base.preset),
            ("--first", base.first != asked.first, base.first.to_string()),
            ("--more", base.more != asked.more, base.more.to_string()),
            ("--generations", base.generations != asked.generations, base.generations.to_string()),
            ("--children", base.children != asked.children, base.children.to_string()),
            ("--network", base.network != asked.network, base.network),
            ("--epochs", base.epochs != asked.epochs, base.epochs.to_string()),
            ("--seed", base.seed != asked.seed, base.seed.to_string()),
        ];
        match differs.into_iter().find(|(_, differs, _)| is_old && *differs) {
            Some((option, _, value)) => {
                Err(MnistCommandError::Contradiction { option, value, folder: path })
            }
            None => Ok((asked, path)),
        }
    }
}

/// Whether there is a retraining in a folder.
fn has_retraining(folder: &Path) -> bool {
    folder.join("retraining.json").exists()
}

/// The result for a person.
fn in_words(told: &Told) -> String {
    let Retraining { settings, iterations, seconds, .. } = told.retraining;
    let mut text = format!(
        "{} retrained with what fooled it: {} of {}, {} of {} children ({}), in {seconds:.0} s\n",
        settings.network,
        counted(settings.iterations, "training"),
        counted(settings.epochs, "epoch"),
        counted(settings.generations, "generation"),
        settings.children,
        settings.preset,
    );
    text += "network  fooling images     share  test error  median confidence  generations to 99.99 %  digits fooled  called fooling\n";
    let percent = |share: f64, digits: usize| format!("{:.*} %", digits, share * 100.0);
    for row in iterations {
        let Iteration { iteration, fooling_images, .. } = row;
        text += &format!(
            "{:>7}  {fooling_images:>14}  {:>8}  {:>10}  {:>17}  {:>22}  {:>13}  {:>14}\n",
            format!("DNN_{iteration}"),
            percent(row.fooling_share, 1),
            percent(row.test_error, 2),
            percent(row.median_confidence, 4),
            row.median_generation_9999.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            percent(row.fooled_share, 1),
            row.called_fooling_share.map_or_else(|| "-".to_owned(), |share| percent(share, 1)),
        );
    }
    text + &format!("look at {}\n", PathBuf::from(&told.folder).join("report.html").display())
}
