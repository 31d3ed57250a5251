//! `tree.svg`: who descends from whom, with pictures at the leaves.

use std::io::{self, Write};
use std::path::Path;

use askama::Template;

use super::thumbnail::data_uri;
use super::{ReportError, figures, picture};
use crate::experiment::phylogeny::{Clade, Phylogeny};
use crate::experiment::record::{Champion, RunRecord};
use crate::words::counted;

/// From one leaf to the next, in SVG's pixels.
const ROW: i64 = 34;

/// Side of a leaf's picture.
const SIDE: i64 = 30;

/// Longer side of what a picture is reduced to, so that it is sharp on a dense screen too.
const REDUCED: usize = 60;

/// Where generation 1 lies.
const LEFT: i64 = 24;

/// Where the last generation lies.
const RIGHT: i64 = 560;

/// Where the first leaf lies.
const TOP: i64 = 92;

/// Room for a leaf's words.
const WORDS: i64 = 380;

/// Classes that a leaf names; of more it tells the number.
const NAMED: usize = 3;

#[derive(Template)]
#[template(path = "tree.svg", escape = "html")]
struct Tree {
    title: String,
    subtitle: String,
    width: i64,
    height: i64,
    left: i64,
    bottom: i64,
    picture_x: i64,
    text_x: i64,
    side: i64,
    rendering: &'static str,
    ticks: Vec<Tick>,
    branches: Vec<String>,
    leaves: Vec<Leaf>,
}

/// A generation on the axis.
struct Tick {
    x: i64,
    label: String,
}

/// An image, and the classes that it holds.
struct Leaf {
    y: i64,
    source: String,
    label: String,
    confidence: String,
}

/// Writes `tree.svg` into `folder`, and the same as `tree.nwk`, in Newick's format.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent, or a file cannot be written.
pub fn write(record: &RunRecord, phylogeny: &Phylogeny, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    let path = folder.join("tree.svg");
    let text = svg(record, phylogeny)?;
    super::replace(&path, |file| file.write_all(text.as_bytes()))?;
    let newick = phylogeny.newick(&record.manifest.model.labels);
    super::replace(&folder.join("tree.nwk"), |file| file.write_all(newick.as_bytes()))
}

/// The tree; the record must have passed [`super::check`].
pub(super) fn svg(record: &RunRecord, phylogeny: &Phylogeny) -> Result<String, ReportError> {
    let tree =
        Drawing::of(record, phylogeny).map_err(|error| ReportError::Compose(error.to_string()))?;
    tree.render().map_err(|error| ReportError::Compose(error.to_string()))
}

/// A tree that is being drawn from its first leaf to its last.
struct Drawing<'a> {
    record: &'a RunRecord,
    branches: Vec<String>,
    leaves: Vec<Leaf>,
}

impl<'a> Drawing<'a> {
    fn of(record: &'a RunRecord, phylogeny: &Phylogeny) -> io::Result<Tree> {
        let mut drawing = Self { record, branches: Vec::new(), leaves: Vec::new() };
        for founder in &phylogeny.founders {
            drawing.clade(founder)?;
        }
        let manifest = &record.manifest;
        let [height, width, _] = manifest.model.picture;
        let bottom = TOP + ROW * drawing.leaves.len() as i64;
        let last = manifest.generations_done.max(1);
        let founders = phylogeny.founders.len();
        let [images, lines] = [(drawing.leaves.len(), "image"), (founders, "line")]
            .map(|(count, noun)| counted(count as u64, noun));
        let picture_x = RIGHT + 10;
        Ok(Tree {
            title: format!("{} against {}", manifest.preset, manifest.model.name),
            subtitle: format!("{images}, {lines} of descent; generations from left to right"),
            width: RIGHT + WORDS,
            height: bottom + 10,
            left: LEFT,
            bottom,
            picture_x,
            text_x: picture_x + SIDE + 8,
            side: SIDE,
            rendering: if height.max(width) <= 64 { "pixelated" } else { "auto" },
            ticks: [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
                .into_iter()
                .filter(|&born| born <= last)
                .map(|born| Tick { x: drawing.x(born), label: figures::count(born.into()) })
                .collect(),
            branches: drawing.branches,
            leaves: drawing.leaves,
        })
    }

    /// Where a generation lies: by ratio, for most happens early.
    fn x(&self, born: u32) -> i64 {
        let last = f64::from(self.record.manifest.generations_done.max(2));
        let share = f64::from(born.max(1)).ln() / last.ln();
        LEFT + (share.min(1.0) * (RIGHT - LEFT) as f64).round() as i64
    }

    /// Draws a clade; returns where its line begins.
    fn clade(&mut self, clade: &Clade) -> io::Result<(i64, i64)> {
        let x = self.x(clade.born);
        let mut ends = Vec::new();
        for child in &clade.children {
            ends.push(self.clade(child)?);
        }
        if let Some(&first) = clade.classes.first() {
            let y = TOP + ROW * self.leaves.len() as i64;
            let leaf = self.leaf(first, &clade.classes, y)?;
            self.leaves.push(leaf);
            ends.push((RIGHT, y));
        }
        let rows = || ends.iter().map(|&(_, y)| y);
        let (top, bottom) = (rows().min().unwrap_or(TOP), rows().max().unwrap_or(TOP));
        let y = (top + bottom) / 2;
        if top < bottom {
            self.branches.push(format!("M{x} {top}V{bottom}"));
        }
        for (end, y) in ends {
            self.branches.push(format!("M{x} {y}H{end}"));
        }
        Ok((x, y))
    }

    /// The leaf of an image that holds `classes`.
    fn leaf(&self, first: usize, classes: &[usize], y: i64) -> io::Result<Leaf> {
        let record = self.record;
        let champions = &record.champions;
        let of = |class: usize| champions.iter().find(|champion| champion.class == class);
        let best = classes.iter().filter_map(|&class| of(class));
        let best = best.max_by(|a, b| a.confidence.total_cmp(&b.confidence));
        let labels = &record.manifest.model.labels;
        let mut named: Vec<usize> = classes.to_vec();
        if let Some(best) = best {
            // The class that the image is surest of comes first.
            named.retain(|&class| class != best.class);
            named.insert(0, best.class);
        }
        let names: Vec<&str> =
            named.iter().take(NAMED).map(|&class| figures::first_synonym(&labels[class])).collect();
        let more = match classes.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let source =
            |champion: &Champion| data_uri(&picture(record, &champion.picture), REDUCED, true);
        Ok(Leaf {
            y,
            source: of(first).map(source).transpose()?.unwrap_or_default(),
            label: names.join(", ") + &more,
            confidence: best.map_or(String::new(), |best| figures::percent(best.confidence)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::experiment::phylogeny::individuals;

    #[test]
    fn every_image_is_a_leaf_of_its_line() {
        let record = sample::digits();
        let table = "id,ancestor_list,origin_time\n1,\"[none]\",1\n2,\"[1]\",50\n3,\"[1]\",99\n\
            4,\"[none]\",1\n";
        let individuals = individuals(table.as_bytes()).unwrap();
        let holders = [2, 2, 3, 3, 3, 3, 3, 4, 4, 4].map(Some);
        let phylogeny = Phylogeny::new(&individuals, &holders);
        let tree = Drawing::of(&record, &phylogeny).unwrap();
        assert_eq!(tree.leaves.len(), 3);
        assert_eq!(tree.branches.len(), 1 + 3 + 2, "a fork, three ends, two lines to the fork");
        assert!(tree.leaves[1].label.ends_with("and 2 more"), "{}", tree.leaves[1].label);
        let text = tree.render().unwrap();
        assert_eq!(text.matches("data:image/png;base64,").count(), 3);
        assert!(!text.contains("NaN") && text.contains("2 lines of descent"));
    }
}
