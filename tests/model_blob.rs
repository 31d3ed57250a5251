//! Damaged model blobs: `parse` never panics, and what it accepts runs.

use mirage_core::nn::{Network, Portable};
use proptest::prelude::*;
use reference::bridge::{blob, forward, run_layer};
use reference::crc32::crc32;
use reference::property::config;
use reference::sample;

/// Parses, and runs what parses unless it is large.
fn try_blob(bytes: &[u8]) -> bool {
    let Ok(network) = Network::parse(bytes) else { return false };
    let needed = network.requirements(2);
    let memory = needed.front + needed.back + needed.patches + needed.sums;
    if memory < 1 << 20 && network.multiply_adds() < 1 << 22 {
        let images = sample::pixels(0, 2 * network.input().len());
        let logits = forward(&network, &Portable, &images, [0, 0]);
        assert!(logits.iter().all(|logit| !logit.is_nan()), "NaN from finite scales");
        for (index, layer) in network.layers().enumerate() {
            let input = vec![-128; layer.input().len()];
            let _ = run_layer(&network, index, &Portable, &input);
        }
    }
    true
}

/// Makes length and checksum fit the rest.
fn seal(bytes: &mut [u8]) {
    let len = bytes.len();
    if len < 20 {
        return;
    }
    bytes[12..16].copy_from_slice(&(len as u32).to_le_bytes());
    let checksum = crc32(&bytes[..len - 4]);
    bytes[len - 4..].copy_from_slice(&checksum.to_le_bytes());
}

proptest! {
    #![proptest_config(config("model_blob", 20_000))]

    #[test]
    fn flipped_bits(
        seed in 0..1000u64,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32, any::<bool>()), 1..6),
    ) {
        let mut bytes = blob(&sample::network(seed));
        for (index, bit, early) in flips {
            // Half of them in the header and the first layer's record.
            let range = if early { bytes.len().min(80) } else { bytes.len() };
            bytes[index.index(range)] ^= 1 << bit;
        }
        seal(&mut bytes);
        try_blob(&bytes);
    }

    #[test]
    fn set_bytes(
        seed in 0..1000u64,
        sets in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(255), Just(127), Just(128), any::<u8>()]), 1..6),
    ) {
        let mut bytes = blob(&sample::network(seed));
        for (index, value) in sets {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        seal(&mut bytes);
        try_blob(&bytes);
    }

    #[test]
    fn truncations_are_refused(seed in 0..1000u64, end in any::<prop::sample::Index>(), sealed in any::<bool>()) {
        let whole = blob(&sample::network(seed));
        let mut bytes = whole[..end.index(whole.len())].to_vec();
        if sealed {
            seal(&mut bytes);
        }
        prop_assert!(!try_blob(&bytes));
    }

    #[test]
    fn additions_are_refused(seed in 0..1000u64, more in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut bytes = blob(&sample::network(seed));
        bytes.extend_from_slice(&more);
        prop_assert!(!try_blob(&bytes));
        seal(&mut bytes);
        prop_assert!(!try_blob(&bytes));
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!try_blob(&bytes));
    }

    #[test]
    fn random_bodies(body in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 0..6u8, 1 => any::<u8>()], 20..600)) {
        let mut bytes = body;
        bytes[..10].copy_from_slice(b"MIRAGEQ8\x01\x00");
        seal(&mut bytes);
        try_blob(&bytes);
    }
}

/// Any single damaged bit is found by the checksum alone.
#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = blob(&sample::network(3));
    assert!(try_blob(&bytes));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(!try_blob(&damaged), "bit {bit}");
    }
}
