//! CPPN evaluation by recursion, in `f64` (Stanley 2007; DESIGN's activations).

use crate::math::{bipolar_sigmoid, clamped_linear, gaussian};

/// What a node does to its weighted sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// sin v
    Sine,
    /// 2σ(v) − 1
    Sigmoid,
    /// e^(−v²)
    Gaussian,
    /// clamp(v, ±3)/3
    Linear,
}

/// A network of inputs (numbered first), then nodes.
#[derive(Clone, Debug)]
pub struct Network {
    /// Inputs before the nodes.
    pub inputs: usize,
    /// One per node.
    pub nodes: Vec<Activation>,
    /// Source, target, and weight in [0, 1], used as [−10, 10].
    pub connections: Vec<(usize, usize, f64)>,
}

/// A value with a bound on how far a careful `f32` evaluation may be from it.
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    /// The value.
    pub value: f64,
    /// The bound.
    pub error: f64,
}

/// Rounding to the nearest `f32` moves a value by at most this share of it.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

impl Network {
    /// The value at `end` (an input or a node) for the given inputs.
    #[must_use]
    pub fn value(&self, end: usize, inputs: &[f64]) -> Bounded {
        let Some(node) = end.checked_sub(self.inputs) else {
            return Bounded { value: inputs[end], error: 8.0 * UNIT * inputs[end].abs().max(1.0) };
        };
        let (mut sum, mut error, mut magnitude, mut terms) = (0.0, 0.0, 0.0, 1.0);
        for &(source, target, weight) in &self.connections {
            if target == end {
                let strength = weight * 20.0 - 10.0;
                let input = self.value(source, inputs);
                sum += strength * input.value;
                // 20 · weight − 10 is rounded at 20 and again at 10.
                error += strength.abs() * input.error + 30.0 * UNIT * input.value.abs();
                terms += 1.0;
                magnitude += (strength * input.value).abs();
            }
        }
        error += terms * UNIT * magnitude;
        // Each activation's steepest slope; the activations themselves are accurate to
        // 1e-6, the sine of a large angle least of all.
        let (value, slope) = match self.nodes[node] {
            Activation::Sine => (sum.sin(), 1.0),
            Activation::Sigmoid => (bipolar_sigmoid(sum), 0.5),
            Activation::Gaussian => (gaussian(sum), 0.86),
            Activation::Linear => (clamped_linear(sum), 1.0 / 3.0),
        };
        Bounded { value, error: slope * error + 1e-6 }
    }

    /// Whether a path leads from `from` to `to`.
    #[must_use]
    pub fn leads(&self, from: usize, to: usize) -> bool {
        from == to || self.connections.iter().any(|c| c.0 == from && self.leads(c.1, to))
    }
}

/// x, y, d, 1 of a pixel in [−1, 1]² (0 along a side of one pixel).
#[must_use]
pub fn centred(row: usize, column: usize, height: usize, width: usize) -> [f64; 4] {
    let along = |i: usize, size: usize| {
        if size > 1 { 2.0 * i as f64 / (size - 1) as f64 - 1.0 } else { 0.0 }
    };
    let (x, y) = (along(column, width), along(row, height));
    [x, y, x.hypot(y), 1.0]
}

/// The byte |⌊255·v⌋|.
#[must_use]
pub fn brightness(value: f64) -> u8 {
    (255.0 * value).floor().abs() as u8
}
