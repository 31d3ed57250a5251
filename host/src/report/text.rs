//! Text on images, with smooth edges.
//!
//! The letters come from U8g2's Helvetica bitmaps. They are drawn at twice their size
//! and halved, which turns the steps of a bitmap into shades.

use std::convert::Infallible;

use embedded_graphics_core::Pixel;
use embedded_graphics_core::draw_target::DrawTarget;
use embedded_graphics_core::geometry::{OriginDimensions, Point, Size};
use embedded_graphics_core::pixelcolor::BinaryColor;
use u8g2_fonts::FontRenderer;
use u8g2_fonts::fonts;
use u8g2_fonts::types::{FontColor, VerticalPosition};

use crate::image::Image;

/// Pixels of the bitmap per pixel of the image, in each direction.
const OVERSAMPLING: usize = 2;

/// A typeface at one size.
pub(super) struct Font {
    renderer: FontRenderer,
    /// Height of a line, with the space for accents and descenders, in pixels.
    pub(super) height: usize,
}

impl Font {
    /// Bold letters 12 pixels high.
    pub(super) fn bold() -> Self {
        Self::new(FontRenderer::new::<fonts::u8g2_font_helvB24_tf>(), 20)
    }

    /// Plain letters 12 pixels high.
    pub(super) fn plain() -> Self {
        Self::new(FontRenderer::new::<fonts::u8g2_font_helvR24_tf>(), 20)
    }

    /// Bold letters 7 pixels high.
    pub(super) fn small_bold() -> Self {
        Self::new(FontRenderer::new::<fonts::u8g2_font_helvB14_tf>(), 12)
    }

    /// Plain letters 7 pixels high.
    pub(super) fn small_plain() -> Self {
        Self::new(FontRenderer::new::<fonts::u8g2_font_helvR14_tf>(), 12)
    }

    fn new(renderer: FontRenderer, height: usize) -> Self {
        Self { renderer: renderer.with_ignore_unknown_chars(true), height }
    }

    /// Width of `text` in pixels.
    pub(super) fn width(&self, text: &str) -> usize {
        self.advance(&self.drawable(text)).div_ceil(OVERSAMPLING)
    }

    /// `text`, or as much of its beginning as fits in `width` pixels, followed by dots.
    pub(super) fn cut(&self, text: &str, width: usize) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        while kept.pop().is_some() {
            let shorter =
                kept.iter().collect::<String>().trim_end_matches([' ', ',']).to_owned() + "...";
            if self.width(&shorter) <= width {
                return shorter;
            }
        }
        String::new()
    }

    /// Draws one line on a colour image; `left` and `top` are those of the line's box.
    /// What lies outside the image is cut off.
    pub(super) fn draw(
        &self,
        image: &mut Image,
        left: usize,
        top: usize,
        ink: [u8; 3],
        text: &str,
    ) {
        let text = self.drawable(text);
        let mut mask =
            Mask::new(self.advance(&text) + 4 * OVERSAMPLING, self.height * OVERSAMPLING);
        let baseline = (mask.height * 4 / 5) as i32;
        let color = FontColor::Transparent(BinaryColor::On);
        let at = Point::new(0, baseline);
        // Neither can fail: the mask takes every pixel, and unknown letters are left out.
        let _ =
            self.renderer.render(text.as_str(), at, VerticalPosition::Baseline, color, &mut mask);
        for y in 0..mask.height / OVERSAMPLING {
            for x in 0..mask.width / OVERSAMPLING {
                let covered = mask.covered(x, y);
                if covered == 0 || left + x >= image.width || top + y >= image.height {
                    continue;
                }
                let at = ((top + y) * image.width + left + x) * 3;
                for (value, ink) in image.pixels[at..at + 3].iter_mut().zip(ink) {
                    let full = OVERSAMPLING * OVERSAMPLING;
                    let mixed = usize::from(*value) * (full - covered) + usize::from(ink) * covered;
                    *value = (mixed / full) as u8;
                }
            }
        }
    }

    /// `text` with a question mark for every character that the typeface lacks.
    fn drawable(&self, text: &str) -> String {
        text.chars()
            .map(|c| match c {
                // The typeface has no narrow spaces.
                '\u{202f}' | '\u{2009}' => ' ',
                '–' => '-',
                ' '..='~' | '\u{a0}'..='ÿ' => c,
                _ => '?',
            })
            .collect()
    }

    /// Width of `text` on the bitmap.
    fn advance(&self, text: &str) -> usize {
        self.renderer
            .get_rendered_dimensions(text, Point::zero(), VerticalPosition::Baseline)
            .map_or(0, |size| size.advance.x.max(0) as usize)
    }
}

/// A bitmap that letters are drawn on.
struct Mask {
    width: usize,
    height: usize,
    bits: Vec<bool>,
}

impl Mask {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, bits: vec![false; width * height] }
    }

    /// How many pixels of the bitmap are set under one pixel of the image.
    fn covered(&self, x: usize, y: usize) -> usize {
        (0..OVERSAMPLING * OVERSAMPLING)
            .map(|k| (x * OVERSAMPLING + k % OVERSAMPLING, y * OVERSAMPLING + k / OVERSAMPLING))
            .filter(|&(x, y)| self.bits[y * self.width + x])
            .count()
    }
}

impl OriginDimensions for Mask {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Mask {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else {
                continue;
            };
            if x < self.width && y < self.height {
                self.bits[y * self.width + x] = color.is_on();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_to_its_width() {
        let font = Font::bold();
        assert_eq!(font.cut("7", 100), "7");
        let cut = font.cut("great white shark, man-eater", 100);
        assert!(
            cut.starts_with("great") && cut.ends_with("...") && font.width(&cut) <= 100,
            "{cut}"
        );
        assert_eq!(font.cut("shark", 2), "");
    }

    #[test]
    fn text_stays_inside_the_image() {
        let mut image = Image { width: 5, height: 5, channels: 3, pixels: vec![255; 75] };
        for font in [Font::bold(), Font::plain(), Font::small_bold(), Font::small_plain()] {
            font.draw(&mut image, 0, 0, [0; 3], "Wÿ漢\n– 7");
            font.draw(&mut image, 9, 9, [0; 3], "W");
        }
        assert_eq!(image.pixels.len(), 75);
    }
}
