//! `gallery.png`: the champions side by side, each with its class and confidence.
//!
//! Of labels the first synonym is shown, as much of it as fits; the index of the class
//! stands beneath where the label is not the index itself, for labels may be alike.
//! The page of a thousand classes has some 4000 × 3000 pixels.

use std::convert::Infallible;
use std::io::Write;
use std::path::Path;

use super::text::Font;
use super::{ReportError, figures, picture};
use crate::experiment::record::{Champion, RunRecord};
use crate::image::Image;

const PAPER: [u8; 3] = [255, 255, 255];
pub(super) const INK: [u8; 3] = [28, 30, 33];
pub(super) const FAINT_INK: [u8; 3] = [108, 112, 118];
/// Around each picture, so that a white one has an edge.
const FRAME: [u8; 3] = [216, 218, 221];

/// Most pictures side by side, so that viewers need not shrink the page of a thousand.
const MOST_COLUMNS: usize = 40;

/// Measures of the page, in pixels.
struct Layout {
    /// Longest side that a picture is scaled to.
    side: usize,
    /// Between two pictures, and twice that at the edges of the page.
    gap: usize,
    /// Between a picture and its caption.
    skip: usize,
    label: Font,
    number: Font,
}

impl Layout {
    /// Large pictures for few champions, thumbnails for a thousand.
    fn for_champions(count: usize) -> Self {
        let (side, gap) = match count {
            0..=24 => (196, 28),
            25..=120 => (128, 24),
            _ => (88, 10),
        };
        let (label, number) = if side > 88 {
            (Font::bold(), Font::plain())
        } else {
            (Font::small_bold(), Font::small_plain())
        };
        Self { side, gap, skip: gap / 4, label, number }
    }
}

/// What stands beneath a picture.
struct Caption {
    label: String,
    /// `#7`, unless the label is the index.
    index: Option<String>,
    confidence: String,
}

impl Caption {
    fn new(class: usize, label: &str, confidence: String) -> Self {
        let index = (label != class.to_string()).then(|| format!("#{class}"));
        Self { label: figures::first_synonym(label).to_owned(), index, confidence }
    }
}

/// Writes `gallery.png`.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent or the file cannot be written.
pub fn write(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    super::replace(&folder.join("gallery.png"), |file| file.write_all(&draw(record).to_png()?))
}

/// The page; the record must have passed [`super::check`].
fn draw(record: &RunRecord) -> Image {
    let labels = &record.manifest.model.labels;
    let tile = |champion: &Champion| {
        Ok::<_, Infallible>(Tile {
            picture: picture(record, &champion.picture),
            class: champion.class,
            label: &labels[champion.class],
            confidence: champion.confidence,
        })
    };
    let Ok(page) = compose(&record.champions, tile);
    page
}

/// One of the pictures of a gallery.
pub(super) struct Tile<'a> {
    pub(super) picture: Image,
    pub(super) class: usize,
    pub(super) label: &'a str,
    pub(super) confidence: f32,
}

/// The page of pictures that `tile` gives one by one.
///
/// # Errors
/// If `tile` fails.
pub(super) fn compose<'a, T, E>(
    all: &'a [T],
    tile: impl Fn(&'a T) -> Result<Tile<'a>, E>,
) -> Result<Image, E> {
    let layout = Layout::for_champions(all.len());
    let (mut pictures, mut captions) = (Vec::new(), Vec::new());
    for one in all {
        let Tile { picture, class, label, confidence } = tile(one)?;
        pictures.push(picture.scaled_to(layout.side));
        captions.push(Caption::new(class, label, figures::percent(confidence)));
    }
    Ok(arrange(&layout, &pictures, &captions))
}

/// The page of pictures of one size.
fn arrange(layout: &Layout, pictures: &[Image], captions: &[Caption]) -> Image {
    if pictures.is_empty() {
        return empty(layout);
    }
    let (width, height) = (pictures[0].width, pictures[0].height);
    // Room for the numbers even beneath narrow pictures.
    let numbers = |caption: &Caption| {
        let index = caption.index.as_ref().map_or(0, |index| layout.number.width(index) + 6);
        index + layout.number.width(&caption.confidence)
    };
    let cell = width.max(captions.iter().map(numbers).max().unwrap_or(0));
    let fits = |caption: &Caption| {
        let label = layout.label.width(&caption.label);
        caption.index.is_none() && label + layout.gap / 2 + numbers(caption) <= cell
    };
    let one_line = captions.iter().all(fits);
    let lines =
        if one_line { layout.label.height } else { layout.label.height + layout.number.height };

    // About twice as wide as high.
    let columns = ((pictures.len() * 2).isqrt() + 1).min(pictures.len()).min(MOST_COLUMNS);
    let rows = pictures.len().div_ceil(columns);
    let step = (cell + layout.gap, height + layout.skip + lines + layout.gap);
    let mut page = blank(columns * step.0 + 3 * layout.gap, rows * step.1 + 3 * layout.gap);
    for (i, (picture, caption)) in pictures.iter().zip(captions).enumerate() {
        let left = 2 * layout.gap + i % columns * step.0;
        let top = 2 * layout.gap + i / columns * step.1;
        place(&mut page, picture, left + (cell - width) / 2, top);
        let line = top + height + layout.skip;
        let label = layout.label.cut(&caption.label, cell);
        layout.label.draw(&mut page, left, line, INK, &label);
        let line = if one_line { line } else { line + layout.label.height };
        if let Some(index) = &caption.index {
            layout.number.draw(&mut page, left, line, FAINT_INK, index);
        }
        let confidence = &caption.confidence;
        // Beneath the label the eye finds a lone number on the left.
        let indent = if one_line || caption.index.is_some() {
            cell - layout.number.width(confidence)
        } else {
            0
        };
        layout.number.draw(&mut page, left + indent, line, FAINT_INK, confidence);
    }
    page
}

/// A page that says that there is nothing to see yet.
fn empty(layout: &Layout) -> Image {
    let text = "No pictures yet";
    let mut page =
        blank(layout.number.width(text) + 4 * layout.gap, layout.number.height + 4 * layout.gap);
    layout.number.draw(&mut page, 2 * layout.gap, 2 * layout.gap, FAINT_INK, text);
    page
}

pub(super) fn blank(width: usize, height: usize) -> Image {
    Image { width, height, channels: 3, pixels: PAPER.repeat(width * height) }
}

/// Lays `picture` on `page` inside a frame one pixel wide.
pub(super) fn place(page: &mut Image, picture: &Image, left: usize, top: usize) {
    for y in 0..picture.height + 2 {
        for x in 0..picture.width + 2 {
            let inside = (1..=picture.width).contains(&x) && (1..=picture.height).contains(&y);
            let color = if inside {
                let at = ((y - 1) * picture.width + x - 1) * picture.channels;
                let pixel = &picture.pixels[at..at + picture.channels];
                [pixel[0], pixel[pixel.len() / 2], pixel[pixel.len() - 1]]
            } else {
                FRAME
            };
            let at = ((top + y - 1) * page.width + left + x - 1) * 3;
            page.pixels[at..at + 3].copy_from_slice(&color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn galleries_of_every_size() {
        let mut records =
            vec![sample::digits(), sample::colour(1), sample::colour(60), sample::imagenet()];
        let mut none = sample::digits();
        none.champions.clear();
        records.push(none);
        for record in records {
            let page = draw(&record);
            assert_eq!(page.pixels.len(), page.width * page.height * 3);
            assert!(page.width <= 4096 && page.height <= 4096, "{} × {}", page.width, page.height);
            // The margins are paper, and there is something inside.
            assert!(page.pixels[..page.width * 3 * 10].iter().all(|&v| v == 255));
            assert!(page.pixels.iter().any(|&v| v < 128));
            if let Some(folder) = std::env::var_os("MIRAGE_REPORT_SAMPLES") {
                let name = format!("gallery-{}.png", record.champions.len());
                std::fs::write(Path::new(&folder).join(name), page.to_png().unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn same_record_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gallery.png");
        write(&sample::digits(), folder.path()).unwrap();
        let first = std::fs::read(&path).unwrap();
        write(&sample::digits(), folder.path()).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
    }
}
