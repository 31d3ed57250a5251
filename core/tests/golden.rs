//! Golden digests: the same runs as `tests/golden.rs`, by the portable kernel, one
//! child at a time, as a device makes them; in debug builds with every check on.

use mirage_core::archive::{Archive, Cell};
use mirage_core::evolve::{Encoding, Evolution, Preset};
use mirage_core::genome::{Cppn, Direct, Genome};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::math::softmax;
use mirage_core::nn::{Network, Portable, Scratch};

static MODEL: &[u8] = include_bytes!("../../host/models/lenet.q8");
static TABLE: &str = include_str!("../../tests/data/golden.csv");

const CLASSES: usize = 10;

/// The digest after some generations, children told as soon as they are made.
fn digest<G: Genome>(
    settings: G::Settings,
    network: &Network<'_>,
    seed: u64,
    children: u32,
    generations: u32,
) -> String {
    let needed = network.requirements(1);
    let (mut front, mut back) = (vec![0; needed.front], vec![0; needed.back]);
    let (mut patches, mut sums) = (vec![0; needed.patches], vec![0; needed.sums]);
    let evolution = Evolution { seed, children, shape: network.input(), settings };
    let mut archive: Archive<G, [Cell<G>; CLASSES]> = Archive::new(core::array::from_fn(|_| None));
    // A line of pixels at a time: the device's way, and another chunk than the host's.
    let mut lines = vec![0.0; G::scratch_len(28)];
    for generation in 0..generations {
        let parents = archive.clone();
        for index in 0..children {
            let child = evolution.ask(&parents, generation, index);
            let mut image = [0; 784];
            child.genome.render(&evolution.settings, evolution.shape, &mut lines, &mut image);
            let mut scratch = Scratch {
                front: &mut front,
                back: &mut back,
                patches: &mut patches,
                sums: &mut sums,
            };
            let mut scores = [0.0; CLASSES];
            network.forward(&Portable, &image, &mut scratch, &mut scores).unwrap();
            softmax(&mut scores);
            evolution.tell(&mut archive, &child, &scores, |_| {});
        }
    }
    archive.digest().to_string()
}

#[test]
fn runs_end_as_they_did() {
    let network = Network::parse(MODEL).unwrap();
    for line in TABLE.lines().skip(1) {
        let [name, seed, children, generations, expected] =
            line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let (seed, children, generations) =
            (seed.parse().unwrap(), children.parse().unwrap(), generations.parse().unwrap());
        let found = match Preset::named(name).unwrap().encoding {
            Encoding::Cppn(settings) => digest::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>(
                settings,
                &network,
                seed,
                children,
                generations,
            ),
            Encoding::Direct(settings) => {
                digest::<Direct<784>>(settings, &network, seed, children, generations)
            }
        };
        assert_eq!(found, expected, "{line}");
    }
}
