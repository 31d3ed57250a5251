//! The direct encoding: one gene per pixel.

use super::{Decode, Genome, variation};
use crate::image::Shape;
use crate::rng::Stream;
use crate::wire::{DecodeError, Reader};

/// Memory for the pixel bytes of a direct genome: an array on a device, the heap on a
/// host.
pub trait Pixels: Clone {
    /// A placeholder, quick to make.
    fn black() -> Self;

    /// Makes room for just `len` bytes, whatever they hold then; `false` if there cannot
    /// be so many or so few.
    fn resize(&mut self, len: usize) -> bool;

    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// The bytes, to be changed.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl<const LEN: usize> Pixels for [u8; LEN] {
    fn black() -> Self {
        [0; LEN]
    }

    fn resize(&mut self, len: usize) -> bool {
        len == LEN
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// An image that is its own genome: one gene per value of a pixel.
///
/// A gene is a byte: the real gene in [0, 1] of the operators, in steps of 1/255.
/// What cannot be seen is not stored, and a genome takes a quarter of the memory.
#[derive(Debug, PartialEq, Eq)]
pub struct Direct<P> {
    pixels: P,
}

/// How direct genomes vary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectSettings {
    /// Probability that a gene mutates.
    pub mutation_rate: f32,
    /// Exponent η of the polynomial mutation.
    pub mutation_eta: f32,
    /// Generations after which the mutation rate halves, again and again; 0: never.
    pub halving: u32,
    /// Probability that an offspring has two parents.
    pub crossover_rate: f32,
    /// Exponent η of simulated binary crossover.
    pub crossover_eta: f32,
}

impl<P: Pixels> Direct<P> {
    /// A genome from its pixels.
    #[must_use]
    pub const fn new(pixels: P) -> Self {
        Self { pixels }
    }

    /// The pixels.
    #[must_use]
    pub const fn pixels(&self) -> &P {
        &self.pixels
    }
}

/// All black.
impl<P: Pixels> Default for Direct<P> {
    fn default() -> Self {
        Self { pixels: P::black() }
    }
}

impl<P: Pixels> Clone for Direct<P> {
    fn clone(&self) -> Self {
        Self { pixels: self.pixels.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.pixels.clone_from(&source.pixels);
    }
}

/// The real gene of a byte.
fn gene(byte: u8) -> f32 {
    f32::from(byte) * (1.0 / 255.0)
}

/// The byte nearest to a real gene.
fn byte(gene: f32) -> u8 {
    (gene * 255.0 + 0.5) as u8
}

impl<P: Pixels> Genome for Direct<P> {
    type Settings = DirectSettings;

    /// Every value drawn uniformly. If there is no memory for just this shape, those that
    /// there is memory for.
    fn randomize(&mut self, _: &DirectSettings, shape: Shape, rng: &mut Stream) {
        let _ = self.pixels.resize(shape.len());
        for pixel in self.pixels.bytes_mut() {
            *pixel = rng.below(256) as u8;
        }
    }

    fn vary(
        &mut self,
        mate: &Self,
        settings: &DirectSettings,
        generation: u32,
        rng: &mut Stream,
    ) -> bool {
        let is_mixed = rng.chance(settings.crossover_rate);
        if is_mixed {
            for (pixel, &other) in self.pixels.bytes_mut().iter_mut().zip(mate.pixels.bytes()) {
                if *pixel != other {
                    let child =
                        variation::sbx(gene(*pixel), gene(other), settings.crossover_eta, rng);
                    *pixel = byte(child);
                }
            }
        }
        let halvings = generation.checked_div(settings.halving).unwrap_or(0).min(63);
        let rate = settings.mutation_rate / (1u64 << halvings) as f32;
        for pixel in self.pixels.bytes_mut() {
            if rng.chance(rate) {
                *pixel = byte(variation::polynomial(gene(*pixel), settings.mutation_eta, rng));
            }
        }
        is_mixed
    }

    #[inline(always)]
    fn render(&self, _: &DirectSettings, _: Shape, _: &mut [f32], image: &mut [u8]) {
        for (target, &pixel) in image.iter_mut().zip(self.pixels.bytes()) {
            *target = pixel;
        }
    }

    fn scratch_len(_: usize) -> usize {
        0
    }

    fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        sink(self.pixels.bytes());
    }
}

impl<P: Pixels> Decode for Direct<P> {
    fn decode(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError> {
        let mut genome = Self::default();
        if !genome.pixels.resize(shape.len()) {
            return Err(DecodeError::Genome);
        }
        let read = reader.take(shape.len())?;
        for (pixel, &byte) in genome.pixels.bytes_mut().iter_mut().zip(read) {
            *pixel = byte;
        }
        Ok(genome)
    }

    fn max_len(shape: Shape) -> usize {
        shape.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: DirectSettings = DirectSettings {
        mutation_rate: 0.1,
        mutation_eta: 15.0,
        halving: 1000,
        crossover_rate: 0.0,
        crossover_eta: 10.0,
    };

    #[test]
    fn every_byte_is_its_own_gene() {
        assert!((0..=255).all(|b| byte(gene(b)) == b));
    }

    #[test]
    fn the_rate_halves_and_halves_until_it_is_gone() {
        let changed = |generation| {
            let mut child = Direct::new([128; 4096]);
            let parent = child.clone();
            child.vary(&parent, &SETTINGS, generation, &mut Stream::new(1, generation, 0));
            child.pixels.iter().filter(|&&p| p != 128).count()
        };
        let (first, second, last) = (changed(999), changed(1000), changed(u32::MAX));
        assert!((350..460).contains(&first), "{first}");
        assert!((160..240).contains(&second), "{second}");
        assert_eq!(last, 0);
    }

    #[test]
    fn a_rate_that_never_halves() {
        let mut child = Direct::new([128; 4096]);
        let parent = child.clone();
        let settings = DirectSettings { halving: 0, ..SETTINGS };
        child.vary(&parent, &settings, u32::MAX, &mut Stream::new(1, 0, 0));
        assert!(child.pixels.iter().filter(|&&p| p != 128).count() > 350);
    }
}
