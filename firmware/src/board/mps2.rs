//! Arm's MPS2 with the Cortex-M images AN385 (M3) and AN386 (M4F), as QEMU emulates
//! them. Addresses and bits: Arm DAI0385 and DAI0386, section 3; the peripherals are
//! those of the Cortex-M System Design Kit (Arm DDI0479).

use super::register::{Register, registers};
use super::serial::{Port, Serial};
use super::stack;
use crate::Board;

/// Clock of the processor and its peripherals.
const HERTZ: u32 = 25_000_000;

// Registers of UART 0 and timer 0 of the AN385 and AN386.
registers!(
    unsafe u32:
    UART_DATA = 0x4000_4000
    UART_STATE = 0x4000_4004
    UART_CTRL = 0x4000_4008
    UART_BAUDDIV = 0x4000_4010
    TIMER_CTRL = 0x4000_0000
    TIMER_VALUE = 0x4000_0004
    TIMER_RELOAD = 0x4000_0008
);

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
pub fn start() -> (Mps2, Serial<Uart>) {
    UART_BAUDDIV.write(HERTZ / mirage_core::link::BAUD);
    UART_CTRL.write(CTRL_SEND_AND_RECEIVE);
    TIMER_RELOAD.write(u32::MAX);
    TIMER_VALUE.write(u32::MAX);
    TIMER_CTRL.write(TIMER_ENABLE);
    (Mps2, Serial::new())
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

impl Port for Uart {
    fn has_byte() -> bool {
        UART_STATE.has(STATE_RECEIVED)
    }

    fn take() -> u8 {
        UART_DATA.read() as u8
    }

    fn has_room() -> bool {
        !UART_STATE.has(STATE_SENDING)
    }

    fn put(byte: u8) {
        UART_DATA.write(u32::from(byte));
    }
}
