//! What comes out of experiments: rows of a table, `results.json`, and things to look at.

use serde::Serialize;

use super::bootstrap::{Estimate, LEVEL, RESAMPLES};
use super::table::Figure;
use super::verdict::{Criterion, Measures, Verdict};
use crate::experiment::record::{MachineRecord, RunRecord};
use crate::report::exhibit::Exhibit;

/// What an experiment gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was measured, one for each thing that was fooled.
    pub findings: Vec<Finding>,
    /// What there is to look at.
    pub exhibits: Vec<Exhibit>,
}

impl Outcome {
    /// Adds another one's findings and exhibits.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.exhibits.extend(other.exhibits);
    }
}

/// What was measured on something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// What it was measured on, such as the model's name.
    pub subject: String,
    /// The model that was fooled, by which the verdict tells whether it is like the paper's.
    pub model: String,
    /// Its SHA-256, hexadecimal; empty if it is not here.
    pub model_sha256: String,
    /// The numbers.
    pub measures: Measures,
    /// The most important ones, in a few words.
    pub ours: String,
    /// The runs that they come from.
    pub runs: Vec<Run>,
    /// Images tested, in all runs.
    pub evaluations: u64,
    /// Wall-clock seconds, in all runs and all their sessions.
    pub seconds: f64,
    /// Why it was not run, and how to get what it needs.
    pub missing: Option<String>,
}

impl Finding {
    /// Nothing was measured on a model that is not here.
    #[must_use]
    pub fn missing(subject: &str, model: &str, why: String) -> Self {
        let (subject, model) = (subject.to_owned(), model.to_owned());
        Self { subject, model, missing: Some(why), ..Self::default() }
    }

    /// Notes a measure, if there is one.
    pub fn measure(&mut self, name: &str, estimate: Option<Estimate>) {
        if let Some(estimate) = estimate {
            self.measures.insert(name.to_owned(), estimate);
        }
    }

    /// The value of a measure; NaN without it.
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.measures.get(name).map_or(f64::NAN, |estimate| estimate.value)
    }

    /// Notes a run of evolution.
    pub fn evolved(&mut self, folder: String, record: &RunRecord) {
        let manifest = &record.manifest;
        self.evaluations += manifest.evaluations;
        self.seconds += manifest.seconds;
        let (seed, digest) = (manifest.seed, Some(manifest.digest.clone()));
        self.runs.push(Run { folder, seed, digest });
    }
}

/// A run that a finding comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its folder, as seen from that of the reproduction.
    pub folder: String,
    /// Its seed.
    pub seed: u64,
    /// Digest of its archive, if it was evolution.
    pub digest: Option<String>,
}

/// A row of the table, and one of `results.json`: a finding, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the figure.
    pub name: String,
    /// What it was measured on, if it was on several things.
    pub subject: String,
    /// What it is about.
    pub title: String,
    /// Where it is in the paper.
    pub source: String,
    /// What the paper reports.
    pub paper: String,
    /// The same, shorter.
    #[serde(skip)]
    pub brief: String,
    /// What was measured, in words.
    pub ours: String,
    /// The command that makes it again.
    pub command: String,
    /// The model that was fooled.
    pub model: String,
    /// Its SHA-256, hexadecimal.
    pub model_sha256: String,
    /// The experiment with all its settings.
    pub settings: toml::Table,
    /// Seeds of the runs, each once.
    pub seeds: Vec<u64>,
    /// Generations of each run, if it was evolution.
    pub generations: Option<i64>,
    /// Images tested.
    pub evaluations: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// All numbers, with their intervals over the seeds.
    pub measures: Measures,
    /// What had to hold.
    pub criteria: Vec<Criterion>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The runs.
    pub runs: Vec<Run>,
}

/// All that was measured: the contents of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// Version of mirage.
    pub version: String,
    /// The machine.
    pub machine: MachineRecord,
    /// The command that makes it again.
    pub command: String,
    /// Whether it is a quick look.
    pub quick: bool,
    /// The share of resampled medians that lies in an interval.
    pub level: f64,
    /// How many of them were drawn.
    pub resamples: usize,
    /// The findings, judged.
    pub experiments: Vec<Row>,
}

impl Results {
    /// The results of some rows.
    #[must_use]
    pub fn new(machine: MachineRecord, command: String, quick: bool, rows: Vec<Row>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (level, resamples) = (LEVEL, RESAMPLES);
        Self { version, machine, command, quick, level, resamples, experiments: rows }
    }

    /// How many of the rows have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.experiments.iter().filter(|row| row.verdict == verdict).count()
    }
}

impl Row {
    /// A finding of a figure, judged. `settings` are the experiment's.
    #[must_use]
    pub fn new(figure: &Figure, settings: &toml::Table, command: String, finding: Finding) -> Self {
        let (verdict, reason) = match finding.missing {
            Some(why) => (Verdict::NotRun, Some(why)),
            None => {
                let difference = figure.difference(settings, &finding.model);
                super::verdict::judge(&figure.reproduced, &finding.measures, &difference)
            }
        };
        let mut seeds: Vec<u64> = finding.runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        Self {
            name: figure.name.clone(),
            subject: finding.subject,
            title: figure.title.clone(),
            source: figure.source.clone(),
            paper: figure.paper.clone(),
            brief: figure.brief.clone(),
            ours: finding.ours,
            command,
            model: finding.model,
            model_sha256: finding.model_sha256,
            settings: settings.clone(),
            seeds,
            generations: settings.get("generations").and_then(toml::Value::as_integer),
            evaluations: finding.evaluations,
            seconds: finding.seconds,
            measures: finding.measures,
            criteria: figure.reproduced.clone(),
            verdict,
            reason,
            runs: finding.runs,
        }
    }

    /// The verdict and why.
    #[must_use]
    pub fn verdict_in_words(&self) -> String {
        match &self.reason {
            Some(why) => format!("{}: {why}", self.verdict.in_words()),
            None => self.verdict.in_words().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Overrides;
    use super::*;

    fn row(median: f64, generations: Option<i64>) -> Row {
        let figure = Figure::named("mnist-cppn").unwrap();
        let mut overrides = Overrides::default();
        let value = generations.map(|n| ("generations".to_owned(), toml::Value::from(n)));
        overrides.values.extend(value);
        let settings = figure.settings(false, &overrides, false).unwrap();
        let mut finding = Finding { model: "lenet".to_owned(), ..Finding::default() };
        finding.measure("median_confidence", Some(Estimate::exact(median)));
        Row::new(figure, &settings, String::new(), finding)
    }

    #[test]
    fn results_hold_unless_something_is_not_as_the_paper_reports() {
        let results = |rows| {
            Results::new(MachineRecord::here("portable", 1, None), String::new(), false, rows)
        };
        let missing = Row::new(
            Figure::named("imagenet-cppn").unwrap(),
            &toml::Table::new(),
            String::new(),
            Finding::missing("caffenet", "caffenet", "pull it".to_owned()),
        );
        let fine = vec![row(0.99995, None), row(0.5, Some(3)), missing];
        let verdicts: Vec<Verdict> = fine.iter().map(|row| row.verdict).collect();
        let expected = [Verdict::Reproduced, Verdict::NotComparable, Verdict::NotRun];
        assert_eq!(verdicts, expected);
        assert_eq!(fine[1].reason.as_deref(), Some("3 of 200 generations"));
        assert_eq!(fine[2].verdict_in_words(), "not run: pull it");
        assert!(results(fine.clone()).hold());
        let failed = results([fine, vec![row(0.5, None)]].concat());
        assert!(!failed.hold());
        assert_eq!(failed.count(Verdict::NotReproduced), 1);
    }
}
