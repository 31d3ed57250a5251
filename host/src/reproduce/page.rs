//! The page that tells all results.

use super::bootstrap::{LEVEL, RESAMPLES};
use super::outcome::{Results, Row};
use super::table::Figure;
use super::verdict::Verdict;
use crate::report::exhibit::Exhibit;
use crate::report::figures;
use crate::report::reproduction::{self, Reproduction, Section};

/// More on a figure, whose findings are `rows`.
pub(super) fn section(
    figure: &Figure,
    rows: &[Row],
    exhibits: Vec<Exhibit>,
    command: String,
) -> Section {
    // A table without rows tells nothing.
    let is_empty =
        |exhibit: &Exhibit| matches!(exhibit, Exhibit::Table { rows, .. } if rows.is_empty());
    let exhibits = exhibits.into_iter().filter(|exhibit| !is_empty(exhibit)).collect();
    let mut runs: Vec<(String, String)> = Vec::new();
    for run in rows.iter().flat_map(|row| &row.runs) {
        let name = run.folder.rsplit('/').next().unwrap_or_default().to_owned();
        let link = (format!("{}/report.html", run.folder), name);
        if !runs.contains(&link) {
            runs.push(link);
        }
    }
    Section {
        name: figure.name.clone(),
        title: figure.title.clone(),
        source: figure.source.clone(),
        paper: figure.paper.clone(),
        remarks: remarks(rows),
        exhibits,
        runs,
        command,
    }
}

/// Why results are not the paper's, or are not there: once where it is the same for all.
fn remarks(rows: &[Row]) -> Vec<String> {
    let told = |row: &Row| {
        let why = row.reason.as_ref()?;
        Some(format!("{}: {why}.", row.verdict.in_words()))
    };
    match rows {
        [first, _, ..] if rows.iter().all(|row| told(row) == told(first)) => {
            told(first).map(|why| format!("all: {why}")).into_iter().collect()
        }
        _ => {
            rows.iter().filter_map(|row| Some(format!("{}: {}", row.subject, told(row)?))).collect()
        }
    }
}

/// The page of all results.
pub(super) fn of(results: &Results, sections: Vec<Section>) -> Reproduction {
    let verdicts =
        [Verdict::Reproduced, Verdict::NotReproduced, Verdict::NotComparable, Verdict::NotRun];
    let numbers =
        verdicts.map(|verdict| (results.count(verdict).to_string(), verdict.in_words().to_owned()));
    Reproduction {
        summary: summary(results),
        numbers: numbers.to_vec(),
        rows: results.experiments.iter().map(row).collect(),
        sections,
        note: format!(
            "Numbers are medians over the seeds, or what a row says that they are; intervals are {:.0} % percentile bootstrap intervals of {RESAMPLES} resamples. What was done with less than in the paper and comes out all the same counts as reproduced; what does not is not comparable, and so is what another network says.",
            LEVEL * 100.0
        ),
        command: results.command.clone(),
        version: results.version.clone(),
    }
}

fn summary(results: &Results) -> String {
    let judged = results.count(Verdict::Reproduced) + results.count(Verdict::NotReproduced);
    let quick = if results.quick { " This is a quick look, with less of everything." } else { "" };
    format!(
        "Of {judged} results that can be held against the paper’s, {} came out as it reports and {} did not.{quick}",
        results.count(Verdict::Reproduced),
        results.count(Verdict::NotReproduced),
    )
}

fn row(row: &Row) -> reproduction::Row {
    let some = |count: u64| if count == 0 { "–".to_owned() } else { figures::count(count) };
    reproduction::Row {
        figure: row.name.clone(),
        subject: row.subject.clone(),
        paper: row.brief.clone(),
        ours: if row.ours.is_empty() { "–".to_owned() } else { row.ours.clone() },
        seeds: some(row.seeds.len() as u64),
        evaluations: some(row.evaluations),
        sign: row.verdict.sign(),
        verdict: row.verdict_in_words(),
    }
}
