//! `gallery.png`: the champions side by side, each with its class and confidence.

use std::path::Path;

use super::text::Font;
use super::{ReportError, figures, picture};
use crate::experiment::record::RunRecord;
use crate::image::Image;

const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [28, 30, 33];
const FAINT_INK: [u8; 3] = [108, 112, 118];
/// Around each picture, so that a white one has an edge.
const FRAME: [u8; 3] = [216, 218, 221];

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
            _ => (80, 14),
        };
        let (label, number) = if side > 80 {
            (Font::bold(), Font::plain())
        } else {
            (Font::small_bold(), Font::small_plain())
        };
        Self { side, gap, skip: gap / 4, label, number }
    }
}

/// Writes `gallery.png`.
///
/// # Errors
/// [`ReportError`] if the record is inconsistent or the file cannot be written.
pub fn write(record: &RunRecord, folder: &Path) -> Result<(), ReportError> {
    super::check(record)?;
    let path = folder.join("gallery.png");
    let png = draw(record).to_png();
    super::replace(&path, &png.map_err(|source| ReportError::Write { path: path.clone(), source })?)
}

/// The page; the record must have passed [`super::check`].
fn draw(record: &RunRecord) -> Image {
    let champions = &record.champions;
    let layout = Layout::for_champions(champions.len());
    if champions.is_empty() {
        return empty(&layout);
    }
    let pictures: Vec<Image> =
        champions.iter().map(|c| picture(record, &c.image).scaled_to(layout.side)).collect();
    let labels = &record.manifest.model.labels;
    let captions: Vec<(&str, String)> = champions
        .iter()
        .map(|c| (labels[c.class].as_str(), figures::percent(c.confidence)))
        .collect();

    let (width, height) = (pictures[0].width, pictures[0].height);
    // Room for a confidence even beneath narrow pictures.
    let widest = captions.iter().map(|(_, number)| layout.number.width(number)).max().unwrap_or(0);
    let cell = width.max(widest);
    let fits = |(label, number): &(&str, String)| {
        layout.label.width(label) + layout.gap / 2 + layout.number.width(number) <= cell
    };
    let one_line = captions.iter().all(fits);
    let lines =
        if one_line { layout.label.height } else { layout.label.height + layout.number.height };

    // About twice as wide as high.
    let columns = ((champions.len() * 2).isqrt() + 1).min(champions.len());
    let rows = champions.len().div_ceil(columns);
    let step = (cell + layout.gap, height + layout.skip + lines + layout.gap);
    let mut page = blank(columns * step.0 + 3 * layout.gap, rows * step.1 + 3 * layout.gap);
    for (i, (picture, (label, number))) in pictures.iter().zip(&captions).enumerate() {
        let left = 2 * layout.gap + i % columns * step.0;
        let top = 2 * layout.gap + i / columns * step.1;
        place(&mut page, picture, left + (cell - width) / 2, top);
        let line = top + height + layout.skip;
        let shown = layout.label.cut(label, cell);
        layout.label.draw(&mut page, left, line, INK, &shown);
        let (x, y) = if one_line {
            (left + cell - layout.number.width(number), line)
        } else {
            (left, line + layout.label.height)
        };
        layout.number.draw(&mut page, x, y, FAINT_INK, number);
    }
    page
}

/// A page that says that there is nothing to see yet.
fn empty(layout: &Layout) -> Image {
    let text = "No champions yet";
    let mut page =
        blank(layout.number.width(text) + 4 * layout.gap, layout.number.height + 4 * layout.gap);
    layout.number.draw(&mut page, 2 * layout.gap, 2 * layout.gap, FAINT_INK, text);
    page
}

fn blank(width: usize, height: usize) -> Image {
    Image { width, height, channels: 3, pixels: PAPER.repeat(width * height) }
}

/// Lays `picture` on `page` inside a frame one pixel wide.
fn place(page: &mut Image, picture: &Image, left: usize, top: usize) {
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
            vec![sample::digits(), sample::colour(1), sample::colour(60), sample::colour(300)];
        let mut none = sample::digits();
        none.champions.clear();
        records.push(none);
        for record in records {
            let page = draw(&record);
            assert_eq!(page.pixels.len(), page.width * page.height * 3);
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
