//! The application on ST's NUCLEO-F446RE.

#![no_std]
#![no_main]

use mirage_firmware::board::{self, nucleo};
#[cfg(debug_assertions)]
use panic_halt as _;
// In an optimised build no panic is reachable, or it does not link.
#[cfg(not(debug_assertions))]
use panic_never as _;

#[cortex_m_rt::entry]
fn main() -> ! {
    let (board, link) = nucleo::start();
    board::run(board, link)
}
