//! The champions' pictures as parts of a page.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::image::Image;

/// Quality of a reduced picture, in per cent as JPEG has it: evolved noise, which compresses
/// worst, then takes 0.4 bytes per pixel.
const QUALITY: u8 = 75;

/// A picture as a data URI: as it is, if its longer side has at most `side` pixels and it
/// is `exact`; else reduced to at most that, as JPEG.
pub(super) fn data_uri(image: &Image, side: usize, exact: bool) -> std::io::Result<String> {
    let (kind, bytes) = match image.width.max(image.height) <= side {
        true if exact => ("png", image.to_png()?),
        true => ("jpeg", jpeg(image)?),
        false => ("jpeg", jpeg(&image.scaled_to(side))?),
    };
    Ok(format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes)))
}

/// A drawing as a data URI.
pub(super) fn svg_uri(svg: &str) -> String {
    format!("data:image/svg+xml;base64,{}", BASE64_STANDARD.encode(svg))
}

fn jpeg(image: &Image) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(true);
    let side = |n: usize| u16::try_from(n).map_err(std::io::Error::other);
    let color = if image.channels == 1 { ColorType::Luma } else { ColorType::Rgb };
    encoder
        .encode(&image.pixels, side(image.width)?, side(image.height)?, color)
        .map_err(std::io::Error::other)?;
    Ok(bytes)
}
