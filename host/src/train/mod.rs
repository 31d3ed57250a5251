//! Training and quantization.
