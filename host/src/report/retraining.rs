//! What a person looks at after a retraining: `report.html` and, to be seen at their size,
//! `pictures/`, made from the record and the runs beside it.

use std::fs;
use std::io::Write;
use std::path::Path;

use askama::Template;

use super::figures::{self, NONE};
use super::html::{Drawn, Figure, Number, side};
use super::thumbnail::data_uri;
use super::{ReportError, plots};
use crate::data::idx::CLASSES;
use crate::image::Image;
use crate::retrain::folder::IterationFolder;
use crate::retrain::record::{Iteration, Retraining};
use crate::words::{counted, quoted};

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "retraining.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    /// A network, and the images of a run against it.
    galleries: Vec<Gallery>,
    pixelated: bool,
    /// Shares by iteration; `None` if there is nothing to draw.
    shares: Option<Drawn>,
    /// Generations until 99.99 % by iteration; `None` if it never came to that.
    generations: Option<Drawn>,
    rows: Vec<Row>,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// A network's number, and images.
type Gallery = (u32, Vec<Figure>);

/// A row of the table.
struct Row {
    network: String,
    cells: [String; 7],
}

/// Writes `report.html` and `pictures/` into `folder`, the folder of the retraining, whose
/// runs they show.
///
/// # Errors
/// [`ReportError`] if a run cannot be read, or a file not be written.
pub fn write(retraining: &Retraining, folder: &Path) -> Result<(), ReportError> {
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures)
        .map_err(|source| ReportError::Write { path: pictures.clone(), source })?;
    let page = page(retraining, folder)?;
    super::replace(&folder.join("report.html"), |file| file.write_all(page.as_bytes()))
}

fn page(retraining: &Retraining, folder: &Path) -> Result<String, ReportError> {
    let Retraining { settings, iterations, version, .. } = retraining;
    // All are written beside the page; it shows the first and the last.
    let mut galleries: Vec<Gallery> = iterations
        .iter()
        .map(|iteration| gallery(retraining, iteration.iteration, folder))
        .collect::<Result<_, _>>()?;
    if galleries.len() > 2 {
        galleries.drain(1..galleries.len() - 1);
    }
    let reached = iterations.iter().filter(|iteration| iteration.median_generation_9999.is_some());
    let shares = |format| plots::retraining(iterations, format);
    let generations = |format| plots::until_certain(iterations, settings.generations, format);
    let page = Page {
        title: format!("{} retrained with what fooled it", settings.network),
        summary: summary(iterations),
        numbers: numbers(retraining),
        galleries,
        pixelated: retraining.data.sides.iter().all(|&side| side <= 64),
        shares: if iterations.is_empty() { None } else { Some(Drawn::new(shares)?) },
        // One point makes no line; the table tells it.
        generations: match reached.count() > 1 {
            true => Some(Drawn::new(generations)?),
            false => None,
        },
        rows: iterations.iter().map(row).collect(),
        settings: table(retraining),
        command: command(retraining),
        version: version.clone(),
    };
    page.render().map_err(|error| ReportError::Compose(error.to_string()))
}

/// The last elites of the first run against a network.
fn gallery(retraining: &Retraining, network: u32, folder: &Path) -> Result<Gallery, ReportError> {
    let [height, width] = retraining.data.sides;
    let place = IterationFolder::of(folder, network);
    let seed = retraining.settings.run_seeds(network).next();
    let run = seed.map(|seed| place.run(seed, [height, width])).transpose()?.flatten();
    let figure = |(digit, pixels): (usize, &[u8])| {
        let image = Image { width, height, channels: 1, pixels: pixels.to_vec() };
        let link = format!("pictures/{network:02}-{digit}.png");
        super::replace(&folder.join(&link), |file| file.write_all(&image.to_png()?))?;
        let source = data_uri(&image, side::FEW, true)
            .map_err(|source| ReportError::Write { path: folder.join("report.html"), source })?;
        let run = run.as_ref();
        let top = run.and_then(|run| run.tops.get(digit)).map_or(digit, |&top| top as usize);
        let certain = run.and_then(|run| run.certain.get(digit)).copied().unwrap_or(0);
        let confidence = run.and_then(|run| run.confidences.get(digit)).copied();
        Ok(Figure {
            class: digit,
            link,
            source,
            label: digit.to_string(),
            named: false,
            confidence: figures::percent(confidence.unwrap_or(f32::NAN)),
            note: match (top, certain) {
                (top, _) if top >= CLASSES => "called fooling".to_owned(),
                (top, _) if top != digit => format!("called {top}"),
                (_, 0) => "99.99 % never reached".to_owned(),
                (_, generation) => {
                    format!("99.99 % in generation {}", figures::count(generation.into()))
                }
            },
            rank: digit,
        })
    };
    let images = run.iter().flat_map(|run| run.last.chunks_exact(height * width));
    let figures = images.enumerate().map(figure).collect::<Result<_, ReportError>>()?;
    Ok((network, figures))
}

/// A sentence or two on what came out.
fn summary(iterations: &[Iteration]) -> String {
    let fooled = |iteration: &Iteration| percent(iteration.fooled_share, 1);
    match iterations {
        [] => "No iteration is done yet.".to_owned(),
        [only] => format!(
            "For {} of the digits evolution found an image that the network is at least 99.99 % sure of.",
            fooled(only)
        ),
        [first, .., last] => format!(
            "For {} of the digits evolution found an image that the first network is at least 99.99 % sure of. The network number {}, which had {} fooling images to learn from, was fooled for {} of the digits.",
            fooled(first),
            last.iteration,
            figures::count(last.fooling_images as u64),
            fooled(last),
        ),
    }
}

fn numbers(retraining: &Retraining) -> Vec<Number> {
    let number = |value, name: &str| Number { value, name: name.to_owned() };
    let runs: usize = retraining.iterations.iter().map(|iteration| iteration.runs).sum();
    let mut numbers = Vec::new();
    if let Some(last) = retraining.iterations.last() {
        numbers.extend([
            number(percent(last.fooled_share, 1), "digits fooled in the last iteration"),
            number(figures::percent(last.median_confidence as f32), "median confidence there"),
            number(percent(last.test_error, 2), "test error there"),
            number(percent(last.fooling_share, 1), "fooling images in its training set"),
        ]);
    }
    numbers.extend([
        number(figures::count(runs as u64), "runs of evolution in all"),
        number(figures::duration(retraining.seconds), "wall-clock time"),
    ]);
    numbers
}

fn row(iteration: &Iteration) -> Row {
    Row {
        network: iteration.name(),
        cells: [
            figures::count(iteration.fooling_images as u64),
            percent(iteration.fooling_share, 1),
            percent(iteration.test_error, 2),
            figures::percent(iteration.median_confidence as f32),
            iteration.median_generation_9999.map_or(NONE.to_owned(), |n| figures::count(n.into())),
            percent(iteration.fooled_share, 1),
            iteration.called_fooling_share.map_or(NONE.to_owned(), |share| percent(share, 1)),
        ],
    }
}

/// A share in per cent, cut and not rounded: only all of it reads 100 %.
pub(crate) fn percent(share: f64, digits: usize) -> String {
    let scale = 10f64.powi(digits as i32);
    let cut = (share * 100.0 * scale + 1e-6).floor() / scale;
    format!("{cut:.digits$} %")
}

fn table(retraining: &Retraining) -> Vec<(String, String)> {
    let Retraining { settings, data, machine, .. } = retraining;
    let count = |n: u32| figures::count(n.into());
    let [height, width] = data.sides;
    let threads = counted(machine.threads as u64, "thread");
    let all = [
        ("network", settings.network.clone()),
        (
            "iterations",
            format!("{} of {}", retraining.iterations.len(), count(settings.iterations)),
        ),
        ("epochs of each training", count(settings.epochs)),
        ("digits to train with", figures::count(data.train_images as u64)),
        ("digits to test with", figures::count(data.test_images as u64)),
        ("SHA-256 of the digits", data.sha256.clone()),
        ("picture", format!("{height} × {width}")),
        ("fooling images after the first iteration", count(settings.first)),
        ("fooling images after each later one", count(settings.more)),
        ("preset of the evolution", settings.preset.clone()),
        ("generations of each run", count(settings.generations)),
        ("children per generation", count(settings.children)),
        ("first seed", settings.seed.to_string()),
        ("machine", format!("{}, {}, {}, {threads}", machine.os, machine.arch, machine.kernel)),
        ("mirage", retraining.version.clone()),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The command that makes the retraining again.
fn command(retraining: &Retraining) -> String {
    let settings = &retraining.settings;
    format!(
        "mirage retrain mnist --encoding {} --network {} --epochs {} --iterations {} --first {} --more {} --generations {} --children {} --seed {}",
        settings.preset.trim_start_matches("mnist-"),
        quoted(&settings.network),
        settings.epochs,
        settings.iterations,
        settings.first,
        settings.more,
        settings.generations,
        settings.children,
        settings.seed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::record::MachineRecord;
    use crate::retrain::harvest::Harvest;
    use crate::retrain::record::{DataRecord, NetworkRecord};
    use crate::retrain::settings::Settings;

    /// A retraining of `count` iterations, whose runs lie in `folder`.
    fn sample(folder: &Path, count: u32) -> Retraining {
        let settings = Settings { seed: 7, first: 20, more: 20, ..Settings::default() };
        let sha256 = "5ab1".to_owned();
        let data = DataRecord { train_images: 80, test_images: 100, sides: [4, 3], sha256 };
        let mut iterations = Vec::new();
        for iteration in 1..=count {
            let place = IterationFolder::of(folder, iteration);
            fs::create_dir_all(place.network_path().parent().unwrap()).unwrap();
            let run = Harvest {
                sides: data.sides,
                first: vec![1; 12 * CLASSES],
                last: (0..12 * CLASSES).map(|n| n as u8).collect(),
                confidences: vec![0.99995; CLASSES],
                certain: vec![4 + iteration; CLASSES],
                tops: (0..CLASSES as u32)
                    .map(|digit| if digit == 9 { 10 } else { digit })
                    .collect(),
            };
            place.write_run(u64::from(6 + iteration), &run).unwrap();
            let network = NetworkRecord {
                sha256: "ca11".to_owned(),
                fooling_images: 20 * (iteration as usize - 1),
                test_errors: iteration as usize,
                test_called_fooling: 0,
                halvings: 0,
            };
            iterations.push(Iteration::of(iteration, &network, &data, &[run]));
        }
        Retraining {
            version: "0.0.0".to_owned(),
            settings,
            data,
            machine: MachineRecord::here("avx2", 1, None),
            complete: count == 15,
            seconds: 61.0,
            iterations,
        }
    }

    fn written(count: u32) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        write(&sample(folder.path(), count), folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        (folder, page)
    }

    #[test]
    fn the_page_shows_the_first_network_and_the_last() {
        let (folder, page) = written(3);
        for text in [
            "mirage retrain mnist --encoding cppn --network lenet --epochs 10 --iterations 15 --first 20 --more 20",
            "Images evolved against DNN_1",
            "Images evolved against DNN_3",
            "called fooling",
            "99.99 % in generation 7",
            "arXiv",
            "33.3 %",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("DNN_2</h2>"));
        assert_eq!(page.matches("data:image/png;base64,").count(), 20);
        assert!(!page.contains("NaN") && !page.contains("<script") && !page.contains("src=\"http"));
        let picture = Image::open(&folder.path().join("pictures/03-2.png")).unwrap();
        assert_eq!(picture.pixels, (24..36).collect::<Vec<u8>>());
    }

    #[test]
    fn short_ones_read_well() {
        assert!(written(0).1.contains("No iteration is done yet"));
        let (_folder, page) = written(1);
        assert_eq!(page.matches("data:image/png;base64,").count(), 10);
    }

    #[test]
    fn shares_are_cut() {
        assert_eq!(percent(0.999_999, 1), "99.9 %");
        assert_eq!([percent(1.0, 1), percent(0.57, 2)], ["100.0 %", "57.00 %"]);
    }
}
