//! Slow, plain, obvious versions of what *mirage* computes, to hold
//! [`mirage_core`] against.
//!
//! Everything here is written from the sources that each module names (the paper,
//! TensorFlow Lite's published arithmetic, the generators' published C), in
//! explicit loops over `f64`, `i64` and `i128`, and shares no code with the core.
//! The exception is [`bridge`], which hands a reference network to the core as a
//! blob.
//!
//! Functions here check nothing: a wrong shape panics.

pub mod archive;
pub mod bridge;
pub mod cppn;
pub mod crc32;
pub mod data;
pub mod int8;
pub mod math;
pub mod network;
pub mod onnx;
pub mod operators;
pub mod property;
pub mod rng;
pub mod sample;
pub mod skip;
pub mod statistics;
pub mod variation;
