//! How deep the stack has been: it is filled with a pattern, and what is left of that
//! was never used.

use core::arch::asm;
use core::ptr;

unsafe extern "C" {
    /// The end of static memory, which the stack grows towards: from the linker script.
    static __sheap: u32;
    /// The beginning of the stack, its highest address: from the linker script.
    static _stack_start: u32;
}

/// What unused stack holds.
const PAINT: u32 = 0xCCCC_CCCC;

/// Fills the unused part of the stack. To be called as early as can be.
pub(super) fn paint() {
    let end: usize;
    // SAFETY: copies the stack pointer.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov {}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {}, sp", out(reg) end, options(nomem, nostack, preserves_flags));
    }
    let mut word = (&raw const __sheap).cast_mut();
    while word.addr() < end {
        // SAFETY: the words between static memory and the stack pointer are RAM that
        // nothing uses, but for an interrupt handler that comes and goes in between.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// The most bytes of stack that were in use at a time since [`paint`].
pub(super) fn deepest() -> u32 {
    let start = (&raw const _stack_start).addr();
    let mut word = &raw const __sheap;
    // SAFETY: words of RAM up to the beginning of the stack, read as they happen to be.
    while word.addr() < start && unsafe { ptr::read_volatile(word) } == PAINT {
        // SAFETY: still within RAM.
        word = unsafe { word.add(1) };
    }
    (start - word.addr()) as u32
}
