//! Hands reference networks to [`mirage_core`] and runs them there.

use crate::int8::{self, Kind};
use mirage_core::image::Shape;
use mirage_core::nn::blob::{LayerSpec, NetworkSpec, encode};
use mirage_core::nn::{ForwardError, Kernel, Network, Op, Padding, Requirements, Scratch, Window};

/// The blob of `network`; all scales but those of the logits are 1.
#[must_use]
pub fn blob(network: &int8::Network) -> Vec<u8> {
    let layers: Vec<LayerSpec<'_>> = network
        .layers
        .iter()
        .map(|layer| LayerSpec {
            op: op(layer),
            clamp: layer.clamp,
            output_scale: 1.0,
            output_zero_point: layer.zero_point,
            biases: &layer.biases,
            multipliers: &layer.multipliers,
            shifts: &layer.shifts,
            weights: &layer.weights,
        })
        .collect();
    let [height, width, channels] = network.input;
    let spec = NetworkSpec {
        input: Shape { height, width, channels },
        input_scale: 1.0,
        input_zero_point: network.zero_point,
        layers: &layers,
        logit_scales: &network.logit_scales,
    };
    let mut bytes = Vec::new();
    encode(&spec, &mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn op(layer: &int8::Layer) -> Op {
    let window = Window {
        height: layer.window[0],
        width: layer.window[1],
        stride_y: layer.stride[0],
        stride_x: layer.stride[1],
        padding: if layer.same { Padding::Same } else { Padding::Valid },
    };
    match layer.kind {
        Kind::Conv { filters } => Op::Conv { window, filters },
        Kind::Depthwise { multiplier } => Op::DepthwiseConv { window, multiplier },
        Kind::MaxPool => Op::MaxPool(window),
        Kind::AveragePool => Op::AveragePool(window),
        Kind::Dense { units } => Op::Dense { units },
    }
}

/// What the core's layer `index` makes of `input`, in the least memory.
#[must_use]
pub fn run_layer(
    network: &Network<'_>,
    index: usize,
    kernel: &impl Kernel,
    input: &[i8],
) -> Vec<i8> {
    let mut memory = Memory::new(network.layer_requirements(index), [0, 0]);
    let layer = network.layers().nth(index).expect("a layer of the network");
    let mut values = vec![0; layer.output().len()];
    network
        .run_layer(index, kernel, input, &mut memory.scratch(), &mut values)
        .expect("lengths taken from the network");
    values
}

/// Scratch memory, filled with old values that must not matter.
struct Memory {
    front: Vec<i16>,
    back: Vec<i16>,
    patches: Vec<i16>,
    sums: Vec<i32>,
}

impl Memory {
    /// Just what is needed, and `spare` more patches and sums.
    fn new(needed: Requirements, spare: [usize; 2]) -> Self {
        Self {
            front: vec![77; needed.front],
            back: vec![-77; needed.back],
            patches: vec![i16::MIN; needed.patches + spare[0]],
            sums: vec![-55_555; needed.sums + spare[1]],
        }
    }

    fn scratch(&mut self) -> Scratch<'_> {
        Scratch {
            front: &mut self.front,
            back: &mut self.back,
            patches: &mut self.patches,
            sums: &mut self.sums,
        }
    }
}

/// The core's logits for `images` (pixel bytes) as one batch; `spare` lengthens
/// patches and sums beyond what is required.
#[must_use]
pub fn forward(
    network: &Network<'_>,
    kernel: &impl Kernel,
    images: &[u8],
    spare: [usize; 2],
) -> Vec<f32> {
    forward_by(network, images, spare, |scratch, logits| {
        network.forward(kernel, images, scratch, logits)
    })
}

/// The same with a forward pass of the caller's, say one for wider vectors.
#[must_use]
pub fn forward_by(
    network: &Network<'_>,
    images: &[u8],
    spare: [usize; 2],
    pass: impl FnOnce(&mut Scratch<'_>, &mut [f32]) -> Result<(), ForwardError>,
) -> Vec<f32> {
    let count = images.len() / network.input().len();
    let mut memory = Memory::new(network.requirements(count), spare);
    let mut logits = vec![f32::NAN; count * network.classes()];
    pass(&mut memory.scratch(), &mut logits).expect("lengths taken from the network");
    logits
}
