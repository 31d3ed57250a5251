//! Frames: from messages to bytes on the line and back.

use super::{Fault, Message, VERSION};
use cobs::{DecodeResult, DecoderState, EncoderState, PushResult};
use core::fmt;
use postcard::ser_flavors::Flavor;
use serde::Deserialize;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Bytes of a frame before the message, and after it.
const HEAD: usize = 2;
const TAIL: usize = 4;

/// Memory that a [`Receiver`] needs for requests to a board whose network takes images
/// of `pixels` bytes.
#[must_use]
pub const fn frame_len(pixels: usize) -> usize {
    // The variant and the length before the pixels; more than any other request needs.
    let message = 1 + 5 + pixels;
    HEAD + TAIL + if message > LEAST { message } else { LEAST }
}

/// Enough for a request without an image.
const LEAST: usize = 64;

/// Sends a message as one frame.
///
/// * `number`: that of the request; a reply has its request's.
/// * `write`: is given the bytes, up to 255 at a time.
///
/// # Errors
/// The first error of `write`; nothing is written after it.
pub fn send<E>(
    number: u8,
    message: &impl Message,
    write: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut sender = Sender {
        write,
        failure: None,
        crc: CRC.digest(),
        cobs: EncoderState::default(),
        block: [0; BLOCK],
        len: 1,
    };
    sender.output(&[0]);
    sender.push(VERSION);
    sender.push(number);
    // Messages serialize themselves without fail, and so does what they are written to.
    let Ok(failure) = postcard::serialize_with_flavor(message, sender) else { return Ok(()) };
    failure.map_or(Ok(()), Err)
}

/// The longest run of bytes that COBS puts one code before, with that code.
const BLOCK: usize = 255;

/// Takes a frame's bytes, encodes them, and writes them block by block.
struct Sender<'w, W, E> {
    write: &'w mut W,
    failure: Option<E>,
    crc: crc::Digest<'static, u32>,
    cobs: EncoderState,
    /// The block that is being filled: its code, once it is known, and `len` − 1 bytes.
    block: [u8; BLOCK],
    len: usize,
}

impl<W: FnMut(&[u8]) -> Result<(), E>, E> Sender<'_, W, E> {
    fn output(&mut self, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = (self.write)(bytes).err();
        }
    }

    /// Ends the block with its code.
    fn end_block(&mut self, code: u8) {
        self.block[0] = code;
        if self.failure.is_none() {
            let block = self.block.get(..self.len).unwrap_or_default();
            self.failure = (self.write)(block).err();
        }
        self.len = 1;
    }

    fn append(&mut self, byte: u8) {
        if let Some(last) = self.block.get_mut(self.len) {
            *last = byte;
            self.len += 1;
        }
    }

    /// Encodes a byte that is not part of the checksum.
    fn encode(&mut self, byte: u8) {
        match self.cobs.push(byte) {
            PushResult::AddSingle(byte) => self.append(byte),
            PushResult::ModifyFromStartAndSkip((_, code)) => self.end_block(code),
            PushResult::ModifyFromStartAndPushAndSkip((_, code, byte)) => {
                self.append(byte);
                self.end_block(code);
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.crc.update(&[byte]);
        self.encode(byte);
    }
}

impl<W: FnMut(&[u8]) -> Result<(), E>, E> Flavor for Sender<'_, W, E> {
    type Output = Option<E>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(byte);
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<Option<E>> {
        for byte in self.crc.clone().finalize().to_le_bytes() {
            self.encode(byte);
        }
        let (_, code) = self.cobs.clone().finalize();
        self.end_block(code);
        self.output(&[0]);
        Ok(self.failure)
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Something is missing or changed.
    Checksum,
    /// The frame does not fit the receiver's memory.
    TooLong,
    /// The frame is whole and of another [`VERSION`].
    Version(u8),
    /// The frame is whole and holds no message of this kind.
    Message,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("a damaged frame"),
            Self::TooLong => f.write_str("a frame that is too long"),
            Self::Version(version) => write!(f, "a frame of version {version}, not {VERSION}"),
            Self::Message => f.write_str("a frame with an unknown message"),
        }
    }
}

impl core::error::Error for FrameError {}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Checksum => Self::Checksum,
            FrameError::TooLong => Self::TooLong,
            FrameError::Version(_) => Self::Version,
            FrameError::Message => Self::Message,
        }
    }
}

/// A frame that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Number of the request.
    pub number: u8,
    message: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The message in it.
    ///
    /// # Errors
    /// [`FrameError::Message`] if it is no `M`, or something follows it.
    pub fn message<M: Message + Deserialize<'a>>(&self) -> Result<M, FrameError> {
        match postcard::take_from_bytes(self.message) {
            Ok((message, [])) => Ok(message),
            _ => Err(FrameError::Message),
        }
    }
}

/// Finds frames in the bytes that arrive.
///
/// Memory for the longest frame, before COBS, is the caller's: an array on a board, a
/// `Vec` on a host.
#[derive(Debug)]
pub struct Receiver<B> {
    buffer: B,
    len: usize,
    cobs: DecoderState,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Receiver<B> {
    /// A receiver that has seen nothing, with memory for frames of `buffer`'s length.
    pub const fn new(buffer: B) -> Self {
        Self { buffer, len: 0, cobs: DecoderState::Idle }
    }

    /// Takes the next byte; a frame, or what is wrong with it, at a frame's end.
    ///
    /// After an error the next zero begins anew.
    pub fn feed(&mut self, byte: u8) -> Option<Result<Frame<'_>, FrameError>> {
        let decoded = self.cobs.feed(byte);
        if let Ok(DecodeResult::DataContinue(value)) = decoded {
            // What is too long is counted, not kept.
            if let Some(slot) = self.buffer.as_mut().get_mut(self.len) {
                *slot = value;
            }
            self.len = self.len.saturating_add(1);
        }
        if byte != 0 {
            return None;
        }
        let len = core::mem::take(&mut self.len);
        match decoded {
            Ok(DecodeResult::DataComplete) => {
                let bytes = self.buffer.as_ref().get(..len);
                Some(bytes.ok_or(FrameError::TooLong).and_then(open))
            }
            Ok(_) => None,
            Err(_) => Some(Err(FrameError::Checksum)),
        }
    }
}

/// Checks a frame's bytes.
fn open(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (content, crc) = bytes.split_last_chunk::<TAIL>().ok_or(FrameError::Checksum)?;
    if CRC.checksum(content) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    match *content {
        [VERSION, number, ref message @ ..] => Ok(Frame { number, message }),
        [version, ..] => Err(FrameError::Version(version)),
        [] => Err(FrameError::Checksum),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::{Info, Reply, Request, Run};
    use super::*;
    use std::vec::Vec;

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
        Receiver::new(std::vec![0; frame_len(784)])
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
            Reply::Generation {
                done,
                takeovers: 40,
                digest,
                vary: 1,
                render: 0,
                classify: u64::MAX,
            },
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
            let image = std::vec![1; len];
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
        let mut receiver = Receiver::new(std::vec![0; frame_len(10)]);
        let long = encoded(1, &Request::Classify(&[7; 784]));
        let next = encoded(2, &Request::Info);
        let found = received(&mut receiver, &[long, next].concat());
        assert_eq!(found, [Err(FrameError::TooLong), Ok(2)]);
        // The longest that fits.
        for pixels in [0, 1, 63, 64, 127, 128, 784, 20_000] {
            let mut receiver = Receiver::new(std::vec![0; frame_len(pixels)]);
            let image = std::vec![3; pixels];
            assert_eq!(received(&mut receiver, &encoded(1, &Request::Classify(&image))), [Ok(1)]);
        }
    }

    #[test]
    fn another_version_and_other_messages_are_told_apart() {
        let frame = |content: &[u8]| {
            let crc = CRC.checksum(content).to_le_bytes();
            let mut coded = std::vec![0; 64];
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
}
