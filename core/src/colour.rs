//! What the values of a pixel mean: grey, or a colour in one of three spaces.
//!
//! Genomes draw bytes and know of no colour; what is shown and classified is grey or
//! red, green and blue. The way from one to the other is in integers, so that it is the
//! same everywhere.
//!
//! A hue is a byte that goes round the circle once: 0 is red, 85 almost green, 255 the
//! last step before red again. (The paper's released code hands such bytes to OpenCV,
//! for which each step is 2° and 180 is red again: there the circle is gone through 1.4
//! times, and hues of 0° to 150°, from red to a little past green, are twice as frequent
//! as the rest.)

/// The meaning of a pixel's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One value: brightness.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Hue, saturation, value: the paper's.
    Hsv,
    /// Hue, lightness, saturation: the released code's.
    Hls,
}

/// Pixels that are converted together: the loops over them become vector instructions.
const BLOCK: usize = 64;

impl Colour {
    /// Values per pixel.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb | Self::Hsv | Self::Hls => 3,
        }
    }

    /// Turns the values of whole pixels into red, green and blue, in place; leaves grey
    /// as it is.
    #[inline(always)]
    pub fn to_rgb(self, pixels: &mut [u8]) {
        match self {
            Self::Grey | Self::Rgb => {}
            Self::Hsv => convert(pixels, rgb_of_hsv),
            Self::Hls => convert(pixels, rgb_of_hls),
        }
    }
}

#[inline(always)]
fn convert(pixels: &mut [u8], rgb_of: impl Fn([i32; 3]) -> [i32; 3]) {
    let mut planes = [[0; BLOCK]; 3];
    for block in pixels.as_chunks_mut::<3>().0.chunks_mut(BLOCK) {
        let [first, second, third] = &mut planes;
        let values = first.iter_mut().zip(second.iter_mut()).zip(third.iter_mut());
        for (((a, b), c), pixel) in values.zip(block.iter()) {
            [*a, *b, *c] = [pixel[0].into(), pixel[1].into(), pixel[2].into()];
        }
        // Whatever the block's length, for a loop of a fixed one.
        for ((a, b), c) in first.iter_mut().zip(second.iter_mut()).zip(third.iter_mut()) {
            [*a, *b, *c] = rgb_of([*a, *b, *c]);
        }
        let values = first.iter().zip(second.iter()).zip(third.iter());
        for (((&red, &green), &blue), pixel) in values.zip(block.iter_mut()) {
            *pixel = [red as u8, green as u8, blue as u8];
        }
    }
}

/// Each of red, green and blue is the value, less saturation · value where the hue is
/// far from it.
#[inline(always)]
fn rgb_of_hsv([hue, saturation, value]: [i32; 3]) -> [i32; 3] {
    let chroma = value * saturation;
    [
        scaled(value, chroma * far_of_six(5, hue)),
        scaled(value, chroma * far_of_six(3, hue)),
        scaled(value, chroma * far_of_six(1, hue)),
    ]
}

/// Where a sixth of the circle is 256: 0 near a channel's hue, 256 opposite.
#[inline(always)]
fn far_of_six(offset: i32, hue: i32) -> i32 {
    let around = offset * 256 + hue * 6;
    let around = around - if around >= 6 * 256 { 6 * 256 } else { 0 };
    around.min(4 * 256 - around).clamp(0, 256)
}

/// Each of red, green and blue is the lightness, and the more of what saturation allows
/// for, up or down, as the hue is nearer or farther.
#[inline(always)]
fn rgb_of_hls([hue, lightness, saturation]: [i32; 3]) -> [i32; 3] {
    let reach = saturation * lightness.min(255 - lightness);
    [
        scaled(lightness, reach * far_of_twelve(0, hue)),
        scaled(lightness, reach * far_of_twelve(8, hue)),
        scaled(lightness, reach * far_of_twelve(4, hue)),
    ]
}

/// Where a twelfth of the circle is 256: −256 near a channel's hue, 256 opposite.
#[inline(always)]
fn far_of_twelve(offset: i32, hue: i32) -> i32 {
    let around = offset * 256 + hue * 12;
    let around = around - if around >= 12 * 256 { 12 * 256 } else { 0 };
    (around - 3 * 256).min(9 * 256 - around).clamp(-256, 256)
}

/// `level` − `less` / (255 · 256), rounded; both within a level of 0 ..= 255.
#[inline(always)]
fn scaled(level: i32, less: i32) -> i32 {
    let quotient = (level * (255 * 256) - less + 255 * 128) >> 8;
    // Divided by 255, exactly, for what is below 65 535.
    (quotient + 1 + (quotient >> 8)) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(colour: Colour, mut pixel: [u8; 3]) -> [u8; 3] {
        colour.to_rgb(&mut pixel);
        pixel
    }

    /// The textbook's way, by sectors, in floats: with the hue as a share of the circle.
    fn reference(hue: f64, chroma: f64, least: f64) -> [f64; 3] {
        let sixth = hue * 6.0;
        let x = chroma * (1.0 - (sixth % 2.0 - 1.0).abs());
        let rgb = match sixth as u32 {
            0 => [chroma, x, 0.0],
            1 => [x, chroma, 0.0],
            2 => [0.0, chroma, x],
            3 => [0.0, x, chroma],
            4 => [x, 0.0, chroma],
            _ => [chroma, 0.0, x],
        };
        rgb.map(|part| (part + least) * 255.0)
    }

    #[test]
    fn every_colour_is_the_textbooks() {
        let steps = || (0..=255u8).step_by(5);
        for h in 0..=255u8 {
            for (a, b) in steps().flat_map(|a| steps().map(move |b| (a, b))) {
                let (hue, s, v) =
                    (f64::from(h) / 256.0, f64::from(a) / 255.0, f64::from(b) / 255.0);
                let hsv = reference(hue, s * v, v - s * v);
                let chroma = (1.0 - (2.0 * v - 1.0).abs()) * s;
                let hls = reference(hue, chroma, v - chroma / 2.0);
                let found = [rgb(Colour::Hsv, [h, a, b]), rgb(Colour::Hls, [h, b, a])];
                for (found, expected) in found.iter().zip([hsv, hls]) {
                    let is_near = |(&f, e): (&u8, &f64)| (f64::from(f) - e).abs() < 0.5001;
                    assert!(found.iter().zip(&expected).all(is_near), "{h} {a} {b}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn a_hue_goes_round_once() {
        let hues: [_; 256] = core::array::from_fn(|h| rgb(Colour::Hsv, [h as u8, 255, 255]));
        assert_eq!((hues[0], hues[128]), ([255, 0, 0], [0, 255, 255]));
        for (h, hue) in hues.iter().enumerate() {
            assert!(hues[..h].iter().all(|other| other != hue), "{h}: {hue:?}");
        }
    }

    #[test]
    fn grey_and_rgb_stay_and_half_a_pixel_too() {
        for colour in [Colour::Grey, Colour::Rgb] {
            assert_eq!(rgb(colour, [1, 200, 3]), [1, 200, 3]);
        }
        let mut pixels = [0, 255, 255, 7, 8];
        Colour::Hsv.to_rgb(&mut pixels);
        assert_eq!(pixels, [255, 0, 0, 7, 8]);
    }
}
