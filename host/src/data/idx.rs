//! IDX files, the format of MNIST: a big-endian header, then bytes.
//!
//! Plain or gzip-compressed, told apart by content. What a header claims is checked
//! before memory is taken, so a damaged file costs no more than its own length.
//!
//! Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use thiserror::Error;

/// First four bytes of a file of images: unsigned bytes in three dimensions.
pub const IMAGES_MAGIC: u32 = 0x0803;
/// First four bytes of a file of labels: unsigned bytes in one dimension.
pub const LABELS_MAGIC: u32 = 0x0801;
/// Most bytes of content, and most bytes of a file: 256 MiB, five times MNIST.
pub const MAX_BYTES: u64 = 1 << 28;
/// Most rows or columns of an image.
pub const MAX_SIDE: u32 = 4096;
/// Digits, and so labels, there are.
pub const CLASSES: usize = 10;

/// Grey images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of an image, at least 1.
    pub rows: usize,
    /// Columns of an image, at least 1.
    pub columns: usize,
    /// `count` × `rows` × `columns` bytes, row by row.
    pub pixels: Vec<u8>,
}

impl Images {
    /// Bytes of one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.rows * self.columns
    }

    /// Image `index`, or `None` if there are not so many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let len = self.image_len();
        self.pixels.get(index.checked_mul(len)?..)?.get(..len)
    }

    /// The images in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.image_len())
    }
}

/// What is wrong with the content of an IDX file.
#[derive(Debug, Error)]
pub enum IdxFault {
    /// The file cannot be read.
    #[error("cannot read: {0}; check permissions, or fetch it again")]
    Io(#[source] io::Error),
    /// The file begins with other bytes.
    #[error(
        "not an IDX file of {kind} (begins with {found:08x}, not {expected:08x}); fetch it again"
    )]
    Magic {
        /// Images or labels.
        kind: &'static str,
        /// The magic number that belongs there.
        expected: u32,
        /// The first four bytes.
        found: u32,
    },
    /// The header states more than [`MAX_BYTES`], or an image without pixels.
    #[error(
        "header states {count} items of {rows} × {columns}, outside 1 to 4096 a side and 256 MiB; fetch it again"
    )]
    Dimensions {
        /// Number of items.
        count: u32,
        /// Rows, 1 for labels.
        rows: u32,
        /// Columns, 1 for labels.
        columns: u32,
    },
    /// The content ends before its header says.
    #[error("cut short: {found} of {expected} bytes are there; fetch it again")]
    Truncated {
        /// Bytes that the header asks for, header included.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The content goes on after its end.
    #[error("bytes follow after the {expected} that its header states; fetch it again")]
    Trailing {
        /// Bytes that the header asks for, header included.
        expected: u64,
    },
    /// The compressed stream is damaged.
    #[error("damaged gzip stream ({0}); fetch it again")]
    Gzip(#[source] io::Error),
    /// The file is longer than [`MAX_BYTES`].
    #[error("longer than 256 MiB: not a data set of this kind; fetch it again")]
    TooLong,
}

/// A fault and the file it was found in.
#[derive(Debug, Error)]
#[error("{}: {fault}", path.display())]
pub struct IdxError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: IdxFault,
}

/// Reads images from the bytes of a file, compressed or not.
///
/// # Errors
/// The first thing that is wrong with the bytes.
pub fn parse_images(bytes: &[u8]) -> Result<Images, IdxFault> {
    let ([count, rows, columns], pixels) = parse(bytes, "images", IMAGES_MAGIC)?;
    Ok(Images { count: count as usize, rows: rows as usize, columns: columns as usize, pixels })
}

/// Reads labels from the bytes of a file, compressed or not.
///
/// # Errors
/// The first thing that is wrong with the bytes.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<u8>, IdxFault> {
    parse(bytes, "labels", LABELS_MAGIC).map(|(_, labels)| labels)
}

/// Reads the images of a file.
///
/// # Errors
/// What is wrong, and with which file.
pub fn read_images(path: &Path) -> Result<Images, IdxError> {
    read(path).and_then(|bytes| parse_images(&bytes)).map_err(at(path))
}

/// Reads the labels of a file.
///
/// # Errors
/// What is wrong, and with which file.
pub fn read_labels(path: &Path) -> Result<Vec<u8>, IdxError> {
    read(path).and_then(|bytes| parse_labels(&bytes)).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(IdxFault) -> IdxError {
    move |fault| IdxError { path: path.to_owned(), fault }
}

fn read(path: &Path) -> Result<Vec<u8>, IdxFault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(IdxFault::Io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(IdxFault::Io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(IdxFault::TooLong);
    }
    Ok(bytes)
}

/// Dimensions (count, rows, columns) and content; labels are images of one pixel.
fn parse(bytes: &[u8], kind: &'static str, magic: u32) -> Result<([u32; 3], Vec<u8>), IdxFault> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return parse_stream(&mut { bytes }, kind, magic);
    }
    let mut decoder = GzDecoder::new(bytes);
    let parsed = parse_stream(&mut decoder, kind, magic)?;
    if !decoder.into_inner().is_empty() {
        let expected = parsed.1.len() as u64 + header_len(magic);
        return Err(IdxFault::Trailing { expected });
    }
    Ok(parsed)
}

/// Bytes before the content: the magic number and one number per dimension, whose
/// count is the last byte of the magic number.
fn header_len(magic: u32) -> u64 {
    4 + 4 * u64::from(magic & 0xff)
}

fn parse_stream(
    stream: &mut impl Read,
    kind: &'static str,
    magic: u32,
) -> Result<([u32; 3], Vec<u8>), IdxFault> {
    let header_len = header_len(magic);
    let header = take(stream, header_len)?;
    let number = |index: usize| {
        let bytes = header.get(4 * index..).and_then(|rest| rest.first_chunk());
        bytes.copied().map(u32::from_be_bytes)
    };
    let found = number(0).unwrap_or(0);
    if found != magic {
        return Err(IdxFault::Magic { kind, expected: magic, found });
    }
    let short = IdxFault::Truncated { expected: header_len, found: header.len() as u64 };
    let count = number(1).ok_or(short)?;
    let (rows, columns) = match (header_len, number(2), number(3)) {
        (16, Some(rows), Some(columns)) => (rows, columns),
        (8, ..) => (1, 1),
        _ => return Err(IdxFault::Truncated { expected: header_len, found: header.len() as u64 }),
    };
    let sides = 1..=MAX_SIDE;
    let length = u64::from(count) * u64::from(rows).saturating_mul(u64::from(columns)).min(1 << 24);
    if !sides.contains(&rows) || !sides.contains(&columns) || length > MAX_BYTES {
        return Err(IdxFault::Dimensions { count, rows, columns });
    }
    let content = take(stream, length)?;
    let expected = header_len + length;
    if (content.len() as u64) < length {
        return Err(IdxFault::Truncated { expected, found: header_len + content.len() as u64 });
    }
    // Reading on also makes a gzip stream check its sum.
    if !take(stream, 1)?.is_empty() {
        return Err(IdxFault::Trailing { expected });
    }
    Ok(([count, rows, columns], content))
}

/// At most `length` bytes; fewer where the stream ends. Memory grows with what is
/// there, not with what was asked for.
fn take(stream: &mut impl Read, length: u64) -> Result<Vec<u8>, IdxFault> {
    let mut bytes = Vec::new();
    match stream.take(length).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(IdxFault::Gzip(error)),
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What networks are trained on and calibrated with: 60 000 digits of MNIST.
    Train,
    /// What they are measured on: 10 000 digits.
    Test,
}

impl Split {
    /// Names of the files of images and of labels, without `.gz`.
    #[must_use]
    pub const fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Train => ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            Self::Test => ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        }
    }
}

/// Images and what they show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The images.
    pub images: Images,
    /// One label per image, each below [`CLASSES`].
    pub labels: Vec<u8>,
}

/// Why there is no data set.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// A file is in neither place where it may be.
    #[error("{}: no {name}[.gz] here or in mnist/; name another folder or run `mirage data pull mnist`", dir.display())]
    NotFound {
        /// The folder that was named.
        dir: PathBuf,
        /// The file that is not there.
        name: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    Idx(#[from] IdxError),
    /// Images and labels are of different data sets.
    #[error("{}: {images} images but {labels} labels; fetch both files again", dir.display())]
    Counts {
        /// The folder that was named.
        dir: PathBuf,
        /// Number of images.
        images: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A label is no digit.
    #[error("{}: label {label} of image {index} is not a digit; fetch the labels again", dir.display())]
    Label {
        /// The folder that was named.
        dir: PathBuf,
        /// The image.
        index: usize,
        /// Its label.
        label: u8,
    },
}

impl Dataset {
    /// Reads a split from `dir`/mnist or, where that has no such file, from `dir`;
    /// plain files come before compressed ones.
    ///
    /// # Errors
    /// If a file is missing or damaged, or images and labels do not match.
    pub fn load(dir: &Path, split: Split) -> Result<Self, DatasetError> {
        let (images, labels) = split.files();
        let images = read_images(&find(dir, images)?)?;
        let labels = read_labels(&find(dir, labels)?)?;
        if images.count != labels.len() {
            let (images, labels) = (images.count, labels.len());
            return Err(DatasetError::Counts { dir: dir.to_owned(), images, labels });
        }
        match labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            Some(index) => {
                Err(DatasetError::Label { dir: dir.to_owned(), index, label: labels[index] })
            }
            None => Ok(Self { images, labels }),
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

fn find(dir: &Path, name: &'static str) -> Result<PathBuf, DatasetError> {
    [dir.join("mnist"), dir.to_owned()]
        .iter()
        .flat_map(|dir| [dir.join(name), dir.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
        .ok_or_else(|| DatasetError::NotFound { dir: dir.to_owned(), name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(magic: u32, dimensions: &[u32], content: &[u8]) -> Vec<u8> {
        let numbers = std::iter::once(&magic).chain(dimensions);
        let mut bytes: Vec<u8> = numbers.flat_map(|n| n.to_be_bytes()).collect();
        bytes.extend(content);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn two_images() -> Vec<u8> {
        idx(IMAGES_MAGIC, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    }

    #[test]
    fn plain_and_compressed_files_read_alike() {
        let plain = parse_images(&two_images()).unwrap();
        assert_eq!((plain.count, plain.rows, plain.columns), (2, 2, 3));
        assert_eq!(plain.get(1), Some(&[7, 8, 9, 10, 11, 12][..]));
        assert_eq!(plain.get(2), None);
        assert_eq!(parse_images(&gzip(&two_images())).unwrap(), plain);
        let labels = idx(LABELS_MAGIC, &[3], &[7, 0, 9]);
        assert_eq!(parse_labels(&labels).unwrap(), [7, 0, 9]);
        assert!(parse_labels(&idx(LABELS_MAGIC, &[0], &[])).unwrap().is_empty());
    }

    #[test]
    fn every_cut_is_noticed() {
        for bytes in [two_images(), gzip(&two_images())] {
            for length in 0..bytes.len() {
                assert!(parse_images(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn faults_are_told_apart() {
        let fault = |bytes: &[u8]| parse_images(bytes).unwrap_err();
        assert!(matches!(fault(b"PNG.............."), IdxFault::Magic { .. }));
        assert!(matches!(fault(&idx(LABELS_MAGIC, &[1], &[1])), IdxFault::Magic { .. }));
        for dimensions in [[u32::MAX; 3], [1, 0, 28], [1, 28, 5000], [1 << 20, 28, 28]] {
            let bytes = idx(IMAGES_MAGIC, &dimensions, &[0; 64]);
            assert!(matches!(fault(&bytes), IdxFault::Dimensions { .. }), "{dimensions:?}");
        }
        let longer = [two_images(), vec![0]].concat();
        assert!(matches!(fault(&longer), IdxFault::Trailing { expected: 28 }));
        assert!(matches!(fault(&gzip(&longer)), IdxFault::Trailing { .. }));
        let after = [gzip(&two_images()), vec![0]].concat();
        assert!(matches!(fault(&after), IdxFault::Trailing { .. }));
        let shorter = idx(IMAGES_MAGIC, &[2, 2, 3], &[0; 11]);
        assert!(matches!(fault(&shorter), IdxFault::Truncated { expected: 28, found: 27 }));
        let mut damaged = gzip(&two_images());
        let sum = damaged.len() - 8;
        damaged[sum] ^= 1;
        assert!(matches!(fault(&damaged), IdxFault::Gzip(_)));
    }

    #[test]
    fn a_data_set_is_found_checked_and_named_in_errors() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Dataset::load(dir.path(), Split::Test);
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let message = load().unwrap_err().to_string();
        assert!(message.contains("t10k-images") && message.contains("data pull"), "{message}");

        write("t10k-images-idx3-ubyte.gz", &gzip(&two_images()));
        write("t10k-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[2], &[3, 9]));
        assert_eq!(load().unwrap().labels, [3, 9]);

        write("t10k-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[2], &[3, 10]));
        assert!(matches!(load().unwrap_err(), DatasetError::Label { index: 1, label: 10, .. }));
        write("t10k-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[1], &[3]));
        assert!(matches!(load().unwrap_err(), DatasetError::Counts { images: 2, labels: 1, .. }));
        write("t10k-labels-idx1-ubyte", b"");
        assert!(load().unwrap_err().to_string().contains("t10k-labels-idx1-ubyte"));
    }
}
