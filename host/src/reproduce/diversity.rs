//! Whether other runs give other images.
//!
//! Section “Evolving regular images to match ImageNet” of the paper.

use std::fs;

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap::Estimate;
use super::context::{Context, Series, Told};
use super::outcome::{Finding, Outcome};
use super::table::Figure;
use crate::experiment::diversity::{self, Diversity as Compared, Space};
use crate::experiment::record::RunRecord;
use crate::model::Model;
use crate::report;
use crate::report::exhibit::Exhibit;

/// The folder of the comparisons in that of a reproduction.
const DIVERSITY: &str = "diversity";
/// Seed of what is drawn.
const SEED: u64 = 1;

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Diversity {
    /// The presets of the runs.
    presets: Vec<String>,
    #[serde(flatten)]
    series: Series,
}

impl Diversity {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        self.series.each(context, |model| self.of(model, figure, context))
    }

    fn of(
        &self,
        model: &Model,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        if self.series.seeds < 2 {
            let why = "one run has nothing to be compared with; give --seeds 2, or more";
            return Err(ReproduceError::Missing(why.to_owned()));
        }
        let mut outcome = Outcome::default();
        for preset in &self.presets {
            let mut finding = Finding {
                subject: format!("{}: {preset}", model.name()),
                model: model.name().to_owned(),
                model_sha256: model.sha256().to_owned(),
                ..Finding::default()
            };
            let (mut records, mut folders) = (Vec::new(), Vec::new());
            for plan in self.series.plans(preset, model)? {
                let (name, record) = context.evolve(&plan, model, &figure.name)?;
                finding.evolved(name.clone(), &record);
                folders.push(context.path(&name).display().to_string());
                records.push(record);
            }
            (context.tell)(&figure.name, Told::Work("comparing the runs".to_owned()));
            let compared = diversity::diversity(&records, model, SEED)?;
            let page = format!("{DIVERSITY}/{}-{preset}", model.stem());
            write(&records, &folders, &compared, &page, context)?;
            measure(&mut finding, &compared);
            outcome.findings.push(finding);
            outcome.exhibits.push(table(preset, &compared, &page));
        }
        Ok(outcome)
    }
}

/// Shows the images of all runs side by side, on a page of its own.
fn write(
    records: &[RunRecord],
    folders: &[String],
    compared: &Compared,
    page: &str,
    context: &Context,
) -> Result<(), ReproduceError> {
    let path = context.path(page);
    fs::create_dir_all(&path)
        .map_err(|source| ReproduceError::Write { path: path.clone(), source })?;
    Ok(report::diversity::write(records, folders, compared, SEED, &path)?)
}

/// The ratios, whose intervals are over the classes: there is one for all runs together.
fn measure(finding: &mut Finding, compared: &Compared) {
    for distances in &compared.spaces {
        let name = match distances.space {
            Space::Pixels => "pixels",
            Space::Features => "features",
        };
        let ratio = Estimate { value: distances.ratio, interval: Some(distances.interval) };
        finding.measure(&format!("{name}_ratio"), Some(ratio));
        let between = Estimate::exact(distances.between_runs);
        finding.measure(&format!("{name}_between_runs"), Some(between));
        let between = Estimate::exact(distances.between_classes);
        finding.measure(&format!("{name}_between_classes"), Some(between));
    }
    finding.ours = format!(
        "images of a class differ from run to run {:.2} times as much as those of other classes",
        finding.value("pixels_ratio"),
    );
    let ratio = finding.value("features_ratio");
    if !ratio.is_nan() {
        finding.ours += &format!(", in what the network sees {ratio:.2} times");
    }
}

fn table(preset: &str, compared: &Compared, page: &str) -> Exhibit {
    let head = ["distance of", "between runs", "between classes", "ratio", "95 % interval"];
    let row = |distances: &diversity::Distances| {
        let [low, high] = distances.interval;
        vec![
            distances.space.name().to_owned(),
            format!("{:.4}", distances.between_runs),
            format!("{:.4}", distances.between_classes),
            format!("{:.2}", distances.ratio),
            format!("{low:.2} to {high:.2}"),
        ]
    };
    Exhibit::Table {
        caption: format!(
            "How far the images of a class are apart from run to run, and those of different classes in a run ({preset}; the interval is over the classes). The images are in {page}/diversity.html."
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: compared.spaces.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_come_with_their_intervals() {
        let distances = |space, ratio| diversity::Distances {
            space,
            between_runs: ratio,
            between_classes: 1.0,
            ratio,
            interval: [ratio - 0.1, ratio + 0.1],
            by_class: Vec::new(),
        };
        let spaces = vec![distances(Space::Pixels, 0.75), distances(Space::Features, 0.5)];
        let compared = Compared { runs: 2, classes: 10, spaces, without_features: None };
        let mut finding = Finding::default();
        measure(&mut finding, &compared);
        assert_eq!(finding.value("features_ratio"), 0.5);
        assert_eq!(finding.measures["pixels_ratio"].interval, Some([0.65, 0.85]));
        assert!(finding.ours.contains("0.75 times"), "{}", finding.ours);
        let Exhibit::Table { head, rows, .. } = table("mnist-cppn", &compared, "page") else {
            panic!()
        };
        assert!(rows.len() == 2 && rows.iter().all(|row| row.len() == head.len()));
    }
}
