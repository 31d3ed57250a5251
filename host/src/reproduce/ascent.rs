//! Climbs along the gradient of some classes, from several seeds.
//!
//! Section “Producing fooling images via gradient ascent” and figure 13 of the paper.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, RUNS, Told};
use super::outcome::{Finding, Outcome, Run};
use super::table::{Figure, TableError};
use crate::ascent::run::{self, Folder, Plan};
use crate::ascent::settings::{BLUR, BLUR_SPARSE, L2, PLAIN, Preset, Settings};
use crate::ascent::start::Start;
use crate::experiment::summary::{CERTAIN, SURE, count_at, median};
use crate::image::Image;
use crate::model::{Classes, GradientModel, Model, Objective};
use crate::report;
use crate::report::exhibit::Exhibit;
use crate::report::{figures, mosaic};

/// Side of a picture in a gallery of small ones, and of large ones, in pixels.
const SIDES: [usize; 2] = [56, 160];

/// Pictures larger than this are large ones.
const SMALL: usize = 64;

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ascent {
    /// The models to fool; an int8 one on its float twin.
    models: Vec<String>,
    /// The published settings.
    presets: Vec<String>,
    /// Steps of each class, if not the preset's.
    steps: Option<u32>,
    /// The classes, such as `0-9`.
    classes: Classes,
    /// How many seeds of the start's noise.
    seeds: u32,
}

impl Ascent {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let mut outcome = Outcome::default();
        for name in &self.models {
            let model = match context.model(name) {
                Ok(model) => model,
                Err(ReproduceError::Missing(why)) => {
                    outcome.findings.push(Finding::missing(name, name, why));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let climber = Climber::new(&model, &self.classes, figure, context)?;
            for preset in &self.presets {
                let mut preset = preset_named(preset).ok_or_else(|| {
                    climber.invalid(format!("{preset:?} is no preset of gradient ascent"))
                })?;
                preset.steps = self.steps.unwrap_or(preset.steps);
                outcome.extend(climber.climb(preset, self.seeds)?);
            }
        }
        Ok(outcome)
    }
}

fn preset_named(name: &str) -> Option<Preset> {
    [PLAIN, L2, BLUR, BLUR_SPARSE].into_iter().find(|preset| preset.name == name)
}

/// What all climbs against a model share.
struct Climber<'a> {
    model: &'a Model,
    twin: Option<Model>,
    gradient: GradientModel,
    classes: Vec<usize>,
    asked: String,
    figure: &'a Figure,
    context: &'a Context<'a>,
}

/// What became of a seed: its folder and the contents of its `ascent.json`.
struct Climbed {
    seed: u64,
    name: String,
    told: Value,
}

impl<'a> Climber<'a> {
    fn new(
        model: &'a Model,
        classes: &Classes,
        figure: &'a Figure,
        context: &'a Context<'a>,
    ) -> Result<Self, ReproduceError> {
        let invalid = |reason| TableError::Invalid { figure: figure.name.clone(), reason };
        if classes.largest() >= model.classes() {
            let last = model.classes() - 1;
            let reason = format!("classes {classes}: the last of {} is {last}", model.name());
            return Err(invalid(reason).into());
        }
        let twin = match model.is_int8() {
            false => None,
            true => {
                let name = Model::built_in(model.sha256()).and_then(Model::float_twin);
                let none = || {
                    let name = model.name();
                    invalid(format!(
                        "{name} is an int8 model, which has no gradient; name a float one"
                    ))
                };
                Some(context.model(name.ok_or_else(none)?)?)
            }
        };
        let network = twin.as_ref().unwrap_or(model);
        let gradient = GradientModel::load(network.name(), Objective::Probability)?;
        let asked = classes.to_string();
        let classes = (0..model.classes()).filter(|&class| classes.contains(class)).collect();
        Ok(Self { model, twin, gradient, classes, asked, figure, context })
    }

    fn invalid(&self, reason: String) -> ReproduceError {
        TableError::Invalid { figure: self.figure.name.clone(), reason }.into()
    }

    /// The climbs from all seeds by a preset.
    fn climb(&self, preset: Preset, seeds: u32) -> Result<Outcome, ReproduceError> {
        let mut finding = Finding {
            subject: format!("{}, {}", self.model.name(), preset.name),
            model: self.model.name().to_owned(),
            model_sha256: self.model.sha256().to_owned(),
            ..Finding::default()
        };
        let mut all = Vec::new();
        for seed in 1..=u64::from(seeds) {
            self.context.go_on()?;
            let climbed = self.of_seed(preset, seed)?;
            finding.evaluations += climbed.evaluations(preset.steps);
            finding.seconds += climbed.told["seconds"].as_f64().unwrap_or(0.0);
            let folder = climbed.name.clone();
            finding.runs.push(Run { folder, seed, digest: None });
            all.push(climbed);
        }
        self.measure(&mut finding, &all);
        let exhibits = vec![self.table(preset, &all), self.gallery(preset, &all)?];
        Ok(Outcome { findings: vec![finding], exhibits })
    }

    /// The climbs from a seed: as they were done before, or done now. What was stopped
    /// begins again.
    fn of_seed(&self, preset: Preset, seed: u64) -> Result<Climbed, ReproduceError> {
        let Preset { name: preset_name, steps, .. } = preset;
        let folder = format!("{}-ascend-{preset_name}-prob-{steps}-seed{seed}", self.model.stem());
        let name = format!("{RUNS}/{folder}");
        let path = self.context.path(&name);
        let label =
            format!("{}, {}, {preset_name}, seed {seed}", self.figure.name, self.model.stem());
        let settings =
            Settings { preset, objective: Objective::Probability, start: Start::Mean, seed };
        let plan = Plan {
            model: self.model,
            twin: self.twin.as_ref(),
            gradient: &self.gradient,
            settings,
            classes: self.classes.clone(),
            asked: self.asked.clone(),
        };
        match read(&path)? {
            Some(told) if !is_of(&told, &plan) => return Err(ReproduceError::OtherPlan(path)),
            // Hours of work are not done again for want of a page.
            Some(told) if told["complete"] == true => {
                (self.context.tell)(&label, Told::Work("done before".to_owned()));
                return Ok(Climbed { seed, name, told });
            }
            None if !path.join("history.csv").exists() => {}
            // Stopped or killed.
            _ => {
                let failed = |source| ReproduceError::Write { path: path.clone(), source };
                fs::remove_dir_all(&path).map_err(failed)?;
            }
        }
        let Context { threads, interrupt, .. } = self.context;
        let mut folder = Folder::create(&path)?;
        let observe = &mut |now| (self.context.tell)(&label, Told::Ascent(now));
        let record = run::run(&plan, &mut folder, *threads, interrupt, observe)?;
        if !record.manifest.complete {
            return Err(ReproduceError::Interrupted);
        }
        report::ascent::write(&record, &path)?;
        let none = || ReproduceError::Read { path: path.clone(), reason: "missing".to_owned() };
        let told = read(&path)?.ok_or_else(none)?;
        Ok(Climbed { seed, name, told })
    }

    fn measure(&self, finding: &mut Finding, all: &[Climbed]) {
        let count = self.classes.len().max(1) as f32;
        let mut shares = |name: &str, confidence: &str, least: f32| {
            let share =
                |climbed: &Climbed| count_at(&climbed.best(confidence), least) as f32 / count;
            let shares: Vec<f32> = all.iter().map(share).collect();
            finding.measure(name, bootstrap::median(&shares));
        };
        shares("share_at_99", "confidence", SURE);
        shares("share_at_9999", "confidence", CERTAIN);
        shares("share_at_9999_as_saved", "as_saved", CERTAIN);
        if self.twin.is_some() {
            shares("share_at_9999_int8", "int8", CERTAIN);
        }
        let over =
            |number: &dyn Fn(&Climbed) -> f32| -> Vec<f32> { all.iter().map(number).collect() };
        let medians = over(&|climbed| median(&climbed.best("as_saved")));
        finding.measure("median_confidence", bootstrap::median(&medians));
        let steps = over(&|climbed| {
            let mut steps = climbed.steps("9999");
            steps.sort_unstable_by(f32::total_cmp);
            steps.get(steps.len() / 2).copied().unwrap_or(f32::INFINITY)
        });
        finding.measure("median_step_9999", bootstrap::median_count(&steps));
        let percent = |name: &str| figures::percent(finding.value(name) as f32);
        let step = finding.value("median_step_9999");
        let after = match step.is_finite() {
            true => format!(", half of them after {step} steps"),
            false => String::new(),
        };
        let int8 = match self.twin {
            Some(_) => format!("; {} to the int8 network", percent("share_at_9999_int8")),
            None => String::new(),
        };
        finding.ours =
            format!("{} of the classes reach 99.99 %{after}{int8}", percent("share_at_9999"));
    }

    /// What each class reached.
    fn table(&self, preset: Preset, all: &[Climbed]) -> Exhibit {
        let row = |(index, &class): (usize, &usize)| {
            let over =
                |number: &dyn Fn(&Climbed) -> f32| -> Vec<f32> { all.iter().map(number).collect() };
            let steps = |milestone| {
                let steps = over(&|climbed| climbed.steps(milestone)[index]);
                let median = bootstrap::median_count(&steps).map(|estimate| estimate.value);
                match median.filter(|step| step.is_finite()) {
                    Some(step) => step.to_string(),
                    None => "never".to_owned(),
                }
            };
            let saved = over(&|climbed| climbed.best("as_saved")[index]);
            vec![
                self.label(class),
                steps("win"),
                steps("99"),
                steps("9999"),
                figures::percent(median(&saved)),
            ]
        };
        let head = ["class", "wins after", "99 % after", "99.99 % after", "best, as saved"];
        Exhibit::Table {
            caption: format!(
                "Steps of the preset {} against {} until each class is the most probable one, and until it is 99 and 99.99 % probable; medians over {} seeds.",
                preset.name,
                self.model.name(),
                all.len()
            ),
            head: head.map(str::to_owned).to_vec(),
            rows: self.classes.iter().enumerate().map(row).collect(),
        }
    }

    /// A class's number, and its name if it has one.
    fn label(&self, class: usize) -> String {
        let label = &self.model.labels()[class];
        let number = class.to_string();
        if *label == number {
            number
        } else {
            format!("{number} {}", figures::first_synonym(label))
        }
    }

    fn gallery(&self, preset: Preset, all: &[Climbed]) -> Result<Exhibit, ReproduceError> {
        let side = SIDES[usize::from(self.model.shape().height > SMALL)];
        let row = |climbed: &Climbed| -> Result<mosaic::Row, ReproduceError> {
            let picture = |file: Option<&str>| {
                let path = file.map(|file| self.context.path(&climbed.name).join(file));
                let image = path.map(|path| Image::open(&path).map(|image| image.scaled_to(side)));
                image.transpose().map_err(report::ReportError::from)
            };
            let pictures = climbed.pictures().into_iter().map(picture);
            let label = format!("seed {}", climbed.seed);
            Ok(mosaic::Row { label, pictures: pictures.collect::<Result<_, _>>()? })
        };
        let rows: Vec<mosaic::Row> = all.iter().map(row).collect::<Result<_, _>>()?;
        let columns: Vec<String> = self.classes.iter().map(|&class| self.label(class)).collect();
        Ok(Exhibit::Picture {
            caption: format!(
                "The best pictures of the preset {} against {}, a class in each column.",
                preset.name,
                self.model.name()
            ),
            file: format!("{}/{}-{}.png", self.figure.name, self.model.stem(), preset.name),
            whole: mosaic::draw(&columns, &rows, side),
            part: None,
        })
    }
}

/// The contents of `ascent.json` in a folder, if there is one.
fn read(folder: &Path) -> Result<Option<Value>, ReproduceError> {
    let path: PathBuf = folder.join("ascent.json");
    if !path.exists() {
        return Ok(None);
    }
    let failed = |reason| ReproduceError::Read { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| failed(error.to_string()))
}

/// Whether a manifest is of a plan: the same networks and settings.
fn is_of(told: &Value, plan: &Plan) -> bool {
    let twin = plan.twin.map(Model::sha256);
    told["model"]["sha256"] == plan.model.sha256()
        && told["twin"]["sha256"].as_str() == twin
        && told["preset"] == json!(plan.settings.preset)
        && told["objective"] == "prob"
        && told["start"] == plan.settings.start.to_string()
        && told["seed"] == plan.settings.seed
        && told["asked"] == plan.asked
        && (told["complete"] != true
            || told["classes"].as_array().is_some_and(|all| all.len() == plan.classes.len()))
}

impl Climbed {
    fn classes(&self) -> impl Iterator<Item = &Value> {
        self.told["classes"].as_array().into_iter().flatten()
    }

    /// Pictures that the network saw: the start, and one after each step that was done.
    fn evaluations(&self, steps: u32) -> u64 {
        let done = |class: &Value| class["ending"]["step"].as_u64().unwrap_or(steps.into());
        self.classes().map(|class| done(class) + 1).sum()
    }

    /// Each class's best picture: its confidence of a kind; 0 without one.
    fn best(&self, confidence: &str) -> Vec<f32> {
        let of = |class: &Value| class["reached"]["best"][confidence].as_f64();
        self.classes().map(|class| of(class).map_or(0.0, figures::confidence)).collect()
    }

    /// Each class's steps until a milestone; infinite if it did not get there.
    fn steps(&self, milestone: &str) -> Vec<f32> {
        let of = |class: &Value| class["reached"][milestone]["step"].as_u64();
        self.classes().map(|class| of(class).map_or(f32::INFINITY, |step| step as f32)).collect()
    }

    /// Each class's best picture, as seen from the run folder.
    fn pictures(&self) -> Vec<Option<&str>> {
        self.classes().map(|class| class["reached"]["best"]["picture"].as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_climbs_is_read() {
        let told = json!({ "classes": [
            { "reached": {
                "win": { "step": 2 },
                "9999": { "step": 7 },
                "best": { "step": 9, "confidence": 0.99995, "as_saved": 0.9, "picture": "p.png" },
            } },
            { "reached": { "win": { "step": 3 } }, "ending": { "how": "no-gradient", "step": 3 } },
        ] });
        let climbed = Climbed { seed: 1, name: String::new(), told };
        assert_eq!(climbed.best("confidence"), [0.99995, 0.0]);
        assert_eq!(climbed.best("int8"), [0.0, 0.0]);
        assert_eq!(climbed.steps("9999"), [7.0, f32::INFINITY]);
        assert_eq!(climbed.evaluations(10), 11 + 4);
        assert_eq!(climbed.pictures(), [Some("p.png"), None]);
    }
}
