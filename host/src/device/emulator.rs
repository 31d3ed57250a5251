//! A board without a board: builds the firmware and runs it in QEMU.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use thiserror::Error;

use super::port::Address;
use crate::model::Model;

/// Longest wait for QEMU to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// A board that QEMU emulates.
#[derive(Debug)]
pub struct Machine {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Rust's name for the processor.
    pub target: &'static str,
    /// The firmware's program for it.
    pub program: &'static str,
    /// The features that the program is built with.
    pub features: &'static str,
    /// The emulator.
    pub emulator: &'static str,
    /// Debian's package with the emulator.
    pub package: &'static str,
    /// The emulator's name for the board.
    pub options: &'static [&'static str],
}

/// Every board that can be emulated.
pub static MACHINES: [Machine; 6] = [
    Machine {
        name: "m4f",
        about: "Cortex-M4F with floats in hardware (MPS2 AN386)",
        target: "thumbv7em-none-eabihf",
        program: "mps2",
        features: "mps2",
        emulator: "qemu-system-arm",
        package: "qemu-system-arm",
        options: &["-machine", "mps2-an386"],
    },
    Machine {
        name: "m4f-dsp",
        about: "the same, with the int8 kernel in assembly",
        target: "thumbv7em-none-eabihf",
        program: "mps2",
        features: "mps2,dsp",
        emulator: "qemu-system-arm",
        package: "qemu-system-arm",
        options: &["-machine", "mps2-an386"],
    },
    Machine {
        name: "m3",
        about: "Cortex-M3 with floats in software (MPS2 AN385)",
        target: "thumbv7m-none-eabi",
        program: "mps2",
        features: "mps2",
        emulator: "qemu-system-arm",
        package: "qemu-system-arm",
        options: &["-machine", "mps2-an385"],
    },
    Machine {
        name: "m0",
        about: "the instructions of a Cortex-M0 (MPS2 AN385)",
        target: "thumbv6m-none-eabi",
        program: "mps2",
        features: "mps2",
        emulator: "qemu-system-arm",
        package: "qemu-system-arm",
        options: &["-machine", "mps2-an385"],
    },
    Machine {
        name: "riscv",
        about: "RISC-V rv32imac with floats in software (QEMU virt)",
        target: "riscv32imac-unknown-none-elf",
        program: "virt",
        features: "virt",
        emulator: "qemu-system-riscv32",
        package: "qemu-system-misc",
        options: &["-machine", "virt", "-bios", "none"],
    },
    Machine {
        name: "stm32",
        about: "the NUCLEO-F446RE's program, on an STM32F405 (Netduino Plus 2)",
        target: "thumbv7em-none-eabihf",
        program: "nucleo",
        features: "nucleo,dsp",
        emulator: "qemu-system-arm",
        package: "qemu-system-arm",
        // The board's link is its second serial port.
        options: &["-machine", "netduinoplus2", "-serial", "null"],
    },
];

impl Machine {
    /// The board of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }

    /// What is not installed of what it takes to build and emulate the board, if
    /// anything.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn check(&'static self) -> Result<(), EmulatorError> {
        if !runs(self.emulator)? {
            return Err(missing(self));
        }
        if !runs("cargo")? {
            return Err(EmulatorError::NoCargo);
        }
        if !is_installed(self.target) {
            return Err(EmulatorError::NoTarget { machine: self.name, target: self.target });
        }
        Ok(())
    }
}

/// Why a board cannot be emulated.
#[derive(Debug, Error)]
pub enum EmulatorError {
    /// The emulator is not installed.
    #[error(
        "--emulate {machine}: {emulator} is not installed; on Debian and Ubuntu: apt-get install {package}"
    )]
    NoEmulator {
        /// The board.
        machine: &'static str,
        /// The emulator.
        emulator: &'static str,
        /// The package with it.
        package: &'static str,
    },
    /// The model is not for boards.
    #[error("--model {0}: a board takes an int8 model; make one with `mirage quantize`")]
    NotInt8(String),
    /// Cargo is not installed.
    #[error(
        "--emulate: cargo is not installed, which builds the firmware; install Rust, or give --firmware ELF"
    )]
    NoCargo,
    /// The standard library for the board is not installed.
    #[error(
        "--emulate {machine}: Rust's target {target} is not installed: rustup target add {target}"
    )]
    NoTarget {
        /// The board.
        machine: &'static str,
        /// The target.
        target: &'static str,
    },
    /// The firmware's sources are not here.
    #[error(
        "--emulate: neither {} nor a folder above it has mirage's firmware to build; go to the repository, or give --firmware ELF", .0.display()
    )]
    NoSources(PathBuf),
    /// Cargo does not build the firmware.
    #[error("--emulate: cargo did not build the firmware; it says above why")]
    Build,
    /// The firmware's file cannot be had.
    #[error("--firmware {}: {source}; name another file", path.display())]
    Firmware {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program cannot be run for another reason.
    #[error("--emulate: cannot run {program}: {source}")]
    Run {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The emulator ended, or did not begin.
    #[error("--emulate {machine}: {emulator} ended: {reason}")]
    Ended {
        /// The board.
        machine: &'static str,
        /// The emulator.
        emulator: &'static str,
        /// The last that it said.
        reason: String,
    },
}

/// Runs a command that ends when standard input does: so that QEMU does not outlive this
/// program, however that ends.
const LEASH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(read -r _ <&3; kill -9 $child) >/dev/null 2>&1 &
exec 3<&-
wait $child
"#;

/// A board in QEMU. Dropping it ends QEMU.
#[derive(Debug)]
pub struct Emulator {
    machine: &'static Machine,
    child: Child,
    /// With the socket; removed when the emulator is.
    folder: tempfile::TempDir,
}

impl Emulator {
    /// Starts the emulator with the firmware in an ELF file.
    ///
    /// # Errors
    /// If there is no such file or emulator, or it ends at once.
    pub fn start(machine: &'static Machine, firmware: &Path) -> Result<Self, EmulatorError> {
        std::fs::File::open(firmware)
            .map_err(|source| EmulatorError::Firmware { path: firmware.to_owned(), source })?;
        if !runs(machine.emulator)? {
            return Err(missing(machine));
        }
        let program = machine.emulator;
        let failed = |source| EmulatorError::Run { program, source };
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut socket = OsString::from("unix:");
        // A comma would begin an option.
        socket.push(folder.path().join("socket").to_string_lossy().replace(',', ",,"));
        socket.push(",server=on,wait=on");
        let child = Command::new("/bin/sh")
            .args(["-c", LEASH, "sh", program])
            .args(machine.options)
            // An instruction takes a nanosecond, so that the board's clock counts them.
            .args(["-icount", "shift=0"])
            .args(["-nographic", "-monitor", "none", "-serial"])
            .arg(socket)
            .arg("-kernel")
            .arg(firmware)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut emulator = Self { machine, child, folder };
        emulator.wait_for_socket()?;
        Ok(emulator)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn wait_for_socket(&mut self) -> Result<(), EmulatorError> {
        let started = Instant::now();
        while !self.socket().exists() {
            if let Some(reason) = self.last_words() {
                return Err(self.ended(reason));
            }
            if started.elapsed() > PATIENCE {
                return Err(self.ended("it opens no socket".to_owned()));
            }
            sleep(Duration::from_millis(10));
        }
        // The socket has its name a moment before it listens.
        sleep(Duration::from_millis(20));
        Ok(())
    }

    fn ended(&self, reason: String) -> EmulatorError {
        let Machine { name: machine, emulator, .. } = *self.machine;
        EmulatorError::Ended { machine, emulator, reason }
    }

    /// Where the board's link is.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Unix(self.socket())
    }

    /// The error that explains why the board is gone, if the emulator has ended.
    pub fn failure(&mut self) -> Option<EmulatorError> {
        // The socket closes a moment before the process ends.
        sleep(Duration::from_millis(100));
        self.last_words().map(|reason| self.ended(reason))
    }

    /// What the emulator said of its end, if it has ended: the line that begins with its
    /// name, which registers may follow, else the last.
    fn last_words(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let mut said = Vec::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // What cannot be read is not shown.
            let _ = errors.read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let mut lines = said.lines().filter(|line| !line.trim().is_empty());
        let is_reason = |line: &&str| line.starts_with("qemu") && !line.contains(" info: ");
        let line = lines.clone().find(is_reason).or_else(|| lines.next_back());
        Some(line.map_or_else(|| status.to_string(), str::to_owned))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn missing(machine: &Machine) -> EmulatorError {
    let Machine { name: machine, emulator, package, .. } = *machine;
    EmulatorError::NoEmulator { machine, emulator, package }
}

/// Builds the firmware for a board, with a built-in int8 model or one in a file if one is
/// named; its ELF file. Prints cargo's command and what cargo says on standard error.
///
/// # Errors
/// If something that is needed is missing, or cargo fails.
pub fn build(machine: &'static Machine, model: Option<&Model>) -> Result<PathBuf, EmulatorError> {
    if let Some(model) = model.filter(|model| !model.is_int8()) {
        return Err(EmulatorError::NotInt8(model.name().to_owned()));
    }
    compile(machine, ["--bin", machine.program], model)
}

/// Builds one of the firmware's examples for a board; its ELF file.
///
/// # Errors
/// If something that is needed is missing, or cargo fails.
pub fn build_example(machine: &'static Machine, name: &str) -> Result<PathBuf, EmulatorError> {
    compile(machine, ["--example", name], None)
}

fn compile(
    machine: &'static Machine,
    [kind, name]: [&str; 2],
    model: Option<&Model>,
) -> Result<PathBuf, EmulatorError> {
    // Before the user waits for the build.
    machine.check()?;
    let folder = sources()?;
    let Machine { features, target, .. } = *machine;
    let arguments = [
        "build",
        "--profile",
        "firmware",
        "-p",
        "mirage-firmware",
        kind,
        name,
        "--features",
        features,
        "--target",
        target,
    ];
    let mut shown = String::new();
    let mut command = Command::new("cargo");
    command.args(arguments).arg("--message-format=json-render-diagnostics");
    if let Some(model) = model {
        let model = match Model::built_in(model.sha256()) {
            Some(name) => folder.join("host/models").join(name).with_extension("q8"),
            None => std::path::absolute(model.name()).unwrap_or_else(|_| model.name().into()),
        };
        command.env("MIRAGE_MODEL", &model);
        // Writing to a string does not fail.
        let _ = write!(shown, "MIRAGE_MODEL={} ", model.display());
    }
    complain!("{shown}cargo {}", arguments.join(" "));
    let failed = |source| EmulatorError::Run { program: "cargo", source };
    command.current_dir(folder).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut firmware = None;
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        let artifact: Result<Artifact, _> = serde_json::from_str(&line.map_err(failed)?);
        firmware = artifact.ok().and_then(|artifact| artifact.executable).or(firmware);
    }
    match (child.wait().map_err(failed)?.success(), firmware) {
        (true, Some(firmware)) => Ok(firmware),
        _ => Err(EmulatorError::Build),
    }
}

/// What is of interest in cargo's messages.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// The workspace that the firmware is built in: this folder, or the next above it.
fn sources() -> Result<PathBuf, EmulatorError> {
    let here = std::env::current_dir().unwrap_or_default();
    let has_firmware = |folder: &&Path| {
        ["Cargo.toml", "firmware/Cargo.toml"].iter().all(|f| folder.join(f).exists())
    };
    let found = here.ancestors().find(has_firmware).map(Path::to_owned);
    found.ok_or(EmulatorError::NoSources(here))
}

/// Whether a program is installed.
fn runs(program: &'static str) -> Result<bool, EmulatorError> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(EmulatorError::Run { program, source }),
    }
}

/// Whether Rust's standard library for a target is installed, as far as one can tell.
fn is_installed(target: &str) -> bool {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists())
}
