//! What can go wrong between a host and a board.

use std::io;

use mirage_core::link::{Fault, VERSION};
use thiserror::Error;

/// Why a board cannot be used.
#[derive(Debug, Error)]
#[error("port {port}: {trouble}")]
pub struct DeviceError {
    /// The port, as it was named.
    pub port: String,
    /// What is wrong there.
    pub trouble: Trouble,
}

/// What is wrong with a port or the board behind it.
#[derive(Debug, Error)]
pub enum Trouble {
    /// There is no such port.
    #[error("there is no such port; plug the board in, or name another")]
    Missing,
    /// The user may not open it.
    #[error("no permission; join the group that owns it (often dialout) and log in again")]
    Denied,
    /// Another program has it.
    #[error("another program has the port; close that one (a terminal, another mirage)")]
    Busy,
    /// Nobody listens at the socket.
    #[error("nothing listens there; start the emulator or the board's server first")]
    Refused,
    /// It is something else than a port.
    #[error("this is not a serial port; name a serial port, unix:PATH or tcp:HOST:PORT")]
    NotAPort,
    /// The system does not open it for another reason.
    #[error("cannot open it: {0}; name another port")]
    Open(io::Error),
    /// Not a byte came.
    #[error(
        "no answer; is the board powered, flashed with mirage's firmware, and its speed that of --baud?"
    )]
    Silent,
    /// Bytes came, and no frames of this link.
    #[error(
        "something answers, but it is not a mirage board; name another port, or try another --baud"
    )]
    NotMirage,
    /// The board speaks another version of the link; which, if it said so.
    #[error(
        "the board speaks {} of the link, and this program version {VERSION}; flash the firmware of this version",
        .0.map_or("another version".to_owned(), |version| format!("version {version}"))
    )]
    Version(Option<u8>),
    /// What the board says cannot be.
    #[error("the board says what cannot be: {0}; flash it again")]
    Absurd(String),
    /// The board's run is over before its time.
    #[error("the board ended its run after generation {0}; was it reset?")]
    Ended(u32),
    /// The board does not do what was asked.
    #[error("{0}")]
    Fault(Fault),
    /// The line changes too many bytes.
    #[error("the line damages too many frames; check the cable")]
    Noise,
    /// The board has stopped answering.
    #[error("the board does not answer any more; reset it")]
    Unanswered,
    /// The line is gone.
    #[error("the board has gone ({0})")]
    Gone(io::Error),
}
