//! Boards in emulators compute what the host computes: every confidence of every child,
//! every cell that changes hands, every digest.
//!
//! Needs QEMU and Rust's targets for the boards; `MIRAGE_REQUIRE=qemu` turns a skip into a
//! failure.

mod line;

use std::io::Write as _;

use line::{Line, start};
use mirage::device::emulator::{MACHINES, Machine};
use mirage::simd::{ForwardMemory, Simd};
use mirage_core::archive::{Archive, Cell};
use mirage_core::evolve::{Encoding, Evolution, Preset};
use mirage_core::genome::{Cppn, Direct, Genome};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::link::{self, Fault, Receiver, Reply, Request, Run};
use mirage_core::math::softmax;
use mirage_core::nn::Network;
use mirage_core::rng::Stream;
use reference::skip::skip;

static TABLE: &str = include_str!("../data/boards.csv");

const CLASSES: usize = 10;

/// The models' bytes.
fn blob(model: &str) -> &'static [u8] {
    match model {
        "lenet" => include_bytes!("../../host/models/lenet.q8"),
        "lenet-small" => include_bytes!("../../host/models/lenet-small.q8"),
        _ => panic!("{model}"),
    }
}

/// Whether the board can be emulated here; says so if not.
fn can_run(machine: &'static Machine, test: &str) -> bool {
    let check = machine.check();
    if let Err(why) = &check {
        skip(&format!("{test} on {}", machine.name), "qemu", &why.to_string());
    }
    check.is_ok()
}

/// What the host computes, child by child.
struct Host<G: Genome> {
    evolution: Evolution<G::Settings>,
    parents: Archive<G, Vec<Cell<G>>>,
    archive: Archive<G, Vec<Cell<G>>>,
    network: Network<'static>,
    memory: ForwardMemory,
    drawing: Vec<f32>,
}

impl<G: Genome> Host<G> {
    fn new(model: &str, run: &Run<'_>, settings: G::Settings) -> Self {
        let network = Network::parse(blob(model)).unwrap();
        let shape = network.input();
        let (seed, children) = (run.seed, run.children);
        Self {
            evolution: Evolution { seed, children, shape, settings },
            parents: Archive::new((0..CLASSES).map(|_| None).collect()),
            archive: Archive::new((0..CLASSES).map(|_| None).collect()),
            memory: ForwardMemory::new(&network, 1),
            network,
            drawing: vec![0.0; G::scratch_len(shape.len())],
        }
    }

    /// The confidences of a child, and what it takes: class and confidence.
    fn child(&mut self, generation: u32, index: u32) -> ([f32; CLASSES], Vec<(u32, f32)>) {
        let Self { evolution, parents, archive, network, memory, drawing } = self;
        let child = evolution.ask(parents, generation, index);
        let mut image = vec![0; evolution.shape.len()];
        child.genome.render(&evolution.settings, evolution.shape, drawing, &mut image);
        let mut scores = [0.0; CLASSES];
        Simd::detect().forward(network, &image, &mut memory.scratch(), &mut scores).unwrap();
        softmax(&mut scores);
        let mut taken = Vec::new();
        evolution.tell(archive, &child, &scores, |takeover| {
            taken.push((takeover.class as u32, takeover.confidence));
        });
        (scores, taken)
    }

    fn end_generation(&mut self) -> u64 {
        self.parents.clone_from(&self.archive);
        self.archive.digest().value()
    }
}

/// Follows a run on a board, and stops at the first thing that the host computes
/// differently.
fn follow<G: Genome>(line: &mut Line, mut host: Host<G>, run: &Run<'_>, which: &str) -> u64 {
    line.send(2, Request::Evolve(*run));
    for generation in 0..run.generations {
        for index in 0..run.children {
            let here = format!("{which}: generation {generation}, child {index}");
            let (expected, taken) = host.child(generation, index);
            let id = u64::from(generation) * u64::from(run.children) + u64::from(index);
            for claim in taken {
                let found = line.wait(|_, reply| match reply {
                    Reply::Takeover { class, id, confidence } => Some((id, (class, confidence))),
                    Reply::Scores(_) => panic!("{here}: {claim:?} is not taken on the board"),
                    other => panic!("{here}: {other:?}"),
                });
                assert_eq!(found, (id, claim), "{here}: cell taken");
            }
            let scores = line.wait(|_, reply| match reply {
                Reply::Scores(bytes) => Some(bytes.to_vec()),
                other => panic!("{here}: on the board only: {other:?}"),
            });
            for (class, bytes) in scores.as_chunks::<4>().0.iter().enumerate() {
                let found = f32::from_le_bytes(*bytes);
                assert_eq!(found.to_bits(), expected[class].to_bits(), "{here}: class {class}");
            }
            assert_eq!(scores.len(), 4 * CLASSES, "{here}");
        }
        let expected = host.end_generation();
        let digest = line.wait(|_, reply| match reply {
            Reply::Generation { done, digest, .. } if done == generation + 1 => Some(digest),
            _ => None,
        });
        assert_eq!(digest, expected, "{which}: digest after generation {generation}");
    }
    line.wait(|_, reply| match reply {
        Reply::Ended { done, digest } if done == run.generations => Some(digest),
        _ => None,
    })
}

/// The runs of the table with one model, on one board.
fn agree(name: &str, model: &str) {
    let machine = Machine::named(name).unwrap();
    if !can_run(machine, "boards and host agree") {
        return;
    }
    let (mut line, ()) = start(machine, model, |_| ());
    for row in TABLE.lines().skip(1).filter(|row| row.split(',').next() == Some(model)) {
        let [_, preset, seed, children, generations, digest] =
            row.split(',').collect::<Vec<_>>().try_into().unwrap();
        let [children, generations] = [children, generations].map(|n| n.parse().unwrap());
        let run = Run { preset, seed: seed.parse().unwrap(), children, generations, scores: true };
        let which = format!("{name}, {row}");
        let found = match Preset::named(preset).unwrap().encoding {
            Encoding::Cppn(settings) => {
                let host = Host::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>::new(model, &run, settings);
                follow(&mut line, host, &run, &which)
            }
            Encoding::Direct(settings) => {
                let host = Host::<Direct<[u8; 784]>>::new(model, &run, settings);
                follow(&mut line, host, &run, &which)
            }
        };
        assert_eq!(format!("{found:016x}"), digest, "{which}");
    }
}

macro_rules! boards {
    ($($module:ident $machine:literal),*) => {
        /// The boards that are tested.
        const TESTED: &[&str] = &[$($machine),*];

        $(mod $module {
            #[test]
            fn evolves_against_the_lenet_as_the_host_does() {
                super::agree($machine, "lenet");
            }

            #[test]
            fn evolves_against_the_small_lenet_as_the_host_does() {
                super::agree($machine, "lenet-small");
            }
        })*
    };
}

boards!(m4f "m4f", m4f_dsp "m4f-dsp", m3 "m3", m0 "m0", riscv "riscv", stm32 "stm32");

#[test]
fn every_machine_is_tested() {
    assert!(MACHINES.iter().map(|machine| machine.name).eq(TESTED.iter().copied()));
}

/// Ten thousand frames with something wrong.
fn damaged_frames() -> Vec<u8> {
    let mut rng = Stream::new(1, 0, 0);
    let mut all = Vec::new();
    let image: Vec<u8> = (0..784).map(|i| (i % 256) as u8).collect();
    let run = Run { preset: "mnist-cppn", seed: 1, children: 9, generations: 9, scores: false };
    for number in 0..10_000u32 {
        let request = match rng.below(40) {
            0 => Request::Classify(&image),
            1..10 => Request::Info,
            10..20 => Request::Evolve(run),
            20..30 => Request::Elite(3),
            _ => Request::Stop,
        };
        let mut frame = Vec::new();
        let mut write = |bytes: &[u8]| {
            frame.extend_from_slice(bytes);
            Ok::<_, ()>(())
        };
        link::send(number as u8, &request, &mut write).unwrap();
        let inside = |rng: &mut Stream| 1 + rng.below(frame.len() as u32 - 2) as usize;
        match rng.below(40) {
            0 => frame = vec![1 + rng.below(255) as u8; 2000], // too long for any board
            1..10 => {
                let at = inside(&mut rng);
                frame[at] ^= 1 << rng.below(8);
            }
            10..20 => {
                let at = inside(&mut rng);
                frame.remove(at);
            }
            20..30 => {
                let at = inside(&mut rng);
                frame.truncate(at);
            }
            _ => {
                let at = inside(&mut rng);
                frame.insert(at, 0x5a);
            }
        }
        // The next begins with a zero, so this one ends.
        all.extend(frame);
    }
    all
}

#[test]
fn ten_thousand_damaged_frames_and_then_a_good_one() {
    let machine = Machine::named("m4f").unwrap();
    if !can_run(machine, "ten thousand damaged frames") {
        return;
    }
    let (mut line, ()) = start(machine, "lenet-small", |_| ());
    // A board with as much memory for a frame, to count what there is to refuse.
    let mut receiver = Receiver::new(vec![0; link::frame_len(784)]);
    let (mut expected, mut refused) = (0, 0);
    // In parts, so that the board's answers are read while it gets more; a part may end
    // within a frame.
    for part in damaged_frames().chunks(1 << 13) {
        let errors = part.iter().chain(&[0]).filter(|byte| match receiver.feed(**byte) {
            Some(frame) => frame.is_err(),
            None => false,
        });
        expected += errors.count();
        line.stream.write_all(part).unwrap();
        line.send(7, Request::Digest);
        line.wait(|number, reply| match reply {
            Reply::Digest { .. } if number == 7 => Some(()),
            Reply::Refused(Fault::Checksum | Fault::TooLong) => {
                refused += 1;
                None
            }
            other => panic!("a damaged frame was taken for a good one: {other:?}"),
        });
    }
    assert_eq!(refused, expected);
    assert!(refused > 9_000, "{refused}");
    let image = [99; 784];
    line.send(8, Request::Classify(&image));
    let scores = line.wait(|number, reply| match reply {
        Reply::Scores(bytes) if number == 8 => Some(bytes.to_vec()),
        _ => None,
    });
    assert_eq!(scores.len(), 4 * CLASSES);
}
