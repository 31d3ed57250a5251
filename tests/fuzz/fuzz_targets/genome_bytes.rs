//! Any bytes as genomes and archives: decoding never panics, what is accepted
//! encodes to the same bytes, varies, and can be drawn.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz genome_bytes`
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::archive::{Archive, Cell};
use mirage_core::evolve::{CPPN, CPPN_RELEASED, DIRECT_RELEASED};
use mirage_core::genome::{Cppn, Decode, Direct};
use mirage_core::image::Shape;
use mirage_core::rng::Stream;
use mirage_core::wire::Reader;

type Network = Cppn<16, 32>;
const CLASSES: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let channels = if choice & 1 == 0 { 1 } else { 3 };
    let shape = Shape { height: 3, width: 5, channels };
    let settings = if choice & 2 == 0 { CPPN } else { CPPN_RELEASED };
    if let Some(genome) = genome::<Network>(bytes, shape) {
        exercise(genome, &settings, shape);
    }
    let tiny = Shape { height: 2, width: 3, channels: 1 };
    if let Some(genome) = genome::<Direct<[u8; 6]>>(bytes, tiny) {
        exercise(genome, &DIRECT_RELEASED, tiny);
    }
    archive::<Network>(bytes, shape);
    archive::<Direct<[u8; 6]>>(bytes, tiny);
});

fn genome<G: Decode>(bytes: &[u8], shape: Shape) -> Option<G> {
    let mut reader = Reader::new(bytes);
    let genome = G::decode(&mut reader, shape).ok()?;
    let mut again = Vec::new();
    genome.encode(&mut |piece| again.extend_from_slice(piece));
    assert!(bytes.starts_with(&again), "one representation for every genome");
    Some(genome)
}

fn exercise<G: Decode>(genome: G, settings: &G::Settings, shape: Shape) {
    let mut child = genome.clone();
    for index in 0..8 {
        child.vary(&genome, settings, index, &mut Stream::new(1, index, index));
    }
    let mut scratch = vec![0.0; G::scratch_len(4)];
    let mut image = vec![0; shape.len()];
    child.render(settings, shape, &mut scratch, &mut image);
    let mut bytes = Vec::new();
    child.encode(&mut |piece| bytes.extend_from_slice(piece));
    assert!(G::decode(&mut Reader::new(&bytes), shape).is_ok(), "every child is a genome");
}

fn archive<G: Decode>(bytes: &[u8], shape: Shape) {
    let empty = || Archive::<G, Vec<Cell<G>>>::new((0..CLASSES).map(|_| None).collect());
    let mut archive = empty();
    if archive.decode(&mut Reader::new(bytes), shape).is_err() {
        return;
    }
    let mut again = Vec::new();
    archive.encode(&mut |piece| again.extend_from_slice(piece));
    assert!(bytes.starts_with(&again), "one representation for every archive");
}
