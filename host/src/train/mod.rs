//! Networks of our own: training in floats, and packing into int8.
//!
//! ```text
//! spec ─▶ network ─▶ sgd ─▶ onnx ─▶ quantize ─▶ mirage_core::nn::blob
//!            pass                   evaluate
//!        window  real
//! ```
//!
//! Any network that [`mirage_core::nn`] can run can be trained; there is one table of
//! layers for both.

pub mod evaluate;
mod network;
pub mod onnx;
mod pass;
mod preprocessing;
pub mod quantize;
mod real;
pub mod sgd;
pub mod spec;
mod window;

pub use network::{FloatLayer, FloatNetwork, NetworkError};
pub use pass::Pass;
pub use preprocessing::{Preprocessing, PreprocessingError};
pub use real::Real;
