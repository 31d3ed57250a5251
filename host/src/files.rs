//! Files that are there whole or not at all, and no longer than is good.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::{Builder, NamedTempFile};

/// Prefix of the names of files that are being written. A process killed meanwhile
/// leaves one behind; nothing reads it.
pub const TEMPORARY: &str = ".mirage-";

/// Reads a file of at most `most` bytes. It need not state its size: devices and pipes
/// have none.
///
/// # Errors
/// If it cannot be read or is longer.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let too_large = || io::Error::new(ErrorKind::FileTooLarge, format!("more than {most} bytes"));
    let stated = file.metadata()?.len();
    if stated > most {
        return Err(too_large());
    }
    // One more, to see the end without growing.
    let mut bytes = Vec::with_capacity(usize::try_from(stated).unwrap_or(0).saturating_add(1));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

/// Writes `bytes` under a temporary name in the same folder, through to the disk, and
/// renames: whoever opens `path` finds the old contents or the new.
///
/// # Errors
/// If the folder or the disk does not take it, or `path` is something else than a file
/// (renaming would put a file where a device was); `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, None, |file| file.write_all(bytes))
}

/// As [`write()`], with contents that are made as they are written, and that say something
/// in the end. With a `previous` path, the old contents are to be found there afterwards;
/// a process killed between the two renames leaves them there alone.
///
/// # Errors
/// As [`write()`], and if `contents` fails.
pub fn replace<T>(
    path: &Path,
    previous: Option<&Path>,
    contents: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<T>,
) -> io::Result<T> {
    let path = &target(path);
    let mut file = temporary(path)?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    let told = contents(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    file.as_file().sync_all()?;
    if let Some(previous) = previous {
        match fs::rename(path, previous) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    file.persist(path).map_err(|error| error.error)?;
    // The rename reaches the disk with the folder; where folders cannot be synced, the
    // system decides when.
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(told)
}

/// As [`write()`], for a file that can be made again: `contents` writes it, and the system
/// decides when it reaches the disk.
///
/// # Errors
/// As [`write()`], and if `contents` fails.
pub fn remake(path: &Path, contents: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let path = &target(path);
    // Pictures by the thousand, written by processes that may be killed, would pile up.
    sweep(path)?;
    let mut file = temporary(path)?;
    contents(file.as_file_mut())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Removes what killed processes left behind that were writing `path`, which nobody is
/// doing now.
///
/// # Errors
/// If the folder cannot be read, or a file in it not be removed.
pub fn sweep(path: &Path) -> io::Result<()> {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a link leads to, so that it stays one; else the path itself.
fn target(path: &Path) -> PathBuf {
    let found = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
    found.unwrap_or_else(|| path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// How the temporary names of a file begin.
fn temporary_prefix(path: &Path) -> String {
    format!("{TEMPORARY}{}-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// A file beside `path`, to be renamed to it.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("not a regular file"));
    }
    let prefix = temporary_prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As other programs create files; the process's umask takes from it.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder_of(path))
}

/// SHA-256 of a file's bytes, hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["file", "link"].map(|name| folder.path().join(name));
        write(&path, b"one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"two").unwrap();
        remake(&link, |file| file.write_all(b"three")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"three");
    }

    #[test]
    fn no_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("missing").join("file"), b"").is_err());
    }

    #[test]
    fn longer_files_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).is_err());
    }

    #[test]
    fn what_was_there_is_kept_if_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let [path, previous] = ["file", "previous"].map(|name| folder.path().join(name));
        let put = |text: &str| replace(&path, Some(&previous), |f| f.write_all(text.as_bytes()));
        let texts = || [&path, &previous].map(|path| fs::read_to_string(path).ok());
        put("one").unwrap();
        assert_eq!(texts(), [Some("one".into()), None]);
        put("two").unwrap();
        put("three").unwrap();
        assert_eq!(texts(), [Some("three".into()), Some("two".into())]);
        let full = |f: &mut BufWriter<&mut File>| {
            f.write_all(b"fo")?;
            Err::<(), _>(ErrorKind::StorageFull.into())
        };
        assert!(replace(&path, Some(&previous), full).is_err());
        assert_eq!(texts(), [Some("three".into()), Some("two".into())]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn leftovers_of_one_file_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.bin", ".mirage-a.bin-x7", ".mirage-a.bin-", ".mirage-b.bin-x7"];
        for name in names {
            write(&folder.path().join(name), b"").unwrap();
        }
        sweep(&folder.path().join("a.bin")).unwrap();
        let left = names.map(|name| folder.path().join(name).exists());
        assert_eq!(left, [true, false, false, true]);
    }

    #[test]
    fn a_folder_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), b"").is_err());
        assert!(folder.path().is_dir());
    }
}
