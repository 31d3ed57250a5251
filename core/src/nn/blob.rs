//! The model blob: a network as bytes, read in place from flash or a file.
//!
//! All numbers are little-endian; every section is padded with zeros to a
//! multiple of 16 bytes, so that a blob placed on a 16-byte boundary has all its
//! arrays on one.
//!
//! | offset | header (48 bytes) |
//! |---|---|
//! | 0 | magic `MIRAGEQ8` |
//! | 8 | `u16` version, 1 |
//! | 10 | `u16` number of layers |
//! | 12 | `u32` length of the blob, CRC included |
//! | 16 | `u32` × 3 input height, width, channels |
//! | 28 | `f32` input scale: a pixel byte *b* stands for scale · (b − 128 − zero point) |
//! | 32 | `i8` input zero point, then zeros |
//!
//! | offset | layer (32 bytes, then its arrays) |
//! |---|---|
//! | 0 | `u8` kind: 1 convolution, 2 depthwise convolution, 3 max pool, 4 average pool, 5 dense |
//! | 1 | `u8` padding: 0 valid, 1 same |
//! | 2 | `i8` × 2 smallest and largest output: ReLU is a smallest output at the zero point |
//! | 4 | `u16` × 4 window height and width, vertical and horizontal stride (dense: all 1) |
//! | 12 | `u32` filters, channel multiplier, or units (pooling: 0) |
//! | 16 | `f32` output scale (pooling: that of the input) |
//! | 20 | `i8` output zero point (pooling: that of the input), then zeros |
//!
//! Layers with weights go on with one entry per output channel of `i32` bias,
//! `i32` multiplier and `i8` shift (see [`requantize`](super::requantize)), then the
//! int8 weights in rows of 16-byte multiples: one row per output channel, or, for
//! a depthwise convolution, one row per window position.
//!
//! After the layers: one `f32` per class, the real value of one unit of the last
//! layer's accumulator; then the CRC-32 (ISO-HDLC, as in PNG) of all before it.

use super::layer::{Layer, Tensor, Weights};
use super::network::{Network, Requirements};
use super::{Op, Padding, ROW_ALIGN, Shape, Window};
use crate::limits;
use core::fmt;

/// The first bytes of every blob.
pub const MAGIC: [u8; 8] = *b"MIRAGEQ8";
/// The version this code reads and writes.
pub const VERSION: u16 = 1;
const HEADER_LEN: usize = 48;
const LAYER_LEN: usize = 32;
static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Why bytes are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobError {
    /// The bytes do not begin with [`MAGIC`].
    NotAModel,
    /// Another version of the format.
    Version(u16),
    /// The bytes end before the model does, or go on after it.
    Length {
        /// Length that the model states or needs.
        expected: usize,
        /// Length of the bytes.
        found: usize,
    },
    /// More bytes than [`limits::MAX_BLOB`].
    TooLong(usize),
    /// More layers than [`limits::MAX_LAYERS`].
    TooManyLayers(usize),
    /// The checksum does not match: the bytes were damaged.
    Checksum,
    /// A dimension is zero or larger than [`limits`] allows.
    TooLarge {
        /// Index of the layer, or `None` for the header.
        layer: Option<usize>,
    },
    /// A layer is not one that this version knows, does not fit its input, or has
    /// fields out of range.
    Layer {
        /// Index of the layer.
        layer: usize,
        /// What is wrong with it.
        fault: LayerFault,
    },
    /// There is no layer, or the last is not dense.
    NoLogits,
    /// A scale is not a positive finite number, or makes logits that are not finite.
    Scale,
    /// Bytes that must be zero are not.
    Padding,
}

/// What is wrong with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerFault {
    /// Unknown kind or padding, or a field set that the kind does not have.
    Unknown,
    /// The layer does not fit its input.
    Geometry,
    /// Smallest output above the largest.
    Clamp,
    /// A pooling layer's scale or zero point differs from its input's.
    Quantization,
    /// Negative multiplier, or shift outside −31 ..= 30.
    Multiplier,
    /// Some input would overflow a 32-bit accumulator.
    Overflow,
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAModel => write!(f, "not a mirage model (it does not begin with MIRAGEQ8)"),
            Self::Version(version) => {
                write!(f, "model format version {version}, this program reads version {VERSION}")
            }
            Self::Length { expected, found } => {
                write!(f, "model has {found} bytes where {expected} belong")
            }
            Self::TooLong(found) => {
                write!(f, "model has {found} bytes, at most {} are allowed", limits::MAX_BLOB)
            }
            Self::TooManyLayers(found) => {
                write!(f, "model has {found} layers, at most {} are allowed", limits::MAX_LAYERS)
            }
            Self::Checksum => write!(f, "checksum mismatch: the model is damaged"),
            Self::TooLarge { layer: None } => write!(f, "input or class count out of range"),
            Self::TooLarge { layer: Some(layer) } => {
                write!(f, "layer {layer}: a dimension is zero or too large")
            }
            Self::Layer { layer, fault } => write!(f, "layer {layer}: {fault}"),
            Self::NoLogits => write!(f, "the last layer is not dense"),
            Self::Scale => write!(f, "a scale is not a positive finite number"),
            Self::Padding => write!(f, "padding bytes are not zero"),
        }
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown kind of layer or padding",
            Self::Geometry => "the layer does not fit its input",
            Self::Clamp => "smallest output above the largest",
            Self::Quantization => "pooling changes the scale or zero point",
            Self::Multiplier => "multiplier or shift out of range",
            Self::Overflow => "weights and bias can overflow a 32-bit accumulator",
        })
    }
}

impl core::error::Error for BlobError {}

/// A network as numbers, to be written as a blob.
#[derive(Clone, Copy, Debug)]
pub struct NetworkSpec<'a> {
    /// Shape of the input image.
    pub input: Shape,
    /// Real value of one step of the input, positive.
    pub input_scale: f32,
    /// Quantized input that stands for zero.
    pub input_zero_point: i8,
    /// The layers, first to last; the last is dense.
    pub layers: &'a [LayerSpec<'a>],
    /// Real value of one unit of the last layer's accumulators, one per class.
    pub logit_scales: &'a [f32],
}

/// One layer of a [`NetworkSpec`]; the slices are empty for pooling.
#[derive(Clone, Copy, Debug)]
pub struct LayerSpec<'a> {
    /// What the layer computes.
    pub op: Op,
    /// Smallest and largest output.
    pub clamp: (i8, i8),
    /// Real value of one step of the output, positive.
    pub output_scale: f32,
    /// Quantized output that stands for zero.
    pub output_zero_point: i8,
    /// One bias per output channel.
    pub biases: &'a [i32],
    /// One requantization multiplier per output channel.
    pub multipliers: &'a [i32],
    /// One requantization shift per output channel, positive to the left.
    pub shifts: &'a [i8],
    /// Weights in the order that [`Op`] states, without padding.
    pub weights: &'a [i8],
}

/// Writes the blob of `spec`, piece by piece, to `sink`.
///
/// Writes what it is given, numbers beyond a field's range as its largest: read the
/// result with [`Network::parse`] to check it.
pub fn encode(spec: &NetworkSpec<'_>, sink: &mut impl FnMut(&[u8])) {
    let mut length = 4;
    encode_body(spec, 0, &mut |bytes| length += bytes.len());
    let mut crc = CRC.digest();
    encode_body(spec, length, &mut |bytes| {
        crc.update(bytes);
        sink(bytes);
    });
    sink(&crc.finalize().to_le_bytes());
}

fn encode_body(spec: &NetworkSpec<'_>, length: usize, sink: &mut impl FnMut(&[u8])) {
    let mut section = Section { written: 0, sink };
    section.put(&MAGIC);
    section.put(&VERSION.to_le_bytes());
    section.put(&narrow(spec.layers.len()).to_le_bytes());
    section.put(&wide(length).to_le_bytes());
    for side in [spec.input.height, spec.input.width, spec.input.channels] {
        section.put(&wide(side).to_le_bytes());
    }
    section.put(&spec.input_scale.to_le_bytes());
    section.put(&spec.input_zero_point.to_le_bytes());
    section.align();
    let mut input = spec.input;
    for layer in spec.layers {
        let (kind, window, count) = match layer.op {
            Op::Conv { window, filters } => (1, window, filters),
            Op::DepthwiseConv { window, multiplier } => (2, window, multiplier),
            Op::MaxPool(window) => (3, window, 0),
            Op::AveragePool(window) => (4, window, 0),
            Op::Dense { units } => (5, Window::square(1, 1, Padding::Valid), units),
        };
        section.put(&[kind, u8::from(window.padding == Padding::Same)]);
        section.put(&[layer.clamp.0 as u8, layer.clamp.1 as u8]);
        for side in [window.height, window.width, window.stride_y, window.stride_x] {
            section.put(&narrow(side).to_le_bytes());
        }
        section.put(&wide(count).to_le_bytes());
        section.put(&layer.output_scale.to_le_bytes());
        section.put(&layer.output_zero_point.to_le_bytes());
        section.align();
        layer.biases.iter().for_each(|v| section.put(&v.to_le_bytes()));
        section.align();
        layer.multipliers.iter().for_each(|v| section.put(&v.to_le_bytes()));
        section.align();
        layer.shifts.iter().for_each(|v| section.put(&v.to_le_bytes()));
        section.align();
        let row = row_length(&layer.op, input);
        if row > 0 {
            for weights in layer.weights.chunks(row) {
                weights.iter().for_each(|v| section.put(&v.to_le_bytes()));
                section.align();
            }
        }
        input = layer.op.output(input).unwrap_or(Shape::flat(0));
    }
    spec.logit_scales.iter().for_each(|v| section.put(&v.to_le_bytes()));
    section.align();
}

fn narrow(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn wide(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Weights in one row of the blob: those of one output channel, or, depthwise,
/// of one window position.
fn row_length(op: &Op, input: Shape) -> usize {
    match op {
        Op::DepthwiseConv { multiplier, .. } => input.channels * multiplier,
        _ => op.depth(input),
    }
}

/// Counts what is written, to pad it.
struct Section<'a, F> {
    written: usize,
    sink: &'a mut F,
}

impl<F: FnMut(&[u8])> Section<'_, F> {
    fn put(&mut self, bytes: &[u8]) {
        self.written += bytes.len();
        (self.sink)(bytes);
    }

    fn align(&mut self) {
        let padding = self.written.next_multiple_of(ROW_ALIGN) - self.written;
        self.put(&[0; ROW_ALIGN][..padding.min(ROW_ALIGN)]);
    }
}

/// Takes sections off the front of the bytes.
#[derive(Clone, Debug)]
struct Reader<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Reader<'a> {
    /// The next `len` bytes, then zeros up to the next 16-byte multiple.
    fn section(&mut self, len: usize) -> Result<&'a [u8], BlobError> {
        let padded = len.next_multiple_of(ROW_ALIGN);
        let found = self.taken + self.rest.len();
        let expected = self.taken + padded;
        let (section, rest) =
            self.rest.split_at_checked(padded).ok_or(BlobError::Length { expected, found })?;
        let (content, padding) = section.split_at_checked(len).unwrap_or((section, &[]));
        if padding.iter().any(|&byte| byte != 0) {
            return Err(BlobError::Padding);
        }
        self.rest = rest;
        self.taken += padded;
        Ok(content)
    }
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|tail| tail.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], offset: usize) -> usize {
    usize::from(u16::from_le_bytes(array(bytes, offset)))
}

fn u32_at(bytes: &[u8], offset: usize) -> usize {
    u32::from_le_bytes(array(bytes, offset)) as usize
}

fn f32_at(bytes: &[u8], offset: usize) -> f32 {
    f32::from_le_bytes(array(bytes, offset))
}

fn i8_at(bytes: &[u8], offset: usize) -> i8 {
    i8::from_le_bytes(array(bytes, offset))
}

/// Whether `scale` is a positive finite number.
fn is_scale(scale: f32) -> bool {
    scale > 0.0 && scale < f32::INFINITY
}

/// Whether every dimension and the number of elements are within limits.
fn within_limits(shape: Shape) -> bool {
    let sides = [shape.height, shape.width, shape.channels];
    sides.iter().all(|&side| (1..=limits::MAX_SIDE).contains(&side))
        && (shape.positions() as u64) * (shape.channels as u64) <= limits::MAX_ACTIVATION as u64
}

/// Reads and checks a whole blob; the network's memory is not yet measured.
#[inline(never)]
pub(super) fn parse(blob: &[u8]) -> Result<Network<'_>, BlobError> {
    if !blob.starts_with(&MAGIC) {
        return Err(BlobError::NotAModel);
    }
    let found = blob.len();
    if found < HEADER_LEN + 4 {
        return Err(BlobError::Length { expected: HEADER_LEN + 4, found });
    }
    let version = u16_at(blob, 8);
    if version != usize::from(VERSION) {
        return Err(BlobError::Version(version as u16));
    }
    let expected = u32_at(blob, 12);
    if expected != found {
        return Err(BlobError::Length { expected, found });
    }
    if found > limits::MAX_BLOB {
        return Err(BlobError::TooLong(found));
    }
    let (body, checksum) = blob.split_at_checked(found - 4).unwrap_or((blob, &[]));
    if u32_at(checksum, 0) != CRC.checksum(body) as usize {
        return Err(BlobError::Checksum);
    }

    let mut reader = Reader { rest: body, taken: 0 };
    let header = reader.section(HEADER_LEN)?;
    if header.get(33..).is_none_or(|rest| rest.iter().any(|&byte| byte != 0)) {
        return Err(BlobError::Padding);
    }
    let shape = Shape {
        height: u32_at(header, 16),
        width: u32_at(header, 20),
        channels: u32_at(header, 24),
    };
    if !within_limits(shape) {
        return Err(BlobError::TooLarge { layer: None });
    }
    let input = Tensor { shape, scale: f32_at(header, 28), zero_point: i8_at(header, 32) };
    if !is_scale(input.scale) {
        return Err(BlobError::Scale);
    }

    let count = u16_at(header, 10);
    if count > limits::MAX_LAYERS {
        return Err(BlobError::TooManyLayers(count));
    }
    let records = reader.rest;
    let mut layers = Layers { reader, index: 0, input };
    let mut classes = None;
    for index in 0..count {
        let layer = layers.read()?;
        check_weights(&layer, index)?;
        classes = match layer.op {
            Op::Dense { units } => Some(units),
            _ => None,
        };
    }
    let Some(classes) = classes else { return Err(BlobError::NoLogits) };
    if classes > limits::MAX_CLASSES {
        return Err(BlobError::TooLarge { layer: None });
    }
    let mut reader = layers.reader;
    let records = records.get(..records.len() - reader.rest.len()).unwrap_or_default();
    let logit_scales = reader.section(classes * 4)?;
    // The largest accumulator must still be a finite logit.
    let is_logit_scale = |scale: f32| is_scale(scale) && is_scale(scale * 2_147_483_648.0);
    if (0..classes).any(|class| !is_logit_scale(f32_at(logit_scales, class * 4))) {
        return Err(BlobError::Scale);
    }
    if !reader.rest.is_empty() {
        return Err(BlobError::Length { expected: reader.taken + 4, found });
    }
    Ok(Network { input, records, logit_scales, needed: Requirements::default() })
}

/// The layers of a network, first to last, each decoded from its record when its turn
/// comes.
#[derive(Clone, Debug)]
pub struct Layers<'a> {
    reader: Reader<'a>,
    index: usize,
    /// What the next layer takes.
    input: Tensor,
}

impl<'a> Layers<'a> {
    /// The layers of checked `records`, of which the first takes `input`.
    pub(super) fn new(records: &'a [u8], input: Tensor) -> Self {
        Self { reader: Reader { rest: records, taken: 0 }, index: 0, input }
    }

    /// Whether there are no more.
    pub(super) fn is_empty(&self) -> bool {
        self.reader.rest.is_empty()
    }

    /// Decodes the next layer, with all checks but those of its arrays' contents.
    ///
    /// Not inlined: it serves the check and every walk, and is no part of the work.
    #[inline(never)]
    fn read(&mut self) -> Result<Layer<'a>, BlobError> {
        let Self { reader, index, input } = self;
        let fault = |fault| BlobError::Layer { layer: *index, fault };
        let too_large = BlobError::TooLarge { layer: Some(*index) };

        let record = reader.section(LAYER_LEN)?;
        if record.get(21..).is_none_or(|rest| rest.iter().any(|&byte| byte != 0)) {
            return Err(BlobError::Padding);
        }
        let padding = match record.get(1) {
            Some(0) => Padding::Valid,
            Some(1) => Padding::Same,
            _ => return Err(fault(LayerFault::Unknown)),
        };
        let window = Window {
            height: u16_at(record, 4),
            width: u16_at(record, 6),
            stride_y: u16_at(record, 8),
            stride_x: u16_at(record, 10),
            padding,
        };
        let sides = [window.height, window.width, window.stride_y, window.stride_x];
        if sides.iter().any(|side| !(1..=limits::MAX_SIDE).contains(side)) {
            return Err(too_large);
        }
        let count = u32_at(record, 12);
        let op = match record.first() {
            Some(1) => Op::Conv { window, filters: count },
            Some(2) => Op::DepthwiseConv { window, multiplier: count },
            Some(3) => Op::MaxPool(window),
            Some(4) => Op::AveragePool(window),
            Some(5) => Op::Dense { units: count },
            _ => return Err(fault(LayerFault::Unknown)),
        };
        if count > limits::MAX_SIDE {
            return Err(too_large);
        }
        // Fields without a meaning have one value, so that a network has one blob.
        let is_plain = match op {
            Op::MaxPool(_) | Op::AveragePool(_) => count == 0,
            Op::Dense { .. } => window == Window::square(1, 1, Padding::Valid),
            Op::Conv { .. } | Op::DepthwiseConv { .. } => true,
        };
        if !is_plain {
            return Err(fault(LayerFault::Unknown));
        }
        let shape = op.output(input.shape).ok_or(fault(LayerFault::Geometry))?;
        // The area comes first: with it bounded, the depth cannot overflow 32 bits.
        let depth = op.depth(input.shape);
        if !within_limits(shape) || window.area() > limits::MAX_DEPTH || depth > limits::MAX_DEPTH {
            return Err(too_large);
        }
        let clamp = (i8_at(record, 2), i8_at(record, 3));
        if clamp.0 > clamp.1 {
            return Err(fault(LayerFault::Clamp));
        }
        let output = Tensor { shape, scale: f32_at(record, 16), zero_point: i8_at(record, 20) };
        if !is_scale(output.scale) {
            return Err(BlobError::Scale);
        }
        let weights = if depth == 0 {
            let same = output.scale.to_bits() == input.scale.to_bits()
                && output.zero_point == input.zero_point;
            if !same {
                return Err(fault(LayerFault::Quantization));
            }
            None
        } else {
            let channels = shape.channels;
            let biases = reader.section(channels * 4)?;
            let multipliers = reader.section(channels * 4)?;
            let shifts = reader.section(channels)?;
            let row = row_length(&op, input.shape);
            let rows = if let Op::DepthwiseConv { .. } = op { depth } else { channels };
            let size = (rows as u64) * (row.next_multiple_of(ROW_ALIGN) as u64);
            if size > limits::MAX_BLOB as u64 {
                return Err(too_large);
            }
            let bytes = reader.section(size as usize)?;
            Some(Weights { biases, multipliers, shifts, bytes, row })
        };
        let layer = Layer { op, input: *input, output, clamp, weights };
        *index += 1;
        *input = output;
        Ok(layer)
    }
}

impl<'a> Iterator for Layers<'a> {
    type Item = Layer<'a>;

    /// The next layer; [`Network::parse`] has seen that all can be decoded.
    fn next(&mut self) -> Option<Layer<'a>> {
        self.read().ok()
    }
}

impl core::iter::FusedIterator for Layers<'_> {}

/// Checks the contents of a layer's arrays: zeros behind the rows of weights, and
/// arithmetic that stays within its range.
fn check_weights(layer: &Layer<'_>, index: usize) -> Result<(), BlobError> {
    let Some(weights) = &layer.weights else { return Ok(()) };
    let rows = weights.bytes.chunks_exact(weights.stride());
    if rows.filter_map(|row| row.get(weights.row..)).flatten().any(|&byte| byte != 0) {
        return Err(BlobError::Padding);
    }
    check_arithmetic(layer, weights).map_err(|fault| BlobError::Layer { layer: index, fault })
}

/// Checks that no input can overflow an accumulator and that every multiplier and
/// shift is one that [`requantize`](super::requantize) takes.
fn check_arithmetic(layer: &Layer<'_>, weights: &Weights<'_>) -> Result<(), LayerFault> {
    let zero = i64::from(layer.input.zero_point);
    let reach = (i64::from(i8::MAX) - zero).max(zero - i64::from(i8::MIN));
    // At most MAX_DEPTH · 128.
    let magnitude = |&w: &u8| u32::from((w as i8).unsigned_abs());
    let stride = weights.stride();
    for channel in 0..layer.output.shape.channels {
        let sum: u32 = if let Op::DepthwiseConv { .. } = layer.op {
            let column = weights.bytes.get(channel..).unwrap_or(&[]);
            column.iter().step_by(stride).map(magnitude).sum()
        } else {
            let row = weights.bytes.get(channel * stride..(channel + 1) * stride);
            row.unwrap_or(&[]).iter().map(magnitude).sum()
        };
        let bias = i64::from(weights.bias(channel)).abs();
        if i64::from(sum) * reach + bias > i64::from(i32::MAX) {
            return Err(LayerFault::Overflow);
        }
        let shift = weights.shift(channel);
        if weights.multiplier(channel) < 0 || !(-31..=30).contains(&shift) {
            return Err(LayerFault::Multiplier);
        }
    }
    Ok(())
}
