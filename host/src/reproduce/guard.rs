//! Simple guards that are to see fooling images, and images that are evolved against them too.
//!
//! Beyond the paper: there is nothing in it that the numbers could be held against.

use std::iter;

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap::{self, Estimate};
use super::context::{Context, Series, Told};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::plan::Plan;
use crate::guard::Score;
use crate::guard::natural::Natural;
use crate::guard::study::{Detection, Group, Guards};
use crate::model::Model;
use crate::report::exhibit::Exhibit;
use crate::report::figures;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Guard {
    /// The presets of the runs.
    presets: Vec<String>,
    #[serde(flatten)]
    series: Series,
}

impl Guard {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let mut outcome = self.series.each(context, |model| {
            let findings = self.of(model, figure, context)?;
            Ok(Outcome { findings, exhibits: Vec::new() })
        })?;
        outcome.exhibits.push(table(&outcome.findings));
        Ok(outcome)
    }

    /// The guards of a model, on runs without a guard and under each.
    fn of(
        &self,
        model: &Model,
        figure: &Figure,
        context: &Context,
    ) -> Result<Vec<Finding>, ReproduceError> {
        let series: Vec<Vec<Plan>> = self
            .presets
            .iter()
            .map(|preset| self.series.plans(preset, model))
            .collect::<Result<_, _>>()?;
        let data = context.data_dir()?;
        (context.tell)(&figure.name, Told::Work("making guards from digits".to_owned()));
        let guards = Guards::new(model, &Natural::of(model, None, &data)?)?;
        let mut findings = Vec::new();
        for plans in &series {
            for guard in iter::once(None).chain(Score::ALL.map(Some)) {
                findings.push(under(guard, plans, model, &guards, figure, context)?);
            }
        }
        Ok(findings)
    }
}

/// How all guards do on the runs of some plans, which are evolved under one of them or none.
fn under(
    guard: Option<Score>,
    plans: &[Plan],
    model: &Model,
    guards: &Guards,
    figure: &Figure,
    context: &Context,
) -> Result<Finding, ReproduceError> {
    let mut finding = Finding {
        model: model.name().to_owned(),
        model_sha256: model.sha256().to_owned(),
        ..Finding::default()
    };
    let mut groups: Vec<Group> = Vec::new();
    for plan in plans {
        let (folder, record) = match guard {
            None => context.evolve(plan, model, &figure.name)?,
            Some(score) => {
                let plan = Plan { guard: Some(guards.rule(score).clone()), ..plan.clone() };
                let guarded = guards.before(model, score);
                let label = format!("{} under {}", figure.name, score.name());
                context.evolve_guarded(&plan, model, &guarded, &label)?
            }
        };
        finding.evolved(folder.clone(), &record);
        groups.extend(guards.judge(&[(folder, record)])?.groups);
    }
    measure(&mut finding, &groups);
    Ok(finding)
}

/// How guards do on each of some runs that differ by their seeds, over the runs.
fn measure(finding: &mut Finding, runs: &[Group]) {
    let Some(first) = runs.first() else { return };
    finding.subject = format!("{}: {}", finding.model, first.name());
    let confidences: Vec<f32> = runs.iter().map(|run| run.median_confidence).collect();
    finding.measure("median_confidence", bootstrap::median(&confidences));
    let over = |score: Score, number: &dyn Fn(&Group, &Detection) -> f64| -> Vec<f32> {
        runs.iter().map(|run| number(run, &run.detections[score.index()]) as f32).collect()
    };
    for score in Score::ALL {
        let name = name(score);
        let auroc = mean(&over(score, &|_, detection| detection.auroc));
        finding.measure(&format!("auroc_{name}"), auroc);
        let accepted = mean(&over(score, &|_, detection| detection.fpr_at_95));
        finding.measure(&format!("fpr_at_95_{name}"), accepted);
    }
    if let Some(own) = first.guard {
        let share = |run: &Group, detection: &Detection| {
            detection.certain_accepted as f64 / run.images.max(1) as f64
        };
        finding.measure("certain_and_accepted", mean(&over(own, &share)));
    }
    let accepted: Vec<String> = Score::ALL
        .iter()
        .map(|&score| format!("{} {}", score.name(), cell(finding, score)))
        .collect();
    finding.ours = format!("accepted (AUROC), means: {}", accepted.join(", "));
}

/// The mean over the runs: as all have about as many images, the share of all images.
fn mean(values: &[f32]) -> Option<Estimate> {
    bootstrap::estimate(values, |sample| sample.iter().sum::<f32>() / sample.len() as f32)
}

/// What the measures of a score are called by.
fn name(score: Score) -> String {
    score.name().replace('-', "_")
}

/// How a guard does.
fn cell(finding: &Finding, score: Score) -> String {
    let [accepted, auroc] =
        ["fpr_at_95", "auroc"].map(|what| finding.value(&format!("{what}_{}", name(score))));
    format!("{} ({auroc:.3})", figures::percent(accepted as f32))
}

/// How all guards do on all images.
fn table(findings: &[Finding]) -> Exhibit {
    let head = ["images", "median confidence"].into_iter().chain(Score::ALL.map(Score::name));
    let row = |finding: &Finding| {
        let confidence = figures::percent(finding.value("median_confidence") as f32);
        let cells = Score::ALL.map(|score| cell(finding, score));
        [finding.subject.clone(), confidence].into_iter().chain(cells).collect()
    };
    Exhibit::Table {
        caption: "The share of fooling images that each guard accepts along with 95 % of natural ones, in parentheses its AUROC (1 tells all from natural ones, ½ is chance): means over the runs. Images under a guard were evolved against the network and that guard.".to_owned(),
        head: head.map(str::to_owned).collect(),
        rows: findings.iter().filter(|finding| finding.missing.is_none()).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_means_over_the_runs() {
        let run = |auroc, accepted| Group {
            preset: "mnist-cppn".to_owned(),
            guard: Some(Score::Energy),
            runs: Vec::new(),
            images: 10,
            median_confidence: 0.9999,
            certain: 8,
            detections: Score::ALL
                .map(|score| Detection {
                    score,
                    auroc,
                    fpr_at_95: accepted as f64 / 10.0,
                    accepted,
                    certain_accepted: accepted / 2,
                })
                .to_vec(),
        };
        let mut finding = Finding { model: "lenet".to_owned(), ..Finding::default() };
        measure(&mut finding, &[run(1.0, 0), run(0.5, 4)]);
        assert_eq!(finding.subject, "lenet: mnist-cppn under energy");
        let names = ["auroc_max_softmax", "fpr_at_95_gaussian", "certain_and_accepted"];
        assert_eq!(names.map(|name| finding.value(name)), [0.75, 0.2, 0.1]);
        assert_eq!(finding.measures["fpr_at_95_energy"].interval, Some([0.0, 0.4]));
        assert!(finding.ours.contains("energy 20.0 % (0.750)"), "{}", finding.ours);
        let Exhibit::Table { head, rows, .. } = table(&[finding]) else { panic!() };
        assert_eq!(rows[0].len(), head.len());
    }
}
