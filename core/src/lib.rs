//! The part of *mirage* that runs everywhere: genomes, variation, MAP-Elites
//! and an int8 neural network.
//!
//! The same source gives the same bits on a workstation and on a
//! microcontroller, for any number of threads, in debug and in release. To that
//! end this crate
//!
//! * knows no files, clocks, threads or printing, and never allocates;
//! * has no `unsafe` code and does not panic on any input: bytes from outside
//!   are checked once, by [`nn::Network::parse`] and [`wire`], and relied on after;
//! * takes every float function from [`math`], which uses plain multiplication,
//!   addition and division (no fused operations, no reordering) or `libm`.
//!
//! A module imports only from lower lines:
//!
//! ```text
//! evolve                          ask / tell: the generation loop
//! archive        link             elites per class; what boards and hosts say
//! genome ──▶ image ◀── nn         genome and nn meet only at image
//! math  rng  digest  colour  limits  wire   leaves; wire: reading canonical bytes
//! ```
//!
//! The algorithm is that of Nguyen, Yosinski and Clune, *Deep Neural Networks
//! are Easily Fooled*, CVPR 2015 (arXiv:1412.1897), called "the paper" below.

#![no_std]
#![forbid(unsafe_code)]

pub mod archive;
pub mod colour;
pub mod digest;
pub mod evolve;
pub mod genome;
pub mod image;
pub mod limits;
#[cfg(feature = "link")]
pub mod link;
pub mod math;
pub mod nn;
pub mod rng;
pub mod wire;
