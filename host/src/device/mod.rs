//! Boards: how to reach one, what to ask it, and how to follow a run on it.
//!
//! ```text
//! evolve      a run on a board, as a run folder, and the same run on the host
//! mirror      the board's archive, made again from what it tells
//! connection  requests and replies          emulator  a board without a board
//! port        serial lines and sockets
//! ```

mod connection;
pub mod emulator;
mod error;
pub mod evolve;
mod mirror;
pub mod port;

pub use connection::{BoardInfo, Connection};
pub use error::{DeviceError, Trouble};
