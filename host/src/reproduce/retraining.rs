//! Networks that learn to recognize what fooled the ones before, and are fooled again.
//!
//! Section “Training networks to recognize fooling images” of the paper, on MNIST.

use serde::Deserialize;

use super::ReproduceError;
use super::bootstrap::Estimate;
use super::context::{Context, Told};
use super::outcome::{Finding, Outcome, Run};
use super::table::Figure;
use crate::report;
use crate::report::exhibit::{Across, Exhibit, Line, Panel, Point, Up};
use crate::report::figures;
use crate::report::retraining::percent;
use crate::retrain::mnist::{self, Digits, Work};
use crate::retrain::record::{Iteration, Retraining as Record};
use crate::retrain::settings::Settings;
use crate::words::counted;

/// The folder of retrainings in that of a reproduction.
const RETRAINING: &str = "retraining";

/// The settings.
#[derive(Debug, Deserialize)]
pub struct Retraining {
    #[serde(flatten)]
    settings: Settings,
}

impl Retraining {
    pub(super) fn run(
        &self,
        figure: &Figure,
        context: &Context,
    ) -> Result<Outcome, ReproduceError> {
        let network = &self.settings.network;
        let digits = match context.data_dir().and_then(|folder| Ok(Digits::load(&folder)?)) {
            Ok(digits) => digits,
            Err(ReproduceError::Missing(why)) => {
                let findings = vec![Finding::missing(network, network, why)];
                return Ok(Outcome { findings, exhibits: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let folder = self.folder();
        let path = context.path(&folder);
        let (threads, interrupt) = (context.threads, context.interrupt.clone());
        let work = Work { threads, resume: true, interrupt };
        let tell = context.tell;
        let observe = &mut |now| tell(&figure.name, Told::Retraining(now));
        let record = mnist::run(&self.settings, &digits, &path, &work, observe)?;
        tell(&figure.name, Told::Work("making the report".to_owned()));
        report::retraining::write(&record, &path)?;
        let findings = vec![finding(&record, &folder)];
        Ok(Outcome { findings, exhibits: vec![chart(&record), table(&record, &folder)] })
    }

    /// Where it lies: all settings but the iterations, of which more can be asked for later.
    fn folder(&self) -> String {
        let Settings { preset, first, more, generations, children, network, epochs, seed, .. } =
            &self.settings;
        format!(
            "{RETRAINING}/{network}-{epochs}-epochs-{preset}-{first}+{more}-{generations}x{children}-seed{seed}"
        )
    }
}

/// What came of the networks, above all of the last one.
fn finding(record: &Record, folder: &str) -> Finding {
    let Record { settings, iterations, .. } = record;
    let images = |iteration: &Iteration| {
        let of_run = u64::from(settings.generations) * u64::from(settings.children);
        iteration.runs as u64 * of_run
    };
    let run = Run { folder: folder.to_owned(), seed: settings.seed, digest: None };
    let mut finding = Finding {
        subject: settings.network.clone(),
        model: settings.network.clone(),
        runs: vec![run],
        evaluations: iterations.iter().map(images).sum(),
        seconds: record.seconds,
        ..Finding::default()
    };
    let [Some(first), Some(last)] = [iterations.first(), iterations.last()] else {
        return finding;
    };
    finding.model_sha256 = last.network_sha256.clone();
    for (name, value) in [
        ("iterations", f64::from(last.iteration)),
        ("fooling_share", last.fooling_share),
        ("first_test_error", first.test_error),
        ("last_test_error", last.test_error),
        ("first_median_confidence", first.median_confidence),
        ("last_median_confidence", last.median_confidence),
        ("first_fooled_share", first.fooled_share),
        ("last_fooled_share", last.fooled_share),
    ] {
        finding.measure(name, Some(Estimate::exact(value)));
    }
    finding.measure("last_called_fooling", last.called_fooling_share.map(Estimate::exact));
    let halved = iterations.iter().filter(|iteration| iteration.halvings > 0).count();
    finding.measure("halved_rate", Some(Estimate::exact(halved as f64)));
    finding.ours = format!(
        "DNN_{}: median {}, {} of digits fooled with 99.99 %; test error {}, of DNN_1 {}; {} each",
        last.iteration,
        confidence(last.median_confidence),
        percent(last.fooled_share, 1),
        percent(last.test_error, 2),
        percent(first.test_error, 2),
        counted(u64::from(settings.epochs), "epoch"),
    );
    finding
}

fn confidence(median: f64) -> String {
    figures::percent(median as f32)
}

/// What the networks are fooled with, and what it costs.
fn chart(record: &Record) -> Exhibit {
    let line = |label: &str, is_chief, share: fn(&Iteration) -> Option<f64>| {
        let point = |iteration: &Iteration| {
            let value = share(iteration)? as f32;
            Some(Point { at: iteration.iteration, value, interval: None })
        };
        let points = record.iterations.iter().filter_map(point).collect();
        Line { label: label.to_owned(), is_chief, points }
    };
    Exhibit::Chart {
        caption: "What came of each network: the median confidence of the images evolved against it, the digits that were fooled with 99.99 %, the evolved images that it recognizes as fooling in the end, and its errors on MNIST's test set.".to_owned(),
        panel: Panel {
            across: Across::Even("network"),
            up: Up::Percent("share; confidence"),
            lines: vec![
                line("fooled", false, |iteration| Some(iteration.fooled_share)),
                line("called fooling", false, |iteration| iteration.called_fooling_share),
                line("test error", false, |iteration| Some(iteration.test_error)),
                line("median", true, |iteration| Some(iteration.median_confidence)),
            ],
        },
    }
}

/// All networks.
fn table(record: &Record, folder: &str) -> Exhibit {
    let head = [
        "network",
        "fooling images",
        "of the training set",
        "test error",
        "median confidence",
        "digits fooled",
        "called fooling",
    ];
    let row = |row: &Iteration| {
        vec![
            row.name(),
            row.fooling_images.to_string(),
            percent(row.fooling_share, 1),
            percent(row.test_error, 2),
            confidence(row.median_confidence),
            percent(row.fooled_share, 1),
            row.called_fooling_share.map_or_else(|| "–".to_owned(), |share| percent(share, 1)),
        ]
    };
    Exhibit::Table {
        caption: format!(
            "Each network is trained, from scratch, with the images that fooled the ones before as an eleventh class. Fooled are digits that an image was found for with 99.99 %; called fooling are images that the network recognizes in the end. More is in {folder}/report.html."
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: record.iterations.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::record::MachineRecord;
    use crate::retrain::record::DataRecord;

    fn iteration(number: u32, fooling_images: usize, fooled_share: f64) -> Iteration {
        Iteration {
            iteration: number,
            network_sha256: format!("network {number}"),
            fooling_images,
            fooling_share: fooling_images as f64 / 100.0,
            test_error: 0.01 * f64::from(number),
            test_called_fooling: 0.0,
            runs: 2,
            median_confidence: 0.9,
            median_generation_9999: None,
            fooled_share,
            called_fooling_share: (fooling_images > 0).then_some(0.25),
            halvings: number - 1,
        }
    }

    #[test]
    fn the_last_network_counts() {
        let settings = Settings { generations: 5, children: 10, ..Settings::default() };
        let record = Record {
            version: String::new(),
            settings,
            data: DataRecord {
                train_images: 80,
                test_images: 10,
                sides: [28; 2],
                sha256: String::new(),
            },
            machine: MachineRecord::here("portable", 1, None),
            complete: true,
            seconds: 3.0,
            iterations: vec![iteration(1, 0, 1.0), iteration(2, 20, 0.5)],
        };
        let finding = finding(&record, "folder");
        assert_eq!((finding.evaluations, finding.model_sha256.as_str()), (200, "network 2"));
        let values = ["iterations", "fooling_share", "first_fooled_share", "last_fooled_share"];
        assert_eq!(values.map(|name| finding.value(name)), [2.0, 0.2, 1.0, 0.5]);
        assert_eq!(finding.value("last_called_fooling"), 0.25);
        assert!(finding.ours.contains("50.0 % of digits fooled"), "{}", finding.ours);
        let Exhibit::Table { head, rows, .. } = table(&record, "folder") else { panic!() };
        assert!(rows.len() == 2 && rows.iter().all(|row| row.len() == head.len()));
        assert_eq!(rows[1][0], "DNN_2 (learning rate / 2)");
        assert_eq!(finding.value("halved_rate"), 1.0);
        let Exhibit::Chart { panel, .. } = chart(&record) else { panic!() };
        let points = panel.lines.iter().map(|line| line.points.len());
        assert_eq!(points.collect::<Vec<_>>(), [2, 1, 2, 2], "DNN_1 knows of no fooling images");
    }
}
