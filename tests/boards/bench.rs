//! What boards need and how many instructions they take, held to their budgets:
//! `cargo bench -p mirage-tests --bench boards`. With `-- --write` the table in
//! `firmware/README.md` is made anew.
//!
//! In the emulator an instruction takes a nanosecond, so that a board's clock counts
//! instructions, to the resolution of a tick: 40 of them on Arm, 100 on RISC-V.

mod line;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use line::{Line, start};
use mirage::device::emulator::{self, Emulator, MACHINES, Machine};
use mirage::device::port::Address;
use mirage_core::link::{Reply, Request, Run};
use object::elf::{SHF_ALLOC, SHF_WRITE};
use object::{Object, ObjectSection, SectionFlags, SectionKind};
use reference::skip::skip;

/// Where the table is.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware/README.md");
/// What is before and after it.
const MARKS: [&str; 2] = ["<!-- boards -->\n", "<!-- /boards -->\n"];

const KIB: u64 = 1024;

/// Children per generation, and generations: of all but the first, whose children have no
/// parents, the average is taken.
const CHILDREN: u32 = 50;
const GENERATIONS: u32 = 5;

/// A board with a model, measured.
struct Row {
    machine: &'static Machine,
    model: &'static str,
    /// Bytes: program and model.
    flash: u64,
    /// Bytes: all but the stack.
    ram: u64,
    /// Bytes at the deepest.
    stack: u64,
    /// Instructions per evaluation of a CPPN, and of pixels.
    cppn: Split,
    direct: Split,
}

/// Instructions per evaluation.
#[derive(Clone, Copy)]
struct Split {
    vary: f64,
    render: f64,
    classify: f64,
}

fn measure(machine: &'static Machine, model: &'static str) -> Row {
    let (mut line, [flash, ram]) = start(machine, model, |firmware| sizes(&firmware));
    let hertz = info(&mut line).0;
    let cppn = evolve(&mut line, "mnist-cppn", hertz);
    let direct = evolve(&mut line, "mnist-direct", hertz);
    for class in 0..10 {
        line.send(3, Request::Elite(class));
        line.wait(|_, reply| matches!(reply, Reply::Elite { .. }).then_some(()));
    }
    line.send(3, Request::Classify(&[99; 784]));
    line.wait(|_, reply| matches!(reply, Reply::Scores(_)).then_some(()));
    let stack = info(&mut line).1;
    Row { machine, model, flash, ram, stack, cppn, direct }
}

/// The board's clock, and how deep its stack was.
fn info(line: &mut Line) -> (u32, u64) {
    line.send(4, Request::Info);
    line.wait(|number, reply| match reply {
        Reply::Info(info) if number == 4 => Some((info.hertz, u64::from(info.stack))),
        _ => None,
    })
}

/// Bytes of flash and of static memory.
fn sizes(firmware: &Path) -> [u64; 2] {
    let bytes = fs::read(firmware).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let (mut flash, mut ram) = (0, 0);
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        // On RISC-V all memory that is left is a section for the stack.
        if !sh_flags.contains(SHF_ALLOC) || section.name() == Ok(".stack") {
            continue;
        }
        let is_written = sh_flags.contains(SHF_WRITE);
        let has_bytes = section.kind() != SectionKind::UninitializedData;
        flash += if has_bytes { section.size() } else { 0 };
        ram += if is_written { section.size() } else { 0 };
    }
    [flash, ram]
}

fn evolve(line: &mut Line, preset: &str, hertz: u32) -> Split {
    let run = Run { preset, seed: 1, children: CHILDREN, generations: GENERATIONS, scores: false };
    line.send(5, Request::Evolve(run));
    let mut sums = [0; 3];
    line.wait(|_, reply| match reply {
        Reply::Generation { done, vary, render, classify, .. } if done > 1 => {
            for (sum, ticks) in sums.iter_mut().zip([vary, render, classify]) {
                *sum += ticks;
            }
            None
        }
        Reply::Ended { .. } => Some(()),
        _ => None,
    });
    let evaluations = f64::from(CHILDREN * (GENERATIONS - 1));
    let [vary, render, classify] =
        sums.map(|ticks| ticks as f64 * 1e9 / f64::from(hertz) / evaluations);
    Split { vary, render, classify }
}

/// What the example `on_target` prints: whether the processor's kernel gives the integers
/// of the portable one, and the instructions that drawing a CPPN of sixteen nodes takes.
fn on_target(machine: &'static Machine) -> (String, f64) {
    let firmware = emulator::build_example(machine, "on_target").unwrap_or_else(|e| panic!("{e}"));
    let emulator = Emulator::start(machine, &firmware).unwrap_or_else(|e| panic!("{e}"));
    let Address::Unix(socket) = emulator.address() else { panic!("not a socket") };
    let mut lines = BufReader::new(UnixStream::connect(socket).unwrap()).lines();
    let kernels = lines.next().unwrap().unwrap();
    let drawn = lines.next().unwrap().unwrap();
    let ticks = drawn.split(' ').find_map(|word| word.parse::<f64>().ok().filter(|&n| n > 16.0));
    (kernels, ticks.unwrap() * NANOSECONDS_PER_TICK)
}

/// Of the clock of Arm's MPS2 boards.
const NANOSECONDS_PER_TICK: f64 = 40.0;

/// Most instructions that drawing a CPPN of sixteen nodes may take on a Cortex-M4F.
const DRAWING: f64 = 0.9e6;

/// A budget that is not kept.
fn over(row: &Row) -> Vec<String> {
    let (flash, ram, stack) = match row.model {
        "lenet" => (512 * KIB, 64 * KIB, 8 * KIB),
        _ => (96 * KIB, 24 * KIB, 4 * KIB),
    };
    let classify = match (row.model, row.machine.name) {
        ("lenet", "m4f") => 7.8e6,
        ("lenet", "m4f-dsp") => 5.5e6,
        ("lenet", "m0") => 17.0e6,
        _ => f64::INFINITY,
    };
    let checks = [
        ("flash", row.flash as f64, flash as f64),
        ("static RAM", row.ram as f64, ram as f64),
        ("stack", row.stack as f64, stack as f64),
        ("instructions to classify", row.cppn.classify, classify),
    ];
    let broken = checks.iter().filter(|(_, found, allowed)| found > allowed);
    let name = |what: &str| format!("{}, {}: {what}", row.machine.name, row.model);
    broken.map(|(what, found, allowed)| format!("{} {found} > {allowed}", name(what))).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| board | model | flash, B | static RAM, B | stack, B | vary, CPPN | vary, direct | \
         draw, CPPN | classify |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row { machine, model, flash, ram, stack, cppn, direct } = row;
        let numbers = [cppn.vary, direct.vary, cppn.render, cppn.classify];
        let [vary, direct, render, classify] = match machine.name {
            // The emulator's timer of this board does not run at the board's clock.
            "stm32" => [(); 4].map(|()| "as m4f-dsp".to_owned()),
            _ => numbers.map(count),
        };
        let _ = writeln!(
            text,
            "| {} | {model} | {flash} | {ram} | {stack} | {vary} | {direct} | {render} | {classify} |",
            machine.name
        );
    }
    text
}

/// Instructions, to three digits.
fn count(instructions: f64) -> String {
    match instructions {
        n if n >= 9.995e6 => format!("{:.1} M", n / 1e6),
        n if n >= 0.9995e6 => format!("{:.2} M", n / 1e6),
        n if n >= 99.95e3 => format!("{:.0} k", n / 1e3),
        n => format!("{:.1} k", n / 1e3),
    }
}

/// Puts the table into the README.
fn write(table: &str) {
    let text = fs::read_to_string(README).unwrap();
    let [begin, end] = MARKS;
    let (before, rest) = text.split_once(begin).expect("firmware/README.md has the mark");
    let (_, after) = rest.split_once(end).expect("firmware/README.md has the second mark");
    fs::write(README, format!("{before}{begin}{table}{end}{after}")).unwrap();
}

fn main() -> ExitCode {
    let mut rows = Vec::new();
    for machine in &MACHINES {
        if let Err(why) = machine.check() {
            skip(&format!("benchmark of {}", machine.name), "qemu", &why.to_string());
            return ExitCode::SUCCESS;
        }
        for model in ["lenet", "lenet-small"] {
            rows.push(measure(machine, model));
        }
    }
    let table = table(&rows);
    println!("{table}");
    let mut broken: Vec<String> = rows.iter().flat_map(over).collect();
    for name in ["m4f", "m4f-dsp", "m3", "m0"] {
        let (kernels, drawing) = on_target(Machine::named(name).unwrap());
        println!("{name}: {kernels}; sixteen nodes drawn in {} instructions", count(drawing));
        if !kernels.contains("agree") {
            broken.push(format!("{name}: {kernels}"));
        }
        if name.starts_with("m4f") && drawing > DRAWING {
            broken.push(format!("{name}: instructions to draw {drawing} > {DRAWING}"));
        }
    }
    if std::env::args().any(|argument| argument == "--write") {
        write(&table);
    }
    for line in &broken {
        println!("over budget: {line}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
