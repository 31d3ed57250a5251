//! Runs of evolution over several seeds: how confidence rises, class by class.
//!
//! Figures 4, 5, 7 and 8 of the paper.

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, Series};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::record::RunRecord;
use crate::experiment::summary::{CERTAIN, SURE, count_at, generation_of_certainty, median};
use crate::image::Image;
use crate::model::Model;
use crate::report::curves::{self, Steps};
use crate::report::exhibit::{Across, Exhibit, Line, Panel, Point, Up};
use crate::report::{figures, heat, mosaic};

/// Most classes that are shown one by one.
const FEW: usize = 12;

/// Generations that a curve has points at.
const POINTS: usize = 60;

/// Generations that a map has columns for.
const COLUMNS: usize = 400;

/// Side of a picture in a gallery, in pixels.
const SIDE: usize = 56;

/// Seeds of a gallery that the page has; its file has all. As many as the paper shows.
const SHOWN: usize = 5;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Evolution {
    /// The preset of all runs.
    preset: String,
    #[serde(flatten)]
    series: Series,
}

/// What is kept of a run.
struct Trial {
    seed: u64,
    /// Confidence of each class, by class index.
    confidences: Vec<f32>,
    /// How it rose.
    curves: Vec<Steps>,
    /// The first generation after which the median over the classes is certain; infinite if
    /// it never was.
    certain_from: f32,
    /// The champions, of few classes.
    pictures: Vec<Option<Image>>,
}

impl Evolution {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        self.series.each(context, |model| self.against(figure, model, context))
    }

    /// All runs against one model.
    fn against(
        &self,
        figure: &Figure,
        model: &Model,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let (name, sha256) = (model.name().to_owned(), model.sha256().to_owned());
        let mut finding = Finding {
            subject: name.clone(),
            model: name,
            model_sha256: sha256,
            ..Finding::default()
        };
        let mut trials = Vec::new();
        for plan in self.series.plans(&self.preset, model)? {
            let (folder, record) = context.evolve(&plan, model, &figure.name)?;
            finding.evolved(folder, &record);
            trials.push(Trial::of(&record));
        }
        measure(&mut finding, &trials);
        let all = Trials { model, trials, generations: self.series.generations };
        Ok(Outcome { findings: vec![finding], exhibits: all.exhibits(figure) })
    }
}

impl Trial {
    fn of(record: &RunRecord) -> Self {
        let classes = record.manifest.model.labels.len();
        let [height, width, channels] = record.manifest.model.picture;
        let mut pictures = vec![None; classes];
        if classes <= FEW {
            for champion in &record.champions {
                let pixels = champion.picture.to_vec();
                pictures[champion.class] = Some(Image { width, height, channels, pixels });
            }
        }
        let certain_from = generation_of_certainty(&record.history, classes);
        Self {
            seed: record.manifest.seed,
            confidences: figures::confidences(record),
            curves: curves::per_class(record),
            certain_from: certain_from.map_or(f32::INFINITY, |generation| generation as f32),
            pictures,
        }
    }

    /// The first generation after which a class is certain; infinite if it never was.
    fn class_certain_from(&self, class: usize) -> f32 {
        let point = self.curves[class].iter().find(|&&(_, confidence)| confidence >= CERTAIN);
        point.map_or(f32::INFINITY, |&(generation, _)| generation as f32)
    }
}

/// The numbers of all runs.
fn measure(finding: &mut Finding, trials: &[Trial]) {
    let over = |number: &dyn Fn(&Trial) -> f32| -> Vec<f32> { trials.iter().map(number).collect() };
    let confidences = over(&|trial| median(&trial.confidences));
    finding.measure("median_confidence", bootstrap::median(&confidences));
    let lowest = over(&|trial| trial.confidences.iter().copied().fold(1.0, f32::min));
    finding.measure("lowest_confidence", bootstrap::median(&lowest));
    for (name, least) in [("classes_at_99", SURE), ("classes_at_9999", CERTAIN)] {
        let counts = over(&|trial| count_at(&trial.confidences, least) as f32);
        finding.measure(name, bootstrap::median(&counts));
    }
    let generations = over(&|trial| trial.certain_from);
    finding.measure("median_generation_9999", bootstrap::median_count(&generations));
    let classes = trials.first().map_or(0, |trial| trial.confidences.len());
    if classes <= FEW {
        for class in 0..classes {
            let generations = over(&|trial| trial.class_certain_from(class));
            let name = format!("generation_9999_of_class_{class}");
            finding.measure(&name, bootstrap::median_count(&generations));
        }
    }
    let generation = finding.value("median_generation_9999");
    let from = match generation.is_finite() {
        true => format!("; the median is 99.99 % from generation {generation} on"),
        false => String::new(),
    };
    let (name, mark) =
        if classes <= FEW { ("classes_at_9999", "99.99") } else { ("classes_at_99", "99") };
    finding.ours = format!(
        "median {}{}, {} of {classes} classes ≥ {mark} %{from}",
        figures::percent(finding.value("median_confidence") as f32),
        interval(finding, "median_confidence"),
        finding.value(name),
    );
}

/// The interval of a confidence, in brackets.
fn interval(finding: &Finding, name: &str) -> String {
    let known = finding.measures.get(name).and_then(|estimate| estimate.interval);
    known.map_or(String::new(), |ends| {
        let [low, high] = ends.map(|end| figures::percent(end as f32));
        format!(" ({low} to {high})")
    })
}

/// The runs against one model.
struct Trials<'a> {
    model: &'a Model,
    trials: Vec<Trial>,
    generations: u32,
}

impl Trials<'_> {
    fn exhibits(&self, figure: &Figure) -> Vec<Exhibit> {
        let labels = self.model.labels();
        if labels.len() > FEW {
            return vec![self.median(), self.map(figure)];
        }
        vec![self.overview(), self.by_class(), self.reached(), self.gallery(figure)]
    }

    /// How many runs, against what.
    fn in_words(&self) -> String {
        let seeds = self.trials.len();
        format!("{seeds} {} against {}", if seeds == 1 { "run" } else { "runs" }, self.model.name())
    }

    /// Median and interval over the runs of some number, at some generations.
    fn rise(&self, of: impl Fn(&Trial, &[u32]) -> Vec<f32>) -> Vec<Point> {
        let generations = curves::by_ratio(self.generations, POINTS);
        let values: Vec<Vec<f32>> =
            self.trials.iter().map(|trial| of(trial, &generations)).collect();
        let point = |(index, &at): (usize, &u32)| {
            let all: Vec<f32> = values.iter().map(|values| values[index]).collect();
            let estimate = bootstrap::median(&all)?;
            let interval = estimate.interval.map(|ends| ends.map(|end| end as f32));
            Some(Point { at, value: estimate.value as f32, interval })
        };
        generations.iter().enumerate().filter_map(point).collect()
    }

    fn class_line(&self, class: usize) -> Line {
        let points = self.rise(|trial, generations| curves::at(&trial.curves[class], generations));
        Line { label: self.model.labels()[class].clone(), is_chief: false, points }
    }

    /// The median over the classes.
    fn median_line(&self) -> Line {
        let points = self.rise(|trial, generations| {
            let all: Vec<Vec<f32>> =
                trial.curves.iter().map(|curve| curves::at(curve, generations)).collect();
            let at = |index| median(&all.iter().map(|values| values[index]).collect::<Vec<_>>());
            (0..generations.len()).map(at).collect()
        });
        Line { label: "median".to_owned(), is_chief: true, points }
    }

    fn overview(&self) -> Exhibit {
        let mut lines: Vec<Line> =
            (0..self.model.classes()).map(|class| self.class_line(class)).collect();
        // Ten bands over one another cannot be read.
        lines.iter_mut().flat_map(|line| &mut line.points).for_each(|point| point.interval = None);
        lines.push(self.median_line());
        Exhibit::Chart {
            caption: format!(
                "Confidence by generation, {}: the median over the runs of each class, and of the median over the classes (thick) with its 95 % bootstrap interval. Both axes are stretched: each step upwards is ten times less doubt.",
                self.in_words()
            ),
            panel: Panel { across: Across::ByRatio("generation"), up: Up::Nines, lines },
        }
    }

    fn by_class(&self) -> Exhibit {
        let panel = |class: usize| {
            let mut line = self.class_line(class);
            let title = format!("class {}", std::mem::take(&mut line.label));
            let (across, up) = (Across::ByRatio("generation"), Up::Nines);
            (title, Panel { across, up, lines: vec![line] })
        };
        Exhibit::Charts {
            caption: format!(
                "Class by class, {}: the median over the runs and its 95 % bootstrap interval. The line across is 99.99 %.",
                self.in_words()
            ),
            panels: (0..self.model.classes()).map(panel).collect(),
        }
    }

    /// When each class was certain.
    fn reached(&self) -> Exhibit {
        let row = |class: usize| {
            let generations: Vec<f32> =
                self.trials.iter().map(|trial| trial.class_certain_from(class)).collect();
            let count = generations.iter().filter(|generation| generation.is_finite()).count();
            let estimate = bootstrap::median_count(&generations);
            let whole = |n: f64| if n.is_finite() { n.to_string() } else { "never".to_owned() };
            let last: Vec<f32> = self.trials.iter().map(|trial| trial.confidences[class]).collect();
            vec![
                self.model.labels()[class].clone(),
                estimate.map_or_else(String::new, |estimate| whole(estimate.value)),
                estimate
                    .and_then(|estimate| estimate.interval)
                    .map_or_else(|| "–".to_owned(), |ends| ends.map(whole).join(" to ")),
                format!("{count} of {}", self.trials.len()),
                figures::percent(median(&last)),
            ]
        };
        let head = ["class", "generation", "95 % interval", "runs", "confidence in the end"];
        Exhibit::Table {
            caption: format!(
                "The generation after which each class passes 99.99 %, {}: the median over the runs, its bootstrap interval, and how many runs get there.",
                self.in_words()
            ),
            head: head.map(str::to_owned).to_vec(),
            rows: (0..self.model.classes()).map(row).collect(),
        }
    }

    fn gallery(&self, figure: &Figure) -> Exhibit {
        let rows: Vec<mosaic::Row> = self
            .trials
            .iter()
            .map(|trial| mosaic::Row {
                label: format!("seed {}", trial.seed),
                pictures: trial.pictures.clone(),
            })
            .collect();
        let draw = |rows: &[mosaic::Row]| mosaic::draw(self.model.labels(), rows, SIDE);
        let more = match rows.len() {
            ..=SHOWN => String::new(),
            _ => format!(" The first {SHOWN} runs; the picture leads to all."),
        };
        Exhibit::Picture {
            caption: format!(
                "The images that {} is surest of, a class in each column and a run in each row.{more}",
                self.model.name()
            ),
            file: format!("{}/{}-gallery.png", figure.name, self.model.stem()),
            part: (rows.len() > SHOWN).then(|| draw(&rows[..SHOWN])),
            whole: draw(&rows),
        }
    }

    /// The median over many classes, and how many are sure.
    fn median(&self) -> Exhibit {
        let points = self.rise(|trial, generations| {
            let all: Vec<Vec<f32>> =
                trial.curves.iter().map(|curve| curves::at(curve, generations)).collect();
            let share = |index| {
                let now: Vec<f32> = all.iter().map(|values| values[index]).collect();
                count_at(&now, SURE) as f32 / now.len().max(1) as f32
            };
            (0..generations.len()).map(share).collect()
        });
        let sure = Line { label: "≥ 99 %".to_owned(), is_chief: false, points };
        Exhibit::Chart {
            caption: format!(
                "The median over the classes (thick), and the share of classes at 99 % or more, by generation, {}, with 95 % bootstrap intervals over the runs if there are several.",
                self.in_words()
            ),
            panel: Panel {
                across: Across::ByRatio("generation"),
                up: Up::Percent("confidence; share of classes"),
                lines: vec![sure, self.median_line()],
            },
        }
    }

    /// Confidence of every class in every generation.
    fn map(&self, figure: &Figure) -> Exhibit {
        let generations = curves::by_ratio(self.generations, COLUMNS);
        let row = |class: usize| -> Vec<f32> {
            let runs: Vec<Vec<f32>> = self
                .trials
                .iter()
                .map(|trial| curves::at(&trial.curves[class], &generations))
                .collect();
            let at = |index| median(&runs.iter().map(|run| run[index]).collect::<Vec<_>>());
            (0..generations.len()).map(at).collect()
        };
        let rows: Vec<Vec<f32>> = (0..self.model.classes()).map(row).collect();
        Exhibit::Picture {
            caption: format!(
                "Confidence of every class by generation, {}: the median over the runs. Classes from top to bottom by their numbers, generations by ratio.",
                self.in_words()
            ),
            file: format!("{}/{}-confidence.png", figure.name, self.model.stem()),
            whole: heat::draw(&generations, &rows),
            part: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::decimal;
    use super::*;

    /// A run of three classes: certain from generation 2, from 8, and never.
    fn trial(seed: u64, late: u32) -> Trial {
        Trial {
            seed,
            confidences: vec![1.0, 0.9999, 0.5],
            curves: vec![vec![(1, 0.5), (2, 1.0)], vec![(late, 0.9999)], vec![(1, 0.5)]],
            certain_from: late as f32,
            pictures: vec![None; 3],
        }
    }

    #[test]
    fn numbers_are_those_of_the_runs() {
        let mut finding = Finding::default();
        measure(&mut finding, &[trial(1, 8), trial(2, 8), trial(3, 20)]);
        let value = |name: &str| finding.value(name);
        assert_eq!(value("median_confidence"), 0.9999);
        assert_eq!(value("lowest_confidence"), 0.5);
        assert_eq!((value("classes_at_99"), value("classes_at_9999")), (2.0, 2.0));
        assert_eq!(value("median_generation_9999"), 8.0);
        assert_eq!(value("generation_9999_of_class_0"), 2.0);
        assert_eq!(value("generation_9999_of_class_2"), f64::INFINITY);
        let interval = |name: &str| finding.measures[name].interval;
        assert_eq!(interval("median_confidence"), Some([0.9999; 2]), "all runs agree");
        assert_eq!(interval("median_generation_9999"), Some([8.0, 20.0]));
        assert!(finding.ours.contains("2 of 3 classes ≥ 99.99 %"), "{}", finding.ours);
    }

    #[test]
    fn decimals_meet_their_marks() {
        assert!(decimal(CERTAIN) >= 0.9999 && decimal(SURE) >= 0.99);
    }
}
