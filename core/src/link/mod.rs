//! What a board and a host say to each other, over any pipe of bytes.
//!
//! A host sends [`Request`]s, a board answers with [`Reply`]s: one for each request,
//! and for [`Request::Evolve`] a stream of them. Both travel as [postcard] in frames:
//!
//! | bytes | frame, before COBS |
//! |---|---|
//! | 1 | [`VERSION`] |
//! | 1 | number of the request, chosen by the host; a reply has its request's |
//! | … | the message in postcard: enums by their index, integers as varints |
//! | 4 | CRC-32 (ISO-HDLC, as in PNG) of all before it, little-endian |
//!
//! The frame is encoded by COBS (Cheshire and Baker 1999), which leaves no zero in it,
//! and sent between two zeros. So whatever happened before (noise, half a frame, a
//! reset), the next zero begins a new frame, and a receiver needs no timeout. The zero
//! in front ends what noise may have begun; between zeros there is nothing, which a
//! receiver ignores.
//!
//! A receiver answers a frame that it cannot use with [`Reply::Refused`], numbered 0
//! if the number cannot be trusted; a board does so in the middle of a run without
//! losing it.
//!
//! # Example
//!
//! Request 7 is [`Request::Digest`]; the board answers that its archive of 5 generations
//! has the digest 300, which is ac 02 as a varint; and it refuses a frame that was damaged.
//!
//! ```
//! use mirage_core::link::{Fault, Message, Reply, Request, send};
//!
//! fn sent(number: u8, message: impl Message) -> Vec<u8> {
//!     let mut bytes = Vec::new();
//!     let mut write = |block: &[u8]| Ok::<_, ()>(bytes.extend_from_slice(block));
//!     send(number, &message, &mut write).unwrap();
//!     bytes
//! }
//!
//! // Zero; code, version, number, message, CRC-32; zero.
//! assert_eq!(
//!     sent(7, Request::Digest),
//!     [0x00, 0x08, 0x01, 0x07, 0x04, 0xfb, 0xe1, 0xaf, 0xb6, 0x00],
//! );
//! assert_eq!(
//!     sent(7, Reply::Digest { done: 5, digest: 300 }),
//!     [0x00, 0x0b, 0x01, 0x07, 0x06, 0x05, 0xac, 0x02, 0xe8, 0xa1, 0xa2, 0x07, 0x00],
//! );
//! // The zeros of number and fault become codes.
//! assert_eq!(
//!     sent(0, Reply::Refused(Fault::Checksum)),
//!     [0x00, 0x02, 0x01, 0x02, 0x07, 0x05, 0xbe, 0x2e, 0xb9, 0xd6, 0x00],
//! );
//! ```
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

mod frame;
mod message;

pub use frame::{Frame, FrameError, Receiver, frame_len, send};
pub use message::{Fault, Info, Message, Reply, Request, Run};

/// The version of the link that this code speaks; the first byte of every frame.
pub const VERSION: u8 = 1;

/// Bits per second on a serial line, unless a board's documentation says otherwise;
/// 8 data bits, no parity, 1 stop bit.
pub const BAUD: u32 = 115_200;
