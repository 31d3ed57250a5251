//! The memory of the application.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::model;

struct Static {
    is_taken: AtomicBool,
    memory: UnsafeCell<model::Memory>,
}

// SAFETY: `take` gives `memory` out once; there is one processor, and no interrupt
// handler calls it.
unsafe impl Sync for Static {}

static STATIC: Static =
    Static { is_taken: AtomicBool::new(false), memory: UnsafeCell::new(model::Memory::new()) };

/// The memory for the firmware's model, the first time.
pub(super) fn take() -> Option<&'static mut model::Memory> {
    // In two steps, which every processor has.
    if STATIC.is_taken.load(Ordering::Relaxed) {
        return None;
    }
    STATIC.is_taken.store(true, Ordering::Relaxed);
    // SAFETY: this is the only reference, as nothing comes here twice.
    Some(unsafe { &mut *STATIC.memory.get() })
}
