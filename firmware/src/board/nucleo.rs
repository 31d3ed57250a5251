//! ST's NUCLEO-F446RE: an STM32F446RE (Cortex-M4F, 512 KB of flash, 128 KB of RAM) with
//! a debugger whose USB cable is also the serial line (USART 2 on PA2 and PA3).
//! Addresses and bits: ST RM0390.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use mirage_core::link::BAUD;

use super::register::{Register, registers};
use super::serial::{Port, Serial};
use super::stack;
use crate::Board;

/// The clock that runs from reset on.
const HSI: u32 = 16_000_000;
/// The fastest clock without overdrive: HSI / 16 · 336 / 2.
const PLL: u32 = 168_000_000;

// Registers of the STM32F446: sections 3.9, 6.3, 7.4, 17.4 and 25.6 of RM0390,
// and the NVIC's of Arm's ARMv7-M manual.
registers!(
    unsafe u32:
    FLASH_ACR = 0x4002_3C00
    RCC_CR = 0x4002_3800
    RCC_PLLCFGR = 0x4002_3804
    RCC_CFGR = 0x4002_3808
    RCC_AHB1ENR = 0x4002_3830
    RCC_APB1ENR = 0x4002_3840
    GPIOA_MODER = 0x4002_0000
    GPIOA_AFRL = 0x4002_0020
    TIM2_CR1 = 0x4000_0000
    TIM2_CNT = 0x4000_0024
    USART2_SR = 0x4000_4400
    USART2_DR = 0x4000_4404
    USART2_BRR = 0x4000_4408
    USART2_CR1 = 0x4000_440C
    NVIC_ISER1 = 0xE000_E104
);

const ACR_CACHES_AND_5_WAIT_STATES: u32 = 0b111 << 8 | 5;
const CR_PLL_ON: u32 = 1 << 24;
const CR_PLL_READY: u32 = 1 << 25;
/// R = 2, Q = 7, from HSI, P = 2, N = 336, M = 16.
const PLLCFGR_168_MHZ: u32 = 2 << 28 | 7 << 24 | 336 << 6 | 16;
/// APB1 a quarter, APB2 half of the processor's clock.
const CFGR_BUSES: u32 = 0b100 << 13 | 0b101 << 10;
/// The PLL is the processor's clock.
const CFGR_PLL: u32 = 0b10;
const AHB1ENR_GPIOA: u32 = 1 << 0;
const APB1ENR_TIM2_USART2: u32 = 1 << 17 | 1 << 0;
const SR_RECEIVED: u32 = 1 << 5;
const SR_MAY_SEND: u32 = 1 << 7;
/// On, with an interrupt for what is received, in both directions.
const CR1_ON: u32 = 1 << 13 | 1 << 5 | 1 << 3 | 1 << 2;
const TIM_ENABLE: u32 = 1 << 0;

/// Number of USART 2's interrupt.
const USART2_IRQ: i16 = 38;

/// Times that the PLL's readiness is looked for: ten times as long as it may take.
const PLL_PATIENCE: u32 = 10_000;

/// The board.
#[derive(Debug)]
pub struct Nucleo {
    timer_hertz: u32,
}

/// USART 2.
#[derive(Debug)]
pub struct Usart;

/// Starts the clock and the serial port.
#[must_use]
pub fn start() -> (Nucleo, Serial<Usart>) {
    let (bus, timer_hertz) = speed_up();
    RCC_AHB1ENR.write(RCC_AHB1ENR.read() | AHB1ENR_GPIOA);
    RCC_APB1ENR.write(RCC_APB1ENR.read() | APB1ENR_TIM2_USART2);
    // PA2 and PA3: alternate function 7. The other pins keep theirs, the debugger's too.
    GPIOA_AFRL.write(GPIOA_AFRL.read() & !0xFF00 | 0x7700);
    GPIOA_MODER.write(GPIOA_MODER.read() & !0xF0 | 0xA0);
    TIM2_CR1.write(TIM_ENABLE);
    USART2_BRR.write((bus + BAUD / 2) / BAUD);
    USART2_CR1.write(CR1_ON);
    NVIC_ISER1.write(1 << (USART2_IRQ - 32));
    (Nucleo { timer_hertz }, Serial::new())
}

/// Has the processor run at 168 MHz; returns the clocks of the serial port and of the
/// timer. Should the PLL not start, all keep the clock they have from reset.
fn speed_up() -> (u32, u32) {
    RCC_PLLCFGR.write(PLLCFGR_168_MHZ);
    RCC_CR.write(RCC_CR.read() | CR_PLL_ON);
    if !(0..PLL_PATIENCE).any(|_| RCC_CR.has(CR_PLL_READY)) {
        return (HSI, HSI);
    }
    FLASH_ACR.write(ACR_CACHES_AND_5_WAIT_STATES);
    // They hold once they are read back, and the buses are slow before the clock is fast.
    let _ = FLASH_ACR.read();
    RCC_CFGR.write(CFGR_BUSES);
    RCC_CFGR.write(CFGR_BUSES | CFGR_PLL);
    // A timer runs at twice the speed of a bus that is slowed down.
    (PLL / 4, PLL / 2)
}

/// Bytes that wait to be read.
struct Ring {
    bytes: [AtomicU8; 256],
    /// Bytes ever put in; only the interrupt handler changes it.
    written: AtomicUsize,
    /// Bytes ever taken out; only the reader changes it.
    read: AtomicUsize,
}

static RECEIVED: Ring = Ring {
    bytes: [const { AtomicU8::new(0) }; 256],
    written: AtomicUsize::new(0),
    read: AtomicUsize::new(0),
};

impl Ring {
    /// Puts a byte in, if there is room: a frame that lost one is noticed by its checksum.
    fn put(&self, byte: u8) {
        let written = self.written.load(Ordering::Relaxed);
        if written.wrapping_sub(self.read.load(Ordering::Acquire)) < self.bytes.len() {
            self.bytes[written % self.bytes.len()].store(byte, Ordering::Relaxed);
            self.written.store(written.wrapping_add(1), Ordering::Release);
        }
    }

    fn is_empty(&self) -> bool {
        self.written.load(Ordering::Acquire) == self.read.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let read = self.read.load(Ordering::Relaxed);
        let byte = self.bytes[read % self.bytes.len()].load(Ordering::Relaxed);
        self.read.store(read.wrapping_add(1), Ordering::Release);
        Some(byte)
    }
}

/// All interrupts: a byte arrives also while an image is being classified.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(number: i16) {
    if number == USART2_IRQ {
        let is_received = USART2_SR.has(SR_RECEIVED);
        // Reading the status and then this ends the interrupt, also that of an overrun.
        let byte = USART2_DR.read() as u8;
        if is_received {
            RECEIVED.put(byte);
        }
    }
}

impl Board for Nucleo {
    const NAME: &'static str = "nucleo-f446re";

    fn hertz(&self) -> u32 {
        self.timer_hertz
    }

    fn ticks(&self) -> u32 {
        TIM2_CNT.read()
    }

    fn stack(&self) -> u32 {
        stack::deepest()
    }
}

impl Port for Usart {
    fn has_byte() -> bool {
        !RECEIVED.is_empty()
    }

    fn take() -> u8 {
        RECEIVED.take().unwrap_or_default()
    }

    fn has_room() -> bool {
        USART2_SR.has(SR_MAY_SEND)
    }

    fn put(byte: u8) {
        USART2_DR.write(u32::from(byte));
    }
}
