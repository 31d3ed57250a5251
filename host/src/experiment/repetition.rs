//! What is repeated in an image: copies of one element on a background.
//!
//! 1. The *background* is the most frequent colour: pixels are counted in cells of
//!    [`LEVELS`] levels per channel, and the colour is the mean of the fullest cell.
//! 2. A *region* is a set of touching pixels (eight neighbours) that all stand out from the
//!    background by more than [`CONTRAST`] in a channel. One that covers less than
//!    1 / [`SPECKS`] of the image is a speck, and no region.
//! 3. Soft edges belong to what they surround: regions grow over touching pixels that differ
//!    from the background by more than [`FAINT`], all at the same pace.
//! 4. Two regions are *alike* if one has at most [`AREA`] times the area of the other, at most
//!    [`THICKNESS`] times its thickness, and nearly its mean [`COLOUR`]. Thickness, the area
//!    by half the outline, is the width of a stripe and the radius of a disc; the edge of the
//!    image is no outline. Stripes that the edge cuts short, or that run round one another, so
//!    are copies, as they are to a person, although their boxes differ.
//! 5. The largest region and all that are alike are a group, then the largest of the others,
//!    and so on. The group of two or more that covers most of the image is the repeated
//!    element with its copies.
//!
//! The numbers were chosen by looking at images evolved against LeNet and SqueezeNet.

use std::collections::VecDeque;

use crate::image::Image;

/// Levels per channel that colours are counted in.
pub const LEVELS: usize = 8;

/// By how much a pixel stands out, in levels of 0 ..= 255 of the channel that differs most.
pub const CONTRAST: u8 = 64;

/// By how much the soft edge of a region differs from the background at least, likewise.
pub const FAINT: u8 = 16;

/// A region covers at least the image's area by this.
pub const SPECKS: usize = 400;

/// How many times the area of a region a like one has at most.
pub const AREA: f64 = 3.0;

/// How many times its thickness.
pub const THICKNESS: f64 = 1.5;

/// How much the mean colours of like regions differ at most: root mean square over the
/// channels, in levels of 0 ..= 255.
pub const COLOUR: f64 = 48.0;

/// An element that an image has several copies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// The colour of the background, a byte per channel.
    pub background: Vec<u8>,
    /// The pixels (row · width + column) of each copy, the largest copy first.
    pub copies: Vec<Vec<usize>>,
}

/// Pixels that stand out from the background and touch each other.
struct Region {
    /// Without the soft edge.
    area: f64,
    thickness: f64,
    colour: Vec<f64>,
    /// With it.
    pixels: Vec<usize>,
}

impl Repetition {
    /// The repeated element of an image; `None` if there is none.
    #[must_use]
    pub fn of(image: &Image) -> Option<Self> {
        let background = background(image);
        let mut regions = regions(image, &background);
        regions.sort_by(|a, b| b.area.total_cmp(&a.area));
        let mut groups: Vec<Vec<Region>> = Vec::new();
        for region in regions {
            match groups.iter_mut().find(|group| group[0].is_like(&region)) {
                Some(group) => group.push(region),
                None => groups.push(vec![region]),
            }
        }
        let area = |group: &Vec<Region>| group.iter().map(|region| region.area).sum::<f64>();
        let repeated = groups.into_iter().filter(|group| group.len() > 1);
        let most = repeated.max_by(|a, b| area(a).total_cmp(&area(b)))?;
        Some(Self { background, copies: most.into_iter().map(|region| region.pixels).collect() })
    }
}

impl Region {
    fn is_like(&self, other: &Self) -> bool {
        let within = |a: f64, b: f64, most: f64| a.max(b) <= most * a.min(b);
        let squares = self.colour.iter().zip(&other.colour).map(|(a, b)| (a - b).powi(2));
        within(self.area, other.area, AREA)
            && within(self.thickness, other.thickness, THICKNESS)
            && squares.sum::<f64>() <= COLOUR.powi(2) * self.colour.len() as f64
    }
}

/// The most frequent colour; of equally frequent ones the darkest.
fn background(image: &Image) -> Vec<u8> {
    let cell = |pixel: &[u8]| {
        let level = |value: u8| usize::from(value) * LEVELS / 256;
        pixel.iter().fold(0, |cell, &value| cell * LEVELS + level(value))
    };
    let mut counts = vec![0_usize; LEVELS.pow(image.channels as u32)];
    let pixels = || image.pixels.chunks_exact(image.channels);
    pixels().for_each(|pixel| counts[cell(pixel)] += 1);
    let fullest = (0..counts.len()).rev().max_by_key(|&cell| counts[cell]).unwrap_or(0);
    let mut sums = vec![0; image.channels];
    for pixel in pixels().filter(|pixel| cell(pixel) == fullest) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += usize::from(value));
    }
    let count = counts[fullest].max(1);
    sums.iter().map(|sum| ((sum + count / 2) / count) as u8).collect()
}

/// How much a pixel differs from the background, in the channel that differs most.
pub(super) fn contrast(pixel: &[u8], background: &[u8]) -> u8 {
    pixel.iter().zip(background).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// The regions of an image, in the order of their first pixels.
fn regions(image: &Image, background: &[u8]) -> Vec<Region> {
    let (width, channels) = (image.width, image.channels);
    let contrasts: Vec<u8> =
        image.pixels.chunks_exact(channels).map(|pixel| contrast(pixel, background)).collect();
    let mut regions: Vec<Region> = Vec::new();
    // The region that each pixel belongs to.
    let mut owner: Vec<Option<usize>> = vec![None; contrasts.len()];
    let mut seen = vec![false; contrasts.len()];
    for first in 0..contrasts.len() {
        if contrasts[first] <= CONTRAST || seen[first] {
            continue;
        }
        let mut pixels = vec![first];
        seen[first] = true;
        let mut next = 0;
        while let Some(&at) = pixels.get(next) {
            for to in around(at, width, contrasts.len()) {
                if contrasts[to] > CONTRAST && !seen[to] {
                    seen[to] = true;
                    pixels.push(to);
                }
            }
            next += 1;
        }
        if pixels.len() * SPECKS >= contrasts.len() {
            pixels.iter().for_each(|&at| owner[at] = Some(regions.len()));
            regions.push(Region::of(image, pixels));
        }
    }
    let mut edge: VecDeque<usize> = (0..owner.len()).filter(|&at| owner[at].is_some()).collect();
    while let Some(at) = edge.pop_front() {
        for to in around(at, width, contrasts.len()) {
            if let (Some(region), None) = (owner[at], owner[to])
                && (FAINT + 1..=CONTRAST).contains(&contrasts[to])
            {
                owner[to] = Some(region);
                regions[region].pixels.push(to);
                edge.push_back(to);
            }
        }
    }
    regions
}

impl Region {
    /// A region without its soft edge, which has no part in what it is like.
    fn of(image: &Image, pixels: Vec<usize>) -> Self {
        let (width, channels) = (image.width, image.channels);
        let mut inside = vec![false; width * image.height];
        pixels.iter().for_each(|&at| inside[at] = true);
        let sides = |&at: &usize| {
            let beside = beside(at, width, inside.len());
            beside.filter(|&to| !inside[to]).count()
        };
        let outline = pixels.iter().map(sides).sum::<usize>().max(1);
        let area = pixels.len() as f64;
        let mean = |channel| {
            let values = pixels.iter().map(|at| f64::from(image.pixels[at * channels + channel]));
            values.sum::<f64>() / area
        };
        let colour = (0..channels).map(mean).collect();
        Self { area, thickness: 2.0 * area / outline as f64, colour, pixels }
    }
}

/// The up to eight pixels around one, of `count` in rows of `width`.
fn around(at: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (at / width, at % width);
    let rows = row.saturating_sub(1)..=(row + 1).min(count / width - 1);
    rows.flat_map(move |row| {
        let columns = column.saturating_sub(1)..=(column + 1).min(width - 1);
        columns.map(move |column| row * width + column)
    })
    .filter(move |&to| to != at)
}

/// The up to four that share a side with it.
fn beside(at: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    around(at, width, count).filter(move |to| to % width == at % width || to / width == at / width)
}

#[cfg(test)]
pub(super) mod tests {
    use mirage_core::rng::Stream;

    use super::*;

    /// A picture of one colour.
    pub(in crate::experiment) fn plain(width: usize, height: usize, colour: &[u8]) -> Image {
        let pixels = colour.repeat(width * height);
        Image { width, height, channels: colour.len(), pixels }
    }

    /// Lays a rectangle on a picture.
    pub(in crate::experiment) fn paint(
        image: &mut Image,
        [left, top, width, height]: [usize; 4],
        colour: &[u8],
    ) {
        for row in top..top + height {
            for column in left..left + width {
                let at = (row * image.width + column) * image.channels;
                image.pixels[at..at + image.channels].copy_from_slice(colour);
            }
        }
    }

    /// Lays a motif, two bars that touch, on a picture.
    fn motif(image: &mut Image, left: usize, top: usize, colour: &[u8]) {
        paint(image, [left, top, 2, 6], colour);
        paint(image, [left + 2, top + 4, 3, 2], colour);
    }

    fn add_noise(image: &mut Image) {
        let mut random = Stream::new(7, 0, 0);
        for value in &mut image.pixels {
            *value = value.saturating_add(random.below(15) as u8).saturating_sub(7);
        }
    }

    /// How many copies there are, and how many pixels they have together.
    fn found(image: &Image) -> Option<(usize, usize)> {
        Repetition::of(image).map(|found| (found.copies.len(), found.copies.concat().len()))
    }

    const ANYWHERE: [(usize, usize); 4] = [(2, 3), (15, 1), (7, 14), (21, 20)];
    const LATTICE: [(usize, usize); 4] = [(3, 4), (17, 4), (3, 18), (17, 18)];

    #[test]
    fn four_copies_are_four() {
        for (paper, ink) in [
            (&[0][..], &[255][..]),
            (&[255], &[20]),
            (&[128], &[10]),
            (&[30, 60, 200], &[230, 60, 20]),
        ] {
            for places in [ANYWHERE, LATTICE] {
                let mut image = plain(28, 28, paper);
                places.iter().for_each(|&(left, top)| motif(&mut image, left, top, ink));
                assert_eq!(found(&image), Some((4, 4 * 18)), "{paper:?} {places:?}");
                assert_eq!(Repetition::of(&image).unwrap().background, paper);
                add_noise(&mut image);
                assert_eq!(found(&image), Some((4, 4 * 18)), "{paper:?} {places:?} with noise");
            }
        }
    }

    #[test]
    fn what_is_unlike_is_no_copy() {
        let mut image = plain(40, 40, &[0, 0, 0]);
        ANYWHERE.iter().for_each(|&(left, top)| motif(&mut image, left, top, &[255, 0, 0]));
        // Another colour, a thicker and a larger one, and a speck.
        motif(&mut image, 30, 2, &[0, 0, 255]);
        paint(&mut image, [30, 12, 6, 6], &[255, 0, 0]);
        paint(&mut image, [2, 30, 34, 8], &[255, 0, 0]);
        paint(&mut image, [38, 25, 1, 1], &[255, 0, 0]);
        assert_eq!(found(&image), Some((4, 4 * 18)));
    }

    #[test]
    fn where_nothing_is_repeated_nothing_is_found() {
        let mut image = plain(28, 28, &[0]);
        assert_eq!(found(&image), None);
        add_noise(&mut image);
        assert_eq!(found(&image), None);
        motif(&mut image, 4, 4, &[255]);
        assert_eq!(found(&image), None);
        paint(&mut image, [12, 12, 14, 14], &[255]);
        assert_eq!(found(&image), None);
        assert_eq!(found(&plain(1, 1, &[9])), None);
    }

    #[test]
    fn stripes_are_copies_though_the_edge_cuts_them() {
        let mut image = plain(28, 28, &[255]);
        for row in 0..28 {
            for column in 0..28 {
                if (row + column) % 14 < 4 {
                    paint(&mut image, [column, row, 1, 1], &[0]);
                }
            }
        }
        // The corners are smaller than a third of the stripe in the middle.
        assert_eq!(found(&image).unwrap().0, 3);
    }

    #[test]
    fn soft_edges_go_with_what_they_surround() {
        let mut image = plain(28, 28, &[0]);
        for left in [4, 16] {
            paint(&mut image, [left - 1, 9, 6, 6], &[40]);
            paint(&mut image, [left, 10, 4, 4], &[200]);
        }
        assert_eq!(found(&image), Some((2, 2 * 36)));
    }
}
