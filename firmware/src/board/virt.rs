//! The RISC-V machine that QEMU calls virt: <https://www.qemu.org/docs/master/system/riscv/virt.html>.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write};

use super::register::{Register, registers};
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
pub fn start() -> (Virt, Uart) {
    (Virt, Uart)
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
        *byte = UART_DATA.read();
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while !UART_STATE.has(STATE_MAY_SEND) {}
            UART_DATA.write(byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
