//! The float twin of [`mirage_core::nn::Network`]: the same layers, shapes and order
//! of weights, in floats that can be trained.

use std::ops::Range;

use mirage_core::limits;
use mirage_core::nn::{Op, Shape};
use mirage_core::rng::Stream;
use thiserror::Error;

use super::real::Real;

/// One layer; its parameters are ranges of the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatLayer {
    op: Op,
    relu: bool,
    input: Shape,
    output: Shape,
    weights: Range<usize>,
    biases: Range<usize>,
}

impl FloatLayer {
    /// What the layer computes.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// Whether negative outputs become zero; never for pooling.
    #[must_use]
    pub fn relu(&self) -> bool {
        self.relu
    }

    /// Shape of one input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of one output.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Where the weights are among the network's parameters, in the order that [`Op`]
    /// states; empty for pooling.
    #[must_use]
    pub fn weights(&self) -> Range<usize> {
        self.weights.clone()
    }

    /// Where the biases are, one per output channel; empty for pooling.
    #[must_use]
    pub fn biases(&self) -> Range<usize> {
        self.biases.clone()
    }

    /// Whether the layer has weights.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        !self.weights.is_empty()
    }
}

/// A sequential network of floats that ends in logits.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatNetwork<T = f32> {
    input: Shape,
    layers: Vec<FloatLayer>,
    parameters: Vec<T>,
}

/// Why layers do not make a network. Layers are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// There is no layer, or the last is not dense.
    #[error("the last layer must be dense: its outputs are the logits")]
    NoLogits,
    /// The last layer has a ReLU.
    #[error("the last layer must not have a relu: its outputs are the logits")]
    ReluOnLogits,
    /// A pooling layer has a ReLU.
    #[error("layer {0}: a relu belongs to a layer with weights, not to pooling")]
    ReluOnPool(usize),
    /// A window does not fit, or something is zero.
    #[error("layer {0} does not fit its input")]
    Geometry(usize),
    /// Something is larger than [`limits`] allows.
    #[error("layer {0} is larger than the limits of a network")]
    TooLarge(usize),
}

impl<T: Real> FloatNetwork<T> {
    /// A network with all parameters zero.
    ///
    /// `layers`: what each computes, and whether it has a ReLU.
    ///
    /// # Errors
    /// If the layers do not fit each other or [`limits`], or do not end in logits.
    pub fn new(input: Shape, layers: &[(Op, bool)]) -> Result<Self, NetworkError> {
        match layers.last() {
            Some((Op::Dense { .. }, false)) => {}
            Some((Op::Dense { .. }, true)) => return Err(NetworkError::ReluOnLogits),
            _ => return Err(NetworkError::NoLogits),
        }
        if !within_limits(input) {
            return Err(NetworkError::Geometry(1));
        }
        let mut network = Self { input, layers: Vec::new(), parameters: Vec::new() };
        let (mut shape, mut end) = (input, 0);
        for (number, &(op, relu)) in (1..).zip(layers) {
            if number > limits::MAX_LAYERS || !sides_within_limits(&op) {
                return Err(NetworkError::TooLarge(number));
            }
            let output = op.output(shape).ok_or(NetworkError::Geometry(number))?;
            let (depth, channels) = (op.depth(shape), output.channels);
            if !within_limits(output) || depth > limits::MAX_DEPTH {
                return Err(NetworkError::TooLarge(number));
            }
            let weighted = !matches!(op, Op::MaxPool(_) | Op::AveragePool(_));
            if relu && !weighted {
                return Err(NetworkError::ReluOnPool(number));
            }
            let weights = end..end + depth * channels;
            let biases = weights.end..weights.end + if weighted { channels } else { 0 };
            end = biases.end;
            if end > limits::MAX_BLOB {
                return Err(NetworkError::TooLarge(number));
            }
            network.layers.push(FloatLayer { op, relu, input: shape, output, weights, biases });
            shape = output;
        }
        network.parameters = vec![T::default(); end];
        Ok(network)
    }

    /// Shape of the input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The layers, first to last.
    #[must_use]
    pub fn layers(&self) -> &[FloatLayer] {
        &self.layers
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.output.len())
    }

    /// All weights and biases, layer by layer.
    #[must_use]
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// All weights and biases, to change.
    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.parameters
    }

    /// Weights of layer `index`; empty for pooling.
    ///
    /// # Panics
    /// If there is no such layer, as for a slice.
    #[must_use]
    pub fn weights(&self, index: usize) -> &[T] {
        &self.parameters[self.layers[index].weights()]
    }

    /// Biases of layer `index`; empty for pooling.
    ///
    /// # Panics
    /// If there is no such layer, as for a slice.
    #[must_use]
    pub fn biases(&self, index: usize) -> &[T] {
        &self.parameters[self.layers[index].biases()]
    }

    /// Multiply-adds per image.
    #[must_use]
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.op.multiply_adds(layer.input)).sum()
    }

    /// Draws the weights uniformly from ±√(3 / n), n being the number of weights that
    /// an output is summed over, and sets the biases to zero: Caffe's `xavier` filler.
    ///
    /// Glorot and Bengio, AISTATS 2010; Caffe, `include/caffe/filler.hpp`.
    pub fn initialize(&mut self, seed: u64) {
        for (index, layer) in (0..).zip(&self.layers) {
            let mut stream = Stream::new(seed, 0, index);
            let reach = (3.0 / layer.op.depth(layer.input).max(1) as f32).sqrt();
            for weight in &mut self.parameters[layer.weights()] {
                *weight = T::from((2.0 * stream.unit() - 1.0) * reach);
            }
            self.parameters[layer.biases()].fill(T::default());
        }
    }
}

/// Whether the numbers of `op` are small enough to compute with.
fn sides_within_limits(op: &Op) -> bool {
    let (window, count) = match op {
        Op::Conv { window, filters } => (Some(window), *filters),
        Op::DepthwiseConv { window, multiplier } => (Some(window), *multiplier),
        Op::MaxPool(window) | Op::AveragePool(window) => (Some(window), 0),
        Op::Dense { units } => (None, *units),
    };
    let sides = window.map_or([0; 4], |w| [w.height, w.width, w.stride_y, w.stride_x]);
    count <= limits::MAX_SIDE
        && sides.iter().all(|&side| side <= limits::MAX_SIDE)
        && sides[0] * sides[1] <= limits::MAX_DEPTH
}

fn within_limits(shape: Shape) -> bool {
    let sides = [shape.height, shape.width, shape.channels];
    sides.iter().all(|side| (1..=limits::MAX_SIDE).contains(side))
        && (shape.positions() as u64) * (shape.channels as u64) <= limits::MAX_ACTIVATION as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::nn::{Padding, Window};

    const IMAGE: Shape = Shape { height: 6, width: 6, channels: 1 };

    fn network(layers: &[(Op, bool)]) -> Result<FloatNetwork, NetworkError> {
        FloatNetwork::new(IMAGE, layers)
    }

    #[test]
    fn parameters_lie_layer_by_layer() {
        let window = Window::square(3, 1, Padding::Valid);
        let layers = [
            (Op::Conv { window, filters: 2 }, true),
            (Op::MaxPool(Window::square(2, 2, Padding::Valid)), false),
            (Op::Dense { units: 3 }, false),
        ];
        let mut network = network(&layers).unwrap();
        assert_eq!(network.parameters().len(), 2 * 9 + 2 + 3 * 8 + 3);
        assert_eq!(network.layers()[2].biases(), 44..47);
        assert!(!network.layers()[1].is_weighted());
        assert_eq!((network.classes(), network.multiply_adds()), (3, 32 * 9 + 24));
        network.initialize(1);
        let reach = (3.0f32 / 9.0).sqrt();
        assert!(network.weights(0).iter().all(|w| w.abs() <= reach && *w != 0.0));
        assert_eq!(network.biases(0), [0.0; 2]);
    }

    #[test]
    fn what_makes_no_network_is_said() {
        let dense = (Op::Dense { units: 2 }, false);
        let pool = |size| Op::MaxPool(Window::square(size, 2, Padding::Valid));
        assert_eq!(network(&[]), Err(NetworkError::NoLogits));
        assert_eq!(network(&[(pool(2), false)]), Err(NetworkError::NoLogits));
        assert_eq!(network(&[(Op::Dense { units: 2 }, true)]), Err(NetworkError::ReluOnLogits));
        assert_eq!(network(&[(pool(2), true), dense]), Err(NetworkError::ReluOnPool(1)));
        assert_eq!(network(&[dense, (pool(7), false), dense]), Err(NetworkError::Geometry(2)));
        assert_eq!(network(&[(Op::Dense { units: 0 }, false)]), Err(NetworkError::Geometry(1)));
        let huge = Op::Dense { units: usize::MAX };
        assert_eq!(network(&[(huge, false)]), Err(NetworkError::TooLarge(1)));
        assert_eq!(network(&[dense; limits::MAX_LAYERS + 1]), Err(NetworkError::TooLarge(25)));
    }
}
