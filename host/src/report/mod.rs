//! What a person looks at after a run: `champions/`, `champions.npz`,
//! `gallery.png` and `report.html`, all made from the run record alone. And the page of
//! the paper's experiments ([`reproduction`]), of the [`exhibit`]s that they give.
//!
//! Every file is written under a temporary name in its folder and then renamed,
//! so a reader never meets half a file, and the same record gives the same bytes. When
//! they reach the disk is left to the system: they can be made again.

pub mod ablation;
pub mod ascent;
pub mod champions;
mod chart;
pub(crate) mod curves;
pub mod diversity;
pub mod exhibit;
pub(crate) mod figures;
pub mod gallery;
pub mod guard;
pub mod heat;
pub mod html;
pub mod mosaic;
mod paper;
mod plots;
pub mod reproduction;
pub mod retraining;
#[cfg(test)]
pub(crate) mod sample;
mod text;
mod thumbnail;
pub mod tree;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::experiment::record::RunRecord;
use crate::files;
use crate::image::{Image, ImageError};
use crate::retrain::folder::FolderError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder could not be written.
    #[error("cannot write {}: {source}; check permissions and free space, then make the report again", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A champion's picture or scores do not fit the model of the run.
    #[error(
        "run record: champion of class {class} has {got} {what} where the run has {expected}; resume the run to write its files anew"
    )]
    Champion {
        /// Index of the class.
        class: usize,
        /// What was counted: pixel bytes, scores.
        what: &'static str,
        /// The count that the manifest asks for.
        expected: usize,
        /// The count found.
        got: usize,
    },
    /// A class index beyond the labels of the model.
    #[error("run record: class {class} of {classes}; was the run made with another model?")]
    Class {
        /// The index found.
        class: usize,
        /// Number of labels.
        classes: usize,
    },
    /// A picture of the run could not be read.
    #[error("{0}")]
    Picture(#[from] ImageError),
    /// A run of a retraining could not be read.
    #[error("{0}")]
    Retraining(#[from] FolderError),
    /// The chart or the page could not be composed.
    #[error("cannot compose report.html: {0}; please report this as a bug of mirage")]
    Compose(String),
}

/// Writes `champions/`, `champions.npz`, `gallery.png` and `report.html` into
/// `folder`, the folder of the run. Files that are there are replaced.
///
/// # Errors
/// [`ReportError`]; what was written before the error stays.
pub fn write_all(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    check(record)?;
    let pages = || gallery::write(record, folder).and_then(|()| html::write(record, folder));
    let (champions, pages) = rayon::join(|| champions::write(record, folder), pages);
    champions.and(pages)
}

/// Replaces `path` by what `fill` writes, whole or not at all.
fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ReportError> {
    files::remake(path, fill).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

/// Checks that every champion has a class, a picture and scores of the model's sizes.
fn check(record: &RunRecord) -> Result<(), ReportError> {
    let [height, width, channels] = record.manifest.model.picture;
    let pixels = height.saturating_mul(width).saturating_mul(channels);
    let classes = record.manifest.model.labels.len();
    let history = record.history.iter().map(|row| row.class as usize);
    if let Some(class) =
        record.champions.iter().map(|c| c.class).chain(history).find(|&c| c >= classes)
    {
        return Err(ReportError::Class { class, classes });
    }
    for champion in &record.champions {
        let counts = [
            ("pixel bytes", pixels, champion.picture.len()),
            ("scores", classes, champion.scores.len()),
        ];
        for (what, expected, got) in counts {
            if expected != got {
                return Err(ReportError::Champion { class: champion.class, what, expected, got });
            }
        }
    }
    Ok(())
}

/// The picture of a champion; the record must have passed [`check`].
fn picture(record: &RunRecord, pixels: &[u8]) -> Image {
    let [height, width, channels] = record.manifest.model.picture;
    Image { width, height, channels, pixels: pixels.to_vec() }
}
