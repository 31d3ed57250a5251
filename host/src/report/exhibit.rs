//! What an experiment shows beside its numbers: curves, pictures, tables.

use super::ReportError;
use super::chart::Format;
use super::html::Drawn;
use super::plots;
use crate::image::Image;

/// Something to look at, with a caption that says what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Exhibit {
    /// Curves over two axes.
    Chart {
        /// What it shows.
        caption: String,
        /// The curves.
        panel: Panel,
    },
    /// Charts side by side, on like axes.
    Charts {
        /// What they show.
        caption: String,
        /// The title of each, and its curves.
        panels: Vec<(String, Panel)>,
    },
    /// A picture, which is also a file of its own.
    Picture {
        /// What it shows.
        caption: String,
        /// The file, as seen from the page.
        file: String,
        /// The picture in the file.
        whole: Image,
        /// The picture in the page, if the whole one is too large for it.
        part: Option<Image>,
    },
    /// A table.
    Table {
        /// What it tells.
        caption: String,
        /// What the columns are called.
        head: Vec<String>,
        /// As many cells in each as there are columns; the first one is the row's name.
        rows: Vec<Vec<String>>,
    },
}

/// Curves over two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is across.
    pub across: Across,
    /// What is upwards.
    pub up: Up,
    /// The curves, at most twelve and one in ink.
    pub lines: Vec<Line>,
}

/// An axis across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Counts from 1 by ratio: 1, 10, 100 are as far from each other.
    ByRatio(&'static str),
    /// Counts from 0 at even distances.
    Even(&'static str),
}

/// An axis upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// Confidence by the number of its nines; 99.99 % is marked.
    Nines,
    /// A share of 1, as per cent.
    Percent(&'static str),
}

/// A curve, and how sure its points are.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is called.
    pub label: String,
    /// Whether it sums the others up: it is in ink then.
    pub is_chief: bool,
    /// From left to right.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where it is across.
    pub at: u32,
    /// Its height.
    pub value: f32,
    /// The interval that the height is known to lie in.
    pub interval: Option<[f32; 2]>,
}

/// An exhibit as the page has it.
pub(super) struct Shown {
    pub(super) caption: String,
    pub(super) chart: Option<Drawn>,
    pub(super) panels: Vec<Small>,
    pub(super) picture: Option<Framed>,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// One of several charts side by side.
pub(super) struct Small {
    pub(super) title: String,
    pub(super) svg: String,
}

/// A picture in the page, which leads to its file.
pub(super) struct Framed {
    pub(super) source: String,
    pub(super) link: String,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Shown {
    /// An exhibit as the page has it. `embed` makes a picture part of the page.
    pub(super) fn new(
        exhibit: &Exhibit,
        embed: impl Fn(&Image) -> Result<String, ReportError>,
    ) -> Result<Self, ReportError> {
        let (caption, chart, panels, picture) = match exhibit {
            Exhibit::Chart { caption, panel } => {
                let drawn = Drawn::new(|format| plots::panel(panel, format))?;
                (caption, Some(drawn), Vec::new(), None)
            }
            Exhibit::Charts { caption, panels } => {
                let small = |(title, panel): &(String, Panel)| {
                    let svg = plots::panel(panel, Format::Small).svg(Format::Small)?;
                    Ok(Small { title: title.clone(), svg })
                };
                (caption, None, panels.iter().map(small).collect::<Result<_, ReportError>>()?, None)
            }
            Exhibit::Picture { caption, file, whole, part } => {
                let image = part.as_ref().unwrap_or(whole);
                let Image { width, height, .. } = *image;
                let framed = Framed { source: embed(image)?, link: file.clone(), width, height };
                (caption, None, Vec::new(), Some(framed))
            }
            Exhibit::Table { caption, .. } => (caption, None, Vec::new(), None),
        };
        let (head, rows) = match exhibit {
            Exhibit::Table { head, rows, .. } => (head.clone(), rows.clone()),
            _ => (Vec::new(), Vec::new()),
        };
        Ok(Self { caption: caption.clone(), chart, panels, picture, head, rows })
    }
}
