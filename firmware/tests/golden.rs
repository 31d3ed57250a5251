//! A device ends with the archives that a workstation ends with: the same table as
//! `tests/golden.rs`, by the portable kernel, one child at a time, in debug builds with
//! every check on.

use mirage_core::evolve::{Encoding, Evolution, Preset};
use mirage_core::genome::{Cppn, Direct, Genome};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::nn::{Network, Portable, Scratch};
use mirage_firmware::{Device, DeviceError, Memory};

static MODEL: &[u8] = include_bytes!("../../host/models/lenet.q8");
static TABLE: &str = include_str!("../../tests/data/golden.csv");

const CLASSES: usize = 10;

/// The digest after some generations, with just the memory that is needed.
fn digest<G: Genome>(
    evolution: Evolution<G::Settings>,
    generations: u32,
) -> Result<String, DeviceError> {
    let network = Network::parse(MODEL).unwrap();
    let needed = network.requirements(1);
    let scratch = Scratch {
        front: &mut vec![0; needed.front],
        back: &mut vec![0; needed.back],
        patches: &mut vec![0; needed.patches],
        sums: &mut vec![0; needed.sums],
    };
    // A line of pixels at a time: another chunk than the host's.
    let drawing = &mut vec![0.0; G::scratch_len(evolution.shape.width)];
    let memory = Memory { scratch, drawing, image: &mut [0; 784] };
    let mut device: Device<'_, G, _, CLASSES> = Device::new(network, Portable, evolution, memory)?;
    for _ in 0..generations {
        device.generation()?;
    }
    Ok(device.archive().digest().to_string())
}

#[test]
fn runs_end_as_on_a_workstation() {
    let shape = Network::parse(MODEL).unwrap().input();
    for line in TABLE.lines().skip(1) {
        let [name, seed, children, generations, expected] =
            line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let (seed, children) = (seed.parse().unwrap(), children.parse().unwrap());
        let generations = generations.parse().unwrap();
        let found = match Preset::named(name).unwrap().encoding {
            Encoding::Cppn(settings) => digest::<Cppn<CPPN_NODES, CPPN_CONNECTIONS>>(
                Evolution { seed, children, shape, settings },
                generations,
            ),
            Encoding::Direct(settings) => {
                digest::<Direct<784>>(Evolution { seed, children, shape, settings }, generations)
            }
        };
        assert_eq!(found.as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let network = || Network::parse(MODEL).unwrap();
    let shape = network().input();
    let evolution =
        |shape| Evolution { seed: 1, children: 1, shape, settings: mirage_core::evolve::CPPN };
    type Genome = Cppn<CPPN_NODES, CPPN_CONNECTIONS>;
    let needed = network().requirements(1);
    let (mut front, mut back) = (vec![0; needed.front], vec![0; needed.back]);
    let (mut patches, mut sums) = (vec![0; needed.patches], vec![0; needed.sums]);
    let (mut drawing, mut image) = (vec![0.0; Genome::scratch_len(1)], vec![0; shape.len()]);
    let mut attempt = |pixels: usize, front_len: usize, shape, three_classes: bool| {
        let memory = Memory {
            scratch: Scratch {
                front: &mut front[..front_len],
                back: &mut back,
                patches: &mut patches,
                sums: &mut sums,
            },
            drawing: &mut drawing,
            image: &mut image[..pixels],
        };
        if three_classes {
            Device::<Genome, _, 3>::new(network(), Portable, evolution(shape), memory).err()
        } else {
            Device::<Genome, _, CLASSES>::new(network(), Portable, evolution(shape), memory).err()
        }
    };
    let (pixels, front_len) = (shape.len(), needed.front);
    assert_eq!(attempt(pixels, front_len, shape, false), None);
    let classes = DeviceError::Classes { network: 10, archive: 3 };
    assert_eq!(attempt(pixels, front_len, shape, true), Some(classes));
    assert_eq!(attempt(pixels - 1, front_len, shape, false), Some(DeviceError::Memory));
    let wide = mirage_core::image::Shape { width: 29, ..shape };
    assert_eq!(attempt(pixels, front_len, wide, false), Some(DeviceError::Shape));
    let scratch = attempt(pixels, front_len - 1, shape, false);
    assert!(matches!(scratch, Some(DeviceError::Network(_))), "{scratch:?}");
}
