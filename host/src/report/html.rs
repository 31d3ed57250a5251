//! `report.html`: one page that holds everything, pictures included, and needs no network.
//! A few champions come as they are; many come as thumbnails that lead to the pictures
//! beside the page, with the surest and the least sure ones apart, and a field that finds
//! a class, which is all that a script is there for.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use askama::Template;
use rayon::prelude::*;

use super::chart::{Chart, Format};
use super::figures::{self, NONE};
use super::thumbnail::{data_uri, svg_uri};
use super::{ReportError, paper, picture, plots, tree};
use crate::experiment::folder::Folder;
use crate::experiment::groups::{self, Group, Share};
use crate::experiment::phylogeny::{Phylogeny, individuals};
use crate::experiment::record::{Champion, RunRecord, Status};
use crate::experiment::summary::{CERTAIN, SURE, count_at, quantile};
use crate::image::THUMBNAIL;
use crate::words::plural;

/// Most champions that are shown as they are.
pub(super) const FEW: usize = 24;

/// Champions that are shown apart at either end, if there are many.
pub(super) const EXTREMES: usize = 10;

/// Longest side of a picture in the page, in pixels; of many [`THUMBNAIL`].
pub(super) mod side {
    /// Of few champions.
    pub(in crate::report) const FEW: usize = 256;
    /// Of the surest and the least sure ones.
    pub(in crate::report) const EXTREME: usize = 128;
}

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    champions: Vec<Figure>,
    /// Whether there are many champions; then also the surest and the least sure ones.
    many: bool,
    surest: Vec<Figure>,
    least_sure: Vec<Figure>,
    /// Whether a picture stands for several classes.
    shared: bool,
    pixelated: bool,
    /// Confidence by generation; `None` if there is nothing to draw.
    rise: Option<Drawn>,
    sums_up: bool,
    /// Confidence over the classes, if they are many.
    distribution: Option<Drawn>,
    groups: Vec<GroupRow>,
    paper: Vec<paper::Row>,
    /// The tree of few champions.
    descent: Option<String>,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// A number that stands out.
pub(super) struct Number {
    pub(super) value: String,
    pub(super) name: String,
}

/// A picture and its caption.
pub(super) struct Figure {
    pub(super) class: usize,
    /// The whole picture, as seen from the page.
    pub(super) link: String,
    pub(super) source: String,
    pub(super) label: String,
    /// Whether the label says more than the index.
    pub(super) named: bool,
    pub(super) confidence: String,
    pub(super) note: String,
    /// Place among all, the surest first.
    pub(super) rank: usize,
}

/// A chart in the sizes of a page.
pub(super) struct Drawn {
    pub(super) wide: String,
    pub(super) narrow: String,
    /// Where its axis of per cent ends, if that is before 100 %.
    pub(super) ends_early: Option<String>,
}

impl Drawn {
    pub(super) fn new(chart: impl Fn(Format) -> Chart) -> Result<Self, ReportError> {
        let svg = |format| chart(format).svg(format);
        let ends_early = chart(Format::Wide).ends_early();
        Ok(Self { wide: svg(Format::Wide)?, narrow: svg(Format::Narrow)?, ends_early })
    }
}

/// A set of classes beside the others.
struct GroupRow {
    name: String,
    members: String,
    inside: Cells,
    outside: Cells,
}

/// What the page says of some of the classes.
struct Cells {
    classes: usize,
    median: String,
    at_99: String,
}

impl From<Group> for GroupRow {
    fn from(group: Group) -> Self {
        let cells = |share: Share| Cells {
            classes: share.classes,
            median: share.median_confidence.map_or(NONE.to_owned(), figures::percent),
            at_99: match share.classes {
                0 => NONE.to_owned(),
                all => {
                    let percent = share.classes_at_99 as f64 / all as f64 * 100.0;
                    format!("{} ({percent:.1}\u{a0}%)", share.classes_at_99)
                }
            },
        };
        let (inside, outside) = (cells(group.inside), cells(group.outside));
        let members = group.members.replace('-', "–");
        Self { name: group.name, members, inside, outside }
    }
}

/// Writes `report.html`.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent, the page cannot be composed or the
/// file cannot be written.
pub fn write(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    let path = folder.join("report.html");
    let failed = |source| ReportError::Write { path: path.clone(), source };
    let page = page(record, descent(record, folder)?, failed)?;
    super::replace(&path, |file| file.write_all(page.as_bytes()))
}

/// The tree of few elites as a data URI, if the run's table of individuals is there and has
/// them all: of a run at work, the youngest are in its checkpoint alone.
fn descent(record: &RunRecord, folder: &Path) -> Result<Option<String>, ReportError> {
    let champions = &record.champions;
    if champions.is_empty() || champions.len() > FEW {
        return Ok(None);
    }
    let Some(individuals) = fs::read(Folder::new(folder).lineage_path())
        .ok()
        .and_then(|table| individuals(&table).ok())
    else {
        return Ok(None);
    };
    let known: HashSet<u64> = individuals.iter().map(|individual| individual.id).collect();
    if !champions.iter().all(|champion| known.contains(&champion.id)) {
        return Ok(None);
    }
    let classes = record.manifest.model.labels.len();
    let phylogeny = Phylogeny::of_elites(&individuals, champions, classes);
    tree::svg(record, &phylogeny).map(|tree| Some(svg_uri(&tree)))
}

/// The page as text; the record must have passed [`super::check`].
fn page(
    record: &RunRecord,
    descent: Option<String>,
    failed: impl Fn(io::Error) -> ReportError,
) -> Result<String, ReportError> {
    let manifest = &record.manifest;
    let champions = &record.champions;
    let confidences = figures::confidences(record);
    let ranked = ranked(&champions.iter().map(|c| c.confidence).collect::<Vec<_>>());
    let ranks = ranks(&ranked);
    let many = champions.len() > FEW;
    let figures = |indices: &[usize], side, exact| -> Result<Vec<Figure>, ReportError> {
        let figure = |&index: &usize| figure(record, &champions[index], ranks[index], side, exact);
        indices.par_iter().map(figure).collect::<io::Result<_>>().map_err(&failed)
    };
    let all: Vec<usize> = (0..champions.len()).collect();
    let ends = if many { EXTREMES } else { 0 };
    let surest = distinct(champions, ranked.iter().copied(), ends);
    let least_sure = distinct(champions, ranked.iter().rev().copied(), ends);
    let has_history = !record.history.is_empty();
    let page = Page {
        title: format!("{} against {}", manifest.preset, manifest.model.name),
        summary: summary(record),
        numbers: numbers(record),
        champions: match many {
            true => figures(&all, THUMBNAIL, false)?,
            false => figures(&all, side::FEW, true)?,
        },
        many,
        surest: figures(&surest, side::EXTREME, false)?,
        least_sure: figures(&least_sure, side::EXTREME, false)?,
        shared: champions.iter().map(|champion| champion.id).collect::<HashSet<_>>().len()
            < champions.len(),
        pixelated: manifest.model.picture[0].max(manifest.model.picture[1]) <= 64,
        rise: match has_history {
            true => Some(Drawn::new(|format| plots::rise(record, format))?),
            false => None,
        },
        sums_up: plots::sums_up(record),
        distribution: match many {
            true => Some(Drawn::new(|_| plots::distribution(record))?),
            false => None,
        },
        groups: groups::compare(&manifest.model.groups, &confidences)
            .into_iter()
            .map(GroupRow::from)
            .collect(),
        paper: paper::beside(manifest, &confidences),
        descent,
        settings: settings(record),
        command: figures::command(record),
        version: manifest.version.clone(),
    };
    page.render().map_err(|error| ReportError::Compose(error.to_string()))
}

/// The places of confidences, the surest first; of equal ones the lower place.
pub(super) fn ranked(confidences: &[f32]) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..confidences.len()).collect();
    // A confidence that is not a number counts for nothing.
    let confidence = |&place: &usize| confidences[place].max(0.0);
    ranked.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
    ranked
}

/// The rank of each place, of places in the order of their ranks.
pub(super) fn ranks(ranked: &[usize]) -> Vec<usize> {
    let mut ranks = vec![0; ranked.len()];
    ranked.iter().enumerate().for_each(|(rank, &place)| ranks[place] = rank);
    ranks
}

/// The first `most` of the champions `indices` that are different individuals: one may
/// hold many classes.
fn distinct(
    champions: &[Champion],
    indices: impl Iterator<Item = usize>,
    most: usize,
) -> Vec<usize> {
    let mut seen = HashSet::new();
    indices.filter(|&index| seen.insert(champions[index].id)).take(most).collect()
}

/// A champion whose picture is reduced to `side` pixels, unless it is one of few that are
/// shown as they are.
fn figure(
    record: &RunRecord,
    champion: &Champion,
    rank: usize,
    side: usize,
    exact: bool,
) -> io::Result<Figure> {
    let label = record.manifest.model.labels[champion.class].clone();
    Ok(Figure {
        class: champion.class,
        source: data_uri(&picture(record, &champion.picture), side, exact)?,
        named: label != champion.class.to_string(),
        label,
        confidence: figures::percent(champion.confidence),
        link: format!("champions/{}.png", champion.class),
        note: format!(
            "{} {}",
            if exact { "generation" } else { "gen" },
            figures::count(champion.generation.into())
        ),
        rank,
    })
}

/// One sentence on what one sees.
fn summary(record: &RunRecord) -> String {
    let manifest = &record.manifest;
    let classes = manifest.model.labels.len();
    let fooled = fooled(record);
    let seen = match record.champions.len() {
        0 => return "No image has been evolved yet.".to_owned(),
        1 => "Nobody drew this image".to_owned(),
        n => format!("Nobody drew these {} images", figures::count(n as u64)),
    };
    let name = &manifest.model.name;
    match fooled {
        0 => format!(
            "{seen}; each stands for a class that the network {name} is as sure of as is said beneath."
        ),
        _ if fooled == classes && classes == 1 => {
            format!("{seen}, and the network {name} is at least 99.99 % sure what it shows.")
        }
        _ if fooled == classes => {
            format!(
                "{seen}, and the network {name} is at least 99.99 % sure what each of them shows."
            )
        }
        1 => format!(
            "{seen}, and the network {name} is at least 99.99 % sure what one of them shows."
        ),
        _ => format!(
            "{seen}, and the network {name} is at least 99.99 % sure what {fooled} of them show."
        ),
    }
}

/// Classes whose champion reaches 99.99 %.
fn fooled(record: &RunRecord) -> usize {
    count_at(&figures::confidences(record), CERTAIN)
}

fn numbers(record: &RunRecord) -> Vec<Number> {
    let manifest = &record.manifest;
    let classes = manifest.model.labels.len();
    let median = match record.champions.len() {
        0 => None,
        _ => quantile(&mut figures::confidences(record), 0.5),
    };
    let rate = figures::rate(manifest.evaluations, manifest.seconds);
    let number = |value, name: &str| Number { value, name: name.to_owned() };
    let counted = |count, noun| number(figures::count(count), &plural(count, noun));
    let of_all = |count: usize| {
        format!("{} of {}", figures::count(count as u64), figures::count(classes as u64))
    };
    let sure = count_at(&figures::confidences(record), SURE);
    let mut numbers =
        vec![number(median.map_or(NONE.to_owned(), figures::percent), "median confidence")];
    if plots::sums_up(record) {
        let lowest = quantile(&mut figures::confidences(record), 0.0);
        numbers.extend([
            number(lowest.map_or(NONE.to_owned(), figures::percent), "lowest confidence"),
            number(of_all(sure), "classes at 99 % or more"),
        ]);
    }
    numbers.extend([
        number(of_all(fooled(record)), "classes at 99.99 % or more"),
        counted(manifest.generations_done.into(), "generation"),
        counted(manifest.evaluations, "evaluation"),
        number(rate.map_or(NONE.to_owned(), figures::count), "evaluations per second"),
        number(figures::duration(manifest.seconds), "wall-clock time"),
    ]);
    numbers
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
        ("pictures become inputs by", model.preprocessing.clone()),
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
    use crate::experiment::log::LINEAGE_HEADER;

    fn render(record: &RunRecord) -> String {
        let failed = |source| ReportError::Write { path: "report.html".into(), source };
        let page = page(record, None, failed).unwrap();
        if let Some(folder) = std::env::var_os("MIRAGE_REPORT_SAMPLES") {
            let (classes, champions) = (record.manifest.model.labels.len(), record.champions.len());
            let name = format!("report-{classes}-{champions}.html");
            fs::write(Path::new(&folder).join(name), &page).unwrap();
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
    fn a_tree_has_all_champions_or_is_not_there() {
        let record = sample::digits();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(descent(&record, folder.path()).unwrap(), None, "no table");
        let rows = record
            .champions
            .iter()
            .map(|champion| format!("{},\"[none]\",1,,{},0.5\n", champion.id, champion.class));
        let table = LINEAGE_HEADER.to_owned() + &rows.collect::<String>();
        let path = Folder::new(folder.path()).lineage_path();
        fs::write(&path, &table).unwrap();
        let tree = descent(&record, folder.path()).unwrap().unwrap();
        assert!(tree.starts_with("data:image/svg+xml;base64,"), "{tree}");
        let without_the_last = table.trim_end().rsplit_once('\n').unwrap().0;
        fs::write(&path, without_the_last).unwrap();
        assert_eq!(descent(&record, folder.path()).unwrap(), None);
    }

    #[test]
    fn a_thousand_classes_make_a_page_of_a_few_megabytes() {
        let record = sample::imagenet();
        let page = render(&record);
        assert!(page.len() < 5_000_000, "{} bytes", page.len());
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 1000 + 2 * EXTREMES);
        for (class, label) in record.manifest.model.labels.iter().enumerate() {
            let label = match class {
                5 => "Töpfe &#38; &#60;b&#62;Pfannen&#60;/b&#62;",
                _ => label,
            };
            let start = page.find(&format!("id=\"class-{class}\"")).unwrap();
            let end = start + page[start..].find("</figure>").unwrap();
            assert!(page[start..end].contains(&format!("title=\"{label}\"")), "{class} {label}");
            assert!(page[start..end].contains(&format!("champions/{class}.png")));
        }
        assert_eq!(page, render(&record), "the same record gives the same bytes");
    }

    #[test]
    fn groups_and_the_paper_stand_beside_the_run() {
        let mut record = sample::imagenet();
        // Pets are at 40 %, but for one; the others at 99 % and 60 % in turns.
        for champion in &mut record.champions {
            champion.confidence = match champion.class {
                151 => 0.995,
                152..=268 | 281..=285 => 0.4,
                class if class % 2 == 0 => 0.99,
                _ => 0.6,
            };
        }
        let page = render(&record);
        let text: String =
            page.split('<').map(|tag| tag.split_once('>').map_or(tag, |t| t.1)).collect();
        // Even classes: 500 − 59 of 152..=268 − 2 of 281..=285 = 439.
        for words in [
            "dogs and cats (#151–268, 281–285)12340.0 %1 (0.8\u{a0}%)",
            "all others87799.000 %439 (50.1\u{a0}%)",
            "median confidence60.0 %21.59 %",
            "classes at 99 % or more440 of 1\u{202f}00045 of 1\u{202f}000",
        ] {
            assert!(text.contains(words), "{words}");
        }
        assert!(page.contains("CaffeNet") && !render(&sample::digits()).contains("CaffeNet"));
    }

    #[test]
    fn the_surest_come_first_and_no_number_is_least_sure() {
        let ranked = ranked(&[0.5, f32::NAN, 0.9, 0.5]);
        assert_eq!(ranked, [2, 0, 3, 1]);
        assert_eq!(ranks(&ranked), [1, 3, 0, 2]);
    }

    #[test]
    fn an_individual_with_many_classes_stands_at_an_end_once() {
        let mut record = sample::imagenet();
        assert!(!render(&record).contains("several classes"));
        // The least sure by far.
        for champion in &mut record.champions[..40] {
            (champion.id, champion.confidence) = (7, 1e-5);
        }
        let page = render(&record);
        let start = page.find("id=\"least-sure\"").unwrap();
        let end = start + page[start..].find("<h2 id=\"rise").unwrap();
        let section = &page[start..end];
        assert!(section.contains("several classes"));
        assert_eq!(section.matches("<figure").count(), EXTREMES);
        assert_eq!(section.matches("0.001 %").count(), 1);
    }

    #[test]
    fn the_charts_of_a_weak_run_end_early_and_say_so() {
        let mut record = sample::imagenet();
        assert!(!render(&record).contains("The axis ends"));
        for row in &mut record.history {
            row.confidence *= 1e-4;
        }
        for champion in &mut record.champions {
            champion.confidence *= 0.03;
        }
        let page = render(&record);
        let ends = ["<b>The axis ends at 0.01 %.</b>", "<b>The axis ends at 5 %.</b>"];
        assert_eq!(ends.map(|words| page.matches(words).count()), [1, 1]);
    }

    #[test]
    fn one_is_no_plural() {
        let mut record = sample::digits();
        record.manifest.generations_done = 1;
        let page = render(&record);
        assert!(page.contains("<dt>generation</dt><dd>1</dd>"));
        assert!(page.contains("<dt>evaluations</dt>"));
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
        render(&sample::colour(FEW));
        render(&sample::colour(300));
    }

    #[test]
    fn same_record_same_bytes() {
        assert_eq!(render(&sample::colour(2)), render(&sample::colour(2)));
    }
}
