//! Runs the program, and looks at what it leaves.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The int8 LeNet that is part of the program.
pub(crate) const LENET: &[u8] = include_bytes!("../../host/models/lenet.q8");

/// Every file below a folder with its bytes, and every folder.
pub(crate) type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A folder of a test's own, in which it runs the program.
pub(crate) struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Copies a folder with all that is in it.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        for (path, bytes) in contents(&self.path(from)) {
            let path = path.strip_prefix(self.path(from)).unwrap();
            let target = self.path(to).join(path);
            match bytes {
                Some(bytes) => fs::write(target, bytes).unwrap(),
                None => fs::create_dir_all(target).unwrap(),
            }
        }
    }

    /// The program with arguments that are separated by spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirage"));
        command.args(line.split_whitespace());
        self.prepare(&mut command);
        command
    }

    /// A shell that runs `script`, in which `"$MIRAGE"` is the program.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("MIRAGE", env!("CARGO_BIN_EXE_mirage"));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("MIRAGE_DATA").env("XDG_DATA_HOME", self.path("no-data"));
    }

    /// Runs the program, which succeeds and says nothing but its result.
    pub(crate) fn succeed(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program with `--json`; its one object.
    pub(crate) fn json(&self, line: &str) -> Value {
        let text = self.succeed(&format!("{line} --json"));
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{line}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Runs the program, which refuses, changes no file, and names all of `words`.
    pub(crate) fn refuse(&self, line: &str, words: &[&str]) {
        self.refuse_command(&mut self.command(line), line, words);
    }

    pub(crate) fn refuse_command(&self, command: &mut Command, line: &str, words: &[&str]) {
        let before = contents(self.folder.path());
        let output = command.output().unwrap();
        assert_refused(&output, line, words);
        let after = contents(self.folder.path());
        let changed: Vec<_> = before.iter().filter(|(p, b)| after.get(*p) != Some(*b)).collect();
        assert!(changed.is_empty(), "{line} changed {:?}", changed.first().map(|c| c.0));
    }

    /// The archive's digest of a run.
    pub(crate) fn digest(&self, run: &str) -> String {
        self.manifest(run)["digest"].as_str().unwrap().to_owned()
    }

    pub(crate) fn manifest(&self, run: &str) -> Value {
        serde_json::from_slice(&self.read(&format!("{run}/run.json"))).unwrap()
    }
}

/// Exit code 2, nothing on standard output, and one line of error with all of `words`.
pub(crate) fn assert_refused(output: &Output, line: &str, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {error}");
    assert!(output.stdout.is_empty(), "{line}: {output:?}");
    assert!(error.starts_with("error: ") && error.ends_with('\n'), "{line}: {error}");
    assert_eq!(error.lines().count(), 1, "{line}: {error}");
    for word in words {
        assert!(error.contains(word), "{line}: no {word:?} in: {error}");
    }
}

pub(crate) fn contents(folder: &Path) -> Contents {
    let mut found = Contents::from([(folder.to_owned(), None)]);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            // A socket has nothing to read.
            let bytes = path.is_file().then(|| fs::read(&path).unwrap());
            found.insert(path, bytes);
        }
    }
    found
}

/// Puts the right checksum into the last four bytes.
pub(crate) fn seal(bytes: &mut [u8]) {
    let (body, checksum) = bytes.split_last_chunk_mut::<4>().unwrap();
    *checksum = crc32fast::hash(body).to_le_bytes();
}

/// The checksum as it is, and one bit of the middle turned over.
pub(crate) fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

/// Whether the system has a command; if not, says what is skipped.
pub(crate) fn has(command: impl AsRef<OsStr>, what: &str) -> bool {
    let mut command = Command::new(command);
    let found = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: {what}: {:?} is not installed", command.get_program());
    }
    found.is_ok()
}
