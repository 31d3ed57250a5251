//! `mirage ablate`: whether an image needs all the copies of what is repeated in it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;
use thiserror::Error;

use super::images::{Images, ImagesError};
use super::{OutputError, print, progress};
use crate::experiment::ablation::{Ablation, DROP, Settings, ablate};
use crate::files;
use crate::model::ModelError;
use crate::report::{self, ReportError};
use crate::words::counted;

/// Arguments of `mirage ablate`.
#[derive(Args, Debug)]
pub struct AblateArgs {
    /// The run folder; it may be of a run that is still at work
    run: PathBuf,
    /// The model of the run, if it is not where it was
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Leave out images whose confidence is less, 0 to 1
    #[arg(long, default_value_t = 0.9, value_name = "CONFIDENCE", value_parser = share)]
    least: f32,
    /// Orders in which copies are removed, drawn at random
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    draws: u32,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Reads a number from 0 to 1.
fn share(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

/// Why `mirage ablate` failed.
#[derive(Debug, Error)]
pub enum AblateError {
    /// The run has no images.
    #[error("{0}")]
    Images(#[from] ImagesError),
    /// No image is sure enough.
    #[error("--least {least}: no image of {} reaches it, the surest has {surest}; give less, or evolve on", run.display())]
    TooSure {
        /// What was asked for.
        least: f32,
        /// The run folder.
        run: PathBuf,
        /// The highest confidence of the run.
        surest: f32,
    },
    /// The network fails.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The table cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space", path.display())]
    Write {
        /// The file.
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

/// What is told of a run's images.
#[derive(Serialize)]
struct Told<'a> {
    run: String,
    model: &'a str,
    preset: &'a str,
    least: f32,
    draws: u32,
    seed: u64,
    #[serde(flatten)]
    ablation: &'a Ablation,
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'a> {
    class: usize,
    label: &'a str,
    copies: usize,
    left: usize,
    confidence: f64,
    control: f64,
}

/// Runs `mirage ablate`.
///
/// # Errors
/// [`AblateError`].
pub fn run(args: &AblateArgs) -> Result<(), AblateError> {
    let Images { model, plan, record } = Images::of(&args.run, args.model.as_deref())?;
    let surest = record.champions.iter().map(|champion| champion.confidence).fold(0.0, f32::max);
    if surest < args.least {
        return Err(AblateError::TooSure { least: args.least, run: args.run.clone(), surest });
    }
    let &AblateArgs { least, draws, seed, .. } = args;
    let settings = Settings { least, draws, seed, crops: plan.crops };
    let (line, done) = (progress::line(), AtomicUsize::new(0));
    let ablation = ablate(&record, &model, settings, &|| {
        progress::show_images(&line, done.fetch_add(1, Ordering::Relaxed) + 1);
    });
    line.finish_and_clear();
    let ablation = ablation?;
    let path = args.run.join("ablation.csv");
    table(&ablation, model.labels())
        .and_then(|bytes| files::write(&path, &bytes))
        .map_err(|source| AblateError::Write { path, source })?;
    report::ablation::write(&record, &ablation, settings, &args.run)?;
    let manifest = &record.manifest;
    let told = Told {
        run: args.run.display().to_string(),
        model: &manifest.model.name,
        preset: &manifest.preset,
        least,
        draws,
        seed,
        ablation: &ablation,
    };
    if args.json {
        print(&format!("{}\n", serde_json::json!(told)))?;
    } else {
        print(&told.in_words())?;
    }
    Ok(())
}

/// Every level of every image, as CSV.
fn table(ablation: &Ablation, labels: &[String]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for image in &ablation.ablated {
        for level in &image.levels {
            writer.serialize(Row {
                class: image.class,
                label: &labels[image.class],
                copies: image.copies,
                left: level.left,
                confidence: level.confidence,
                control: level.control,
            })?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error())
}

impl Told<'_> {
    /// The result for a person.
    fn in_words(&self) -> String {
        let Self { run, model, preset, least, .. } = self;
        let Ablation { images, repeated, dropped, control_dropped, dropped_more, .. } =
            *self.ablation;
        let mut text = format!(
            "{run}: {} of at least {} % ({preset} against {model}), {repeated} with a repeated element\n",
            counted(images as u64, "image"),
            f64::from((least * 1e6).round()) / 1e4,
        );
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:.2} %", share * 100.0),
            None => "-".to_owned(),
        };
        let of = |count: usize| {
            format!("{count} ({:.1} %)", 100.0 * count as f64 / repeated.max(1) as f64)
        };
        if repeated > 0 {
            let all = self.ablation;
            let drops = format!("drops by {} % or more", DROP * 100.0);
            for (what, confidence, count) in [
                ("", "mean confidence".to_owned(), drops),
                ("all copies", percent(all.whole), String::new()),
                ("one copy left", percent(all.one_left), of(dropped)),
                ("  as much at random", percent(all.one_left_control), of(control_dropped)),
                ("no copy left", percent(all.none_left), String::new()),
                ("  as much at random", percent(all.none_left_control), String::new()),
            ] {
                let row = format!("  {what:20}  {confidence:>15}  {count:>20}");
                text += &format!("{}\n", row.trim_end());
            }
            text += &format!(
                "  in {} one copy left is at least {} % less than as much at random\n",
                of(dropped_more),
                DROP * 100.0
            );
        }
        text + &format!("look at {}\n", PathBuf::from(run).join("ablation.html").display())
    }
}
