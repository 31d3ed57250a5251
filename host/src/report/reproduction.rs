//! `index.html` of the paper's experiments: what was measured beside what the paper
//! reports, with all that there is to look at. One page that needs no network; pictures
//! are files beside it, too.

use std::fs;
use std::io::Write;
use std::path::Path;

use askama::Template;

use super::exhibit::{Exhibit, Shown};
use super::html::Number;
use super::thumbnail::data_uri;
use super::{ReportError, replace};
use crate::image::Image;
use crate::words::counted;

/// What the page tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// One or two sentences on what came out.
    pub summary: String,
    /// Numbers that stand out, each with its name.
    pub numbers: Vec<(String, String)>,
    /// The table of all experiments.
    pub rows: Vec<Row>,
    /// More on each of them.
    pub sections: Vec<Section>,
    /// How numbers are to be read.
    pub note: String,
    /// The command that makes all of it again.
    pub command: String,
    /// Version of mirage.
    pub version: String,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the figure, and [`id`](Section::name) of its section.
    pub figure: String,
    /// What was fooled, if the figure has several.
    pub subject: String,
    /// What the paper reports.
    pub paper: String,
    /// What was measured.
    pub ours: String,
    /// How many seeds.
    pub seeds: String,
    /// How many images were tested.
    pub evaluations: String,
    /// A sign that tells verdicts apart without colours.
    pub sign: &'static str,
    /// The verdict, and why.
    pub verdict: String,
}

/// More on an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Name of the figure.
    pub name: String,
    /// What it is about.
    pub title: String,
    /// Where it is in the paper.
    pub source: String,
    /// What the paper reports.
    pub paper: String,
    /// What there is to say beside: what could not be run, what is not comparable.
    pub remarks: Vec<String>,
    /// What there is to look at.
    pub exhibits: Vec<Exhibit>,
    /// What was run: the place of its report as seen from the page, and a few words.
    pub runs: Vec<(String, String)>,
    /// The command that makes it again.
    pub command: String,
}

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "reproduction.html")]
struct Page<'a> {
    title: &'static str,
    summary: &'a str,
    numbers: Vec<Number>,
    rows: &'a [Row],
    sections: Vec<Part<'a>>,
    note: &'a str,
    command: &'a str,
    version: &'a str,
}

/// A section, drawn.
struct Part<'a> {
    of: &'a Section,
    exhibits: Vec<Shown>,
    /// How many runs.
    runs: String,
}

impl<'a> Part<'a> {
    fn new(
        section: &'a Section,
        embed: impl Fn(&Image) -> Result<String, ReportError>,
    ) -> Result<Self, ReportError> {
        let exhibits = section.exhibits.iter().map(|exhibit| Shown::new(exhibit, &embed));
        let runs = counted(section.runs.len() as u64, "run");
        Ok(Self { of: section, exhibits: exhibits.collect::<Result<_, _>>()?, runs })
    }
}

/// Writes `index.html` and the pictures of its exhibits into `folder`.
///
/// # Errors
/// [`ReportError`] if a file cannot be written, or a chart not be drawn.
pub fn write(reproduction: &Reproduction, folder: &Path) -> Result<(), ReportError> {
    for exhibit in reproduction.sections.iter().flat_map(|section| &section.exhibits) {
        if let Exhibit::Picture { file, whole, .. } = exhibit {
            write_picture(&folder.join(file), whole)?;
        }
    }
    let path = folder.join("index.html");
    let embed = |image: &Image| {
        data_uri(image, usize::MAX, true)
            .map_err(|source| ReportError::Write { path: path.clone(), source })
    };
    let page = page(reproduction, embed)?;
    replace(&path, |file| file.write_all(page.as_bytes()))
}

fn write_picture(path: &Path, image: &Image) -> Result<(), ReportError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .map_err(|source| ReportError::Write { path: parent.to_owned(), source })?;
    }
    replace(path, |file| file.write_all(&image.to_png()?))
}

fn page(
    reproduction: &Reproduction,
    embed: impl Fn(&Image) -> Result<String, ReportError>,
) -> Result<String, ReportError> {
    let number =
        |(value, name): &(String, String)| Number { value: value.clone(), name: name.clone() };
    let page = Page {
        title: "The paper’s experiments, repeated",
        summary: &reproduction.summary,
        numbers: reproduction.numbers.iter().map(number).collect(),
        rows: &reproduction.rows,
        sections: reproduction
            .sections
            .iter()
            .map(|section| Part::new(section, &embed))
            .collect::<Result<_, _>>()?,
        note: &reproduction.note,
        command: &reproduction.command,
        version: &reproduction.version,
    };
    // No line is broken between a number and its sign.
    page.render()
        .map(|page| page.replace(" %", "\u{a0}%"))
        .map_err(|error| ReportError::Compose(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::exhibit::{Across, Line, Panel, Point, Up};
    use super::*;

    fn reproduction() -> Reproduction {
        let point = |at, value| Point { at, value, interval: Some([value / 2.0, value]) };
        let points = vec![point(1, 0.5), point(10, 0.99), point(100, 1.0)];
        let line = Line { label: "7".to_owned(), is_chief: false, points };
        let panel =
            Panel { across: Across::ByRatio("generation"), up: Up::Nines, lines: vec![line] };
        let even =
            Panel { across: Across::Even("iteration"), up: Up::Percent("error"), ..panel.clone() };
        let text = str::to_owned;
        let image = Image { width: 2, height: 1, channels: 1, pixels: vec![0, 255] };
        Reproduction {
            summary: text("All is well."),
            numbers: vec![(text("1"), text("reproduced"))],
            rows: vec![Row {
                figure: text("mnist-cppn"),
                subject: text("lenet"),
                paper: text("99.99 % & more"),
                ours: text("100 %"),
                seeds: text("3"),
                evaluations: text("1"),
                sign: "✓",
                verdict: text("reproduced"),
            }],
            sections: vec![Section {
                name: text("mnist-cppn"),
                title: text("Patterns"),
                source: text("Fig. 5"),
                paper: text("99.99 % & more"),
                remarks: vec![text("a <b>remark</b>")],
                exhibits: vec![
                    Exhibit::Chart { caption: text("one"), panel: even },
                    Exhibit::Charts {
                        caption: text("many"),
                        panels: vec![(text("digit 7"), panel)],
                    },
                    Exhibit::Picture {
                        caption: text("see"),
                        file: text("a/b.png"),
                        whole: image,
                        part: None,
                    },
                    Exhibit::Table {
                        caption: text("tell"),
                        head: vec![text("class")],
                        rows: vec![vec![text("7")]],
                    },
                ],
                runs: vec![(text("runs/x/report.html"), text("seed 1"))],
                command: text("mirage reproduce mnist-cppn"),
            }],
            note: text("Read on."),
            command: text("mirage reproduce all"),
            version: text("0.1.0"),
        }
    }

    #[test]
    fn the_page_holds_everything_and_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write(&reproduction(), folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("index.html")).unwrap();
        for text in [
            "id=\"mnist-cppn\"",
            "99.99\u{a0}% &#38; more",
            "&#60;b&#62;remark",
            "iteration",
            "<polygon",
            "digit 7",
            "data:image/png;base64,",
            "href=\"a/b.png\"",
            "runs/x/report.html",
            "mirage reproduce all",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<script") && !page.contains("src=\"http"));
        assert!(!page.contains("NaN") && !page.contains("inf\""), "a number that is none");
        assert_eq!(Image::open(&folder.path().join("a/b.png")).unwrap().pixels, [0, 255]);
    }

    #[test]
    fn folders_that_cannot_be_written_are_named() {
        let error = write(&reproduction(), Path::new("/proc/mirage")).unwrap_err().to_string();
        assert!(error.contains("/proc/mirage"), "{error}");
    }
}
