//! The wish to stop, which work that takes long asks about.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Exit code of a program that was asked to stop: 128 and the number of SIGINT, as
    /// shells count.
    pub const EXIT_CODE: u8 = 130;

    /// A wish that comes with the signals by which people and systems ask programs to
    /// stop: SIGINT (Ctrl-C), SIGTERM and, of a terminal that closes, SIGHUP. The second
    /// one ends the process at once. Signals that it was started to ignore, as with
    /// `nohup` or in a script's background, are still ignored.
    ///
    /// # Errors
    /// If the system gives no handlers.
    pub fn by_signals() -> io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::flag;

        let interrupt = Self::default();
        #[cfg(unix)]
        let signals = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP].into_iter();
        #[cfg(unix)]
        let signals = signals.filter(|&signal| !is_ignored(signal));
        #[cfg(not(unix))]
        let signals = [SIGINT, SIGTERM].into_iter();
        for signal in signals {
            // In this order: the first signal finds the wish not yet there.
            let code = Self::EXIT_CODE.into();
            flag::register_conditional_shutdown(signal, code, interrupt.0.clone())?;
            flag::register(signal, interrupt.0.clone())?;
        }
        Ok(interrupt)
    }

    /// Wishes it.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was wished.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the process ignores a signal.
#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, `sigaction` only writes the present one, and zeros are
    // one as well.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
