//! Any bytes as IDX files, plain and compressed: parsing never panics, and what is
//! accepted has the size that it states.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz idx`
#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;

// The one file, not package mirage: its hundreds of dependencies would have to be built
// for fuzzing.
#[allow(dead_code)]
#[path = "../../../host/src/data/idx.rs"]
mod idx;

fuzz_target!(|bytes: &[u8]| {
    parse(bytes);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    let compressed = encoder.finish().expect("memory takes it");
    parse(&compressed);
    match idx::parse_images(bytes) {
        // Compressed once, not twice.
        Ok(images) if !bytes.starts_with(&[0x1f, 0x8b]) => {
            assert_eq!(idx::parse_images(&compressed).expect("the same, compressed"), images);
        }
        _ => {}
    }
});

fn parse(bytes: &[u8]) {
    if let Ok(images) = idx::parse_images(bytes) {
        assert!(images.rows >= 1 && images.columns >= 1);
        assert_eq!(images.pixels.len(), images.count * images.image_len());
        assert_eq!(images.iter().len(), images.count);
    }
    if let Ok(labels) = idx::parse_labels(bytes) {
        assert!(labels.len() as u64 <= idx::MAX_BYTES);
    }
}
