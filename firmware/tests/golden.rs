//! A device ends with the archives that a workstation ends with, by the portable kernel,
//! one child at a time, in debug builds with every check on.

use mirage_core::evolve::{Evolution, Preset};
use mirage_core::nn::{Network, Portable};
use mirage_firmware::{Device, DeviceError, Memory};

static LENET: &[u8] = include_bytes!("../../host/models/lenet.q8");
static LENET_SMALL: &[u8] = include_bytes!("../../host/models/lenet-small.q8");

/// The table of `tests/golden.rs`: the LeNet, every preset.
static GOLDEN: &str = include_str!("../../tests/data/golden.csv");
/// The table of `tests/boards`: both LeNets, longer runs.
static BOARDS: &str = include_str!("../../tests/data/boards.csv");

/// Words that the LeNet needs.
const ARENA: usize = 3364;

type LenetMemory = Memory<784, 10, ARENA, 0>;

/// The digest of the run in a row of a table, with just the memory that is needed.
fn digest(model: &[u8], preset: &str, seed: &str, children: &str, generations: &str) -> String {
    let network = Network::parse(model).unwrap();
    let settings = Preset::named(preset).unwrap().encoding;
    let [children, generations] = [children, generations].map(|n| n.parse().unwrap());
    let seed = seed.parse().unwrap();
    let evolution = Evolution { seed, children, shape: network.input(), settings };
    let mut memory = Box::new(LenetMemory::new());
    let (mut device, _) = Device::new(network, Portable, &mut memory).unwrap();
    for _ in 0..generations {
        for index in 0..children {
            device.child(&evolution, index, &mut || 0, |_| {}).unwrap();
        }
        device.end_generation();
    }
    device.archive().digest().to_string()
}

#[test]
fn runs_end_as_on_a_workstation() {
    for row in GOLDEN.lines().skip(1) {
        let [preset, seed, children, generations, expected] =
            row.split(',').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(digest(LENET, preset, seed, children, generations), expected, "{row}");
    }
}

#[test]
fn runs_end_as_on_boards() {
    for row in BOARDS.lines().skip(1) {
        let [model, preset, seed, children, generations, expected] =
            row.split(',').collect::<Vec<_>>().try_into().unwrap();
        let model = if model == "lenet" { LENET } else { LENET_SMALL };
        assert_eq!(digest(model, preset, seed, children, generations), expected, "{row}");
    }
}

#[test]
fn a_cleared_device_begins_anew() {
    let network = Network::parse(LENET).unwrap();
    let settings = Preset::named("mnist-direct").unwrap().encoding;
    let evolution = Evolution { seed: 1, children: 3, shape: network.input(), settings };
    let mut memory = Box::new(LenetMemory::new());
    let (mut device, _) = Device::new(network, Portable, &mut memory).unwrap();
    let mut first_child = || {
        device.clear();
        let result = device.child(&evolution, 0, &mut || 0, |_| {}).unwrap();
        device.end_generation();
        (result, device.archive().digest())
    };
    assert_eq!(first_child(), first_child());
}

#[test]
fn a_clock_that_wraps_around_is_read_right() {
    let network = Network::parse(LENET).unwrap();
    let settings = Preset::named("mnist-direct").unwrap().encoding;
    let evolution = Evolution { seed: 1, children: 1, shape: network.input(), settings };
    let mut memory = Box::new(LenetMemory::new());
    let (mut device, _) = Device::new(network, Portable, &mut memory).unwrap();
    let mut readings = [u32::MAX - 9, u32::MAX, 4, 6].into_iter();
    let mut now = || readings.next().unwrap();
    let (_, ticks) = device.child(&evolution, 0, &mut now, |_| {}).unwrap();
    assert_eq!((ticks.vary, ticks.render, ticks.classify), (9, 5, 2));
}

#[test]
fn what_does_not_fit_is_refused() {
    fn attempt<const PIXELS: usize, const CLASSES: usize, const ARENA: usize>()
    -> Option<DeviceError> {
        let network = Network::parse(LENET).unwrap();
        let mut memory = Box::new(Memory::<PIXELS, CLASSES, ARENA, 64>::new());
        Device::new(network, Portable, &mut memory).err()
    }
    assert_eq!(attempt::<784, 10, ARENA>(), None);
    let error = DeviceError::Classes { network: 10, archive: 3 };
    assert_eq!(attempt::<784, 3, ARENA>(), Some(error));
    let error = DeviceError::Pixels { network: 784, memory: 783 };
    assert_eq!(attempt::<783, 10, ARENA>(), Some(error));
    let error = DeviceError::Arena { needed: ARENA, found: ARENA - 1 };
    assert_eq!(attempt::<784, 10, { ARENA - 1 }>(), Some(error));
}
