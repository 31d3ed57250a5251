//! What the paper reports for ImageNet, to be read beside a run.

use super::figures::{self, NONE};
use crate::experiment::record::Manifest;
use crate::experiment::summary::{SURE, count_at, quantile};

/// A row of the table: what is compared, in this run, in the paper.
pub(super) type Row = [String; 3];

/// The paper's results.
struct Published {
    generations: u32,
    median: &'static str,
    /// Classes with a confidence of at least 99 %, of 1000, where it is told.
    at_99: Option<usize>,
}

const CPPN: Published = Published { generations: 5000, median: "88.11 %", at_99: None };
const DIRECT: Published = Published { generations: 20_000, median: "21.59 %", at_99: Some(45) };

/// The run beside the paper; empty if it is no run of an ImageNet preset, or has no
/// champion yet. `confidences` has one per class.
pub(super) fn beside(manifest: &Manifest, confidences: &[f32]) -> Vec<Row> {
    if !manifest.preset.starts_with("imagenet-") || confidences.iter().all(|&c| c == 0.0) {
        return Vec::new();
    }
    let published = if manifest.encoding == "direct" { &DIRECT } else { &CPPN };
    let crops = match manifest.settings.iter().find(|(name, _)| name == "crops") {
        Some((_, crops)) if crops == "ten" => "mean of ten",
        _ => "one, from the centre",
    };
    let median = quantile(&mut confidences.to_vec(), 0.5);
    let of = |count: usize, classes: usize| {
        format!("{} of {}", figures::count(count as u64), figures::count(classes as u64))
    };
    let row = |what: &str, here: String, paper: String| [what.to_owned(), here, paper];
    vec![
        row("network", manifest.model.name.clone(), "CaffeNet".to_owned()),
        row("crops it looks at", crops.to_owned(), "mean of ten".to_owned()),
        row(
            "generations",
            figures::count(manifest.generations_done.into()),
            figures::count(published.generations.into()),
        ),
        row(
            "median confidence",
            median.map_or(NONE.to_owned(), figures::percent),
            published.median.to_owned(),
        ),
        row(
            "classes at 99 % or more",
            of(count_at(confidences, SURE), confidences.len()),
            published.at_99.map_or("not told".to_owned(), |count| of(count, 1000)),
        ),
    ]
}
