//! A serial port that is looked at, byte by byte.

use core::convert::Infallible;
use core::marker::PhantomData;

use embedded_io::{ErrorType, Read, ReadReady, Write};

/// What the hardware of a serial port does.
pub trait Port {
    /// Whether a byte has arrived.
    fn has_byte() -> bool;

    /// The byte that has arrived; anything if none has.
    fn take() -> u8;

    /// Whether there is room for a byte to send.
    fn has_room() -> bool;

    /// Sends a byte, for which there is room.
    fn put(byte: u8);
}

/// The port as a [`Link`](crate::Link).
#[derive(Debug)]
pub struct Serial<P>(PhantomData<P>);

impl<P: Port> Serial<P> {
    /// The port, once it has been set up.
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P> ErrorType for Serial<P> {
    type Error = Infallible;
}

impl<P: Port> ReadReady for Serial<P> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(P::has_byte())
    }
}

impl<P: Port> Read for Serial<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = buffer.first_mut() else { return Ok(0) };
        while !P::has_byte() {}
        *byte = P::take();
        Ok(1)
    }
}

impl<P: Port> Write for Serial<P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while !P::has_room() {}
            P::put(byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
