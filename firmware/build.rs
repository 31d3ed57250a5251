//! Puts the model into the firmware: checks it, measures it, and lays out the memory of
//! the board.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

use mirage_core::genome::Cppn;
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::nn::Network;
use sha2::{Digest, Sha256};

/// What a board's archive has room for, beside images.
type Genome = Cppn<CPPN_NODES, CPPN_CONNECTIONS>;

/// Memory of a board: where it begins and how many bytes it has.
struct Board {
    feature: &'static str,
    flash: (u32, u32),
    ram: (u32, u32),
}

const KIB: u32 = 1024;

const BOARDS: [Board; 3] = [
    Board { feature: "MPS2", flash: (0, 4096 * KIB), ram: (0x2000_0000, 4096 * KIB) },
    Board { feature: "VIRT", flash: (0x8000_0000, 4096 * KIB), ram: (0x8040_0000, 4096 * KIB) },
    Board { feature: "NUCLEO", flash: (0x0800_0000, 512 * KIB), ram: (0x2000_0000, 128 * KIB) },
];

/// Flash that the program takes beside the model, rounded up.
const PROGRAM: u32 = 48 * KIB;
/// Static memory beside what depends on the model, rounded up.
const OTHER_RAM: u32 = KIB;
/// What the stack needs beside what depends on the model, rounded up.
const STACK: u32 = 4 * KIB;

/// The model, unless `MIRAGE_MODEL` names another.
const DEFAULT_MODEL: &str = "host/models/lenet.q8";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(armv6m)");
    if env::var("TARGET").is_ok_and(|target| target.starts_with("thumbv6m-")) {
        println!("cargo::rustc-cfg=armv6m");
    }
    println!("cargo::rerun-if-env-changed=MIRAGE_MODEL");
    println!("cargo::rerun-if-changed=build.rs");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let named = env::var_os("MIRAGE_MODEL");
    let path = workspace.join(named.as_ref().map_or(Path::new(DEFAULT_MODEL), Path::new));
    println!("cargo::rerun-if-changed={}", path.display());
    let fail = |reason: String| -> ! {
        println!("cargo::error=MIRAGE_MODEL {}: {reason}", path.display());
        exit(1)
    };
    let Ok(path) = path.canonicalize() else {
        fail("no such file; a relative path begins at the folder of the workspace".into())
    };
    let blob = match fs::read(&path) {
        Ok(blob) => blob,
        Err(error) => fail(format!("cannot be read: {error}")),
    };
    let network = match Network::parse(&blob) {
        Ok(network) => network,
        Err(error) => fail(format!("{error}; make a model with `mirage quantize`")),
    };
    let needs = Needs::of(&network);
    let is_chosen =
        |board: &&Board| env::var_os(format!("CARGO_FEATURE_{}", board.feature)).is_some();
    let mut boards = BOARDS.iter().filter(is_chosen);
    let board = boards.next();
    if boards.next().is_some() {
        println!("cargo::error=--features: more than one board; a program is for one");
        exit(1);
    }
    // Other targets have no memory map: there the library is built for tests.
    if let Some(board) =
        board.filter(|_| env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none"))
    {
        if let Err(reason) = needs.fit(blob.len(), board) {
            fail(reason);
        }
        layout(board);
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    write_out("model.rs", &needs.source(&path, &name, &Sha256::digest(&blob).into()));
}

fn write_out(name: &str, text: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join(name), text).expect("OUT_DIR can be written");
}

/// What the application needs for a model.
struct Needs {
    shape: [usize; 3],
    classes: usize,
    /// Words of working memory, shared by drawing and the network.
    arena: usize,
}

impl Needs {
    fn of(network: &Network<'_>) -> Self {
        let (input, scratch) = (network.input(), network.requirements(1));
        let halves = scratch.front + scratch.back + scratch.patches;
        Self {
            shape: [input.height, input.width, input.channels],
            classes: network.classes(),
            arena: (scratch.sums + halves.div_ceil(2)).max(Genome::MAX_BYTES.div_ceil(4)),
        }
    }

    fn pixels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Memory that depends on the model, bytes: in statics two archives, one image, one
    /// frame and the arena; on the stack one genome and a few lists of scores.
    fn ram(&self) -> usize {
        let genome = self.pixels().max(size_of::<Genome>());
        let statics = 2 * self.classes * (64 + genome) + 2 * self.pixels() + 128 + 4 * self.arena;
        statics + genome + 16 * self.classes
    }

    fn fit(&self, blob: usize, board: &Board) -> Result<(), String> {
        let check = |what: &str, needed: usize, beside: u32, has: u32| {
            if needed as u64 + u64::from(beside) <= u64::from(has) {
                return Ok(());
            }
            Err(format!(
                "the model needs {needed} bytes of {what} beside {beside} for the program, and \
                 the board has {has}; give a smaller model or another board"
            ))
        };
        if self.classes < 2 {
            return Err("the model has one class, of which it is always sure".into());
        }
        check("flash", blob, PROGRAM, board.flash.1)?;
        check("RAM", self.ram(), OTHER_RAM + STACK, board.ram.1)
    }

    /// Rust constants for `src/model.rs`.
    fn source(&self, path: &Path, name: &str, sha256: &[u8; 32]) -> String {
        let mut text = String::new();
        let [height, width, channels] = self.shape;
        let _ = writeln!(
            text,
            "static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!({path:?}));\n\
             /// The model that the firmware was built with.\n\
             pub const MODEL: Model<'static> =\n    \
             Model {{ name: {name:?}, sha256: {sha256:?}, blob: &FILE.0 }};\n\
             /// Pixel bytes of an image: {height} × {width} × {channels}.\n\
             pub const PIXELS: usize = {};\n\
             /// Number of classes.\n\
             pub const CLASSES: usize = {};\n\
             /// Words of working memory for the network.\n\
             pub const ARENA: usize = {};",
            self.pixels(),
            self.classes,
            self.arena,
        );
        text
    }
}

/// Tells the linker where the board's memory is.
fn layout(board: &Board) {
    let ((flash, flash_len), (ram, ram_len)) = (board.flash, board.ram);
    let mut script = format!(
        "MEMORY {{\n  FLASH : ORIGIN = {flash:#x}, LENGTH = {flash_len}\n  \
         RAM : ORIGIN = {ram:#x}, LENGTH = {ram_len}\n}}\n"
    );
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "riscv32") {
        for (region, memory) in [
            ("TEXT", "FLASH"),
            ("RODATA", "FLASH"),
            ("DATA", "RAM"),
            ("BSS", "RAM"),
            ("HEAP", "RAM"),
            ("STACK", "RAM"),
        ] {
            let _ = writeln!(script, "REGION_ALIAS(\"REGION_{region}\", {memory});");
        }
    }
    write_out("memory.x", &script);
    println!("cargo::rustc-link-search={}", env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rustc-link-arg=-Tlink.x");
}
