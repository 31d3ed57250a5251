//! A whole network: from images to logits.

use super::blob::{self, BlobError, Layers};
use super::layer::{Layer, Outputs, Pool, Tensor};
use super::{Kernel, Shape};
use core::fmt;

/// A checked network: a small view of its blob, from which layers and weights are read
/// in place.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    pub(super) input: Tensor,
    /// The layers' records, one behind the other.
    pub(super) records: &'a [u8],
    pub(super) logit_scales: &'a [u8],
    /// Memory for one image, found once.
    pub(super) needed: Requirements,
}

/// Elements of each buffer that a forward pass needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Length of [`Scratch::front`].
    pub front: usize,
    /// Length of [`Scratch::back`].
    pub back: usize,
    /// Least length of [`Scratch::patches`].
    pub patches: usize,
    /// Least length of [`Scratch::sums`].
    pub sums: usize,
}

/// Memory for a forward pass, at least as long as the [`Requirements`] say.
///
/// Longer `patches` and `sums` let the kernel work on more positions at a time;
/// they change no result.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Every other activation, beginning with the input; values minus their zero point.
    pub front: &'a mut [i16],
    /// The activations between those.
    pub back: &'a mut [i16],
    /// What windows see, one row per output position.
    pub patches: &'a mut [i16],
    /// Accumulators, one row per output position.
    pub sums: &'a mut [i32],
}

impl Scratch<'_> {
    /// Whether every buffer is at least as long as needed.
    #[must_use]
    pub fn holds(&self, needed: &Requirements) -> bool {
        self.front.len() >= needed.front
            && self.back.len() >= needed.back
            && self.patches.len() >= needed.patches
            && self.sums.len() >= needed.sums
    }
}

/// Why a forward pass did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardError {
    /// The images do not have the input's length, or the logits' do not match.
    WrongLength,
    /// A buffer is shorter than [`Network::requirements`] says.
    ScratchTooSmall,
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongLength => "images or logits do not have the network's length",
            Self::ScratchTooSmall => "scratch memory is too small for the network",
        })
    }
}

impl core::error::Error for ForwardError {}

impl<'a> Network<'a> {
    /// Reads and checks a [blob](super::blob).
    ///
    /// # Errors
    /// The first thing in the blob that is wrong.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BlobError> {
        let mut network = blob::parse(blob)?;
        network.needed = network.measure();
        Ok(network)
    }

    /// Shape of the input image.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input.shape
    }

    /// Real value of one step of the input.
    #[must_use]
    pub fn input_scale(&self) -> f32 {
        self.input.scale
    }

    /// Quantized input that stands for zero.
    #[must_use]
    pub fn input_zero_point(&self) -> i8 {
        self.input.zero_point
    }

    /// The layers, first to last.
    #[must_use]
    pub fn layers(&self) -> Layers<'a> {
        Layers::new(self.records, self.input)
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.logit_scales.len() / 4
    }

    /// Multiply-adds per image.
    #[must_use]
    pub fn multiply_adds(&self) -> u64 {
        self.layers().map(|layer| layer.op.multiply_adds(layer.input())).sum()
    }

    /// Memory for a forward pass over `images` images at a time; saturating.
    #[must_use]
    pub fn requirements(&self, images: usize) -> Requirements {
        let Requirements { front, back, patches, sums } = self.needed;
        Requirements {
            front: images.saturating_mul(front),
            back: images.saturating_mul(back),
            patches,
            sums,
        }
    }

    /// The [`requirements`](Self::requirements) of one image, from a walk.
    fn measure(&self) -> Requirements {
        let (mut now, mut next) = (self.input.shape.len(), 0);
        let (mut patches, mut sums) = (0, 0);
        let mut swapped = false;
        let mut layers = self.layers();
        while let Some((layer, pool)) = &next_fused(&mut layers) {
            let scratch = layer.scratch(*pool);
            patches = patches.max(scratch.0);
            sums = sums.max(scratch.1);
            next = next.max(pool.output.len());
            core::mem::swap(&mut now, &mut next);
            swapped = !swapped;
        }
        let (front, back) = if swapped { (next, now) } else { (now, next) };
        Requirements { front, back, patches, sums }
    }

    /// Computes the logits of images.
    ///
    /// * `images`: `n` × height × width × channels pixel bytes.
    /// * `logits`: `n` × [`classes`](Self::classes) values.
    ///
    /// The logits do not depend on the kernel, on `n`, or on the scratch's size.
    ///
    /// # Errors
    /// If a length is wrong; `logits` are then untouched.
    #[inline(always)]
    pub fn forward(
        &self,
        kernel: &impl Kernel,
        images: &[u8],
        scratch: &mut Scratch<'_>,
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        let (pixels, classes) = (self.input.shape.len(), self.classes());
        let count = images.len() / pixels.max(1);
        if images.len() != count * pixels || logits.len() != count * classes {
            return Err(ForwardError::WrongLength);
        }
        if !scratch.holds(&self.requirements(count)) {
            return Err(ForwardError::ScratchTooSmall);
        }
        let (mut now, mut next) = (&mut *scratch.front, &mut *scratch.back);
        let black = 128 + i16::from(self.input.zero_point);
        for (value, &pixel) in now.iter_mut().zip(images) {
            *value = i16::from(pixel) - black;
        }
        let mut layers = self.layers();
        while let Some((layer, pool)) = &next_fused(&mut layers) {
            let inputs = now.get(..count * layer.input.shape.len()).unwrap_or_default();
            let outputs = if layers.is_empty() {
                Outputs::Logits { logits, scales: self.logit_scales }
            } else {
                let length = count * pool.output.len();
                Outputs::Centred(next.get_mut(..length).unwrap_or_default())
            };
            layer.run(*pool, kernel, inputs, outputs, scratch.patches, scratch.sums);
            core::mem::swap(&mut now, &mut next);
        }
        Ok(())
    }

    /// Values that the last layer makes the logits of.
    #[must_use]
    pub fn features(&self) -> usize {
        self.last().map_or(0, |layer| layer.input.shape.len())
    }

    /// Real value of one step of a [feature](Self::features).
    #[must_use]
    pub fn feature_scale(&self) -> f32 {
        self.last().map_or(0.0, |layer| layer.input.scale)
    }

    fn last(&self) -> Option<Layer<'a>> {
        self.layers().last()
    }

    /// What the last layer made the logits of in the [`forward`](Self::forward) pass over
    /// `images` images that used `scratch` last: `images` ×
    /// [`features`](Self::features) values minus their zero point, in the order of the
    /// images. Nothing if `scratch` has not the memory of such a pass.
    #[must_use]
    pub fn features_in<'s>(&self, scratch: &'s Scratch<'_>, images: usize) -> &'s [i16] {
        let (mut now, mut next) = (&*scratch.front, &*scratch.back);
        let mut layers = self.layers();
        while next_fused(&mut layers).is_some() && !layers.is_empty() {
            core::mem::swap(&mut now, &mut next);
        }
        now.get(..images.saturating_mul(self.features())).unwrap_or_default()
    }

    /// Memory to run one layer by itself; nothing if there is no such layer.
    #[must_use]
    pub fn layer_requirements(&self, index: usize) -> Requirements {
        self.layers().nth(index).map_or(Requirements::default(), |layer| layer_requirements(&layer))
    }

    /// Runs one layer by itself, as TensorFlow Lite would: its int8 output, also for
    /// the last layer, and no pooling fused.
    ///
    /// `input` and `output` hold one image's values in the layer's shapes.
    ///
    /// # Errors
    /// If there is no such layer, a length is wrong, or `scratch` has less than the
    /// [`layer_requirements`](Self::layer_requirements); `output` is then untouched.
    #[inline(always)]
    pub fn run_layer(
        &self,
        index: usize,
        kernel: &impl Kernel,
        input: &[i8],
        scratch: &mut Scratch<'_>,
        output: &mut [i8],
    ) -> Result<(), ForwardError> {
        let layer = self.layers().nth(index).ok_or(ForwardError::WrongLength)?;
        if input.len() != layer.input().len() || output.len() != layer.output().len() {
            return Err(ForwardError::WrongLength);
        }
        if !scratch.holds(&layer_requirements(&layer)) {
            return Err(ForwardError::ScratchTooSmall);
        }
        let front = scratch.front.get_mut(..input.len()).unwrap_or_default();
        let back = scratch.back.get_mut(..output.len()).unwrap_or_default();
        for (centred, &value) in front.iter_mut().zip(input) {
            *centred = i16::from(value) - i16::from(layer.input.zero_point);
        }
        let outputs = Outputs::Centred(&mut *back);
        layer.run(layer.unfused(), kernel, front, outputs, scratch.patches, scratch.sums);
        for (value, &centred) in output.iter_mut().zip(back.iter()) {
            *value = (centred + i16::from(layer.output.zero_point)) as i8;
        }
        Ok(())
    }

    /// Whether layer `index` is a max pool that [`forward`](Self::forward) computes
    /// together with the convolution before it.
    #[must_use]
    pub fn is_fused(&self, index: usize) -> bool {
        let mut layers = self.layers().skip(index.saturating_sub(1));
        let (Some(before), Some(layer), 1..) = (layers.next(), layers.next(), index) else {
            return false;
        };
        before.fused_with(&layer).is_some()
    }
}

fn layer_requirements(layer: &Layer<'_>) -> Requirements {
    let (patches, sums) = layer.scratch(layer.unfused());
    Requirements { front: layer.input().len(), back: layer.output().len(), patches, sums }
}

/// Takes the next layer, and with it the max pool that is computed together with it.
///
/// Not inlined: what it needs for looking ahead shall not lie on the stack while a layer
/// runs.
#[inline(never)]
fn next_fused<'a>(layers: &mut Layers<'a>) -> Option<(Layer<'a>, Pool)> {
    let layer = &layers.next()?;
    let mut ahead = layers.clone();
    let next = &ahead.next();
    let fused = next.as_ref().and_then(|next| layer.fused_with(next));
    if fused.is_some() {
        *layers = ahead;
    }
    Some((*layer, fused.unwrap_or(layer.unfused())))
}
