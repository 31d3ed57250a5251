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
