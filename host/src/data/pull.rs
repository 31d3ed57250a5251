//! Fetches data sets: from mirrors over HTTPS or from a folder, checked before they
//! take their place.
//!
//! A file is first written beside its place, as `NAME.gz.N.part` (`N`: 0 for a copy
//! from disk, else the mirror, counted from 1, because mirrors compress differently).
//! A part that a broken connection left behind is continued by the next pull. Once
//! its content has been verified the part is renamed; so a file in its place was good
//! when it was put there, and a damaged one is replaced only by a good one.

mod fetch;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use md5::{Digest, Md5};
use serde::Serialize;

use fetch::FetchError;

/// A data set: files that lie together in a folder of the set's name.
#[derive(Clone, Debug)]
pub struct DataSet<'a> {
    /// Name of the set and of its folder.
    pub name: &'a str,
    /// Addresses that a file's name is appended to, the first to be tried first.
    pub mirrors: &'a [&'a str],
    /// The files.
    pub files: &'a [DataFile<'a>],
}

/// A gzip-compressed file of a data set. Size and checksum are those of the
/// uncompressed content: the compressed bytes differ between mirrors.
#[derive(Clone, Debug)]
pub struct DataFile<'a> {
    /// Name, with `.gz`.
    pub name: &'a str,
    /// Bytes, uncompressed.
    pub size: u64,
    /// MD5 of the uncompressed content, hexadecimal.
    pub md5: &'a str,
}

/// MNIST: 60 000 digits to train with and 10 000 to test with, and their labels.
pub const MNIST: DataSet<'static> = DataSet {
    name: "mnist",
    mirrors: &[
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ],
    files: &[
        DataFile {
            name: "train-images-idx3-ubyte.gz",
            size: 47_040_016,
            md5: "6bbc9ace898e44ae57da46a324031adb",
        },
        DataFile {
            name: "train-labels-idx1-ubyte.gz",
            size: 60_008,
            md5: "a25bea736e30d166cdddb491f175f624",
        },
        DataFile {
            name: "t10k-images-idx3-ubyte.gz",
            size: 7_840_016,
            md5: "2646ac647ad5339dbf082846283269ea",
        },
        DataFile {
            name: "t10k-labels-idx1-ubyte.gz",
            size: 10_008,
            md5: "27ae3e4e09519cfbb04c329615203637",
        },
    ],
};

/// How a file came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A good one was there.
    Kept,
    /// Copied from the folder given.
    Copied,
    /// Downloaded.
    Downloaded,
}

/// A file in its place, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Where it is.
    pub path: PathBuf,
    /// How it came there.
    pub origin: Origin,
}

/// Why a data set could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A file or folder could not be read or written.
    #[error("cannot use {}: {source}; check permissions and free space", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder given to copy from lacks a file.
    #[error("--from {}: no {name} there or in its folder {set}, with or without .gz; name the folder that holds the files of {set}", folder.display())]
    Missing {
        /// The folder given.
        folder: PathBuf,
        /// The file, without `.gz`.
        name: String,
        /// The data set.
        set: String,
    },
    /// A file to copy is not the one expected.
    #[error("--from: {} is not the original file ({reason}); get another copy", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
    /// No mirror gave a file.
    #[error(
        "cannot download {name} ({tried}); try again later, or without a network: mirage data pull {set} --from DIR"
    )]
    Unavailable {
        /// The file.
        name: String,
        /// The data set.
        set: String,
        /// What went wrong, mirror by mirror.
        tried: String,
    },
}

/// Puts the files of `set` into `to`/NAME, from the mirrors or, if given, from the
/// folder `from` (the files lie in it or in its folder NAME, compressed or not).
/// Good files that are there are kept.
///
/// Returns the files in the order of the set.
///
/// # Errors
/// [`PullError`]; what was placed before the error stays, and is kept next time.
pub fn pull(set: &DataSet<'_>, to: &Path, from: Option<&Path>) -> Result<Vec<Placed>, PullError> {
    let folder = to.join(set.name);
    fs::create_dir_all(&folder).map_err(|source| PullError::Io { path: folder.clone(), source })?;
    set.files.iter().map(|file| place(set, file, &folder, from)).collect()
}

/// Puts one file in its place.
fn place(
    set: &DataSet<'_>,
    file: &DataFile<'_>,
    folder: &Path,
    from: Option<&Path>,
) -> Result<Placed, PullError> {
    let path = folder.join(file.name);
    if path.is_file() && inspect(file, &path).is_ok() {
        return Ok(Placed { path, origin: Origin::Kept });
    }
    let (part, origin) = match from {
        Some(from) => (copy(set, file, folder, from)?, Origin::Copied),
        None => (download(set, file, folder)?, Origin::Downloaded),
    };
    let settle = || {
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &path)
    };
    settle().map_err(|source| PullError::Io { path: path.clone(), source })?;
    for other in 0..=set.mirrors.len() {
        // What the other mirrors left unfinished is of no more use.
        let _ = fs::remove_file(part_path(folder, file, other));
    }
    Ok(Placed { path, origin })
}

fn part_path(folder: &Path, file: &DataFile<'_>, source: usize) -> PathBuf {
    folder.join(format!("{}.{source}.part", file.name))
}

/// Copies one file from disk to a part and verifies the copy.
fn copy(
    set: &DataSet<'_>,
    file: &DataFile<'_>,
    folder: &Path,
    from: &Path,
) -> Result<PathBuf, PullError> {
    let plain = file.name.trim_end_matches(".gz");
    let source = [from.join(set.name), from.to_owned()]
        .iter()
        .flat_map(|place| [place.join(file.name), place.join(plain)])
        .find(|path| path.is_file())
        .ok_or_else(|| PullError::Missing {
            folder: from.to_owned(),
            name: plain.to_owned(),
            set: set.name.to_owned(),
        })?;
    let failed = |path: &Path, source| PullError::Io { path: path.to_owned(), source };
    let mut input = File::open(&source).map_err(|error| failed(&source, error))?;
    let part = part_path(folder, file, 0);
    let mut write = || -> io::Result<()> {
        let mut output = File::create(&part)?;
        if source.extension().is_some_and(|extension| extension == "gz") {
            io::copy(&mut input, &mut output)?;
        } else {
            let mut encoder = GzEncoder::new(output, Compression::default());
            io::copy(&mut input, &mut encoder)?;
            output = encoder.finish()?;
        }
        output.flush()
    };
    write().map_err(|error| failed(&part, error))?;
    inspect(file, &part).map_err(|reason| {
        let _ = fs::remove_file(&part);
        PullError::Wrong { path: source.clone(), reason }
    })?;
    Ok(part)
}

/// Downloads one file to a part and verifies it, mirror after mirror.
fn download(set: &DataSet<'_>, file: &DataFile<'_>, folder: &Path) -> Result<PathBuf, PullError> {
    let agent = fetch::agent();
    let mut tried = Vec::new();
    for (i, mirror) in set.mirrors.iter().enumerate() {
        let part = part_path(folder, file, i + 1);
        let url = format!("{mirror}{}", file.name);
        let progress = progress_bar(file);
        match download_verified(&agent, file, &url, &part, &progress) {
            Ok(()) => {
                progress.finish_and_clear();
                return Ok(part);
            }
            Err(FetchError::Disk(source)) => return Err(PullError::Io { path: part, source }),
            Err(FetchError::Remote(reason)) => {
                progress.finish_and_clear();
                tried.push(format!("{url}: {reason}"));
                if part.metadata().is_ok_and(|part| part.len() == 0) {
                    let _ = fs::remove_file(&part);
                }
            }
        }
    }
    Err(PullError::Unavailable {
        name: file.name.to_owned(),
        set: set.name.to_owned(),
        tried: tried.join("; "),
    })
}

/// Downloads from one mirror. If a continued part turns out wrong, the whole file is
/// fetched again, once: the beginning may be that of another version of the file.
fn download_verified(
    agent: &ureq::Agent,
    file: &DataFile<'_>,
    url: &str,
    part: &Path,
    progress: &ProgressBar,
) -> Result<(), FetchError> {
    // Incompressible content grows by less than this.
    let limit = file.size + file.size / 100 + 4096;
    loop {
        let continued = part.metadata().is_ok_and(|part| part.len() > 0);
        fetch::fetch(agent, url, part, limit, progress)?;
        let Err(reason) = inspect(file, part) else { return Ok(()) };
        fs::remove_file(part).map_err(FetchError::Disk)?;
        if !continued {
            return Err(FetchError::Remote(format!("not the original file: {reason}")));
        }
    }
}

/// A bar on standard error, invisible where that is no terminal.
fn progress_bar(file: &DataFile<'_>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(file.name.to_owned());
    bar
}

/// Checks the uncompressed content of a gzip file against the size and checksum.
fn inspect(file: &DataFile<'_>, path: &Path) -> Result<(), String> {
    let check = || -> io::Result<(u64, String)> {
        // One byte more than expected is enough to know that it is too long.
        let mut content = MultiGzDecoder::new(File::open(path)?).take(file.size + 1);
        let mut hasher = Md5::new();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..read]);
            size += read as u64;
        }
        Ok((size, hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    };
    match check() {
        Err(error) => Err(error.to_string()),
        Ok((size, _)) if size > file.size => Err(format!("more than {} bytes", file.size)),
        Ok((size, _)) if size < file.size => Err(format!("{size} bytes instead of {}", file.size)),
        Ok((_, md5)) if md5 != file.md5 => Err(format!("MD5 {md5} instead of {}", file.md5)),
        Ok(_) => Ok(()),
    }
}
