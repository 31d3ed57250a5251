//! The RISC-V machine that QEMU calls virt: <https://www.qemu.org/docs/master/system/riscv/virt.html>.

use super::register::{Register, registers};
use super::serial::{Port, Serial};
use super::stack;
use crate::Board;

/// Ticks of the machine's `time` counter per second.
const HERTZ: u32 = 10_000_000;

// Registers of the 16550 UART.
registers!(
    unsafe u8:
    UART_DATA = 0x1000_0000
    UART_STATE = 0x1000_0005
);

const STATE_RECEIVED: u8 = 1 << 0;
const STATE_MAY_SEND: u8 = 1 << 5;

/// The board.
#[derive(Debug)]
pub struct Virt;

/// The serial port. It has no speed here, and needs no setting up.
#[derive(Debug)]
pub struct Uart;

/// The board and its serial port.
#[must_use]
pub fn start() -> (Virt, Serial<Uart>) {
    (Virt, Serial::new())
}

impl Board for Virt {
    const NAME: &'static str = "virt";

    fn hertz(&self) -> u32 {
        HERTZ
    }

    fn ticks(&self) -> u32 {
        let ticks;
        // SAFETY: reads a counter.
        unsafe { core::arch::asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
        ticks
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
        UART_DATA.read()
    }

    fn has_room() -> bool {
        UART_STATE.has(STATE_MAY_SEND)
    }

    fn put(byte: u8) {
        UART_DATA.write(byte);
    }
}
