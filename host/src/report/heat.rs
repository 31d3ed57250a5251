//! Confidence of every class in every generation, as colours: a map of many classes.
//!
//! The colours are viridis, which colour-blind people can read and which is as orderly in
//! grey (N. Smith and S. van der Walt, matplotlib 2015).

use super::figures;
use super::gallery::{FAINT_INK, INK, blank};
use super::text::Font;
use crate::image::Image;

/// Anchors of viridis at 0, ¼, ½, ¾ and 1.
const VIRIDIS: [[u8; 3]; 5] =
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/// Columns of the map, in pixels.
const WIDTH: usize = 600;

/// Rows of the map at least, in pixels; of more classes each has one.
const HEIGHT: usize = 480;

/// Room around the map, in pixels.
const TOP: usize = 44;
const LEFT: usize = 76;
const BELOW: usize = 64;
const RIGHT: usize = 110;

/// Width of the legend, in pixels.
const LEGEND: usize = 18;

/// The map: `rows` has, for each class, its confidence (0 ..= 1) in each of `generations`,
/// which rise, run by ratio, and keep their value until the next.
#[must_use]
pub fn draw(generations: &[u32], rows: &[Vec<f32>]) -> Image {
    let height = rows.len().max(HEIGHT);
    let mut page = blank(LEFT + WIDTH + RIGHT, TOP + height + BELOW);
    let last = generations.last().copied().unwrap_or(1).max(2);
    let place = |generation: u32| f64::from(generation.max(1)).ln() / f64::from(last).ln();
    for x in 0..WIDTH {
        let share = x as f64 / (WIDTH - 1) as f64;
        let known = generations.partition_point(|&generation| place(generation) <= share + 1e-9);
        for y in 0..height {
            let row = rows.get(y * rows.len() / height);
            let value = row.and_then(|row| row.get(known.checked_sub(1)?)).copied();
            set(&mut page, LEFT + x, TOP + y, value.map_or([216; 3], colour));
        }
    }
    let (bold, plain) = (Font::bold(), Font::plain());
    let middle = plain.height / 2;
    let classes = rows.len();
    for class in ticks_of_classes(classes) {
        let y = TOP + class * height / classes.max(1);
        let text = class.to_string();
        let x = LEFT - 10 - plain.width(&text);
        plain.draw(&mut page, x, y.saturating_sub(middle), FAINT_INK, &text);
        (LEFT - 6..LEFT).for_each(|x| set(&mut page, x, y, FAINT_INK));
    }
    let mut free = 0;
    for generation in ticks_of_generations(last) {
        let x = LEFT + (place(generation) * (WIDTH - 1) as f64).round() as usize;
        let text = figures::count(generation.into());
        let width = plain.width(&text);
        if x.saturating_sub(width / 2) < free {
            continue;
        }
        free = x + width / 2 + 12;
        let y = TOP + height;
        (y..y + 6).for_each(|y| set(&mut page, x, y, FAINT_INK));
        plain.draw(&mut page, x - width / 2, y + 8, FAINT_INK, &text);
    }
    bold.draw(&mut page, LEFT - 60, TOP - 34, INK, "class");
    let across = "generation";
    let x = LEFT + (WIDTH - bold.width(across)) / 2;
    bold.draw(&mut page, x, TOP + height + 32, INK, across);
    legend(&mut page, height.min(HEIGHT));
    page
}

/// The colours of 0 to 100 %, on the right.
fn legend(page: &mut Image, height: usize) {
    let (bold, plain) = (Font::bold(), Font::plain());
    let left = LEFT + WIDTH + 24;
    for y in 0..height {
        let share = 1.0 - y as f32 / (height - 1) as f32;
        (left..left + LEGEND).for_each(|x| set(page, x, TOP + y, colour(share)));
    }
    for quarter in 0..=4 {
        let y = TOP + (4 - quarter) * (height - 1) / 4;
        let text = format!("{} %", 25 * quarter);
        plain.draw(page, left + LEGEND + 8, y - plain.height / 2, FAINT_INK, &text);
    }
    bold.draw(page, left - 20, TOP - 34, INK, "confidence");
}

/// A share of 1 as a colour; what is not a number is as 0.
fn colour(share: f32) -> [u8; 3] {
    let share = if share.is_nan() { 0.0 } else { f64::from(share.clamp(0.0, 1.0)) };
    let position = share * (VIRIDIS.len() - 1) as f64;
    let below = (position as usize).min(VIRIDIS.len() - 2);
    let part = position - below as f64;
    let mix = |channel: usize| {
        let [low, high] = [below, below + 1].map(|anchor| f64::from(VIRIDIS[anchor][channel]));
        (low + (high - low) * part).round() as u8
    };
    [0, 1, 2].map(mix)
}

fn set(page: &mut Image, x: usize, y: usize, colour: [u8; 3]) {
    let at = (y * page.width + x) * 3;
    if let Some(pixel) = page.pixels.get_mut(at..at + 3) {
        pixel.copy_from_slice(&colour);
    }
}

/// Classes at even distances, from the first.
fn ticks_of_classes(classes: usize) -> impl Iterator<Item = usize> {
    let distances = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
    let fits = |distance: &usize| classes / distance <= 12;
    let distance = distances.into_iter().find(fits).unwrap_or(classes.max(1));
    (0..classes).step_by(distance)
}

/// 1, 2, 5, 10, 20, 50 … up to `last`.
fn ticks_of_generations(last: u32) -> Vec<u32> {
    let tick = |power: u32| [1, 2, 5].map(|digit| digit * 10u32.pow(power));
    (0..9).flat_map(tick).filter(|&tick| tick <= last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(page: &Image, x: usize, y: usize) -> [u8; 3] {
        let at = ((TOP + y) * page.width + LEFT + x) * 3;
        [0, 1, 2].map(|channel| page.pixels[at + channel])
    }

    #[test]
    fn colours_stand_where_and_when_the_confidence_was() {
        // The first class is certain from generation 10 on, the second never.
        let page = draw(&[1, 10, 100], &[vec![0.0, 1.0, 1.0], vec![0.0, 0.0, 0.5]]);
        let (early, late) = (WIDTH / 4, WIDTH * 3 / 4);
        assert_eq!(at(&page, early, 10), VIRIDIS[0]);
        assert_eq!(at(&page, late, 10), VIRIDIS[4]);
        assert_eq!(at(&page, late, HEIGHT - 10), VIRIDIS[0]);
        assert_eq!(at(&page, WIDTH - 1, HEIGHT - 10), VIRIDIS[2]);
    }

    #[test]
    fn colours_are_between_anchors() {
        assert_eq!([colour(f32::NAN), colour(-1.0), colour(0.0)], [VIRIDIS[0]; 3]);
        assert_eq!([colour(1.0), colour(7.0)], [VIRIDIS[4]; 2]);
        assert_eq!(colour(0.5), VIRIDIS[2]);
    }

    #[test]
    fn maps_of_nothing_and_of_a_thousand_classes_are_drawn() {
        for page in [draw(&[], &[]), draw(&[1], &vec![vec![0.5]; 1000])] {
            assert_eq!(page.pixels.len(), page.width * page.height * 3);
        }
        assert_eq!(ticks_of_classes(1000).count(), 10);
        assert_eq!(ticks_of_generations(20), [1, 2, 5, 10, 20]);
    }
}
