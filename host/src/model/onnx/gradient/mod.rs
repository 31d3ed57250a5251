//! Networks with a way back: from a class's score to what every value of the input does
//! to it.
//!
//! `reverse` appends the derivative's nodes to the network that tract loaded; the whole
//! is then optimised and run by tract as any other. Each of the other modules knows some
//! operators' derivatives.

mod axes;
mod binary;
mod convolution;
mod copies;
mod dense;
mod elementwise;
mod lrn;
mod max_pool;
mod network;
mod reduce;
mod reverse;
mod seed;
mod softmax;
mod sum_pool;

pub use network::{Evaluation, GradientNetwork, Objective};
