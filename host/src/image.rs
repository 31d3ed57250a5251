//! Grey and colour images of 8 bits per channel: read from PNG and JPEG, brought to a size,
//! written as PNG.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use exif::{In, Reader, Tag};
use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, Limits, Transformations};
use resize::px::{Gray, RGB};
use resize::{Pixel, PixelFormat, Type};
use serde::Deserialize;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::files;

/// Largest width and height that [`Image::open`] accepts, in pixels.
pub const MAX_SIDE: usize = 8192;

/// Longest side of a picture among many, in pixels.
pub const THUMBNAIL: usize = 96;

/// Largest file that [`Image::open`] reads, bytes.
const MAX_FILE: u64 = 1 << 28;

/// An image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `height × width × channels` bytes, row by row, channels together.
    pub pixels: Vec<u8>,
}

/// How an image gets another height and width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The proportions are kept: what stands out after scaling is cut off on both sides.
    #[default]
    Cover,
    /// Both sides are scaled, whatever that does to the proportions, as Caffe's tools do.
    Squash,
}

impl Resize {
    /// `cover` or `squash`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cover => "cover",
            Self::Squash => "squash",
        }
    }
}

/// Why an image file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file could not be opened or read.
    #[error("cannot read {}: {source}; name a PNG or JPEG file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no PNG or JPEG image, or a damaged one.
    #[error("{}: not a valid {format} image ({reason}); convert or copy it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The image is larger than [`MAX_SIDE`] pixels on a side.
    #[error("{}: {width} × {height} pixels, at most {MAX_SIDE} on a side; make it smaller", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
    },
}

/// An image that cannot be decoded.
enum Unread {
    Malformed(String),
    TooLarge(usize, usize),
}

impl Image {
    /// Reads a PNG or JPEG file, told apart by their first bytes.
    ///
    /// PNG: palettes are looked up, fewer bits are scaled to 8, of 16 bits the upper 8 are
    /// kept, and transparent pixels are laid over black; of an animation the first frame is
    /// read. JPEG: grey or colour (not CMYK), turned upright as its EXIF data say. Colour
    /// profiles are not applied. The size is checked before memory is taken for the pixels,
    /// and half an image is an error.
    ///
    /// # Errors
    /// [`ImageError`], naming the file.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let bytes = files::read(path, MAX_FILE)
            .map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
        let (format, image) = match bytes.as_slice() {
            [0xFF, 0xD8, ..] => ("JPEG", Self::from_jpeg(&bytes)),
            [0x89, b'P', b'N', b'G', ..] => ("PNG", Self::from_png(&bytes)),
            _ => ("PNG or JPEG", Err(Unread::Malformed("it begins like neither".to_owned()))),
        };
        image.map_err(|error| match error {
            Unread::Malformed(reason) => {
                ImageError::Malformed { path: path.to_owned(), format, reason }
            }
            Unread::TooLarge(width, height) => {
                ImageError::TooLarge { path: path.to_owned(), width, height }
            }
        })
    }

    fn from_png(bytes: &[u8]) -> Result<Self, Unread> {
        // Twice the pixels: the decoder also holds what it inflates.
        let limits = Limits { bytes: 2 * 4 * MAX_SIDE * MAX_SIDE };
        let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(Transformations::normalize_to_color8());
        let header = decoder.read_header_info()?;
        check_size(header.width as usize, header.height as usize)?;
        let mut reader = decoder.read_info()?;
        let size = reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?;
        let mut bytes = vec![0; size];
        let frame = reader.next_frame(&mut bytes)?;
        bytes.truncate(frame.buffer_size());

        let (channels, alpha) = match frame.color_type {
            ColorType::Grayscale => (1, false),
            ColorType::GrayscaleAlpha => (1, true),
            ColorType::Rgb => (3, false),
            ColorType::Rgba => (3, true),
            ColorType::Indexed => {
                return Err(Unread::Malformed("a palette that could not be looked up".to_owned()));
            }
        };
        let pixels = if alpha { over_black(&bytes, channels) } else { bytes };
        Ok(Self { width: frame.width as usize, height: frame.height as usize, channels, pixels })
    }

    fn from_jpeg(bytes: &[u8]) -> Result<Self, Unread> {
        let broken = |error: zune_jpeg::errors::DecodeErrors| {
            Unread::Malformed(error.to_string().replace('\n', " "))
        };
        // The size is checked here, where it can be named.
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX));
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(broken)?;
        let (width, height) = decoder.dimensions().unwrap_or_default();
        check_size(width, height)?;
        let (channels, space) = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
            Some(ColorSpace::YCbCr | ColorSpace::RGB) => (3, ColorSpace::RGB),
            _ => return Err(Unread::Malformed("neither grey nor RGB, perhaps CMYK".to_owned())),
        };
        decoder.set_options(options.jpeg_set_out_colorspace(space));
        let pixels = decoder.decode().map_err(broken)?;
        let image = Self { width, height, channels, pixels };
        let orientation = decoder.exif().map_or(1, |exif| orientation(exif));
        Ok(image.upright(orientation))
    }

    /// The image as a camera's orientation, 1 to 8, says that it is to be seen.
    ///
    /// CIPA DC-008 (Exif 2.32), tag 0x0112.
    fn upright(self, orientation: u32) -> Self {
        let (width, height) = (self.width, self.height);
        let turned = orientation >= 5;
        let (new_width, new_height) = if turned { (height, width) } else { (width, height) };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (right, below) = (new_width - 1 - x, new_height - 1 - y);
                let (column, row) = match orientation {
                    2 => (right, y),
                    3 => (right, below),
                    4 => (x, below),
                    5 => (y, x),
                    6 => (y, right),
                    7 => (below, right),
                    8 => (below, x),
                    _ => return self,
                };
                let at = (row * width + column) * self.channels;
                pixels.extend_from_slice(&self.pixels[at..at + self.channels]);
            }
        }
        Self { width: new_width, height: new_height, channels: self.channels, pixels }
    }

    /// The image in grey (`channels` 1; the luma of ITU-R BT.601, which leaves grey as it
    /// is) or in colour (3).
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (3, 1) => {
                let luma = |p: &[u8; 3]| {
                    let [r, g, b] = p.map(u32::from);
                    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
                };
                self.pixels.as_chunks().0.iter().map(luma).collect()
            }
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            _ => return self,
        };
        Self { channels, pixels, ..self }
    }

    /// The image at another size, by a triangle filter as wide as the larger of the two
    /// pixels, so that what is too fine for the new size does not alias. An image of that
    /// size stays as it is.
    ///
    /// # Errors
    /// If `pixels` does not have the length that the other fields ask for.
    pub fn fitted(self, width: usize, height: usize, resize: Resize) -> Result<Self, String> {
        if (self.width, self.height) == (width, height) {
            return Ok(self);
        }
        if self.pixels.len() != self.width * self.height * self.channels {
            return Err(format!("{} bytes do not make it", self.pixels.len()));
        }
        let part = match resize {
            Resize::Squash => [self.width, self.height],
            Resize::Cover => self.largest_part(width, height),
        };
        let to = [width, height];
        let pixels = if self.channels == 1 {
            let pixels: Vec<_> = self.pixels.iter().copied().map(Gray::new).collect();
            let pixels = resample(Pixel::Gray8, &pixels, self.width, part, to, Gray::new(0))?;
            pixels.iter().map(|pixel| pixel.value()).collect()
        } else {
            let pixels = self.pixels.as_chunks().0.iter().map(|&[r, g, b]| RGB { r, g, b });
            let pixels: Vec<_> = pixels.collect();
            let black = RGB { r: 0, g: 0, b: 0 };
            let pixels = resample(Pixel::RGB8, &pixels, self.width, part, to, black)?;
            pixels.iter().flat_map(|pixel| [pixel.r, pixel.g, pixel.b]).collect()
        };
        Ok(Self { width, height, channels: self.channels, pixels })
    }

    /// Width and height of the largest part with the proportions of another size.
    fn largest_part(&self, width: usize, height: usize) -> [usize; 2] {
        let rounded = |n: usize, d: usize| ((n + d / 2) / d.max(1)).max(1);
        if self.width * height > self.height * width {
            [rounded(self.height * width, height).min(self.width), self.height]
        } else {
            [self.width, rounded(self.width * height, width).min(self.height)]
        }
    }

    /// The image as the bytes of a PNG file; the same image gives the same bytes.
    ///
    /// # Errors
    /// If `pixels` does not have the length that the other fields ask for, or a side is 0.
    pub fn to_png(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let side = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
        let mut encoder = Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(if self.channels == 1 { ColorType::Grayscale } else { ColorType::Rgb });
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }

    /// The image with every pixel repeated `factor` times in both directions.
    pub fn enlarged(&self, factor: usize) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len() * factor * factor);
        for row in self.pixels.chunks_exact((self.width * self.channels).max(1)) {
            let start = pixels.len();
            for pixel in row.chunks_exact(self.channels) {
                (0..factor).for_each(|_| pixels.extend_from_slice(pixel));
            }
            let end = pixels.len();
            (1..factor).for_each(|_| pixels.extend_from_within(start..end));
        }
        Self {
            width: self.width * factor,
            height: self.height * factor,
            channels: self.channels,
            pixels,
        }
    }

    /// The image at `1 / factor` of its size: each pixel is the mean of a square of
    /// `factor × factor`; what is left over at the right and the bottom is cut off. A side
    /// shorter than `factor` becomes one pixel.
    pub fn reduced(&self, factor: usize) -> Self {
        let (across, down) = (factor.min(self.width), factor.min(self.height));
        let (width, height) = (self.width / across.max(1), self.height / down.max(1));
        let mut pixels = Vec::with_capacity(width * height * self.channels);
        for y in 0..height {
            for x in 0..width {
                for channel in 0..self.channels {
                    let row = |j: usize| ((y * down + j) * self.width + x * across) * self.channels;
                    let area = across * down;
                    let sum: usize = (0..area)
                        .map(|k| row(k / across) + (k % across) * self.channels + channel)
                        .map(|at| usize::from(self.pixels[at]))
                        .sum();
                    pixels.push(((sum + area / 2) / area) as u8);
                }
            }
        }
        Self { width, height, channels: self.channels, pixels }
    }

    /// The image scaled by a whole number, up or down, so that its longer side comes
    /// close to `side` pixels without passing it. Enlarged pixels keep sharp edges.
    pub fn scaled_to(&self, side: usize) -> Self {
        let longer = self.width.max(self.height).max(1);
        if longer <= side {
            self.enlarged(side / longer)
        } else {
            self.reduced(longer.div_ceil(side.max(1)))
        }
    }
}

/// The middle `part` (width and height) of an image in rows of `stride` pixels, at another
/// size.
fn resample<F: PixelFormat<InputPixel = P, OutputPixel = P>, P: Copy>(
    format: F,
    pixels: &[P],
    stride: usize,
    part: [usize; 2],
    to: [usize; 2],
    black: P,
) -> Result<Vec<P>, String> {
    let [left, top] = [(stride - part[0]) / 2, (pixels.len() / stride.max(1) - part[1]) / 2];
    let mut resampled = vec![black; to[0] * to[1]];
    resize::new(part[0], part[1], to[0], to[1], format, Type::Triangle)
        .and_then(|mut resizer| {
            resizer.resize_stride(&pixels[top * stride + left..], stride, &mut resampled)
        })
        .map_err(|error| error.to_string())?;
    Ok(resampled)
}

/// Drops the last channel of each pixel after weighting the others with it.
fn over_black(bytes: &[u8], channels: usize) -> Vec<u8> {
    let weighted = |value: u8, alpha: u8| ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8;
    bytes
        .chunks_exact(channels + 1)
        .flat_map(|pixel| pixel[..channels].iter().map(move |&v| weighted(v, pixel[channels])))
        .collect()
}

impl From<DecodingError> for Unread {
    fn from(error: DecodingError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn check_size(width: usize, height: usize) -> Result<(), Unread> {
    if width.max(height) > MAX_SIDE {
        return Err(Unread::TooLarge(width, height));
    }
    Ok(())
}

/// How a camera was held, as its EXIF data say; 1, upright, if they do not.
fn orientation(exif: &[u8]) -> u32 {
    let data = Reader::new().read_raw(exif.to_vec()).ok();
    let field = data.as_ref().and_then(|data| data.get_field(Tag::Orientation, In::PRIMARY));
    field.and_then(|field| field.value.get_uint(0)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn encode(color: ColorType, depth: BitDepth, palette: Option<&[u8]>, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn png_gives_back_the_pixels() {
        for channels in [1, 3] {
            let pixels = (0..6 * channels).map(|n| (n * 13) as u8).collect();
            let image = Image { width: 3, height: 2, channels, pixels };
            let (_folder, path) = write("a.png", &image.to_png().unwrap());
            assert_eq!(Image::open(&path).unwrap(), image);
        }
    }

    #[test]
    fn every_kind_of_png_becomes_8_bit_grey_or_colour() {
        use BitDepth::{Eight, One, Sixteen};
        type Case<'a> = (ColorType, BitDepth, Option<&'a [u8]>, &'a [u8], &'a [u8]);
        let cases: [Case<'_>; 6] = [
            (ColorType::Grayscale, One, None, &[0b0100_0000], &[0, 255]),
            (ColorType::Grayscale, Sixteen, None, &[1, 2, 255, 255], &[1, 255]),
            (ColorType::GrayscaleAlpha, Eight, None, &[200, 255, 200, 0], &[200, 0]),
            (ColorType::Rgb, Eight, None, &[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]),
            (ColorType::Rgba, Eight, None, &[1, 2, 3, 255, 255, 100, 0, 51], &[1, 2, 3, 51, 20, 0]),
            (ColorType::Indexed, Eight, Some(&[9, 8, 7, 6, 5, 4]), &[1, 0], &[6, 5, 4, 9, 8, 7]),
        ];
        for (color, depth, palette, data, expected) in cases {
            let (_folder, path) = write("a.png", &encode(color, depth, palette, data));
            let image = Image::open(&path).unwrap();
            assert_eq!(image.pixels, expected, "{color:?} {depth:?}");
            assert_eq!((image.width, image.height), (2, 1));
            assert_eq!(image.channels, expected.len() / 2);
        }
    }

    #[test]
    fn bad_files_are_named() {
        let good = encode(ColorType::Grayscale, BitDepth::Eight, None, &[1, 2]);
        let mut huge = good.clone();
        huge[16..20].copy_from_slice(&1_000_000u32.to_be_bytes());
        // The header's checksum covers the width.
        let crc = crc32fast::hash(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        for (bytes, word) in [
            (&b"GIF89a"[..], "not a valid PNG or JPEG"),
            (&[], "not a valid PNG or JPEG"),
            (&good[..good.len() - 20], "not a valid PNG"),
            (&huge, "1000000 × 1 pixels"),
        ] {
            let (_folder, path) = write("bad.png", bytes);
            let message = Image::open(&path).unwrap_err().to_string();
            assert!(message.contains(word) && message.contains("bad.png"), "{message}");
            assert!(!message.contains('\n'));
        }
        let missing = Image::open(Path::new("/nonexistent/x.png")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/x.png"), "{missing}");
    }

    #[test]
    fn cameras_are_turned_upright() {
        let image = Image { width: 3, height: 2, channels: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        // As Pillow's `ImageOps.exif_transpose` has it.
        for (orientation, width, pixels) in [
            (0, 3, [1, 2, 3, 4, 5, 6]),
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
        ] {
            let upright = image.clone().upright(orientation);
            assert_eq!((upright.width, upright.pixels), (width, pixels.to_vec()), "{orientation}");
        }
    }

    #[test]
    fn images_are_brought_to_a_size() {
        // A grey ramp between two black bars that `Cover` cuts off.
        let row: Vec<u8> = [0; 4].into_iter().chain((0..8).map(|n| n * 30)).chain([0; 4]).collect();
        let image = Image { width: 16, height: 8, channels: 1, pixels: row.repeat(8) };
        let covered = image.clone().fitted(4, 4, Resize::Cover).unwrap();
        assert_eq!((covered.width, covered.height, covered.pixels.len()), (4, 4, 16));
        // Means of the pixels below the filter, of which the outer two see only those that are there.
        assert_eq!(covered.pixels[..4], [21, 75, 135, 189]);
        let squashed = image.clone().fitted(4, 4, Resize::Squash).unwrap();
        assert!(squashed.pixels[0] < 10 && squashed.pixels[3] < 30, "{:?}", squashed.pixels);
        assert_eq!(image.clone().fitted(16, 8, Resize::Cover), Ok(image.clone()));
        let colour = image.with_channels(3).fitted(3, 5, Resize::Cover).unwrap();
        assert_eq!((colour.width, colour.height, colour.pixels.len()), (3, 5, 45));
    }

    #[test]
    fn scaling_keeps_the_picture() {
        let image = Image { width: 2, height: 1, channels: 1, pixels: vec![10, 30] };
        assert_eq!(image.enlarged(2).pixels, [10, 10, 30, 30, 10, 10, 30, 30]);
        assert_eq!(image.enlarged(3).reduced(3), image);
        assert_eq!(image.scaled_to(7).width, 6);
        assert_eq!(image.scaled_to(1).width, 1);
        let long = Image { width: 8, height: 1, channels: 1, pixels: vec![1, 3, 5, 7, 0, 2, 4, 6] };
        assert_eq!(long.scaled_to(2).pixels, [4, 3]);
    }

    #[test]
    fn wrong_length_is_an_error() {
        assert!(Image { width: 2, height: 2, channels: 1, pixels: vec![0] }.to_png().is_err());
    }
}
