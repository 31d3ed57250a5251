//! `ablation.html`: images without the copies of what is repeated in them.

use std::io::{self, Write};
use std::path::Path;

use askama::Template;
use rayon::prelude::*;

use super::figures::{self, NONE};
use super::html::{Drawn, Number};
use super::thumbnail::data_uri;
use super::{ReportError, picture, plots};
use crate::experiment::ablation::{Ablated, Ablation, DROP, Example, Level, Settings, example};
use crate::experiment::record::RunRecord;
use crate::words::{counted, quoted};

/// Images that are shown without copies: those that lose most.
const SHOWN: usize = 24;

/// Longest side of a picture in the page, in pixels.
const SIDE: usize = 128;

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "ablation.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    pixelated: bool,
    /// Confidence by copies removed; `None` if nothing is repeated in any image.
    curves: Option<Drawn>,
    rows: Vec<Row>,
    /// How many images there are that are not in the rows.
    more: usize,
    draws: u32,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// An image as it is, with one copy left, and with as much removed at random.
struct Row {
    label: String,
    copies: String,
    pictures: [Shown; 3],
    none_left: String,
}

struct Shown {
    source: String,
    what: &'static str,
    confidence: String,
}

/// Writes `ablation.html` into `folder`, the folder of the run that `ablation` is of.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent, the page cannot be composed or the file
/// cannot be written.
pub fn write(
    record: &RunRecord,
    ablation: &Ablation,
    settings: Settings,
    folder: &Path,
) -> Result<(), ReportError> {
    super::check(record)?;
    let path = folder.join("ablation.html");
    let failed = |source| ReportError::Write { path: path.clone(), source };
    let mut most: Vec<&Ablated> = ablation.ablated.iter().collect();
    most.sort_by(|a, b| b.drop().total_cmp(&a.drop()));
    let shown = &most[..most.len().min(SHOWN)];
    let rows = shown.par_iter().map(|image| row(record, image, settings));
    let manifest = &record.manifest;
    let [height, width, _] = manifest.model.picture;
    let page = Page {
        title: format!("{} against {}, without copies", manifest.preset, manifest.model.name),
        summary: summary(ablation),
        numbers: numbers(ablation),
        pixelated: height.max(width) <= 64,
        curves: match ablation.ablated.is_empty() {
            true => None,
            false => Some(Drawn::new(|_| plots::ablation(&ablation.ablated))?),
        },
        rows: rows.collect::<io::Result<Vec<_>>>().map_err(failed)?.into_iter().flatten().collect(),
        more: most.len() - shown.len(),
        draws: settings.draws,
        settings: told(record, settings),
        command: format!(
            "{}\nmirage ablate {} --least {} --draws {} --seed {}",
            figures::command(record),
            quoted(&folder.display().to_string()),
            settings.least,
            settings.draws,
            settings.seed
        ),
        version: manifest.version.clone(),
    };
    let text = page.render().map_err(|error| ReportError::Compose(error.to_string()))?;
    super::replace(&path, |file| file.write_all(text.as_bytes()))
}

/// The row of an image; `None` if it is not one of the record.
fn row(record: &RunRecord, image: &Ablated, settings: Settings) -> io::Result<Option<Row>> {
    let champion = record.champions.iter().find(|champion| champion.class == image.class);
    let shown = champion.and_then(|c| Some((c, example(record, c, settings)?, image.left(1)?)));
    let Some((champion, Example { one_left, control }, one)) = shown else { return Ok(None) };
    let shown = |pixels: &[u8], what, confidence: f64| {
        let source = data_uri(&picture(record, pixels), SIDE, true)?;
        let confidence = figures::percent(figures::confidence(confidence));
        Ok::<_, io::Error>(Shown { source, what, confidence })
    };
    Ok(Some(Row {
        label: figures::first_synonym(&record.manifest.model.labels[image.class]).to_owned(),
        copies: counted(image.copies as u64, "copy"),
        pictures: [
            shown(&champion.picture, "as evolved", champion.confidence.into())?,
            shown(&one_left, "one copy left", one.confidence)?,
            shown(&control, "as much at random", one.control)?,
        ],
        none_left: percent(image.left(0).map(|Level { confidence, .. }| confidence)),
    }))
}

fn percent(share: Option<f64>) -> String {
    share.map_or(NONE.to_owned(), |share| figures::percent(figures::confidence(share)))
}

/// What one sees.
fn summary(ablation: &Ablation) -> String {
    let Ablation { images, repeated, dropped, .. } = *ablation;
    match repeated {
        0 => "In none of these images is an element repeated.".to_owned(),
        _ => format!(
            "In {} of {} an element is repeated. With a single copy left, which would do for a person, the network is less sure of {}.",
            figures::count(repeated as u64),
            counted(images as u64, "image"),
            figures::count(dropped as u64),
        ),
    }
}

fn numbers(ablation: &Ablation) -> Vec<Number> {
    let of = |count: usize, all: usize| {
        format!("{} of {}", figures::count(count as u64), figures::count(all as u64))
    };
    let repeated = ablation.repeated;
    let drops = |what: &str| format!("{what} drop by {} % or more", DROP * 100.0);
    [
        (of(repeated, ablation.images), "images with a repeated element".to_owned()),
        (of(ablation.dropped, repeated), drops("with one copy left,")),
        (of(ablation.control_dropped, repeated), drops("with as much removed at random,")),
        (percent(ablation.whole), "mean confidence with all copies".to_owned()),
        (percent(ablation.one_left), "with one copy left".to_owned()),
        (percent(ablation.one_left_control), "with as much removed at random".to_owned()),
    ]
    .map(|(value, name)| Number { value, name })
    .into()
}

fn told(record: &RunRecord, settings: Settings) -> Vec<(String, String)> {
    let manifest = &record.manifest;
    [
        ("model", format!("{} ({})", manifest.model.name, manifest.model.kind)),
        ("model SHA-256", manifest.model.sha256.clone()),
        ("preset", manifest.preset.clone()),
        ("seed of the run", manifest.seed.to_string()),
        ("archive digest", manifest.digest.clone()),
        ("least confidence", settings.least.to_string()),
        ("draws", settings.draws.to_string()),
        ("seed of the draws", settings.seed.to_string()),
        ("crops", settings.crops.name().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::Crops;

    /// The page of a run whose class 3 has two squares, and lost half of its confidence.
    fn page(ablated: bool) -> String {
        let mut record = sample::digits();
        let mut pixels = vec![0; 784];
        (0..784).filter(|at| at / 28 % 14 < 5 && at % 28 < 5).for_each(|at| pixels[at] = 255);
        record.champions[3].picture = pixels.into();
        let level = |left, confidence, control| Level { left, confidence, control };
        let levels = vec![level(2, 1.0, 1.0), level(1, 0.5, 0.25), level(0, 0.125, 0.0625)];
        let image = Ablated { class: 3, copies: 2, area: 50.0 / 784.0, levels };
        let ablation = Ablation {
            images: 10,
            repeated: usize::from(ablated),
            dropped: 1,
            control_dropped: 1,
            dropped_more: 0,
            whole: ablated.then_some(1.0),
            one_left: ablated.then_some(0.5),
            one_left_control: ablated.then_some(0.25),
            none_left: ablated.then_some(0.125),
            none_left_control: ablated.then_some(0.0625),
            ablated: if ablated { vec![image] } else { Vec::new() },
        };
        let settings = Settings { least: 0.5, draws: 3, seed: 9, crops: Crops::Center };
        let folder = tempfile::tempdir().unwrap();
        write(&record, &ablation, settings, folder.path()).unwrap();
        std::fs::read_to_string(folder.path().join("ablation.html")).unwrap()
    }

    #[test]
    fn images_are_shown_before_and_after() {
        let page = page(true);
        for text in ["1 of 10", "50.0\u{a0}%", "25.0", "12.5", "2 copies", "--least 0.5 --draws 3"]
        {
            let plain = page.replace('\u{a0}', " ");
            assert!(plain.contains(&text.replace('\u{a0}', " ")), "{text}");
        }
        assert_eq!(page.matches("data:image/png;base64,").count(), 3);
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn images_without_repetition_have_a_page() {
        let page = page(false);
        assert!(page.contains("In none of these images") && !page.contains("<svg"));
    }
}
