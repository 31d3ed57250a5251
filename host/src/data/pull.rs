//! Fetches files, of data sets and networks: over HTTP or from a folder, checked before
//! they take their place.
//!
//! A file is first written beside its place, as `NAME.N.part` (`N`: 0 for a copy from
//! disk, else the address, counted from 1, because mirrors compress differently).
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
use sha2::Sha256;

use fetch::{FetchError, Limits};

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

impl<'a> DataSet<'a> {
    /// A file of the set, to be put in its place.
    fn wanted(&self, file: &DataFile<'a>) -> Wanted<'a> {
        Wanted {
            folder: self.name,
            name: file.name,
            urls: self.mirrors.iter().map(|mirror| format!("{mirror}{}", file.name)).collect(),
            size: file.size,
            check: Check::Gunzipped { md5: file.md5 },
            command: format!("mirage data pull {}", self.name),
        }
    }
}

/// A file to be put in its place.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The folder it belongs in, within the folder of data.
    pub folder: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it can be had, the first to be tried first.
    pub urls: Vec<String>,
    /// Bytes of what `check` looks at.
    pub size: u64,
    /// How it is told from another file.
    pub check: Check<'a>,
    /// The command that fetches it, for messages.
    pub command: String,
}

/// A checksum, hexadecimal, and what it is of.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// The content of a gzip-compressed file, whose name ends in `.gz`.
    Gunzipped {
        /// MD5.
        md5: &'a str,
    },
    /// The file as it is.
    Plain {
        /// SHA-256.
        sha256: &'a str,
    },
}

impl Wanted<'_> {
    /// The most bytes that a download may have.
    fn limit(&self) -> u64 {
        match self.check {
            // Incompressible content grows by less than this.
            Check::Gunzipped { .. } => self.size + self.size / 100 + 4096,
            Check::Plain { .. } => self.size,
        }
    }

    /// The names that the file may have in a folder to copy from.
    fn names(&self) -> Vec<&str> {
        let uncompressed = match self.check {
            Check::Gunzipped { .. } => self.name.strip_suffix(".gz"),
            Check::Plain { .. } => None,
        };
        std::iter::once(self.name).chain(uncompressed).collect()
    }
}

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

impl Origin {
    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Kept => "already there",
            Self::Copied => "copied",
            Self::Downloaded => "downloaded",
        }
    }
}

/// A file in its place, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Where it is.
    pub path: PathBuf,
    /// How it came there.
    pub origin: Origin,
}

/// Why a file could not be put in its place.
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
    #[error("--from {}: no {name} there or in its folder {inner}; name the folder that holds it", folder.display())]
    Missing {
        /// The folder given.
        folder: PathBuf,
        /// The file, by the names it may have.
        name: String,
        /// The folder within, where it was looked for too.
        inner: String,
    },
    /// A file to copy is not the one expected.
    #[error("--from: {} is not the original file ({reason}); get another copy", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
    /// No address gave a file.
    #[error(
        "cannot download {name} ({tried}); try again later, or without a network: {command} --from DIR"
    )]
    Unavailable {
        /// The file.
        name: String,
        /// What went wrong, address by address.
        tried: String,
        /// The command that fetches it.
        command: String,
    },
    /// No address of a file is known.
    #[error(
        "no public address of {name} is known; name a folder that holds it, {command} --from DIR, or an address, --url URL"
    )]
    NoAddress {
        /// The file.
        name: String,
        /// The command that fetches it.
        command: String,
    },
}

/// Puts the files of `set` into `to`/NAME, as [`place`] does.
///
/// Returns the files in the order of the set.
///
/// # Errors
/// [`PullError`]; what was placed before the error stays, and is kept next time.
pub fn pull(set: &DataSet<'_>, to: &Path, from: Option<&Path>) -> Result<Vec<Placed>, PullError> {
    set.files.iter().map(|file| place(&set.wanted(file), to, from)).collect()
}

/// Puts one file into its folder in `to`, from its addresses or, if given, from the
/// folder `from` (it lies there or in the same folder within; a compressed one may be
/// uncompressed there). A good file that is there is kept.
///
/// # Errors
/// [`PullError`]; a file that was in its place is then still there.
pub fn place(file: &Wanted<'_>, to: &Path, from: Option<&Path>) -> Result<Placed, PullError> {
    place_within(file, to, from, Limits::default())
}

fn place_within(
    file: &Wanted<'_>,
    to: &Path,
    from: Option<&Path>,
    limits: Limits,
) -> Result<Placed, PullError> {
    let folder = to.join(file.folder);
    fs::create_dir_all(&folder).map_err(|source| PullError::Io { path: folder.clone(), source })?;
    let path = folder.join(file.name);
    if path.is_file() && inspect(file, &path).is_ok() {
        return Ok(Placed { path, origin: Origin::Kept });
    }
    let (part, origin) = match from {
        Some(from) => (copy(file, &folder, from)?, Origin::Copied),
        None => (download(file, &folder, limits)?, Origin::Downloaded),
    };
    let settle = || {
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &path)
    };
    settle().map_err(|source| PullError::Io { path: path.clone(), source })?;
    for other in 0..=file.urls.len() {
        // What the other addresses left unfinished is of no more use.
        let _ = fs::remove_file(part_path(&folder, file, other));
    }
    Ok(Placed { path, origin })
}

fn part_path(folder: &Path, file: &Wanted<'_>, source: usize) -> PathBuf {
    folder.join(format!("{}.{source}.part", file.name))
}

/// Copies one file from disk to a part and verifies the copy.
fn copy(file: &Wanted<'_>, folder: &Path, from: &Path) -> Result<PathBuf, PullError> {
    let names = file.names();
    let source = [from.join(file.folder), from.to_owned()]
        .iter()
        .flat_map(|place| names.iter().map(|name| place.join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| PullError::Missing {
            folder: from.to_owned(),
            name: names.join(" or "),
            inner: file.folder.to_owned(),
        })?;
    let failed = |path: &Path, source| PullError::Io { path: path.to_owned(), source };
    let mut input = File::open(&source).map_err(|error| failed(&source, error))?;
    let part = part_path(folder, file, 0);
    let mut write = || -> io::Result<()> {
        let mut output = File::create(&part)?;
        if source.ends_with(file.name) {
            io::copy(&mut input, &mut output)?;
        } else {
            let mut encoder = GzEncoder::new(output, Compression::default());
            io::copy(&mut input, &mut encoder)?;
            output = encoder.finish()?;
        }
        output.flush()
    };
    let written = write().map_err(|error| failed(&part, error));
    let checked = written.and_then(|()| {
        inspect(file, &part).map_err(|reason| PullError::Wrong { path: source, reason })
    });
    if checked.is_err() {
        let _ = fs::remove_file(&part);
    }
    checked.map(|()| part)
}

/// Downloads one file to a part and verifies it, address after address.
fn download(file: &Wanted<'_>, folder: &Path, limits: Limits) -> Result<PathBuf, PullError> {
    let (name, command) = (file.name.to_owned(), file.command.clone());
    if file.urls.is_empty() {
        return Err(PullError::NoAddress { name, command });
    }
    let agent = fetch::agent(limits);
    let mut tried = Vec::new();
    for (i, url) in file.urls.iter().enumerate() {
        let part = part_path(folder, file, i + 1);
        let progress = progress_bar(file);
        let result = download_verified(&agent, limits, file, url, &part, &progress);
        progress.finish_and_clear();
        match result {
            Ok(()) => return Ok(part),
            Err(FetchError::Disk(source)) => return Err(PullError::Io { path: part, source }),
            Err(FetchError::Remote(reason)) => {
                tried.push(format!("{url}: {reason}"));
                if part.metadata().is_ok_and(|part| part.len() == 0) {
                    let _ = fs::remove_file(&part);
                }
            }
        }
    }
    Err(PullError::Unavailable { name, tried: tried.join("; "), command })
}

/// Downloads from one address. If a file that came in pieces turns out wrong, the whole
/// file is fetched again, once: the pieces may be those of different files.
fn download_verified(
    agent: &ureq::Agent,
    limits: Limits,
    file: &Wanted<'_>,
    url: &str,
    part: &Path,
    progress: &ProgressBar,
) -> Result<(), FetchError> {
    let mut again = false;
    loop {
        let whole = fetch::fetch(agent, limits, url, part, file.limit(), progress)?;
        let Err(reason) = inspect(file, part) else { return Ok(()) };
        fs::remove_file(part).map_err(FetchError::Disk)?;
        if whole || again {
            return Err(FetchError::Remote(format!("not the original file: {reason}")));
        }
        again = true;
    }
}

/// A bar on standard error, invisible where that is no terminal.
fn progress_bar(file: &Wanted<'_>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(file.name.to_owned());
    bar
}

/// Checks a file against the size and checksum.
fn inspect(file: &Wanted<'_>, path: &Path) -> Result<(), String> {
    let input = File::open(path).map_err(|error| error.to_string())?;
    let (found, name, wanted) = match file.check {
        Check::Gunzipped { md5 } => {
            (digest::<Md5>(MultiGzDecoder::new(input), file.size), "MD5", md5)
        }
        Check::Plain { sha256 } => (digest::<Sha256>(input, file.size), "SHA-256", sha256),
    };
    match found {
        Err(error) => Err(error.to_string()),
        Ok((size, _)) if size > file.size => Err(format!("more than {} bytes", file.size)),
        Ok((size, _)) if size < file.size => Err(format!("{size} bytes instead of {}", file.size)),
        Ok((_, digest)) if digest != wanted => Err(format!("{name} {digest} instead of {wanted}")),
        Ok(_) => Ok(()),
    }
}

/// How many bytes a reader has, and their checksum, hexadecimal. One byte more than `most`
/// is enough to know that it has too many.
fn digest<D: Digest>(input: impl Read, most: u64) -> io::Result<(u64, String)> {
    let mut input = input.take(most + 1);
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    Ok((size, hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
