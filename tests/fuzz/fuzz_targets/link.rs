//! Any bytes on the line: receiving never panics, whatever is received encodes to a frame
//! that is received again, and the next good frame arrives.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz link`
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::link::{Frame, FrameError, Message, Receiver, Reply, Request, VERSION, send};

/// Of a board with small memory; some frames are too long for it.
const MEMORY: usize = 128;

fuzz_target!(|bytes: &[u8]| {
    let mut receiver = Receiver::new(vec![0; MEMORY]);
    for &byte in bytes {
        if let Some(Ok(frame)) = receiver.feed(byte) {
            check(frame);
        }
    }
    // What the bytes began ends with the zero in front.
    let mut last = None;
    for byte in encoded(7, &Request::Digest) {
        if let Some(frame) = receiver.feed(byte) {
            last = Some(frame.map(|frame| (frame.number, frame.message() == Ok(Request::Digest))));
        }
    }
    assert_eq!(last, Some(Ok((7, true))), "the next good frame arrives");
    // Behind the right version and before the right checksum the messages are reached.
    let Some(&number) = bytes.first() else { return };
    let content = [&[VERSION], bytes].concat();
    let mut receiver = Receiver::new(vec![0; content.len() + 4]);
    let mut frames = 0;
    for byte in sealed(&content) {
        if let Some(frame) = receiver.feed(byte) {
            let frame = frame.expect("the frame is whole");
            assert_eq!(frame.number, number);
            check(frame);
            frames += 1;
        }
    }
    assert_eq!(frames, 1);
});

fn check(frame: Frame<'_>) {
    if let Ok(request) = frame.message::<Request<'_>>() {
        round_trip(frame.number, &request, |again| again.message() == Ok(request));
    }
    match frame.message::<Reply<'_>>() {
        // No NaN equals itself.
        Ok(Reply::Takeover { confidence, .. } | Reply::Elite { confidence, .. })
            if confidence.is_nan() => {}
        Ok(reply) => round_trip(frame.number, &reply, |again| again.message() == Ok(reply)),
        Err(error) => assert_eq!(error, FrameError::Message),
    }
}

fn round_trip(number: u8, message: &impl Message, is_same: impl Fn(Frame<'_>) -> bool) {
    let bytes = encoded(number, message);
    let mut receiver = Receiver::new(vec![0; bytes.len()]);
    let (last, rest) = bytes.split_last().expect("a frame has bytes");
    assert!(rest.iter().all(|&byte| receiver.feed(byte).is_none()), "one frame");
    let frame = receiver.feed(*last).expect("it ends").expect("it is whole");
    assert!(frame.number == number && is_same(frame));
}

fn encoded(number: u8, message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok::<_, ()>(())
    };
    send(number, message, &mut write).expect("memory takes it");
    bytes
}

/// The content with the right checksum, as COBS has it, and a zero.
fn sealed(content: &[u8]) -> Vec<u8> {
    let whole = [content, &crc32fast::hash(content).to_le_bytes()].concat();
    let mut coded = Vec::new();
    for run in whole.split(|&byte| byte == 0) {
        // A full block has no zero behind it, so another block follows, if an empty one.
        let blocks = run.chunks_exact(254);
        let rest = blocks.remainder();
        for block in blocks {
            coded.push(255);
            coded.extend_from_slice(block);
        }
        coded.push(rest.len() as u8 + 1);
        coded.extend_from_slice(rest);
    }
    coded.push(0);
    coded
}
