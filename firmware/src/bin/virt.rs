//! The application on the RISC-V machine that QEMU calls virt.

#![no_std]
#![no_main]

use mirage_firmware::board::{self, virt};
#[cfg(debug_assertions)]
use panic_halt as _;
// In an optimised build no panic is reachable, or it does not link.
#[cfg(not(debug_assertions))]
use panic_never as _;

#[riscv_rt::entry]
fn main() -> ! {
    let (board, link) = virt::start();
    board::run(board, link)
}
