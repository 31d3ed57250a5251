//! Any bytes as a model blob: parsing never panics, and what parses runs.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz model_blob`
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::nn::{Network, Portable, Scratch};

fuzz_target!(|bytes: &[u8]| {
    let _ = Network::parse(bytes);
    if bytes.len() < 52 {
        return;
    }
    // With length and checksum made right, what lies behind them is reached.
    let mut sealed = bytes.to_vec();
    let len = sealed.len();
    sealed[12..16].copy_from_slice(&(len as u32).to_le_bytes());
    let checksum = crc32(&sealed[..len - 4]);
    sealed[len - 4..].copy_from_slice(&checksum.to_le_bytes());
    let Ok(network) = Network::parse(&sealed) else { return };
    let needed = network.requirements(2);
    if network.multiply_adds() > 1 << 18 || needed.front + needed.back > 1 << 18 {
        return;
    }
    let images = vec![0x5a; 2 * network.input().len()];
    let mut logits = vec![0.0; 2 * network.classes()];
    let mut scratch = Scratch {
        front: &mut vec![0; needed.front],
        back: &mut vec![0; needed.back],
        patches: &mut vec![0; needed.patches],
        sums: &mut vec![0; needed.sums],
    };
    network.forward(&Portable, &images, &mut scratch, &mut logits).expect("lengths are right");
    assert!(logits.iter().all(|logit| !logit.is_nan()));
    let (one, other) = logits.split_at(network.classes());
    assert_eq!(one, other, "equal images, equal logits");
});

/// CRC-32, ISO-HDLC, one bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let mut state = u32::MAX;
    for &byte in bytes {
        state ^= u32::from(byte);
        for _ in 0..8 {
            state = if state & 1 == 1 { (state >> 1) ^ 0xedb8_8320 } else { state >> 1 };
        }
    }
    !state
}
