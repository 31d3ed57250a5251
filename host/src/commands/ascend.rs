//! `mirage ascend`: gradient ascent, from the command line to the report.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mirage_core::image::Shape;
use thiserror::Error;

use super::{Answer, OutputError, default_threads, print, progress};
use crate::ascent::climb::{Ending, Milestone};
use crate::ascent::record::Summary;
use crate::ascent::run::{self, AscentError, Folder, Plan};
use crate::ascent::settings::{BLUR, BLUR_SPARSE, L2, MAX_STEPS, PLAIN, Preset, Settings};
use crate::ascent::start::Start;
use crate::image::{Image, ImageError};
use crate::interrupt::Interrupt;
use crate::model::{Classes, GradientModel, Model, ModelError, Objective};
use crate::report::{self, ReportError};
use crate::words::counted;

/// Arguments of `mirage ascend`.
#[derive(Args, Debug)]
pub struct AscendArgs {
    /// What to fool: a name of `mirage models list`, or the path of an int8 model or ONNX network
    #[arg(long, value_name = "NAME|FILE", default_value = "lenet")]
    model: String,
    /// Classes to climb to: numbers and ranges, such as 3,7-9, or all
    #[arg(long, value_name = "CLASSES", value_parser = asked)]
    class: Asked,
    /// The numbers of the steps
    #[arg(long, value_enum, default_value = "plain")]
    preset: PresetName,
    /// What is to rise
    #[arg(long, value_enum, default_value = "prob")]
    objective: ObjectiveName,
    /// The picture to begin with: mean (the mean picture and noise), uniform (noise), zero (black), or an image of the size of the model's pictures
    #[arg(long, value_name = "mean|uniform|zero|FILE", default_value = "mean")]
    start: String,
    /// Steps of each class [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_STEPS)))]
    steps: Option<u32>,
    /// Seed of the noise: the same seed gives the same pictures
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Worker threads; they change the speed, not the result [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The float network to climb on in place of an int8 model, which has no gradient [default: lenet-float for lenet]
    #[arg(long, value_name = "NAME|FILE")]
    twin: Option<String>,
    /// The run folder [default: runs/MODEL-ascend-PRESET-OBJECTIVE-seedS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// The classes that were asked for.
#[derive(Clone, Debug)]
enum Asked {
    All,
    Some(Classes),
}

fn asked(text: &str) -> Result<Asked, String> {
    if text == "all" {
        return Ok(Asked::All);
    }
    let classes = Classes::try_from(text.to_owned());
    classes.map(Asked::Some).map_err(|reason| format!("{reason}, or all"))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    /// The gradient alone, 500 steps
    Plain,
    /// Drawn to the mean picture, 1500 steps
    L2,
    /// Blurred, 1000 steps
    Blur,
    /// Blurred, without pixels that matter little, 1500 steps
    BlurSparse,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::Plain => PLAIN,
            PresetName::L2 => L2,
            PresetName::Blur => BLUR,
            PresetName::BlurSparse => BLUR_SPARSE,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ObjectiveName {
    /// The class's probability
    Prob,
    /// The class's value before the softmax
    Logit,
}

impl From<ObjectiveName> for Objective {
    fn from(name: ObjectiveName) -> Self {
        match name {
            ObjectiveName::Prob => Self::Probability,
            ObjectiveName::Logit => Self::Logit,
        }
    }
}

/// Why `mirage ascend` failed.
#[derive(Debug, Error)]
pub enum AscendError {
    /// The model cannot be used.
    #[error("--model: {0}")]
    Model(ModelError),
    /// There is no such class.
    #[error("--class {asked}: the last class of {model} is {last}")]
    Class {
        /// What was asked for.
        asked: Classes,
        /// The model.
        model: String,
        /// Its last class.
        last: usize,
    },
    /// An int8 model that no float network is known for.
    #[error(
        "--model: {0} is an int8 model, which has no gradient; name the float network it was made from with --twin"
    )]
    NoTwin(String),
    /// A twin for a model that needs none.
    #[error("--twin: {0} has a gradient of its own; leave the option out")]
    NeedlessTwin(String),
    /// The twin cannot be used.
    #[error("--twin: {0}")]
    Twin(ModelError),
    /// The twin is another kind of network.
    #[error("--twin: {twin} has {} and {} classes, {model} {} and {}; name the network it was made from",
        in_pixels(.twin_shape), .twin_classes, in_pixels(.shape), .classes)]
    Unlike {
        /// The twin.
        twin: String,
        /// Its pictures.
        twin_shape: Shape,
        /// Number of its classes.
        twin_classes: usize,
        /// The model.
        model: String,
        /// Its pictures.
        shape: Shape,
        /// Number of its classes.
        classes: usize,
    },
    /// The start is no image.
    #[error("--start: {0}")]
    Start(#[from] ImageError),
    /// The start has another size.
    #[error("--start {}: {width} × {height} pixels, and pictures of {model} have {} × {}; scale it first", path.display(), .shape.width, .shape.height)]
    StartSize {
        /// The image file.
        path: PathBuf,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The model.
        model: String,
        /// Its pictures.
        shape: Shape,
    },
    /// The system does not say when to stop.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(io::Error),
    /// The run stopped.
    #[error("{0}")]
    Run(#[from] AscentError),
    /// The run is done and its report cannot be written.
    #[error("{0}")]
    Report(#[from] ReportError),
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

fn in_pixels(shape: &Shape) -> String {
    let Shape { height, width, channels } = shape;
    format!("pictures of {height} × {width} × {channels}")
}

/// Runs `mirage ascend`.
///
/// # Errors
/// [`AscendError`].
pub fn run(args: &AscendArgs) -> Result<Answer, AscendError> {
    let model = Model::load(&args.model).map_err(AscendError::Model)?;
    let (classes, asked) = args.classes(&model)?;
    let start = args.start(&model)?;
    let twin = args.twin(&model)?;
    let objective = args.objective.into();
    let gradient = match &twin {
        Some(twin) => GradientModel::load(twin.name(), objective).map_err(AscendError::Twin)?,
        None => GradientModel::load(&args.model, objective).map_err(AscendError::Model)?,
    };
    let mut preset = Preset::from(args.preset);
    preset.steps = args.steps.unwrap_or(preset.steps);
    let settings = Settings { preset, objective, start, seed: args.seed };
    let plan =
        Plan { model: &model, twin: twin.as_ref(), gradient: &gradient, settings, classes, asked };
    let path = args.out.clone().unwrap_or_else(|| args.default_folder(&plan));
    let threads = args.threads.map_or_else(|| default_threads().get(), usize::from);
    let interrupt = Interrupt::by_signals().map_err(AscendError::Signals)?;
    let mut folder = Folder::create(&path)?;
    let line = progress::line();
    let record = run::run(&plan, &mut folder, threads, &interrupt, &mut |now| {
        line.set_message(progress::ascent_in_words(now));
    });
    line.set_message("making the report");
    let report = record.map(|record| {
        let report = report::ascent::write(&record, &path);
        (record.manifest, report)
    });
    line.finish_and_clear();
    let (manifest, report) = report?;
    report?;
    if !manifest.complete {
        complain!(
            "stopped after {} of {} classes; what is done is in {}",
            manifest.classes.len(),
            manifest.classes_asked,
            path.display()
        );
        return Ok(Answer::Interrupted);
    }
    let summary = manifest.summary(path.display().to_string());
    if args.json {
        print(&format!("{}\n", serde_json::json!(summary)))?;
    } else {
        print(&in_words(&summary))?;
    }
    for class in manifest.stopped() {
        complain!("class {}: {}", class.class, ending(class.ending));
    }
    Ok(if manifest.stopped().next().is_some() { Answer::No } else { Answer::Yes })
}

impl AscendArgs {
    /// The classes, and how they were asked for.
    fn classes(&self, model: &Model) -> Result<(Vec<usize>, String), AscendError> {
        let all = 0..model.classes();
        match &self.class {
            Asked::All => Ok((all.collect(), "all".to_owned())),
            Asked::Some(classes) if classes.largest() < model.classes() => {
                let asked = all.filter(|&class| classes.contains(class)).collect();
                Ok((asked, classes.to_string()))
            }
            Asked::Some(classes) => Err(AscendError::Class {
                asked: classes.clone(),
                model: model.name().to_owned(),
                last: model.classes() - 1,
            }),
        }
    }

    fn start(&self, model: &Model) -> Result<Start, AscendError> {
        let shape = model.shape();
        match self.start.as_str() {
            "mean" => Ok(Start::Mean),
            "uniform" => Ok(Start::Uniform),
            "zero" => Ok(Start::Zero),
            path => {
                let path = PathBuf::from(path);
                let image = Image::open(&path)?.with_channels(shape.channels);
                let Image { width, height, pixels, .. } = image;
                if (width, height) != (shape.width, shape.height) {
                    let model = model.name().to_owned();
                    return Err(AscendError::StartSize { path, width, height, model, shape });
                }
                Ok(Start::Image { path, pixels })
            }
        }
    }

    /// The network to climb on in the model's place, if it needs one.
    fn twin(&self, model: &Model) -> Result<Option<Model>, AscendError> {
        let name = match (model.is_int8(), self.twin.as_deref()) {
            (false, None) => return Ok(None),
            (false, Some(_)) => return Err(AscendError::NeedlessTwin(model.name().to_owned())),
            (true, Some(name)) => name,
            (true, None) => Model::built_in(model.sha256())
                .and_then(Model::float_twin)
                .ok_or_else(|| AscendError::NoTwin(model.name().to_owned()))?,
        };
        let twin = Model::load(name).map_err(AscendError::Twin)?;
        if (twin.shape(), twin.classes()) != (model.shape(), model.classes()) {
            return Err(AscendError::Unlike {
                twin: twin.name().to_owned(),
                twin_shape: twin.shape(),
                twin_classes: twin.classes(),
                model: model.name().to_owned(),
                shape: model.shape(),
                classes: model.classes(),
            });
        }
        Ok(Some(twin))
    }

    /// `runs/MODEL-ascend-PRESET-OBJECTIVE-seedS`.
    fn default_folder(&self, plan: &Plan) -> PathBuf {
        let [preset, objective] =
            [self.preset.to_possible_value(), self.objective.to_possible_value()]
                .map(|value| value.map_or_else(String::new, |value| value.get_name().to_owned()));
        let model = plan.model.stem();
        Path::new("runs").join(format!("{model}-ascend-{preset}-{objective}-seed{}", self.seed))
    }
}

/// How a climb ended before its time, in words.
fn ending(ending: Ending) -> String {
    match ending {
        Ending::Done | Ending::Certain { .. } => "done".to_owned(),
        Ending::NoGradient { step } => format!(
            "stopped after {}: no gradient, or one too small to follow; try another --start, or --objective logit",
            counted(step, "step")
        ),
        Ending::NotANumber { step } => format!(
            "stopped after {}: the network's answer is not a number; try another --start, or fewer --steps",
            counted(step, "step")
        ),
    }
}

/// The result for a person.
fn in_words(summary: &Summary) -> String {
    let Summary { preset, objective, classes, steps, .. } = *summary;
    let on = summary.twin.map_or(String::new(), |twin| format!(", on its float twin {twin}"));
    let mut text = format!(
        "{preset} ascent of {objective} against {}{on}: {}, {} each, in {:.1} s\n",
        summary.model,
        counted(classes as u64, "class"),
        counted(steps, "step"),
        summary.seconds
    );
    text += "class     win    99 %  99.99 %         best     as saved";
    text += if summary.twin.is_some() { "      by int8\n" } else { "\n" };
    let step = |step: Option<u32>| step.map_or_else(|| "-".to_owned(), |step| step.to_string());
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "-".to_owned(), |share| format!("{:.4} %", share * 100.0))
    };
    for class in summary.records {
        let [win, sure, certain] = [Milestone::Win, Milestone::At99, Milestone::At9999]
            .map(|milestone| step(class.mark(milestone).map(|mark| mark.step)));
        let best = class.mark(Milestone::Best);
        let [all, saved] = [
            percent(best.map(|mark| mark.confidence)),
            percent(best.map(|mark| mark.as_saved.into())),
        ];
        text += &format!(
            "{:>5}  {win:>6}  {sure:>6}  {certain:>7}  {all:>11}  {saved:>11}",
            class.class
        );
        if let Some(int8) = best.and_then(|mark| mark.int8) {
            text += &format!("  {:>11}", percent(Some(int8.into())));
        }
        text += "\n";
    }
    text += &format!(
        "median: wins after {} steps, 99 % after {}, 99.99 % after {}; {} as saved",
        step(summary.median_step_win),
        step(summary.median_step_99),
        step(summary.median_step_9999),
        percent(Some(summary.median_confidence.into())),
    );
    if let Some(int8) = summary.median_confidence_int8 {
        text += &format!(", {} by int8", percent(Some(int8.into())));
    }
    text += &format!(
        "\n{} of {classes} classes at 99.99 % or more, {} as saved",
        summary.classes_at_9999, summary.classes_at_9999_as_saved
    );
    if let Some(int8) = summary.classes_at_9999_int8 {
        text += &format!(", {int8} by int8");
    }
    text += &format!("\nlook at {}\n", Path::new(&summary.folder).join("report.html").display());
    text
}
