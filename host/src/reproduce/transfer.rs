//! Images that were evolved on one network, shown to others.
//!
//! Section “Images that fool one DNN generalize to others” of the paper.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap;
use super::context::{Context, Series, Told};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::record::RunRecord;
use crate::experiment::transfer::{self, Transfer as Shown};
use crate::model::{Crops, Model};
use crate::report::exhibit::Exhibit;
use crate::report::figures;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Transfer {
    /// The presets of the runs.
    presets: Vec<String>,
    /// Whom the images are shown to.
    onto: Vec<String>,
    /// What each of those is to the networks of the runs that the table names.
    relation: BTreeMap<String, String>,
    #[serde(flatten)]
    series: Series,
}

impl Transfer {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let mut findings = Vec::new();
        for own in &self.series.models {
            let own = match context.model(own) {
                Ok(own) => own,
                Err(ReproduceError::Missing(why)) => {
                    findings.push(Finding::missing(own, own, why));
                    continue;
                }
                Err(error) => return Err(error),
            };
            for preset in &self.presets {
                findings.extend(self.of_preset(preset, &own, figure, context)?);
            }
        }
        let exhibits = vec![table(&findings)];
        Ok(Outcome { findings, exhibits })
    }

    /// The images of a preset, shown to all others.
    fn of_preset(
        &self,
        preset: &str,
        own: &Model,
        figure: &Figure,
        context: &Context,
    ) -> Result<Vec<Finding>, ReproduceError> {
        let mut runs: Vec<(String, RunRecord)> = Vec::new();
        for plan in self.series.plans(preset, own)? {
            let (folder, mut record) = context.evolve(&plan, own, &figure.name)?;
            // Nothing is told of it here.
            record.history.clear();
            runs.push((folder, record));
        }
        let relations = figure.names(own.name()).then_some(&self.relation);
        let mut findings = Vec::new();
        for name in self.onto.iter().filter(|name| *name != own.name()) {
            let relation = relations.and_then(|of| of.get(name));
            let relation = relation.map_or("another network", String::as_str);
            let subject = format!("{preset}: {} to {name}, {relation}", own.name());
            let onto = match context.model(name) {
                Ok(onto) => onto,
                Err(ReproduceError::Missing(why)) => {
                    findings.push(Finding::missing(&subject, own.name(), why));
                    continue;
                }
                Err(error) => return Err(error),
            };
            (context.tell)(&figure.name, Told::Work(format!("showing images to {name}")));
            let crops = if onto.has_margin() { self.series.crops } else { None };
            let mut finding = Finding {
                subject,
                model: own.name().to_owned(),
                model_sha256: own.sha256().to_owned(),
                ..Finding::default()
            };
            let mut shown = Vec::new();
            for (folder, record) in &runs {
                context.go_on()?;
                finding.evolved(folder.clone(), record);
                shown.push(transfer::transfer(record, &onto, crops.unwrap_or(Crops::Center))?);
            }
            measure(&mut finding, &shown);
            findings.push(finding);
        }
        Ok(findings)
    }
}

/// Shares of the images of each run, over the runs.
fn measure(finding: &mut Finding, runs: &[Shown]) {
    let mut share = |name: &str, count: fn(&Shown) -> usize| {
        let share = |run: &Shown| count(run) as f32 / run.images.max(1) as f32;
        let shares: Vec<f32> = runs.iter().map(share).collect();
        finding.measure(name, bootstrap::median(&shares));
    };
    share("same_top", |run| run.same_top);
    share("fooled", |run| run.fooled);
    share("certain_of_both", |run| run.certain_of_both);
    let mut mean = |name: &str, mean: fn(&Shown) -> f64| {
        let means: Vec<f32> = runs.iter().map(|run| mean(run) as f32).collect();
        finding.measure(name, bootstrap::median(&means));
    };
    mean("own_mean_confidence", |run| run.own_mean_confidence);
    mean("mean_confidence", |run| run.mean_confidence);
    finding.ours = format!(
        "same top class {}, mean confidence {}, 99.99 % on both {}",
        percent(finding, "same_top"),
        percent(finding, "mean_confidence"),
        percent(finding, "certain_of_both"),
    );
}

fn percent(finding: &Finding, name: &str) -> String {
    figures::percent(finding.value(name) as f32)
}

/// What all networks say of all images.
fn table(findings: &[Finding]) -> Exhibit {
    let head =
        ["images, shown to", "same top class", "own class is top", "confidence", "99.99 % on both"];
    let row = |finding: &Finding| {
        let cell = |name: &str| {
            let interval = finding.measures.get(name).and_then(|estimate| estimate.interval);
            let interval = interval.map_or(String::new(), |ends| {
                let [low, high] = ends.map(|end| figures::percent(end as f32));
                format!(" ({low} to {high})")
            });
            percent(finding, name) + &interval
        };
        let names = ["same_top", "fooled", "mean_confidence", "certain_of_both"];
        std::iter::once(finding.subject.clone()).chain(names.map(cell)).collect()
    };
    Exhibit::Table {
        caption: "Images evolved on one network, shown to others: medians over the runs, with 95 % bootstrap intervals.".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: findings.iter().filter(|finding| finding.missing.is_none()).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_images() {
        let shown = |same_top, certain_of_both| Shown {
            onto: "b".to_owned(),
            onto_sha256: String::new(),
            images: 10,
            same_top,
            fooled: same_top,
            own_mean_confidence: 1.0,
            mean_confidence: 0.5,
            certain_of_both,
            judgements: Vec::new(),
        };
        let mut finding = Finding::default();
        measure(&mut finding, &[shown(10, 3), shown(8, 3), shown(9, 3)]);
        assert_eq!(finding.value("same_top"), 0.9);
        assert_eq!(finding.measures["same_top"].interval, Some([0.8, 1.0]));
        assert_eq!(finding.measures["certain_of_both"].interval, Some([0.3; 2]));
        assert_eq!(finding.value("mean_confidence"), 0.5);
        assert!(finding.ours.contains("same top class 90.0 %"), "{}", finding.ours);
    }
}
