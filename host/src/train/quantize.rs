//! Post-training quantization: from a float network to an int8 blob.
//!
//! The scheme is TensorFlow Lite's (Jacob et al. 2018, arXiv:1712.05877, and its
//! *8-bit quantization specification*):
//!
//! * weights: symmetric, one scale per output channel, max|w| / 127;
//! * activations: affine, one scale per layer, over the range seen on calibration images
//!   (ReLU included) and zero; pooling keeps that of its input;
//! * biases: int32 in units of input scale · weight scale;
//! * a ReLU is a smallest output at the zero point;
//! * the input: pixel − 128, with the scale of the [`Preprocessing`] and its zero point
//!   rounded to an integer. For x = pixel/256 nothing is rounded.

use mirage_core::nn::blob::{self, LayerSpec, NetworkSpec};
use mirage_core::nn::{BlobError, ForwardError, Network, Op};
use thiserror::Error;

use super::evaluate::{classify, classify_float, errors};
use super::network::{FloatLayer, FloatNetwork};
use super::pass::Pass;
use super::preprocessing::Preprocessing;
use crate::data::idx::{Dataset, Images};
use crate::simd::Simd;

/// Images to calibrate with by default.
pub const CALIBRATION: usize = 500;

/// Images of one float pass.
const MICRO_BATCH: usize = 8;

/// Why a network cannot be quantized.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum QuantizeError {
    /// There is nothing to calibrate with.
    #[error("no images to calibrate with")]
    NoImages,
    /// The images have another size than the network's input.
    #[error("images of {rows} × {columns} pixels do not fit the network's input")]
    Size {
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        columns: usize,
    },
    /// No pixel byte stands for zero.
    #[error("preprocessing has its zero at pixel {0}, which no byte can stand for")]
    ZeroPoint(f32),
    /// An activation or a weight is not a finite number.
    #[error("layer {0}: weights or activations are not finite")]
    NotFinite(usize),
    /// The result is no model.
    #[error("the quantized network is not a valid model: {0}")]
    Blob(#[from] BlobError),
}

/// Scale and zero point of an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Affine {
    scale: f32,
    zero_point: i8,
}

impl Affine {
    /// Covers `low` ≤ 0 ≤ `high` with 256 values, one of which is zero; a range without
    /// extent has scale 1.
    fn of_range(low: f32, high: f32) -> Self {
        let scale = (high - low) / 255.0;
        if scale <= 0.0 || !scale.is_normal() {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let zero_point = (-128.0 - low / scale).round().clamp(-128.0, 127.0) as i8;
        Self { scale, zero_point }
    }

    /// The input that pixel bytes are.
    fn of_input(preprocessing: &Preprocessing) -> Result<Self, QuantizeError> {
        let zero = preprocessing.mean / preprocessing.scale;
        if !(0.0..=255.0).contains(&zero) {
            return Err(QuantizeError::ZeroPoint(zero));
        }
        let zero_point = (zero.round() - 128.0) as i8;
        Ok(Self { scale: preprocessing.scale / preprocessing.std, zero_point })
    }
}

/// Arrays of one layer of the blob; empty for pooling.
#[derive(Default)]
struct Packed {
    biases: Vec<i32>,
    multipliers: Vec<i32>,
    shifts: Vec<i8>,
    weights: Vec<i8>,
    /// Real value of one unit of the accumulators, per channel.
    scales: Vec<f32>,
}

/// Packs `network` into a [blob], calibrated on `images`; the blob has been read back.
///
/// # Errors
/// If the images do not fit, or a value is outside what int8 arithmetic can hold.
pub fn quantize(
    network: &FloatNetwork,
    preprocessing: &Preprocessing,
    images: &Images,
) -> Result<Vec<u8>, QuantizeError> {
    let input_affine = Affine::of_input(preprocessing)?;
    let ranges = ranges(network, preprocessing, images)?;
    let mut affine = input_affine;
    let (mut affines, mut packed) = (Vec::new(), Vec::new());
    for (index, layer) in network.layers().iter().enumerate() {
        if layer.is_weighted() {
            let (low, high) = ranges[index];
            if !(high - low).is_finite() || network.weights(index).iter().any(|w| !w.is_finite()) {
                return Err(QuantizeError::NotFinite(index));
            }
            let output = Affine::of_range(low, high);
            let (weights, biases) = (network.weights(index), network.biases(index));
            packed.push(pack(layer, weights, biases, affine.scale, output.scale));
            affine = output;
        } else {
            packed.push(Packed::default());
        }
        affines.push(affine);
    }
    let layers: Vec<LayerSpec<'_>> = network
        .layers()
        .iter()
        .zip(affines.iter().zip(&packed))
        .map(|(layer, (affine, packed))| LayerSpec {
            op: layer.op(),
            clamp: (if layer.relu() { affine.zero_point } else { i8::MIN }, i8::MAX),
            output_scale: affine.scale,
            output_zero_point: affine.zero_point,
            biases: &packed.biases,
            multipliers: &packed.multipliers,
            shifts: &packed.shifts,
            weights: &packed.weights,
        })
        .collect();
    let spec = NetworkSpec {
        input: network.input(),
        input_scale: input_affine.scale,
        input_zero_point: input_affine.zero_point,
        layers: &layers,
        logit_scales: packed.last().map_or(&[], |last| &last.scales),
    };
    let mut bytes = Vec::new();
    blob::encode(&spec, &mut |part| bytes.extend_from_slice(part));
    Network::parse(&bytes)?;
    Ok(bytes)
}

/// Smallest and largest output of every layer over `images`, zero included.
fn ranges(
    network: &FloatNetwork,
    preprocessing: &Preprocessing,
    images: &Images,
) -> Result<Vec<(f32, f32)>, QuantizeError> {
    let input = network.input();
    if (input.height, input.width, input.channels) != (images.rows, images.columns, 1) {
        return Err(QuantizeError::Size { rows: images.rows, columns: images.columns });
    }
    if images.count == 0 {
        return Err(QuantizeError::NoImages);
    }
    let table = preprocessing.table();
    let mut pass = Pass::new(network, MICRO_BATCH);
    let mut ranges = vec![(0.0f32, 0.0f32); network.layers().len()];
    for pixels in images.pixels.chunks(MICRO_BATCH * input.len()) {
        let inputs: Vec<f32> = pixels.iter().map(|&pixel| table[usize::from(pixel)]).collect();
        pass.forward(network, &inputs);
        let count = inputs.len() / input.len();
        for (index, layer) in network.layers().iter().enumerate() {
            let outputs = &pass.output(index)[..count * layer.output().len()];
            if outputs.iter().any(|output| !output.is_finite()) {
                return Err(QuantizeError::NotFinite(index));
            }
            let (low, high) = &mut ranges[index];
            *low = outputs.iter().fold(*low, |a, &b| a.min(b));
            *high = outputs.iter().fold(*high, |a, &b| a.max(b));
        }
    }
    Ok(ranges)
}

/// Quantizes the weights and biases of one layer.
fn pack(
    layer: &FloatLayer,
    weights: &[f32],
    biases: &[f32],
    input_scale: f32,
    output_scale: f32,
) -> Packed {
    let channels = biases.len();
    // Depthwise weights have their channel innermost, the others outermost.
    let depthwise = matches!(layer.op(), Op::DepthwiseConv { .. });
    let depth = weights.len() / channels;
    let channel_of = |at: usize| if depthwise { at % channels } else { at / depth };

    let mut largest = vec![0.0f32; channels];
    for (at, weight) in weights.iter().enumerate() {
        let channel = channel_of(at);
        largest[channel] = largest[channel].max(weight.abs());
    }
    let mut packed = Packed::default();
    let mut weight_scales = Vec::with_capacity(channels);
    for (&largest, &bias) in largest.iter().zip(biases) {
        let weight_scale = weight_scale(largest, bias, input_scale);
        let scale = input_scale * weight_scale;
        packed.biases.push((f64::from(bias) / f64::from(scale)).round() as i32);
        let real = f64::from(input_scale) * f64::from(weight_scale) / f64::from(output_scale);
        let (multiplier, shift) = multiplier(real);
        packed.multipliers.push(multiplier);
        packed.shifts.push(shift);
        packed.scales.push(scale);
        weight_scales.push(weight_scale);
    }
    let quantized = weights.iter().enumerate().map(|(at, weight)| {
        (weight / weight_scales[channel_of(at)]).round().clamp(-127.0, 127.0) as i8
    });
    packed.weights = quantized.collect();
    packed
}

/// The scale of a channel's weights: max|w| / 127, but no smaller than keeps the bias
/// below 2³⁰ units, and 1 for a channel of zeros.
fn weight_scale(largest: f32, bias: f32, input_scale: f32) -> f32 {
    let smallest = bias.abs() / input_scale / 1_073_741_824.0;
    let scale = (largest / 127.0).max(smallest);
    if scale.is_normal() { scale } else { 1.0 }
}

/// `real` as mantissa · 2^(shift − 31), the mantissa rounded to nearest with ties away
/// from zero: TensorFlow Lite's `QuantizeMultiplier`, `kernels/internal/quantization_util.cc`.
///
/// `real`: finite and not negative. Below 2⁻³² it becomes 0, from 2³⁰ on the largest
/// value there is.
fn multiplier(real: f64) -> (i32, i8) {
    if real < f64::MIN_POSITIVE {
        return (0, 0);
    }
    // frexp: real = mantissa · 2^exponent with the mantissa in [0.5, 1).
    let bits = real.to_bits();
    let exponent = (bits >> 52) as i32 - 1022;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1022 << 52));
    let fixed = (mantissa * f64::from(1u32 << 31)).round() as i64;
    let (fixed, exponent) =
        if fixed == 1 << 31 { (1 << 30, exponent + 1) } else { (fixed, exponent) };
    match exponent {
        ..-31 => (0, 0),
        31.. => (i32::MAX, 30),
        _ => (fixed as i32, exponent as i8),
    }
}

/// How a float network and its int8 version classify a test set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Number of images.
    pub images: usize,
    /// How many the float network gets wrong.
    pub float_errors: usize,
    /// How many the int8 network gets wrong.
    pub int8_errors: usize,
    /// On how many the two agree.
    pub agreeing: usize,
}

/// Classifies `data` with both; on the threads of the rayon pool that it is called in.
///
/// # Errors
/// If the images do not have the size of the networks' input.
pub fn compare(
    network: &FloatNetwork,
    preprocessing: Preprocessing,
    int8: &Network<'_>,
    simd: Simd,
    data: &Dataset,
) -> Result<Comparison, ForwardError> {
    if network.input() != int8.input() {
        return Err(ForwardError::WrongLength);
    }
    let quantized = classify(int8, simd, &data.images)?;
    let float = classify_float(network, preprocessing, &data.images);
    Ok(Comparison {
        images: data.len(),
        float_errors: errors(&float, &data.labels),
        int8_errors: errors(&quantized, &data.labels),
        agreeing: float.iter().zip(&quantized).filter(|(a, b)| a == b).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{evaluate, spec};
    use mirage_core::nn::Shape;
    use mirage_core::rng::Stream;

    #[test]
    fn multipliers_are_those_of_tensorflow_lite() {
        assert_eq!(multiplier(0.5), (1 << 30, 0));
        assert_eq!(multiplier(1.0), (1 << 30, 1));
        assert_eq!(multiplier(0.75 / 256.0), (3 << 29, -8));
        assert_eq!(multiplier(0.0), (0, 0));
        assert_eq!(multiplier(1.0 - 1e-12), (1 << 30, 1)); // the mantissa rounds up to 1
        assert_eq!(multiplier(2f64.powi(-32)), (1 << 30, -31));
        assert_eq!(multiplier(2f64.powi(-33)), (0, 0));
        assert_eq!(multiplier(1e30), (i32::MAX, 30));
    }

    #[test]
    fn zero_is_always_exact() {
        for (low, high) in [(0.0, 6.0), (-3.0, 0.0), (-1.0, 2.0), (-1e-3, 9.0), (0.0, 0.0)] {
            let affine = Affine::of_range(low, high);
            let real = |q: i32| affine.scale * (q - i32::from(affine.zero_point)) as f32;
            assert!(real(-128) <= low + affine.scale && real(127) >= high - affine.scale);
        }
        let input = Affine::of_input(&Preprocessing::PIXEL_OVER_256).unwrap();
        assert_eq!(input, Affine { scale: 1.0 / 256.0, zero_point: -128 });
        let torch = Preprocessing { scale: 1.0 / 255.0, mean: 0.1307, std: 0.3081 };
        assert_eq!(Affine::of_input(&torch).unwrap().zero_point, -95);
        let beyond = Preprocessing { scale: 1.0, mean: 300.0, std: 1.0 };
        assert_eq!(Affine::of_input(&beyond), Err(QuantizeError::ZeroPoint(300.0)));
    }

    #[test]
    fn a_large_bias_widens_the_scale() {
        assert_eq!(weight_scale(0.0, 0.0, 0.1), 1.0);
        assert_eq!(weight_scale(127.0, 1.0, 0.1), 1.0);
        let scale = weight_scale(1e-20, 5.0, 0.1);
        assert!((5.0 / (scale * 0.1)) <= 1.1 * 1_073_741_824.0);
    }

    /// Random images with structure, so that windows see something.
    fn images(count: usize) -> Images {
        let mut stream = Stream::new(2, 0, 0);
        let pixels = (0..count * 144).map(|i| (stream.below(128) + (i as u32 % 12) * 10) as u8);
        Images { count, rows: 12, columns: 12, pixels: pixels.collect() }
    }

    #[test]
    fn every_kind_of_layer_keeps_its_logits() {
        let input = Shape { height: 12, width: 12, channels: 1 };
        for layers in [
            "conv5x5x8, maxpool2, dense20 relu, dense10",
            "conv3x3x8/2 same relu, depthwise3x3x2 same relu, avgpool3, dense10",
            "conv3x3x6 relu, depthwise3x3/2 relu, maxpool2/1 same, conv1x1x12 relu, dense10",
        ] {
            let mut network = FloatNetwork::new(input, &spec::parse(layers).unwrap()).unwrap();
            network.initialize(11);
            let rule = Preprocessing { scale: 1.0 / 255.0, mean: 0.2, std: 0.4 };
            let images = images(60);
            let bytes = quantize(&network, &rule, &images).unwrap();
            let int8 = Network::parse(&bytes).unwrap();
            let logits = evaluate::logits(&int8, Simd::PORTABLE, &images).unwrap();
            let mut pass = Pass::new(&network, 60);
            let inputs: Vec<f32> = images.pixels.iter().map(|&p| rule.apply(p)).collect();
            let float = pass.forward(&network, &inputs);
            let range = float.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (a, b) in logits.iter().zip(float) {
                assert!((a - b).abs() < 0.05 * range, "{layers}: {a} for {b}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let input = Shape { height: 12, width: 12, channels: 1 };
        let mut network = FloatNetwork::new(input, &spec::parse("dense10").unwrap()).unwrap();
        let rule = Preprocessing::PIXEL_OVER_256;
        assert_eq!(quantize(&network, &rule, &images(0)), Err(QuantizeError::NoImages));
        let flat = Images { rows: 6, columns: 24, ..images(1) };
        let size = QuantizeError::Size { rows: 6, columns: 24 };
        assert_eq!(quantize(&network, &rule, &flat), Err(size));
        network.parameters_mut()[0] = f32::NAN;
        assert_eq!(quantize(&network, &rule, &images(1)), Err(QuantizeError::NotFinite(0)));
    }
}
