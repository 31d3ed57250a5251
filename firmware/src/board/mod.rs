//! What the programs in `src/bin` need of their boards.

mod memory;
#[cfg(feature = "mps2")]
pub mod mps2;
#[cfg(feature = "nucleo")]
pub mod nucleo;
mod register;
pub mod serial;
mod stack;
#[cfg(feature = "virt")]
pub mod virt;

use crate::kernel::KERNEL;
use crate::{Application, Board, Link, model};

/// Runs the application for the firmware's model; a program's whole `main`.
pub fn run(board: impl Board, link: impl Link) -> ! {
    stack::paint();
    // Neither fails: this is called once, and the model was checked when it was built in.
    if let Some(memory) = memory::take()
        && let Ok(mut application) = Application::new(link, board, model::MODEL, KERNEL, memory)
    {
        let _ = application.run();
    }
    loop {
        core::hint::spin_loop();
    }
}
