//! `diversity.html`: the images of several runs side by side.

use std::io::{self, Write};
use std::path::Path;

use askama::Template;
use rayon::prelude::*;

use super::figures::{self, NONE};
use super::html::Number;
use super::thumbnail::data_uri;
use super::{ReportError, picture};
use crate::experiment::diversity::{ClassDistances, Distances, Diversity};
use crate::experiment::record::RunRecord;
use crate::image::THUMBNAIL;
use crate::words::{counted, quoted};

/// The page; askama escapes every text.
#[derive(Template)]
#[template(path = "diversity.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    pixelated: bool,
    spaces: Vec<SpaceRow>,
    /// What the columns of pictures are called.
    runs: Vec<String>,
    rows: Vec<Row>,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// Mean distances in one space.
struct SpaceRow {
    name: &'static str,
    between_runs: String,
    between_classes: String,
    ratio: String,
    interval: String,
}

/// A class and its image in each run.
struct Row {
    label: String,
    pictures: Vec<Shown>,
    /// Distance between runs and between classes in each space.
    distances: Vec<[String; 2]>,
}

struct Shown {
    source: String,
    confidence: String,
}

/// Writes `diversity.html` into `folder`. `folders` are those of the runs, for the command
/// that makes the page again; `seed` is that of the draws.
///
/// # Errors
/// [`ReportError`] if a record is inconsistent, the page cannot be composed or the file
/// cannot be written.
pub fn write(
    runs: &[RunRecord],
    folders: &[String],
    diversity: &Diversity,
    seed: u64,
    folder: &Path,
) -> Result<(), ReportError> {
    runs.iter().try_for_each(super::check)?;
    let Some(first) = runs.first() else { return Ok(()) };
    let path = folder.join("diversity.html");
    let failed = |source| ReportError::Write { path: path.clone(), source };
    let classes = diversity.spaces.first().map_or(&[][..], |space| &space.by_class);
    let places: Vec<usize> = (0..classes.len()).collect();
    let rows = places.par_iter().map(|&place| row(runs, diversity, place));
    let manifest = &first.manifest;
    let [height, width, _] = manifest.model.picture;
    let words: Vec<String> = folders.iter().map(|folder| quoted(folder)).collect();
    let page = Page {
        title: format!("{} against {}", counted(runs.len() as u64, "run"), manifest.model.name),
        summary: diversity.spaces.first().map_or_else(String::new, summary),
        numbers: numbers(diversity),
        pixelated: height.max(width) <= 64,
        spaces: diversity.spaces.iter().map(SpaceRow::from).collect(),
        runs: runs
            .iter()
            .map(|run| format!("{}, seed {}", run.manifest.preset, run.manifest.seed))
            .collect(),
        rows: rows.collect::<io::Result<_>>().map_err(failed)?,
        settings: settings(runs, folders, diversity, seed),
        command: format!(
            "mirage diversity {} --out {} --seed {seed}",
            words.join(" "),
            quoted(&folder.display().to_string())
        ),
        version: manifest.version.clone(),
    };
    let text = page.render().map_err(|error| ReportError::Compose(error.to_string()))?;
    super::replace(&path, |file| file.write_all(text.as_bytes()))
}

impl From<&Distances> for SpaceRow {
    fn from(distances: &Distances) -> Self {
        let [low, high] = distances.interval;
        Self {
            name: distances.space.name(),
            between_runs: format!("{:.4}", distances.between_runs),
            between_classes: format!("{:.4}", distances.between_classes),
            ratio: format!("{:.2}", distances.ratio),
            interval: format!("{low:.2} to {high:.2}"),
        }
    }
}

/// The images of the `place`-th class that is compared.
fn row(runs: &[RunRecord], diversity: &Diversity, place: usize) -> io::Result<Row> {
    let class = diversity.spaces[0].by_class[place].class;
    let shown = |run: &RunRecord| {
        let champion = run.champions.iter().find(|champion| champion.class == class);
        let Some(champion) = champion else {
            return Ok(Shown { source: String::new(), confidence: NONE.to_owned() });
        };
        let source = data_uri(&picture(run, &champion.picture), THUMBNAIL, true)?;
        Ok::<_, io::Error>(Shown { source, confidence: figures::percent(champion.confidence) })
    };
    let label = &runs[0].manifest.model.labels[class];
    let distances = |space: &Distances| {
        let ClassDistances { between_runs, between_classes, .. } = space.by_class[place];
        [between_runs, between_classes].map(|distance| format!("{distance:.3}"))
    };
    Ok(Row {
        label: figures::first_synonym(label).to_owned(),
        pictures: runs.iter().map(shown).collect::<Result<_, _>>()?,
        distances: diversity.spaces.iter().map(distances).collect(),
    })
}

/// What one sees.
fn summary(pixels: &Distances) -> String {
    format!("The same network, evolved against anew: in pixels, {}.", pixels.verdict())
}

fn numbers(diversity: &Diversity) -> Vec<Number> {
    let ratios = diversity.spaces.iter().map(|space| {
        let name = format!("distance between runs by that between classes: {}", space.space.name());
        Number { value: format!("{:.2}", space.ratio), name }
    });
    [(diversity.runs, "runs"), (diversity.classes, "classes")]
        .map(|(count, name)| Number { value: figures::count(count as u64), name: name.to_owned() })
        .into_iter()
        .chain(ratios)
        .collect()
}

fn settings(
    runs: &[RunRecord],
    folders: &[String],
    diversity: &Diversity,
    seed: u64,
) -> Vec<(String, String)> {
    let model = &runs[0].manifest.model;
    let of = |(run, folder): (&RunRecord, &String)| {
        let manifest = &run.manifest;
        let text = format!(
            "{}, seed {}, {}, archive digest {}",
            manifest.preset,
            manifest.seed,
            counted(manifest.generations_done, "generation"),
            manifest.digest
        );
        (folder.clone(), text)
    };
    let mut all = vec![
        ("model".to_owned(), format!("{} ({})", model.name, model.kind)),
        ("model SHA-256".to_owned(), model.sha256.clone()),
        ("seed of the draws".to_owned(), seed.to_string()),
    ];
    if let Some(reason) = &diversity.without_features {
        all.push(("features".to_owned(), format!("left out: {reason}")));
    }
    all.extend(runs.iter().zip(folders).map(of));
    all
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::experiment::diversity::diversity;
    use crate::model::Model;

    #[test]
    fn every_class_is_a_row_of_all_runs() {
        let runs = [sample::digits(), sample::digits()];
        let folders = ["a b", "c"].map(str::to_owned);
        let mut result = diversity(&runs, &Model::load("lenet").unwrap(), 1).unwrap();
        result.without_features = Some("it has <none>".to_owned());
        let folder = tempfile::tempdir().unwrap();
        write(&runs, &folders, &result, 5, folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("diversity.html")).unwrap();
        assert_eq!(page.matches("data:image/png;base64,").count(), 20);
        for text in [
            "mirage diversity &#39;a b&#39; c",
            "--seed 5",
            "the same images",
            "0.00 to 0.00",
            "left out: it has",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("NaN"));
    }
}
