//! Small pictures in rows and columns, such as one run per row and one class per column.

use super::gallery::{FAINT_INK, INK, blank, place};
use super::text::Font;
use crate::image::Image;

/// Between two pictures, in pixels.
const GAP: usize = 6;

/// Around the page, in pixels.
const MARGIN: usize = 16;

/// A row of pictures; where there is none, the place stays empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What stands on its left.
    pub label: String,
    /// One for each column.
    pub pictures: Vec<Option<Image>>,
}

/// The page with all `rows`, of pictures of one size scaled to at most `side` pixels, and
/// with the names of the `columns` above.
#[must_use]
pub fn draw(columns: &[String], rows: &[Row], side: usize) -> Image {
    let (bold, plain) = (Font::small_bold(), Font::small_plain());
    let scaled = |image: &Image| image.scaled_to(side);
    let rows: Vec<(&str, Vec<Option<Image>>)> = rows
        .iter()
        .map(|row| {
            let pictures = row.pictures.iter().map(|image| image.as_ref().map(scaled));
            (row.label.as_str(), pictures.collect())
        })
        .collect();
    let all = || rows.iter().flat_map(|(_, pictures)| pictures).flatten();
    let width = all().map(|image| image.width).max().unwrap_or(side);
    let height = all().map(|image| image.height).max().unwrap_or(side);
    let words = rows.iter().map(|(label, _)| plain.width(label)).max().unwrap_or(0);
    let (left, top) = (MARGIN + words + GAP, MARGIN + bold.height + GAP);
    let mut page = blank(
        left + columns.len() * (width + GAP) + MARGIN,
        top + rows.len() * (height + GAP) + MARGIN,
    );
    for (index, name) in columns.iter().enumerate() {
        let name = bold.cut(name, width);
        let x = left + index * (width + GAP) + (width - bold.width(&name).min(width)) / 2;
        bold.draw(&mut page, x, MARGIN, INK, &name);
    }
    for (index, (label, pictures)) in rows.iter().enumerate() {
        let y = top + index * (height + GAP);
        let middle = y + height.saturating_sub(plain.height) / 2;
        plain.draw(&mut page, MARGIN, middle, FAINT_INK, label);
        for (column, picture) in pictures.iter().take(columns.len()).enumerate() {
            if let Some(picture) = picture {
                place(&mut page, picture, left + column * (width + GAP), y);
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_its_place() {
        let grey = |value| Image { width: 2, height: 2, channels: 1, pixels: vec![value; 4] };
        let row = |label: &str, pictures| Row { label: label.to_owned(), pictures };
        let columns = ["0", "1"].map(str::to_owned);
        let rows = [
            row("seed 1", vec![Some(grey(1)), Some(grey(2))]),
            row("seed 2", vec![None, Some(grey(3))]),
        ];
        let page = draw(&columns, &rows, 4);
        let count = |value: u8| page.pixels.iter().filter(|&&pixel| pixel == value).count();
        assert_eq!([1, 2, 3].map(count), [3 * 16; 3], "four by four pixels of three channels");
        assert_eq!(page.pixels.len(), page.width * page.height * 3);
        assert!(draw(&[], &[], 4).width > 0);
    }
}
