//! Images without some of the copies of what is repeated in them.
//!
//! Section “Evolving regular images to match ImageNet” of the paper.

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, RUNS, Series, Told};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::ablation::{Ablation as Ablated, DROP, Settings, ablate};
use crate::model::Model;
use crate::report;
use crate::report::exhibit::Exhibit;
use crate::report::figures;

/// Images of less confidence are left out: they fool nobody.
const LEAST: f32 = 0.9;
/// Orders that copies are removed in.
const DRAWS: u32 = 5;
/// Seed of those.
const SEED: u64 = 1;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Ablation {
    /// The preset of the runs.
    preset: String,
    #[serde(flatten)]
    series: Series,
}

impl Ablation {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let mut outcome = self.series.each(context, |model| {
            let findings = vec![self.of(model, figure, context)?];
            Ok(Outcome { findings, exhibits: Vec::new() })
        })?;
        outcome.exhibits.push(table(&outcome.findings));
        Ok(outcome)
    }

    fn of(
        &self,
        model: &Model,
        figure: &Figure,
        context: &Context,
    ) -> Result<Finding, ReproduceError> {
        let mut finding = Finding {
            subject: model.name().to_owned(),
            model: model.name().to_owned(),
            model_sha256: model.sha256().to_owned(),
            ..Finding::default()
        };
        let mut runs = Vec::new();
        for plan in self.series.plans(&self.preset, model)? {
            let (name, record) = context.evolve(&plan, model, &figure.name)?;
            context.go_on()?;
            (context.tell)(
                &figure.name,
                Told::Work(format!("removing copies, seed {}", plan.seed)),
            );
            let settings = Settings { least: LEAST, draws: DRAWS, seed: SEED, crops: plan.crops };
            let ablated = ablate(&record, model, settings, &|| ())?;
            report::ablation::write(&record, &ablated, settings, &context.path(&name))?;
            finding.evolved(name, &record);
            runs.push(ablated);
        }
        measure(&mut finding, &runs);
        Ok(finding)
    }
}

/// Shares of the images of each run that repeat something, over the runs that have any.
fn measure(finding: &mut Finding, runs: &[Ablated]) {
    let some: Vec<&Ablated> = runs.iter().filter(|run| run.images > 0).collect();
    let repeated = |run: &&Ablated| run.repeated as f32 / run.images as f32;
    let shares: Vec<f32> = some.iter().map(repeated).collect();
    finding.measure("repeated", bootstrap::median(&shares));
    let some: Vec<&Ablated> = runs.iter().filter(|run| run.repeated > 0).collect();
    let mut over = |name: &str, value: &dyn Fn(&Ablated) -> f64| {
        let values: Vec<f32> = some.iter().map(|run| value(run) as f32).collect();
        finding.measure(name, bootstrap::median(&values));
    };
    let share = |count: usize, run: &Ablated| count as f64 / run.repeated as f64;
    over("dropped", &|run| share(run.dropped, run));
    over("control_dropped", &|run| share(run.control_dropped, run));
    over("dropped_more", &|run| share(run.dropped_more, run));
    over("whole", &|run| run.whole.unwrap_or(f64::NAN));
    over("one_left", &|run| run.one_left.unwrap_or(f64::NAN));
    over("one_left_control", &|run| run.one_left_control.unwrap_or(f64::NAN));
    let percent = |name: &str| percent(finding, name);
    finding.ours = match some.is_empty() {
        true => format!("no image of at least {} % repeats anything", LEAST * 100.0),
        false => format!(
            "confidence drops in {} of images with one copy left, in {} with as much removed at random, in {} by more than at random",
            percent("dropped"),
            percent("control_dropped"),
            percent("dropped_more"),
        ),
    };
}

fn percent(finding: &Finding, name: &str) -> String {
    figures::percent(finding.value(name) as f32)
}

/// What the copies are worth.
fn table(findings: &[Finding]) -> Exhibit {
    let columns = [
        ("repeat something", "repeated"),
        ("confidence", "whole"),
        ("one copy left", "one_left"),
        ("as much at random", "one_left_control"),
        ("drops", "dropped"),
        ("drops at random", "control_dropped"),
        ("drops more than at random", "dropped_more"),
    ];
    let row = |finding: &Finding| {
        let cells = columns.map(|(_, name)| percent(finding, name));
        [finding.subject.clone()].into_iter().chain(cells).collect()
    };
    let names = columns.map(|(head, _)| head.to_owned());
    Exhibit::Table {
        caption: format!(
            "Images of at least {} % without all copies but one of what they repeat, and without as many pixels elsewhere; a drop is one by {} % or more. Medians over the runs; the images are in ablation.html of each run's folder under {RUNS}.",
            LEAST * 100.0,
            DROP * 100.0,
        ),
        head: ["model".to_owned()].into_iter().chain(names).collect(),
        rows: findings.iter().filter(|finding| finding.missing.is_none()).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ablated(images: usize, repeated: usize, dropped: usize) -> Ablated {
        let mean = |value| (repeated > 0).then_some(value);
        Ablated {
            images,
            repeated,
            dropped,
            control_dropped: 1,
            dropped_more: 0,
            whole: mean(1.0),
            one_left: mean(0.5),
            one_left_control: mean(0.75),
            none_left: mean(0.0),
            none_left_control: mean(0.0),
            ablated: Vec::new(),
        }
    }

    #[test]
    fn shares_are_those_of_images_that_repeat_something() {
        let mut finding = Finding::default();
        measure(&mut finding, &[ablated(10, 8, 4), ablated(10, 4, 2), ablated(10, 0, 0)]);
        let names = ["repeated", "dropped", "control_dropped", "one_left"];
        assert_eq!(names.map(|name| finding.value(name)), [0.4, 0.5, 0.1875, 0.5]);
        assert!(finding.ours.contains("drops in 50.0 %"), "{}", finding.ours);
        let Exhibit::Table { head, rows, .. } = table(&[finding]) else { panic!() };
        assert_eq!(rows[0].len(), head.len());
    }

    #[test]
    fn without_such_images_nothing_is_measured() {
        let mut finding = Finding::default();
        measure(&mut finding, &[ablated(0, 0, 0)]);
        assert!(finding.measures.is_empty() && finding.ours.contains("90 %"), "{finding:?}");
    }
}
