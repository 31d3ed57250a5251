//! What a board brings, and how a classifier answers over it.

use embedded_io::{Read, ReadReady, Write};
use mirage_core::image::Classifier;
use mirage_core::link::{self, Fault, FrameError, Info, Receiver, Reply, Request};
use mirage_core::math::canonical_bits;

/// A pipe of bytes to a host: any `embedded-io` serial port, USB pipe or socket.
///
/// Reading waits for a byte; a link that has ended reads 0 bytes.
pub trait Link: Read + ReadReady + Write {}

impl<L: Read + ReadReady + Write> Link for L {}

/// What an application asks of a board beside its link.
pub trait Board {
    /// Name of the board.
    const NAME: &'static str;

    /// Ticks per second of the clock.
    fn hertz(&self) -> u32;

    /// Ticks since some moment; wraps around at 2³².
    fn ticks(&self) -> u32;

    /// The deepest that the stack has been, in bytes; 0 if the board does not know.
    fn stack(&self) -> u32;
}

/// The next byte; `None` when the link has ended.
pub(crate) fn read<L: Link>(link: &mut L) -> Result<Option<u8>, L::Error> {
    let mut byte = [0];
    let count = link.read(&mut byte)?;
    Ok((count > 0).then_some(byte[0]))
}

/// Sends a reply to request `number`.
pub(crate) fn send<L: Link>(link: &mut L, number: u8, reply: &Reply<'_>) -> Result<(), L::Error> {
    link::send(number, reply, &mut |bytes| write(link, bytes))?;
    link.flush()
}

/// [`Write::write_all`] without its panic, for a link that keeps its promise to write
/// at least one byte.
fn write<L: Link>(link: &mut L, mut bytes: &[u8]) -> Result<(), L::Error> {
    while !bytes.is_empty() {
        let count = link.write(bytes)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// What is wrong with a frame, for its sender.
pub(crate) fn refusal(error: FrameError) -> Reply<'static> {
    Reply::Refused(error.into())
}

/// Classifies one image and answers with its scores, or why not.
///
/// `scores` has an element for each class.
pub(crate) fn classify<'s, C: Classifier>(
    classifier: &mut C,
    pixels: usize,
    image: &[u8],
    scores: &'s mut [f32],
) -> Reply<'s> {
    if image.len() != pixels {
        return Reply::Refused(Fault::Length);
    }
    match classifier.classify(image, scores) {
        Ok(()) => Reply::Scores(on_the_line(scores)),
        Err(_) => Reply::Refused(Fault::Classifier),
    }
}

/// Scores as [`Reply::Scores`] has them, in place.
pub(crate) fn on_the_line(scores: &mut [f32]) -> &[u8] {
    for score in scores.iter_mut() {
        *score = f32::from_bits(canonical_bits(*score).to_le());
    }
    bytemuck::cast_slice(scores)
}

/// Answers for a classifier of your own, so that a host can evolve images against it:
/// `mirage evolve --device PORT`. Returns when the link ends.
///
/// * `info`: what the board says of itself; its `revision` is `None`.
/// * `frame`: memory for a request, [`frame_len`](link::frame_len) of an image's bytes.
/// * `scores`: one element for each class.
///
/// # Errors
/// What the link reports.
pub fn serve<L: Link>(
    link: &mut L,
    info: &Info<'_>,
    frame: &mut [u8],
    scores: &mut [f32],
    classifier: &mut impl Classifier,
) -> Result<(), L::Error> {
    let pixels = info.shape().len();
    let mut receiver = Receiver::new(frame);
    while let Some(byte) = read(link)? {
        let (number, reply) = match receiver.feed(byte) {
            None => continue,
            Some(Err(error)) => (0, refusal(error)),
            Some(Ok(frame)) => {
                let reply = match frame.message() {
                    Err(error) => refusal(error),
                    Ok(Request::Info) => Reply::Info(*info),
                    Ok(Request::Classify(image)) => classify(classifier, pixels, image, scores),
                    Ok(_) => Reply::Refused(Fault::Unsupported),
                };
                (frame.number, reply)
            }
        };
        send(link, number, &reply)?;
    }
    Ok(())
}
