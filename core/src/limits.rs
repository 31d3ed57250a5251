//! Every capacity of the core, and what it costs.
//!
//! Capacities are part of a run's identity: an operator that does not fit is a
//! no-op, so host and device use the same ones.

/// Layers of a network; bounds the work of a walk through them. They take no RAM: a
/// parsed [`Network`](crate::nn::Network) reads them in place.
pub const MAX_LAYERS: usize = 24;

/// Rows or columns of an activation.
pub const MAX_SIDE: usize = 4096;

/// Elements of one activation; bounds every product of dimensions.
pub const MAX_ACTIVATION: usize = 1 << 24;

/// Weights that one output is summed over. Keeps a sum of int8 products of
/// (−255 ..= 255) · (−128 ..= 127) inside `i32`.
pub const MAX_DEPTH: usize = 1 << 16;

/// Positions of a max pool's window that is computed together with the convolution
/// before it: the convolution then needs scratch memory for so many patches at once.
pub const MAX_FUSED_WINDOW: usize = 16;

/// Classes of a network.
pub const MAX_CLASSES: usize = 1 << 12;

/// Bytes of a model blob.
pub const MAX_BLOB: usize = 1 << 28;

/// Nodes of a CPPN that draws grey, outputs included, inputs not; 1 byte each.
///
/// Against the built-in LeNet (`mnist-cppn`, seeds 1 to 4), elites have 6 nodes and 11
/// connections on average after 200 generations, the largest 13 and 22; after 1000
/// generations 6 and 12, the largest 17 and 26: no operator found a genome full. With
/// pixel indices as coordinates genomes grow larger: of four runs of 1000 generations
/// against another LeNet one went past the limits, in 11 % of its children.
pub const CPPN_NODES: usize = 32;

/// Connections of a CPPN, 8 bytes each.
pub const CPPN_CONNECTIONS: usize = 64;

/// Nodes of a CPPN that draws colour, which only hosts do: room for thousands of
/// generations.
pub const COLOUR_CPPN_NODES: usize = 256;

/// Connections of a CPPN that draws colour: with the nodes 4.4 KB per genome.
pub const COLOUR_CPPN_CONNECTIONS: usize = 512;
