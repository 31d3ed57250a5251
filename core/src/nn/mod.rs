//! A sequential int8 network: convolution, depthwise convolution, max and
//! average pooling, dense layers.
//!
//! The arithmetic is that of TensorFlow Lite's int8 reference kernels (and of
//! CMSIS-NN and TensorFlow Lite Micro): per-channel symmetric int8 weights,
//! per-tensor affine int8 activations, int32 accumulators, and
//! [requantization](requantize) with double rounding. The last layer is not
//! requantized: its accumulators become `f32` logits, because an int8 softmax
//! cannot express a confidence of 99.99 %.
//!
//! A network travels as one little-endian [blob] and is read in place;
//! [`Network::parse`] checks all of it, so that running it cannot fail. A [`Network`] is
//! a view of a few words: it decodes the layers' records anew whenever it walks them,
//! which costs a device instructions in the hundreds and saves it memory.

pub mod blob;
mod guard;
mod kernel;
mod layer;
mod network;
mod requantize;
mod shape;

pub use crate::image::Shape;
pub use blob::{BlobError, Layers};
pub use guard::{EnergyGuard, energy};
pub use kernel::{Kernel, Portable, ROW_ALIGN, row_stride};
pub use layer::{Layer, Weights};
pub use network::{ForwardError, Network, Requirements, Scratch};
pub use requantize::requantize;
pub use shape::{Op, Padding, Window};
