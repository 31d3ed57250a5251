//! Drawing a CPPN: node by node over chunks of pixels.
//!
//! All pixels of a chunk pass through one node before the next, so that every inner
//! loop is a plain pass over slices that a compiler turns into vector instructions.
//! How many pixels make a chunk changes no pixel.

use super::{Activation, Coordinates, Cppn, CppnSettings, INPUTS, Math};
use crate::image::Shape;
#[cfg(feature = "micromath")]
use crate::math::Micromath;
use crate::math::{ActivationMath, Polynomial, sqrt};
use core::num::NonZeroUsize;
use heapless::Vec;

impl<const NODES: usize, const CONNECTIONS: usize> Cppn<NODES, CONNECTIONS> {
    /// Draws the picture; see [`Genome::render`](crate::genome::Genome::render).
    #[inline(always)]
    pub(super) fn draw(
        &self,
        settings: &CppnSettings,
        shape: Shape,
        scratch: &mut [f32],
        image: &mut [u8],
    ) {
        match settings.math {
            Math::Polynomial => self.draw_with::<Polynomial>(settings, shape, scratch, image),
            #[cfg(feature = "micromath")]
            Math::Micromath => self.draw_with::<Micromath>(settings, shape, scratch, image),
        }
    }

    #[inline(always)]
    fn draw_with<M: ActivationMath>(
        &self,
        settings: &CppnSettings,
        shape: Shape,
        scratch: &mut [f32],
        image: &mut [u8],
    ) {
        let order = self.order();
        let slots = INPUTS + order.len();
        let (pixels, channels) = (shape.positions(), shape.channels);
        let most = scratch.len().checked_div(slots).unwrap_or(0);
        if most == 0 || channels == 0 || image.len() != shape.len() {
            return;
        }
        // Chunks of equal size, in whole vectors: a short last one would be slow. That
        // neither number is 0 follows from the above; `max` makes the compiler see it.
        let chunks = pixels.div_ceil(most).max(1);
        let chunk = pixels.div_ceil(chunks).next_multiple_of(8).min(most).max(1);
        let mut first = 0;
        while first < pixels {
            let len = chunk.min(pixels - first);
            let bytes = first * channels..(first + len) * channels;
            let Some(image) = image.get_mut(bytes) else { return };
            fill_inputs(settings.coordinates, shape, first, len, chunk, scratch);
            for (position, &node) in order.iter().enumerate() {
                self.evaluate::<M>(&order, position, usize::from(node), len, chunk, scratch);
            }
            for output in 0..self.outputs().min(channels) {
                let slot = order.iter().position(|&node| usize::from(node) == output);
                let start = (INPUTS + slot.unwrap_or(0)) * chunk;
                let values = scratch.get(start..start + len).unwrap_or_default();
                // A step of one, spelled out, is a loop that vectorises.
                if channels == 1 {
                    paint(image.iter_mut(), values);
                } else {
                    paint(image.iter_mut().skip(output).step_by(channels), values);
                }
            }
            first += len;
        }
    }

    /// The nodes that an output depends on, every one after all that it depends on.
    fn order(&self) -> Vec<u16, NODES> {
        let node = |end: u16| usize::from(end).wrapping_sub(INPUTS);
        // Connections into a node that have not been accounted for yet; a node that no
        // output depends on is never counted.
        let mut needed = [false; NODES];
        let mut waiting = [0u16; NODES];
        let mut stack: Vec<u16, NODES> = Vec::new();
        for (output, needed) in needed.iter_mut().enumerate().take(self.outputs()) {
            *needed = true;
            let _ = stack.push(output as u16);
        }
        while let Some(next) = stack.pop() {
            for connection in &self.connections {
                if node(connection.target) != usize::from(next) {
                    continue;
                }
                if let Some(waiting) = waiting.get_mut(usize::from(next)) {
                    *waiting += u16::from(usize::from(connection.source) >= INPUTS);
                }
                let source = node(connection.source);
                if let Some(needed @ false) = needed.get_mut(source) {
                    *needed = true;
                    let _ = stack.push(source as u16);
                }
            }
        }
        let mut order = Vec::new();
        for (node, (&needed, &waiting)) in needed.iter().zip(&waiting).enumerate() {
            if needed && waiting == 0 {
                let _ = order.push(node as u16);
            }
        }
        let mut done = 0;
        while let Some(&next) = order.get(done) {
            done += 1;
            for connection in &self.connections {
                let target = node(connection.target);
                if node(connection.source) == usize::from(next)
                    && needed.get(target).is_some_and(|&needed| needed)
                    && let Some(waiting) = waiting.get_mut(target)
                {
                    *waiting -= 1;
                    if *waiting == 0 {
                        let _ = order.push(target as u16);
                    }
                }
            }
        }
        order
    }

    /// Computes one node for `len` pixels, into the slot after all that came before.
    #[inline(always)]
    fn evaluate<M: ActivationMath>(
        &self,
        order: &[u16],
        position: usize,
        node: usize,
        len: usize,
        chunk: usize,
        scratch: &mut [f32],
    ) {
        let Some((done, rest)) = scratch.split_at_mut_checked((INPUTS + position) * chunk) else {
            return;
        };
        let Some(values) = rest.get_mut(..len) else { return };
        let mut is_first = true;
        for connection in &self.connections {
            if usize::from(connection.target) != INPUTS + node {
                continue;
            }
            let source = usize::from(connection.source);
            let slot = match source.checked_sub(INPUTS) {
                None => source,
                Some(node) => match order.iter().position(|&n| usize::from(n) == node) {
                    Some(position) => INPUTS + position,
                    None => continue,
                },
            };
            let Some(inputs) = done.get(slot * chunk..slot * chunk + len) else { continue };
            let strength = connection.strength();
            if is_first {
                for (value, &input) in values.iter_mut().zip(inputs) {
                    *value = strength * input;
                }
                is_first = false;
            } else {
                for (value, &input) in values.iter_mut().zip(inputs) {
                    *value += strength * input;
                }
            }
        }
        if is_first {
            values.fill(0.0);
        }
        match self.nodes.get(node).copied().unwrap_or(Activation::Linear) {
            Activation::Sine => values.iter_mut().for_each(|v| *v = M::sin(*v)),
            Activation::Sigmoid => {
                values.iter_mut().for_each(|v| *v = 2.0 / (1.0 + M::exp(-*v)) - 1.0);
            }
            Activation::Gaussian => values.iter_mut().for_each(|v| *v = M::exp(-(*v * *v))),
            Activation::Linear => values.iter_mut().for_each(|v| {
                let low = if *v > -3.0 { *v } else { -3.0 };
                let both = if low < 3.0 { low } else { 3.0 };
                *v = both / 3.0;
            }),
        }
    }
}

/// Writes x, y, d and 1 of the pixels from `first` on into the first slots.
#[inline(always)]
fn fill_inputs(
    coordinates: Coordinates,
    shape: Shape,
    first: usize,
    len: usize,
    chunk: usize,
    scratch: &mut [f32],
) {
    let mut slots = scratch.chunks_exact_mut(chunk);
    let (Some(xs), Some(ys), Some(ds), Some(ones)) =
        (slots.next(), slots.next(), slots.next(), slots.next())
    else {
        return;
    };
    let (Some(xs), Some(ys)) = (xs.get_mut(..len), ys.get_mut(..len)) else { return };
    ones.fill(1.0);
    fill_positions(
        shape.width,
        first,
        Axis::centred(shape.width),
        Axis::centred(shape.height),
        xs,
        ys,
    );
    for ((d, &x), &y) in ds.iter_mut().zip(xs.iter()).zip(ys.iter()) {
        *d = sqrt(x * x + y * y);
    }
    if coordinates == Coordinates::Pixels {
        fill_positions(shape.width, first, Axis::PIXELS, Axis::PIXELS, xs, ys);
    }
}

/// Writes x and y of the pixels from `first` on, in lines of `width` pixels.
#[inline(always)]
fn fill_positions(
    width: usize,
    first: usize,
    across: Axis,
    down: Axis,
    mut xs: &mut [f32],
    mut ys: &mut [f32],
) {
    let Some(lines) = NonZeroUsize::new(width) else { return };
    let (mut row, mut column) = (first / lines, first % lines);
    while !xs.is_empty() {
        let count = (width - column).min(xs.len());
        let (Some((x, next_xs)), Some((y, next_ys))) =
            (xs.split_at_mut_checked(count), ys.split_at_mut_checked(count))
        else {
            return;
        };
        for (offset, x) in x.iter_mut().enumerate() {
            *x = across.at(column + offset);
        }
        y.fill(down.at(row));
        (xs, ys) = (next_xs, next_ys);
        (row, column) = (row + 1, 0);
    }
}

/// Positions along one side.
struct Axis {
    step: f32,
    start: f32,
}

impl Axis {
    /// The pixel's index.
    const PIXELS: Self = Self { step: 1.0, start: 0.0 };

    /// −1 ..= 1; 0 if the side is one pixel.
    fn centred(size: usize) -> Self {
        if size > 1 {
            Self { step: 2.0 / (size - 1) as f32, start: -1.0 }
        } else {
            Self { step: 0.0, start: 0.0 }
        }
    }

    #[inline(always)]
    fn at(&self, index: usize) -> f32 {
        index as f32 * self.step + self.start
    }
}

#[inline(always)]
fn paint<'a>(bytes: impl Iterator<Item = &'a mut u8>, values: &[f32]) {
    for (byte, &value) in bytes.zip(values) {
        *byte = brightness(value);
    }
}

/// The byte |⌊255 · value⌋| of an output in [−1, 1], as the paper's released code
/// has it: black at 0, white at −1 and 1.
#[inline(always)]
fn brightness(value: f32) -> u8 {
    let scaled = value * 255.0;
    let truncated = scaled as i32;
    let floor = truncated - i32::from(truncated as f32 > scaled);
    floor.unsigned_abs() as u8
}

#[cfg(test)]
mod tests {
    use super::super::Connection;
    use super::*;
    use crate::evolve::CPPN;
    use crate::genome::Genome;
    use crate::rng::Stream;

    const SHAPE: Shape = Shape { height: 28, width: 28, channels: 1 };

    type Network = Cppn<16, 32>;

    fn picture(genome: &Network, chunk: usize) -> [u8; 784] {
        let mut scratch = [0.0; 20 * 784];
        let mut image = [0; 784];
        let len = Network::scratch_len(chunk);
        genome.render(&CPPN, SHAPE, &mut scratch[..len], &mut image);
        image
    }

    #[test]
    fn brightness_is_the_magnitude_of_the_floor() {
        let cases = [(0.0, 0), (1.0, 255), (-1.0, 255), (0.5, 127), (-0.5, 128), (-1e-9, 1)];
        for (value, byte) in cases {
            assert_eq!(brightness(value), byte, "{value}");
        }
    }

    #[test]
    fn the_chunk_changes_no_pixel() {
        let mut genome = Network::random(&CPPN, SHAPE, &mut Stream::new(1, 0, 0));
        for generation in 0..40 {
            let mate = genome.clone();
            genome.vary(&mate, &CPPN, generation, &mut Stream::new(1, generation, 1));
            let whole = picture(&genome, 784);
            for chunk in [1, 7, 28, 64, 300] {
                assert_eq!(picture(&genome, chunk), whole, "generation {generation}, {chunk}");
            }
        }
    }

    #[test]
    fn coordinates_reach_from_edge_to_edge() {
        // Output = linear(10 · x / …): x alone, strength 3, so the output is x itself.
        let weight = (3.0 + 10.0) / 20.0;
        let of = |source| {
            let edge = Connection { source, target: 4, weight };
            picture(&Network::new(1, &[Activation::Linear], &[edge]).unwrap(), 784)
        };
        let (x, y, d, one) = (of(0), of(1), of(2), of(3));
        assert_eq!((x[0], x[27], x[13]), (255, 255, 10));
        assert!((0..28).all(|i| y[i * 28] == x[i]), "y is x turned");
        assert!(d[0] == 255 && d[14 * 28 + 14] < 20);
        assert!(one.iter().all(|&byte| byte == one[0] && byte >= 254));
    }

    #[test]
    fn too_little_scratch_draws_nothing() {
        let genome = Network::random(&CPPN, SHAPE, &mut Stream::new(1, 0, 0));
        let mut image = [7; 784];
        genome.render(&CPPN, SHAPE, &mut [0.0; 3], &mut image);
        assert_eq!(image, [7; 784]);
        genome.render(&CPPN, SHAPE, &mut [0.0; 900], &mut image[..10]);
        let nothing = Shape { channels: 0, ..SHAPE };
        genome.render(&CPPN, nothing, &mut [0.0; 900], &mut []);
        assert_eq!(image, [7; 784]);
    }
}
