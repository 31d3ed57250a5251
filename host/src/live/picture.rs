//! Elites as PNG files.

use std::collections::HashMap;
use std::io;

use hyper::body::Bytes;
use mirage_core::image::Shape;

use super::feed::Shown;
use crate::image::{Image, THUMBNAIL};

/// Bytes of files that are kept.
const CACHE: usize = 32 << 20;

/// How large a picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Size {
    /// As it is.
    Full,
    /// At most [`THUMBNAIL`] pixels wide and high.
    Thumbnail,
}

/// Makes files and keeps the latest of each class, for the next who asks.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    /// By class and size: version and file.
    files: HashMap<(usize, Size), (u64, Bytes)>,
    bytes: usize,
}

impl Pictures {
    /// The PNG file of an elite.
    ///
    /// # Errors
    /// If the shape is not one that PNG knows.
    pub(super) fn file(&mut self, shown: &Shown, shape: Shape, size: Size) -> io::Result<Bytes> {
        let key = (shown.elite.class, size);
        if let Some((_, file)) = self.files.get(&key).filter(|(v, _)| *v == shown.version) {
            return Ok(file.clone());
        }
        let file = Bytes::from(png(&shown.elite.picture, shape, size)?);
        if self.bytes + file.len() > CACHE {
            self.files.clear();
            self.bytes = 0;
        }
        self.bytes += file.len();
        if let Some((_, past)) = self.files.insert(key, (shown.version, file.clone())) {
            self.bytes -= past.len();
        }
        Ok(file)
    }
}

fn png(pixels: &[u8], shape: Shape, size: Size) -> io::Result<Vec<u8>> {
    let Shape { height, width, channels } = shape;
    let image = Image { width, height, channels, pixels: pixels.to_vec() };
    match size {
        Size::Full => image.to_png(),
        Size::Thumbnail => image.reduced(width.max(height).div_ceil(THUMBNAIL).max(1)).to_png(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::tests::change;
    use super::*;
    use crate::experiment::summary::Change;

    const SHAPE: Shape = Shape { height: 256, width: 200, channels: 3 };

    fn shown(version: u64, class: usize) -> Shown {
        // Noise: what compresses least.
        let spread = |n: u32| (n ^ n >> 15).wrapping_mul(0x9E37_79B1);
        let noise = |i| spread(spread(i as u32 + version as u32));
        let picture = (0..SHAPE.len()).map(|i| (noise(i) >> 24) as u8).collect();
        Shown { version, elite: Change { picture, ..change(class, 0.5) } }
    }

    fn decode(file: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        (frame.width, frame.height, pixels)
    }

    #[test]
    fn files_hold_the_pixels() {
        let shown = shown(1, 0);
        let mut pictures = Pictures::default();
        let file = pictures.file(&shown, SHAPE, Size::Full).unwrap();
        assert_eq!(decode(&file), (200, 256, shown.elite.picture.to_vec()));
        let thumbnail = pictures.file(&shown, SHAPE, Size::Thumbnail).unwrap();
        let (width, height, _) = decode(&thumbnail);
        assert_eq!((width, height), (66, 85));
    }

    #[test]
    fn small_pictures_are_their_own_thumbnails() {
        let shown = Shown { version: 1, elite: change(0, 0.5) };
        let shape = Shape { height: 1, width: 2, channels: 1 };
        let file = Pictures::default().file(&shown, shape, Size::Thumbnail).unwrap();
        assert_eq!(decode(&file), (2, 1, vec![0, 255]));
    }

    #[test]
    fn a_shape_that_is_no_picture_is_an_error() {
        let mut shown = shown(1, 0);
        let shape = Shape { channels: 2, ..SHAPE };
        shown.elite.picture = vec![0; shape.len()].into();
        assert!(Pictures::default().file(&shown, shape, Size::Full).is_err());
    }

    #[test]
    fn the_latest_of_each_class_is_kept_within_bounds() {
        let mut pictures = Pictures::default();
        let first = pictures.file(&shown(1, 0), SHAPE, Size::Full).unwrap();
        let again = pictures.file(&shown(1, 0), SHAPE, Size::Full).unwrap();
        assert_eq!(first.as_ptr(), again.as_ptr());
        let newer = pictures.file(&shown(2, 0), SHAPE, Size::Full).unwrap();
        assert_ne!(first, newer);
        assert_eq!((pictures.files.len(), pictures.bytes), (1, newer.len()));
        for class in 0..CACHE / newer.len() + 2 {
            pictures.file(&shown(3, class), SHAPE, Size::Full).unwrap();
            assert!(pictures.bytes <= CACHE);
            let kept: usize = pictures.files.values().map(|(_, file)| file.len()).sum();
            assert_eq!(kept, pictures.bytes);
        }
    }
}
