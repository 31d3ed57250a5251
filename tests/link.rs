//! The link's frames: every message there and back, and nothing that is damaged taken for
//! a message.

use std::fmt;

use mirage_core::link::{
    Fault, FrameError, Info, Message, Receiver, Reply, Request, Run, VERSION, frame_len, send,
};
use reference::crc32::crc32;
use serde::Deserialize;

fn encoded(number: u8, message: &impl Message) -> Vec<u8> {
    let mut sent = Vec::new();
    let mut write = |bytes: &[u8]| {
        sent.extend_from_slice(bytes);
        Ok::<_, ()>(())
    };
    send(number, message, &mut write).unwrap();
    sent
}

/// What a receiver makes of bytes: the numbers of good frames, and the errors.
fn received(receiver: &mut Receiver<Vec<u8>>, bytes: &[u8]) -> Vec<Result<u8, FrameError>> {
    let mut found = Vec::new();
    for &byte in bytes {
        if let Some(frame) = receiver.feed(byte) {
            found.push(frame.map(|frame| frame.number));
        }
    }
    found
}

fn receiver() -> Receiver<Vec<u8>> {
    Receiver::new(vec![0; frame_len(784)])
}

#[track_caller]
fn round_trip<'a, M>(message: M, receiver: &'a mut Receiver<Vec<u8>>)
where
    M: Message + Deserialize<'a> + PartialEq + fmt::Debug,
{
    let bytes = encoded(9, &message);
    let (last, rest) = bytes.split_last().unwrap();
    assert!(rest.iter().all(|&byte| receiver.feed(byte).is_none()));
    let frame = receiver.feed(*last).unwrap().unwrap();
    assert_eq!((frame.number, frame.message()), (9, Ok(message)));
}

#[test]
fn every_message_round_trips() {
    let image: Vec<u8> = (0..784).map(|i| (i % 251) as u8).collect();
    let run = Run {
        preset: "mnist-direct",
        seed: u64::MAX,
        children: u32::MAX,
        generations: 1,
        scores: true,
    };
    for request in [
        Request::Info,
        Request::Classify(&image),
        Request::Classify(&[]),
        Request::Classify(&[0; 784]),
        Request::Classify(&[255; 784]),
        Request::Evolve(run),
        Request::Elite(4095),
        Request::Digest,
        Request::Stop,
    ] {
        round_trip(request, &mut receiver());
    }
    let info = Info {
        board: "mps2-an386",
        model: "lenet",
        model_sha256: [0xa5; 32],
        revision: Some(1),
        input: [28, 28, 1],
        classes: 10,
        hertz: 25_000_000,
        stack: 0,
    };
    let (done, digest) = (u32::MAX, u64::MAX);
    for reply in [
        Reply::Info(info),
        Reply::Info(Info { revision: None, ..info }),
        Reply::Scores(&image[..40]),
        Reply::Takeover { class: 9, id: u64::MAX, confidence: 0.999 },
        Reply::Generation { done, takeovers: 40, digest, vary: 1, render: 0, classify: u64::MAX },
        Reply::Ended { done, digest },
        Reply::Elite {
            class: 3,
            id: 7,
            parents: [Some(0), None],
            confidence: 1.0,
            genome: &image[..500],
        },
        Reply::Digest { done, digest },
        Reply::Refused(Fault::Classifier),
    ] {
        round_trip(reply, &mut receiver());
    }
}

#[test]
fn runs_without_zeros_of_every_length_round_trip() {
    for len in 0..784 {
        let image = vec![1; len];
        round_trip(Request::Classify(&image), &mut receiver());
    }
}

#[test]
fn no_zero_within_a_frame() {
    let bytes = encoded(0, &Request::Classify(&[0; 784]));
    let zeros: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, b)| **b == 0).map(|(i, _)| i).collect();
    assert_eq!(zeros, [0, bytes.len() - 1]);
}

#[test]
fn every_changed_missing_or_added_byte_is_noticed_and_the_next_frame_arrives() {
    let good = encoded(
        1,
        &Request::Evolve(Run {
            preset: "mnist-cppn",
            seed: 1,
            children: 200,
            generations: 200,
            scores: false,
        }),
    );
    let next = encoded(2, &Request::Stop);
    let mut receiver = receiver();
    let mut check = |damaged: &[u8]| {
        let found = received(&mut receiver, &[damaged, &next].concat());
        assert_eq!(found.last(), Some(&Ok(2)), "{damaged:02x?}");
        assert!(!found.contains(&Ok(1)), "{damaged:02x?}");
    };
    let inside = 1..good.len() - 1;
    for i in inside {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[i] ^= 1 << bit;
            check(&changed);
        }
        check(&[&good[..i], &good[i + 1..]].concat());
        check(&[&good[..i], &[0x55], &good[i..]].concat());
        check(&good[..i]);
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_and_the_next_one_arrives() {
    let mut receiver = Receiver::new(vec![0; frame_len(10)]);
    let long = encoded(1, &Request::Classify(&[7; 784]));
    let next = encoded(2, &Request::Info);
    let found = received(&mut receiver, &[long, next].concat());
    assert_eq!(found, [Err(FrameError::TooLong), Ok(2)]);
    // The longest that fits.
    for pixels in [0, 1, 63, 64, 127, 128, 784, 20_000] {
        let mut receiver = Receiver::new(vec![0; frame_len(pixels)]);
        let image = vec![3; pixels];
        assert_eq!(received(&mut receiver, &encoded(1, &Request::Classify(&image))), [Ok(1)]);
    }
}

#[test]
fn another_version_and_other_messages_are_told_apart() {
    let frame = |content: &[u8]| {
        let crc = crc32(content).to_le_bytes();
        let mut coded = vec![0; 64];
        let whole = [content, &crc].concat();
        let len = cobs::encode(&whole, &mut coded);
        coded.truncate(len);
        coded.push(0);
        coded
    };
    let mut receiver = receiver();
    let found = received(&mut receiver, &frame(&[VERSION + 1, 1, 0]));
    assert_eq!(found, [Err(FrameError::Version(VERSION + 1))]);
    // No such request; a byte too many; nothing at all.
    for content in [&[VERSION, 1, 99][..], &[VERSION, 1, 0, 0], &[VERSION, 1]] {
        let mut checked = 0;
        for byte in frame(content) {
            if let Some(frame) = receiver.feed(byte) {
                assert_eq!(frame.unwrap().message::<Request<'_>>(), Err(FrameError::Message));
                checked += 1;
            }
        }
        assert_eq!(checked, 1);
    }
}

#[test]
fn an_error_of_the_line_is_passed_on_and_ends_the_writing() {
    for fails_at in 0..4 {
        let mut writes = 0;
        let mut write = |_: &[u8]| {
            writes += 1;
            if writes > fails_at { Err("unplugged") } else { Ok(()) }
        };
        let result = send(1, &Request::Classify(&[1; 784]), &mut write);
        assert_eq!((result, writes), (Err("unplugged"), fails_at + 1));
    }
}
