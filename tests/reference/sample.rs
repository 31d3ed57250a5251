//! Random small networks: every kind of layer, odd shapes, strides, SAME and VALID,
//! channel multipliers, zero points, clamps, and shifts to both sides.

use crate::int8::{Kind, Layer, Network, Shape};
use crate::rng::{Xoshiro128PlusPlus, stream};

/// The network of that seed: up to five layers, the last one dense.
#[must_use]
pub fn network(seed: u64) -> Network {
    let mut rng = stream(seed, 0, 0);
    let input = [1 + pick(&mut rng, 9), 1 + pick(&mut rng, 9), 1 + pick(&mut rng, 5)];
    let zero_point = byte(&mut rng);
    let mut network = Network { input, zero_point, layers: Vec::new(), logit_scales: Vec::new() };
    let mut tensor = (input, zero_point);
    for _ in 0..pick(&mut rng, 5) {
        let before = network.layers.last();
        let after_convolution = before.is_some_and(|l| matches!(l.kind, Kind::Conv { .. }));
        let layer = layer(&mut rng, tensor, false, after_convolution);
        tensor = (layer.output(tensor.0), layer.zero_point);
        network.layers.push(layer);
    }
    let last = layer(&mut rng, tensor, true, false);
    network.logit_scales =
        (0..last.biases.len()).map(|_| (1 + pick(&mut rng, 1000)) as f32 * 1.7e-5).collect();
    network.layers.push(last);
    network
}

/// `count` random pixel bytes.
#[must_use]
pub fn pixels(seed: u64, count: usize) -> Vec<u8> {
    let mut rng = stream(seed, 1, 0);
    (0..count).map(|_| byte(&mut rng) as u8).collect()
}

fn pick(rng: &mut Xoshiro128PlusPlus, bound: usize) -> usize {
    rng.draw() as usize % bound
}

/// Any byte, the extremes more often than others.
fn byte(rng: &mut Xoshiro128PlusPlus) -> i8 {
    match pick(rng, 8) {
        0 => i8::MIN,
        1 => i8::MAX,
        _ => rng.draw() as i8,
    }
}

/// A layer for an input of that shape and zero point: dense if it is the `last`,
/// else of any kind, and after a convolution often a pool that can be fused.
fn layer(
    rng: &mut Xoshiro128PlusPlus,
    (shape, zero_point): (Shape, i8),
    last: bool,
    after_convolution: bool,
) -> Layer {
    let [height, width, channels] = shape;
    let fusible = after_convolution && !last && pick(rng, 2) == 0;
    let kind = match if last { 9 } else { pick(rng, 10) } {
        _ if fusible => Kind::MaxPool,
        0..=3 => Kind::Conv { filters: count(rng) },
        4 | 5 => Kind::Depthwise { multiplier: 1 + pick(rng, 3) },
        6 | 7 => Kind::MaxPool,
        8 => Kind::AveragePool,
        _ => Kind::Dense { units: count(rng) },
    };
    let is_pool = matches!(kind, Kind::MaxPool | Kind::AveragePool);
    let same = pick(rng, 2) == 0 && !fusible && !matches!(kind, Kind::Dense { .. });
    let mut window = [1 + pick(rng, 4), 1 + pick(rng, 4)];
    let mut stride = [1 + pick(rng, 3), 1 + pick(rng, 3)];
    if !same {
        window = [window[0].min(height), window[1].min(width)];
    }
    if fusible || is_pool && pick(rng, 2) == 0 {
        stride = window;
    }
    if matches!(kind, Kind::Dense { .. }) {
        (window, stride) = ([1, 1], [1, 1]);
    }
    let (outputs, weights) = match kind {
        Kind::Conv { filters } => (filters, filters * window[0] * window[1] * channels),
        Kind::Depthwise { multiplier } => {
            (channels * multiplier, channels * multiplier * window[0] * window[1])
        }
        Kind::Dense { units } => (units, units * height * width * channels),
        Kind::MaxPool | Kind::AveragePool => (0, 0),
    };
    let zero_point = if is_pool { zero_point } else { byte(rng) };
    let ends = (byte(rng), byte(rng));
    Layer {
        kind,
        window,
        stride,
        same,
        zero_point,
        clamp: match pick(rng, 3) {
            0 => (ends.0.min(ends.1), ends.0.max(ends.1)),
            1 => (zero_point, 127),
            _ => (-128, 127),
        },
        biases: (0..outputs).map(|_| bias(rng)).collect(),
        multipliers: (0..outputs).map(|_| multiplier(rng)).collect(),
        shifts: (0..outputs).map(|_| shift(rng)).collect(),
        weights: (0..weights).map(|_| byte(rng)).collect(),
    }
}

/// Filters or units: few, and sometimes enough for several vectors.
fn count(rng: &mut Xoshiro128PlusPlus) -> usize {
    if pick(rng, 6) == 0 { 1 + pick(rng, 40) } else { 1 + pick(rng, 6) }
}

fn bias(rng: &mut Xoshiro128PlusPlus) -> i32 {
    match pick(rng, 4) {
        0 => rng.draw() as i32 >> 2,
        _ => rng.draw() as i32 >> 17,
    }
}

fn multiplier(rng: &mut Xoshiro128PlusPlus) -> i32 {
    match pick(rng, 8) {
        0 => 1 << 30,
        1 => (rng.draw() >> 1) as i32,
        2 => [0, 1, i32::MAX][pick(rng, 3)],
        _ => (1 << 30) | (rng.draw() >> 2) as i32,
    }
}

/// Mostly shifts that bring a sum into the range of an output.
fn shift(rng: &mut Xoshiro128PlusPlus) -> i8 {
    match pick(rng, 8) {
        0 => pick(rng, 62) as i8 - 31,
        1 => pick(rng, 5) as i8,
        _ => -(4 + pick(rng, 10) as i8),
    }
}
