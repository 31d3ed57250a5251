//! `report.html`: one page that holds everything, pictures included, and needs neither
//! a network nor a script.

use std::path::Path;

use askama::Template;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::chart::{self, Format};
use super::figures::{self, NONE};
use super::{ReportError, picture};
use crate::experiment::record::{RunRecord, Status};

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    champions: Vec<Figure>,
    thumbnails: bool,
    pixelated: bool,
    /// Empty if there is nothing to draw.
    chart: String,
    narrow_chart: String,
    chart_description: String,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// A number that stands out.
struct Number {
    value: String,
    name: &'static str,
}

/// A champion and its caption.
struct Figure {
    source: String,
    label: String,
    confidence: String,
    generation: String,
}

/// Writes `report.html`.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent, the page cannot be composed or the
/// file cannot be written.
pub fn write(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    let path = folder.join("report.html");
    super::replace(&path, page(record, &path)?.as_bytes())
}

/// The page as text; the record must have passed [`super::check`].
fn page(record: &RunRecord, path: &Path) -> Result<String, ReportError> {
    let manifest = &record.manifest;
    let champions =
        figures(record).map_err(|source| ReportError::Write { path: path.to_owned(), source })?;
    let drawn = |format| match record.history.is_empty() {
        true => Ok(String::new()),
        false => chart::svg(record, format),
    };
    let page = Page {
        title: format!("{} against {}", manifest.preset, manifest.model.name),
        summary: summary(record),
        numbers: numbers(record),
        thumbnails: champions.len() > 24,
        pixelated: manifest.model.picture[0].max(manifest.model.picture[1]) <= 64,
        champions,
        chart: drawn(Format::Wide)?,
        narrow_chart: drawn(Format::Narrow)?,
        chart_description: chart::description(record),
        settings: settings(record),
        command: figures::command(record),
        version: manifest.version.clone(),
    };
    page.render().map_err(|error| ReportError::Compose(error.to_string()))
}

/// One sentence on what one sees.
fn summary(record: &RunRecord) -> String {
    let manifest = &record.manifest;
    let classes = manifest.model.labels.len();
    let fooled = fooled(record);
    let seen = match record.champions.len() {
        0 => return "No image has been evolved yet.".to_owned(),
        1 => "This image means nothing to a person".to_owned(),
        n => format!("These {n} images mean nothing to a person"),
    };
    let name = &manifest.model.name;
    match fooled {
        0 => format!("{seen}; the network {name} names them with the confidence beneath."),
        _ if fooled == classes && classes == 1 => {
            format!("{seen}, and the network {name} is at least 99.99 % sure what it shows.")
        }
        _ if fooled == classes => {
            format!(
                "{seen}, and the network {name} is at least 99.99 % sure what each of them shows."
            )
        }
        _ => format!(
            "{seen}, and the network {name} is at least 99.99 % sure what {fooled} of them show."
        ),
    }
}

/// Classes whose champion reaches 99.99 %.
fn fooled(record: &RunRecord) -> usize {
    figures::confidences(record).iter().filter(|&&c| c >= figures::FOOLED).count()
}

fn numbers(record: &RunRecord) -> Vec<Number> {
    let manifest = &record.manifest;
    let classes = manifest.model.labels.len();
    let median = match record.champions.len() {
        0 => None,
        _ => figures::quantile(&mut figures::confidences(record), 0.5),
    };
    let rate = figures::rate(manifest.evaluations, manifest.seconds);
    let number = |value, name| Number { value, name };
    vec![
        number(median.map_or(NONE.to_owned(), figures::percent), "median confidence"),
        number(format!("{} of {classes}", fooled(record)), "classes at 99.99 % or more"),
        number(figures::count(manifest.generations_done.into()), "generations"),
        number(figures::count(manifest.evaluations), "evaluations"),
        number(rate.map_or(NONE.to_owned(), figures::count), "evaluations per second"),
        number(figures::duration(manifest.seconds), "wall-clock time"),
    ]
}

/// The champions with their pictures as data URIs. Large pictures are reduced so that
/// the page of a thousand classes stays within some 20 MB.
fn figures(record: &RunRecord) -> std::io::Result<Vec<Figure>> {
    let side = if record.champions.len() > 100 { 64 } else { 256 };
    let figure = |champion: &crate::experiment::record::Champion| {
        let mut image = picture(record, &champion.image);
        if image.width.max(image.height) > side {
            image = image.scaled_to(side);
        }
        Ok(Figure {
            source: format!("data:image/png;base64,{}", BASE64_STANDARD.encode(image.to_png()?)),
            label: record.manifest.model.labels[champion.class].clone(),
            confidence: figures::percent(champion.confidence),
            generation: figures::count(champion.generation.into()),
        })
    };
    record.champions.iter().map(figure).collect()
}

/// The settings of the run: those of the preset after the ones that every run has.
fn settings(record: &RunRecord) -> Vec<(String, String)> {
    let manifest = &record.manifest;
    let model = &manifest.model;
    let [height, width, channels] = model.picture;
    let generations = match manifest.status {
        Status::Done => figures::count(manifest.generations.into()),
        Status::Running => format!(
            "{} of {} (not finished)",
            figures::count(manifest.generations_done.into()),
            figures::count(manifest.generations.into())
        ),
    };
    let machine = &manifest.machine;
    let threads = if machine.threads == 1 { "thread" } else { "threads" };
    let board = machine.board.iter().map(|board| ("board", board.clone()));
    let own = [
        ("archive digest", manifest.digest.clone()),
        ("preset", manifest.preset.clone()),
        ("encoding", manifest.encoding.clone()),
        ("seed", manifest.seed.to_string()),
        ("generations", generations),
        ("children per generation", figures::count(manifest.children.into())),
        ("not classified again (equal to the parent)", figures::count(manifest.skipped)),
        ("model", format!("{} ({})", model.name, model.kind)),
        ("model SHA-256", model.sha256.clone()),
        ("picture", format!("{height} × {width} × {channels}, {} classes", model.labels.len())),
        (
            "machine",
            format!(
                "{}, {}, {}, {} {threads}",
                machine.os, machine.arch, machine.kernel, machine.threads
            ),
        ),
        ("mirage", manifest.version.clone()),
    ];
    own.into_iter()
        .chain(board)
        .map(|(name, value)| (name.to_owned(), value))
        .chain(manifest.settings.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn render(record: &RunRecord) -> String {
        let page = page(record, Path::new("report.html")).unwrap();
        if let Some(folder) = std::env::var_os("MIRAGE_REPORT_SAMPLES") {
            let (classes, champions) = (record.manifest.model.labels.len(), record.champions.len());
            let name = format!("report-{classes}-{champions}.html");
            std::fs::write(Path::new(&folder).join(name), &page).unwrap();
        }
        page
    }

    #[test]
    fn the_page_holds_everything_and_needs_nothing() {
        let record = sample::digits();
        let page = render(&record);
        for text in [
            "5b1c0a9d7e42f318",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "mirage evolve --preset mnist-cppn --model lenet --generations 200 --children 200 --seed 1",
            "arXiv",
            "median confidence",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.matches("data:image/png;base64,").count(), 10);
        assert!(!page.contains("<script") && !page.contains("src=\"http"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "a number that is none");
    }

    #[test]
    fn texts_are_escaped() {
        let mut record = sample::colour(4);
        record.manifest.model.name = "<script>alert(1)</script>\"'&".to_owned();
        record.manifest.settings.push(("<i>".to_owned(), "</td>".to_owned()));
        let page = render(&record);
        assert!(!page.contains("<script") && !page.contains("<i>") && !page.contains("<b>Pf"));
    }

    #[test]
    fn pages_of_odd_runs_read_well() {
        let mut empty = sample::digits();
        empty.champions.clear();
        empty.history.clear();
        empty.manifest.seconds = 0.0;
        empty.manifest.generations_done = 0;
        empty.manifest.status = Status::Running;
        let page = render(&empty);
        assert!(page.contains("No image has been evolved yet"));
        assert!(page.contains("not finished") && !page.contains("<figure class=\"champion\""));

        let mut odd = sample::digits();
        odd.champions[0].confidence = f32::NAN;
        odd.champions[1].confidence = 1.0;
        odd.manifest.seconds = f64::NAN;
        odd.manifest.settings.clear();
        assert!(!render(&odd).contains("NaN"));
        render(&sample::colour(1));
        render(&sample::colour(300));
    }

    #[test]
    fn same_record_same_bytes() {
        assert_eq!(render(&sample::colour(2)), render(&sample::colour(2)));
    }
}
