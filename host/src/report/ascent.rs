//! What a person looks at after a run of gradient ascent: `gallery.png` and `report.html`,
//! made from the record and the pictures beside it.

use std::io::Write;
use std::path::Path;

use askama::Template;
use rayon::prelude::*;

use super::figures::{self, NONE};
use super::gallery::{self, Tile};
use super::html::{Drawn, EXTREMES, FEW, Figure, Number, ranked, ranks, side};
use super::thumbnail::data_uri;
use super::{ReportError, plots};
use crate::ascent::climb::{Ending, Milestone};
use crate::ascent::record::{AscentRecord, ClassRecord, Manifest, Mark};
use crate::experiment::record::ModelRecord;
use crate::image::{Image, THUMBNAIL};
use crate::words::quoted;

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "ascent.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    pictures: Vec<Figure>,
    /// Whether there are many pictures; then also the surest and the least sure ones.
    many: bool,
    surest: Vec<Figure>,
    least_sure: Vec<Figure>,
    pixelated: bool,
    /// Confidence by step; `None` if there is nothing to draw.
    rise: Option<Drawn>,
    sums_up: bool,
    rows: Vec<Row>,
    /// Whether an int8 model classified the pictures too.
    has_int8: bool,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// A row of the table of records.
struct Row {
    class: usize,
    label: String,
    named: bool,
    /// Steps to the win, .99, .999 and .9999.
    steps: [String; 4],
    best: String,
    best_step: String,
    as_saved: String,
    int8: String,
    ending: String,
}

/// A class that has a best picture.
type Best<'a> = (&'a ClassRecord, &'a Mark);

/// Writes `gallery.png` and `report.html` into `folder`, the folder of the run, whose
/// pictures they show.
///
/// # Errors
/// [`ReportError`] if a picture cannot be read, or a file not be written.
pub fn write(record: &AscentRecord, folder: &Path) -> Result<(), ReportError> {
    let best = best(&record.manifest);
    let gallery = gallery::compose(&best, |&(class, mark)| {
        let picture = Image::open(&folder.join(&mark.picture))?;
        let (label, confidence) = (class.label.as_str(), mark.as_saved);
        Ok::<_, ReportError>(Tile { picture, class: class.class, label, confidence })
    })?;
    super::replace(&folder.join("gallery.png"), |file| file.write_all(&gallery.to_png()?))?;
    let page = page(record, &best, folder)?;
    super::replace(&folder.join("report.html"), |file| file.write_all(page.as_bytes()))
}

/// The classes that have a best picture.
fn best(manifest: &Manifest) -> Vec<Best<'_>> {
    let best = |class| ClassRecord::mark(class, Milestone::Best).map(|mark| (class, mark));
    manifest.classes.iter().filter_map(best).collect()
}

fn page(record: &AscentRecord, best: &[Best], folder: &Path) -> Result<String, ReportError> {
    let manifest = &record.manifest;
    let ranked = ranked(&best.iter().map(|(_, mark)| mark.as_saved).collect::<Vec<_>>());
    let ranks = ranks(&ranked);
    let many = best.len() > FEW;
    let figures = |places: &[usize], side| -> Result<Vec<Figure>, ReportError> {
        let figure = |&place: &usize| figure(best[place], ranks[place], side, !many, folder);
        places.par_iter().map(figure).collect()
    };
    let all: Vec<usize> = (0..best.len()).collect();
    let ends = if many { EXTREMES } else { 0 };
    let least_sure: Vec<usize> = ranked.iter().rev().take(ends).copied().collect();
    let labels: Vec<&str> = manifest.classes.iter().map(|class| class.label.as_str()).collect();
    let chart = |format| plots::ascent(&labels, &record.curves, manifest.preset.steps, format);
    let page = Page {
        title: format!("{} ascent against {}", manifest.preset.name, manifest.model.name),
        summary: summary(manifest),
        numbers: numbers(manifest),
        pictures: figures(&all, if many { THUMBNAIL } else { side::FEW })?,
        many,
        surest: figures(&ranked[..ends], side::EXTREME)?,
        least_sure: figures(&least_sure, side::EXTREME)?,
        pixelated: manifest.model.picture[0].max(manifest.model.picture[1]) <= 64,
        rise: if labels.is_empty() { None } else { Some(Drawn::new(chart)?) },
        sums_up: plots::are_too_many(labels.len()),
        rows: manifest.classes.iter().map(row).collect(),
        has_int8: manifest.twin.is_some(),
        settings: settings(manifest),
        command: command(manifest),
        version: manifest.version.clone(),
    };
    page.render().map_err(|error| ReportError::Compose(error.to_string()))
}

fn figure(
    (class, mark): Best,
    rank: usize,
    side: usize,
    exact: bool,
    folder: &Path,
) -> Result<Figure, ReportError> {
    let picture = Image::open(&folder.join(&mark.picture))?;
    let source = data_uri(&picture, side, exact)
        .map_err(|source| ReportError::Write { path: folder.join("report.html"), source })?;
    let step = format!("step {}", figures::count(mark.step.into()));
    Ok(Figure {
        class: class.class,
        link: mark.picture.clone(),
        source,
        label: class.label.clone(),
        named: class.label != class.class.to_string(),
        confidence: figures::percent(mark.as_saved),
        note: match mark.int8 {
            Some(int8) => format!("int8 {} · {step}", figures::percent(int8)),
            None => step,
        },
        rank,
    })
}

fn row(class: &ClassRecord) -> Row {
    let step = |milestone| {
        class.mark(milestone).map_or(NONE.to_owned(), |mark| figures::count(mark.step.into()))
    };
    let best = class.mark(Milestone::Best);
    let percent = |value: Option<f32>| value.map_or(NONE.to_owned(), figures::percent);
    Row {
        class: class.class,
        label: figures::first_synonym(&class.label).to_owned(),
        named: class.label != class.class.to_string(),
        steps: [Milestone::Win, Milestone::At99, Milestone::At999, Milestone::At9999].map(step),
        best: percent(best.map(|mark| figures::confidence(mark.confidence))),
        best_step: step(Milestone::Best),
        as_saved: percent(best.map(|mark| mark.as_saved)),
        int8: percent(best.and_then(|mark| mark.int8)),
        ending: match class.ending {
            Ending::Done => String::new(),
            Ending::Certain { step } => format!("certain after {step}"),
            Ending::NoGradient { step } => format!("no gradient after {step}"),
            Ending::NotANumber { step } => format!("not a number after {step}"),
        },
    }
}

/// One or two sentences on what one sees.
fn summary(manifest: &Manifest) -> String {
    let name = &manifest.network().name;
    let summary = manifest.summary(String::new());
    let seen = match best(manifest).len() {
        0 => return "There is no picture yet.".to_owned(),
        1 => "This picture has".to_owned(),
        n => format!("These {} pictures have", figures::count(n as u64)),
    };
    let sure = match summary.classes_at_9999_as_saved {
        all if all == manifest.classes.len() && all == 1 => "sure of it".to_owned(),
        all if all == manifest.classes.len() => "sure of each of them".to_owned(),
        0 => "sure of none of them".to_owned(),
        some => format!("sure of {}", figures::count(some as u64)),
    };
    let mut text = format!(
        "{seen} followed the gradient of the network {name}, which is at least 99.99 % {sure}."
    );
    if let Some(certain) = summary.classes_at_9999_int8 {
        let certain = if certain == 0 { "none".to_owned() } else { certain.to_string() };
        text += &format!(
            " The int8 model {}, which never saw a gradient, is as sure of {certain}.",
            manifest.model.name
        );
    }
    if !manifest.complete {
        text += " The run was stopped: not all classes are done.";
    }
    text
}

fn numbers(manifest: &Manifest) -> Vec<Number> {
    let summary = manifest.summary(String::new());
    let of_all = |count: usize| {
        let all = figures::count(manifest.classes_asked as u64);
        format!("{} of {all}", figures::count(count as u64))
    };
    let steps =
        |steps: Option<u32>| steps.map_or(NONE.to_owned(), |steps| figures::count(steps.into()));
    let number = |value, name: &str| Number { value, name: name.to_owned() };
    let mut numbers = vec![
        number(figures::percent(summary.median_confidence), "median confidence as saved"),
        number(of_all(summary.classes_at_9999_as_saved), "classes at 99.99 % or more as saved"),
    ];
    if let (Some(median), Some(certain)) =
        (summary.median_confidence_int8, summary.classes_at_9999_int8)
    {
        numbers.extend([
            number(figures::percent(median), "median confidence of the int8 model"),
            number(of_all(certain), "classes at 99.99 % or more by the int8 model"),
        ]);
    }
    numbers.extend([
        number(steps(summary.median_step_win), "steps until half of the classes won"),
        number(steps(summary.median_step_99), "until they reached 99 %"),
        number(steps(summary.median_step_9999), "until they reached 99.99 %"),
        number(figures::duration(manifest.seconds), "wall-clock time"),
    ]);
    numbers
}

fn settings(manifest: &Manifest) -> Vec<(String, String)> {
    let (preset, machine) = (&manifest.preset, &manifest.machine);
    let model = |model: &ModelRecord| format!("{} ({})", model.name, model.kind);
    let [height, width, channels] = manifest.model.picture;
    let blur = match preset.blur_radius {
        0.0 => "none".to_owned(),
        radius => format!("radius {radius} pixels, every {} steps", preset.blur_every),
    };
    let threads = if machine.threads == 1 { "thread" } else { "threads" };
    let twin = manifest
        .twin
        .iter()
        .flat_map(|twin| [("ascended on", model(twin)), ("its SHA-256", twin.sha256.clone())]);
    let all = [("model", model(&manifest.model)), ("model SHA-256", manifest.model.sha256.clone())]
        .into_iter()
        .chain(twin)
        .chain([
            ("picture", format!("{height} × {width} × {channels}")),
            ("pictures become inputs by", manifest.network().preprocessing.clone()),
            ("preset", preset.name.to_owned()),
            ("objective", manifest.objective.to_owned()),
            ("start", manifest.start.clone()),
            ("seed", manifest.seed.to_string()),
            ("steps", figures::count(preset.steps.into())),
            ("early, late", format!("{}, {}", preset.early, preset.late)),
            ("decay", preset.decay.to_string()),
            ("blur", blur),
            (
                "small norms, small contributions",
                format!("{} %, {} %", preset.norm_percent, preset.contribution_percent),
            ),
            (
                "classes",
                format!(
                    "{} ({} of {})",
                    manifest.asked,
                    manifest.classes.len(),
                    manifest.classes_asked
                ),
            ),
            ("machine", format!("{}, {}, {} {threads}", machine.os, machine.arch, machine.threads)),
            ("mirage", manifest.version.clone()),
        ]);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The command that makes the run again.
fn command(manifest: &Manifest) -> String {
    let Manifest { preset, objective, seed, .. } = manifest;

    let twin = manifest.twin.as_ref().map(|twin| format!(" --twin {}", quoted(&twin.name)));
    format!(
        "mirage ascend --model {}{} --class {} --preset {} --objective {objective} --start {} --steps {} --seed {seed}",
        quoted(&manifest.model.name),
        twin.unwrap_or_default(),
        quoted(&manifest.asked),
        preset.name,
        quoted(&manifest.start),
        preset.steps,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ascent::settings::{BLUR_SPARSE, PLAIN};
    use crate::experiment::record::MachineRecord;

    fn model(name: &str, kind: &str, sides: [usize; 3], labels: Vec<String>) -> ModelRecord {
        ModelRecord {
            name: name.to_owned(),
            sha256: "9f86d081".to_owned(),
            kind: kind.to_owned(),
            picture: sides,
            preprocessing: "pixel/256".to_owned(),
            labels,
            groups: BTreeMap::new(),
        }
    }

    /// A record of `count` classes, and its pictures in `folder`. Of the first class only
    /// the start is known.
    fn sample(folder: &Path, count: usize, sides: [usize; 3], has_twin: bool) -> AscentRecord {
        std::fs::create_dir_all(folder.join("pictures")).unwrap();
        let [height, width, channels] = sides;
        let labels: Vec<String> = (0..count).map(|n| format!("cat <b>{n}</b>, feline")).collect();
        let class = |class: usize| {
            let mark = |milestone: Milestone| {
                let picture = format!("pictures/{class}-{}.png", milestone.name());
                let pixel = |i: usize| (i * (class + 3) % 256) as u8;
                let pixels = (0..height * width * channels).map(pixel).collect();
                let image = Image { width, height, channels, pixels };
                std::fs::write(folder.join(&picture), image.to_png().unwrap()).unwrap();
                let confidence = 1.0 - 0.5_f64.powi(class as i32);
                let as_saved = figures::confidence(confidence);
                let int8 = has_twin.then_some(as_saved / 2.0);
                (milestone, Mark { step: 10 + class as u32, confidence, as_saved, int8, picture })
            };
            let ending = match class {
                0 => Ending::NoGradient { step: 1 },
                1 => Ending::Certain { step: 77 },
                _ => Ending::Done,
            };
            let milestones = if class == 0 { &Milestone::ALL[4..] } else { &Milestone::ALL };
            let reached = milestones.iter().copied().map(mark).collect();
            ClassRecord { class, label: labels[class].clone(), ending, reached }
        };
        let curve =
            |class: usize| (0..9).map(|n| (n * 60, 1.0 - 0.5_f32.powi(class as i32))).collect();
        let manifest = Manifest {
            version: "0.0.0".to_owned(),
            complete: true,
            model: model("x y", "int8", sides, labels.clone()),
            twin: has_twin.then(|| model("x-float", "onnx", sides, labels.clone())),
            preset: if has_twin { PLAIN } else { BLUR_SPARSE },
            objective: "prob",
            start: "mean".to_owned(),
            seed: 3,
            asked: "all".to_owned(),
            classes_asked: count,
            machine: MachineRecord::here("avx2", 2, None),
            seconds: 61.0,
            classes: (0..count).map(class).collect(),
        };
        AscentRecord { manifest, curves: (0..count).map(curve).collect() }
    }

    fn written(count: usize, sides: [usize; 3], has_twin: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let record = sample(folder.path(), count, sides, has_twin);
        write(&record, folder.path()).unwrap();
        let gallery = Image::open(&folder.path().join("gallery.png")).unwrap();
        assert!(gallery.width > 88 && gallery.pixels.iter().any(|&value| value < 128));
        let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
        if let Some(folder) = std::env::var_os("MIRAGE_REPORT_SAMPLES") {
            std::fs::write(Path::new(&folder).join(format!("ascent-{count}.html")), &page).unwrap();
        }
        page
    }

    #[test]
    fn few_pictures_are_shown_as_they_are() {
        let page = written(3, [28, 28, 1], true);
        for text in [
            "mirage ascend --model &#39;x y&#39; --twin x-float --class all --preset plain --objective prob --start mean --steps 500 --seed 3",
            "cat &#60;b&#62;1&#60;/b&#62;",
            "no gradient after 1",
            "certain after 77",
            "int8 37.5 %",
            "by int8",
            "pixelated",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.matches("data:image/png;base64,").count(), 3);
        assert!(!page.contains("<script") && !page.contains("<b>1") && !page.contains("NaN"));
    }

    #[test]
    fn many_pictures_are_reduced_and_can_be_found() {
        let page = written(40, [128, 128, 3], false);
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 40 + 2 * EXTREMES);
        assert!(page.contains("<script") && page.contains("id=\"class-39\""));
        assert!(page.contains("pictures/39-best.png") && !page.contains("int8 "));
        assert!(page.contains("radius 0.3 pixels") && page.contains("<details>"));
        assert!(page.len() < 600_000, "{} bytes", page.len());
    }

    #[test]
    fn a_run_without_pictures_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = sample(folder.path(), 1, [28, 28, 1], true);
        record.manifest.classes[0].reached.clear();
        write(&record, folder.path()).unwrap();
        record.manifest.classes.clear();
        record.curves.clear();
        record.manifest.complete = false;
        write(&record, folder.path()).unwrap();
        let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("There is no picture yet") && !page.contains("<figure"));
    }
}
