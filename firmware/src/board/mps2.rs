//! Arm's MPS2 with the Cortex-M images AN385 (M3) and AN386 (M4F), as QEMU emulates
//! them. Addresses and bits: Arm DAI0385 and DAI0386, section 3; the peripherals are
//! those of the Cortex-M System Design Kit (Arm DDI0479).

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write};

use super::register::Register;
use super::stack;
use crate::Board;

/// Clock of the processor and its peripherals.
const HERTZ: u32 = 25_000_000;

// SAFETY: registers of UART 0 and timer 0 of the AN385 and AN386.
const UART_DATA: Register<u32> = unsafe { Register::at(0x4000_4000) };
const UART_STATE: Register<u32> = unsafe { Register::at(0x4000_4004) };
const UART_CTRL: Register<u32> = unsafe { Register::at(0x4000_4008) };
const UART_BAUDDIV: Register<u32> = unsafe { Register::at(0x4000_4010) };
const TIMER_CTRL: Register<u32> = unsafe { Register::at(0x4000_0000) };
const TIMER_VALUE: Register<u32> = unsafe { Register::at(0x4000_0004) };
const TIMER_RELOAD: Register<u32> = unsafe { Register::at(0x4000_0008) };

const STATE_SENDING: u32 = 1 << 0;
const STATE_RECEIVED: u32 = 1 << 1;
const CTRL_SEND_AND_RECEIVE: u32 = 0b11;
const TIMER_ENABLE: u32 = 1 << 0;

/// The board.
#[derive(Debug)]
pub struct Mps2;

/// UART 0.
#[derive(Debug)]
pub struct Uart;

/// Starts the clock and the serial port.
#[must_use]
pub fn start() -> (Mps2, Uart) {
    UART_BAUDDIV.write(HERTZ / mirage_core::link::BAUD);
    UART_CTRL.write(CTRL_SEND_AND_RECEIVE);
    TIMER_RELOAD.write(u32::MAX);
    TIMER_VALUE.write(u32::MAX);
    TIMER_CTRL.write(TIMER_ENABLE);
    (Mps2, Uart)
}

impl Board for Mps2 {
    const NAME: &'static str = "mps2";

    fn hertz(&self) -> u32 {
        HERTZ
    }

    fn ticks(&self) -> u32 {
        // It counts down.
        !TIMER_VALUE.read()
    }

    fn stack(&self) -> u32 {
        stack::deepest()
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(UART_STATE.has(STATE_RECEIVED))
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = buffer.first_mut() else { return Ok(0) };
        while !UART_STATE.has(STATE_RECEIVED) {}
        *byte = UART_DATA.read() as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while UART_STATE.has(STATE_SENDING) {}
            UART_DATA.write(u32::from(byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
