//! `guard.html`: how guards tell fooling images from natural ones.

use std::io::Write;
use std::path::Path;

use askama::Template;

use super::html::{Drawn, Number};
use super::{ReportError, figures, plots};
use crate::guard::Score;
use crate::guard::study::{Detection, Group, Study};

/// The page; askama escapes every text, the charts escape theirs.
#[derive(Template)]
#[template(path = "guard.html")]
struct Page {
    title: String,
    summary: String,
    numbers: Vec<Number>,
    scores: Vec<&'static str>,
    guards: Vec<GuardRow>,
    groups: Vec<GroupRow>,
    /// Whether some images were evolved under guards.
    evolved: bool,
    settings: Vec<(String, String)>,
    command: String,
    version: String,
}

/// A guard.
struct GuardRow {
    name: &'static str,
    accepts: String,
    natural: String,
}

/// Images that were evolved alike.
struct GroupRow {
    name: String,
    images: usize,
    confidence: String,
    cells: Vec<Cell>,
    curves: Drawn,
}

/// How a guard does on them.
struct Cell {
    accepted: String,
    auroc: String,
    certain: usize,
    /// Whether the images were evolved under this guard.
    own: bool,
}

/// Writes `guard.html` into `folder`; `command` makes it again.
///
/// # Errors
/// [`ReportError`].
pub fn write(study: &Study, command: &str, folder: &Path) -> Result<(), ReportError> {
    let page = page(study, command)?;
    super::replace(&folder.join("guard.html"), |file| file.write_all(page.as_bytes()))
}

fn page(study: &Study, command: &str) -> Result<String, ReportError> {
    let guards = study.guards.iter().map(|guard| GuardRow {
        name: guard.score.name(),
        accepts: format!("{} {}", guard.accepts, guard.threshold),
        natural: share(guard.natural_accepted),
    });
    let groups = study.groups.iter().enumerate().map(|(index, group)| row(study, index, group));
    let page = Page {
        title: format!("guards of {}", study.model),
        summary: summary(study),
        numbers: numbers(study),
        scores: Score::ALL.map(Score::name).to_vec(),
        guards: guards.collect(),
        groups: groups.collect::<Result<_, _>>()?,
        evolved: study.groups.iter().any(|group| group.guard.is_some()),
        settings: settings(study),
        command: command.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    page.render().map_err(|error| ReportError::Compose(error.to_string()))
}

fn row(study: &Study, index: usize, group: &Group) -> Result<GroupRow, ReportError> {
    let cell = |detection: &Detection| Cell {
        accepted: share(detection.fpr_at_95),
        auroc: format!("{:.3}", detection.auroc),
        certain: detection.certain_accepted,
        own: group.guard == Some(detection.score),
    };
    let curves: Vec<_> =
        Score::ALL.iter().map(|&score| (score.name(), study.curve(index, score))).collect();
    Ok(GroupRow {
        name: group.name(),
        images: group.images,
        confidence: figures::percent(group.median_confidence),
        cells: group.detections.iter().map(cell).collect(),
        curves: Drawn::new(|_| plots::roc(&curves))?,
    })
}

fn share(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The guard that sees the most of the images that know none, and how each does on those
/// that were evolved under it.
fn summary(study: &Study) -> String {
    let free = study.groups.iter().filter(|group| group.guard.is_none()).filter_map(|group| {
        let best = group.detections.iter().min_by_key(|detection| detection.accepted)?;
        let (images, preset) = (group.images, &group.preset);
        let (guard, accepted) = (best.score.name(), best.accepted);
        Some(format!(
            "Of {images} images of {preset} the guard {guard} accepts fewest: {accepted}."
        ))
    });
    let mut sentences: Vec<String> = free.collect();
    let own = Score::ALL.into_iter().filter_map(|score| {
        let groups = study.groups.iter().filter(|group| group.guard == Some(score));
        let counts = groups.map(|group| (group.detections[score.index()].accepted, group.images));
        let (accepted, images) = counts.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
        Some(format!("{} {accepted} of {images}", score.name()))
    });
    let own: Vec<String> = own.collect();
    if !own.is_empty() {
        let own = own.join(", ");
        sentences.push(format!("Of images that were evolved under it, each guard accepts: {own}."));
    }
    sentences.join(" ")
}

fn numbers(study: &Study) -> Vec<Number> {
    let count = |images: usize, name: &str| Number {
        value: figures::count(images as u64),
        name: name.to_owned(),
    };
    vec![
        count(study.images.len(), "fooling images"),
        count(study.natural.tested, "natural images held against them"),
        count(study.natural.threshold, "natural images for the thresholds"),
        count(study.natural.fitted, "natural images for the Gaussian"),
    ]
}

fn settings(study: &Study) -> Vec<(String, String)> {
    let Study { gaussian, .. } = study;
    let mut list = vec![
        ("model", study.model.clone()),
        ("model SHA-256", study.model_sha256.clone()),
        ("natural images", study.natural.source.clone()),
        ("features", figures::count(gaussian.features as u64)),
        ("means of the Gaussian", figures::count(gaussian.means as u64)),
        ("shrinkage of its covariance", format!("{:.3e}", gaussian.shrinkage)),
        ("digest of the Gaussian", gaussian.digest.clone()),
    ];
    list.extend(study.groups.iter().map(|group| ("runs", group.runs.join(", "))));
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::gaussian::Fit;
    use crate::guard::study::{GuardRecord, Judged, NaturalRecord};

    #[test]
    fn the_page_holds_every_guard_and_group() {
        let group = |guard: Option<Score>| Group {
            preset: "mnist-<cppn>".to_owned(),
            guard,
            runs: vec!["runs/a".to_owned()],
            images: 2,
            median_confidence: 0.9999,
            certain: 1,
            detections: Score::ALL
                .map(|score| Detection {
                    score,
                    auroc: 0.625,
                    fpr_at_95: 0.5,
                    accepted: 1,
                    certain_accepted: 1,
                })
                .to_vec(),
        };
        let judged = |group, value| Judged {
            run: "runs/a".to_owned(),
            group,
            class: 1,
            confidence: 0.9999,
            values: [value; 4],
        };
        let study = Study {
            model: "lenet".to_owned(),
            model_sha256: "0123".to_owned(),
            natural: NaturalRecord {
                source: "MNIST".to_owned(),
                fitted: 3,
                threshold: 2,
                tested: 2,
            },
            gaussian: Fit {
                means: 10,
                images: 3,
                features: 500,
                shrinkage: 0.01,
                digest: "89ab".to_owned(),
            },
            guards: Score::ALL
                .map(|score| GuardRecord {
                    score,
                    accepts: "at most",
                    threshold: -7.5,
                    natural_accepted: 0.951,
                })
                .to_vec(),
            groups: vec![group(None), group(Some(Score::Energy))],
            tested: vec![[1.0; 4], [2.0; 4]],
            images: vec![judged(0, 0.0), judged(0, 1.5), judged(1, 3.0), judged(1, f32::NAN)],
        };
        let page = page(&study, "mirage guard runs/a").unwrap();
        for text in [
            "at most -7.5",
            "95.1 %",
            "0.625",
            "mnist-&#60;cppn&#62;",
            "under energy",
            "accepts fewest: 1.",
            "each guard accepts: energy 1 of 2.",
            "89ab",
            "mirage guard runs/a",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.matches("<svg").count(), 2 * 2);
        assert!(!page.contains("<script") && !page.contains("NaN"));
    }
}
