//! Data sets on disk.

pub mod idx;
pub mod pull;
