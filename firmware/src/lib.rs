//! *mirage* on a microcontroller: the application, generic over what a board brings.
//!
//! A board answers [requests](mirage_core::link) that arrive over a [`Link`]: it tells
//! what it is, classifies images, and evolves images against the int8 [`model`] in its
//! flash, one child at a time, to the archive that a workstation ends with.
//!
//! * [`Device`] evolves: network, archives and working memory, without a link.
//! * [`Application`] is a device that answers a host.
//! * [`serve`] answers for any [`Classifier`](mirage_core::image::Classifier), for
//!   firmware that leaves evolving to the host.
//! * `board` has what the programs in `src/bin` need of their boards; there, and in the
//!   assembly of [`kernel`], is all `unsafe` code.

#![no_std]
#![deny(unsafe_code)]

mod application;
#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "registers and the stack are raw memory")]
pub mod board;
mod device;
mod genome;
pub mod kernel;
mod link;
mod memory;
pub mod model;

pub use application::Application;
pub use device::{Device, DeviceArchive, DeviceError, Ticks};
pub use genome::Genome;
pub use link::{Board, Link, serve};
pub use memory::Memory;
pub use model::Model;
