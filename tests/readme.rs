//! What README.md says came out is what `mirage reproduce` wrote into `host/results`.

use std::fs;
use std::path::Path;

use mirage::reproduce::table::Figure;
use serde::Deserialize;

#[derive(Deserialize)]
struct Results {
    experiments: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    subject: String,
    ours: String,
    seeds: Vec<u64>,
    evaluations: u64,
    verdict: String,
}

impl Row {
    /// As a line of README's table; `None` if the paper has nothing to set beside it, or it
    /// was not run.
    fn line(&self) -> Option<String> {
        let figure = Figure::named(&self.name).expect("results are those of this version");
        if figure.incomparable.is_some() || self.verdict == "not-run" {
            return None;
        }
        let Self { name, subject, ours, seeds, .. } = self;
        Some(format!(
            "| {name} | {subject} | {} | {ours} | {} | {} | {} |",
            figure.brief,
            seeds.len(),
            spaced(self.evaluations),
            self.verdict.replace('-', " "),
        ))
    }
}

/// A number with a space before every three digits: 1 200 000.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|three| str::from_utf8(three).unwrap()).collect();
    groups.join(" ")
}

#[test]
fn the_table_of_reproductions_is_what_came_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut files: Vec<_> = fs::read_dir(root.join("host/results"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut expected = Vec::new();
    for path in files {
        let results: Results =
            serde_json::from_slice(&fs::read(&path).unwrap()).expect("a results.json");
        expected.extend(results.experiments.iter().filter_map(Row::line));
    }
    assert!(!expected.is_empty());
    let names: Vec<String> =
        mirage::reproduce::table::names().iter().map(|name| format!("| {name} | ")).collect();
    let is_row = |line: &&str| names.iter().any(|name| line.starts_with(name));
    let mut found: Vec<&str> = readme.lines().filter(is_row).collect();
    let table = expected.join("\n");
    found.sort_unstable();
    expected.sort_unstable();
    assert!(
        found == expected,
        "README.md's table has to be\n{table}\nand not\n{}",
        found.join("\n")
    );
}
