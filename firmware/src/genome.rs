//! A genome of either encoding: what a board that can evolve both keeps in its archive.

use mirage_core::evolve::Encoding;
use mirage_core::genome::{self, Cppn, Direct};
use mirage_core::image::Shape;
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::rng::Stream;

/// A CPPN or the pixels of an image.
///
/// All genomes of a run have the encoding of its settings; their canonical bytes are
/// those of the encoding.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "without allocation, all are as large as the largest")]
pub enum Genome<const PIXELS: usize> {
    /// Indirect.
    Cppn(Cppn<CPPN_NODES, CPPN_CONNECTIONS>),
    /// Direct.
    Direct(Direct<[u8; PIXELS]>),
}

impl<const PIXELS: usize> Genome<PIXELS> {
    /// Becomes an empty CPPN, unless it is one already.
    fn be_cppn(&mut self) {
        if !matches!(self, Self::Cppn(_)) {
            *self = Self::Cppn(Cppn::default());
        }
    }

    /// Becomes a black image, unless it is one already.
    fn be_direct(&mut self) {
        if !matches!(self, Self::Direct(_)) {
            *self = Self::Direct(Direct::default());
        }
    }
}

impl<const PIXELS: usize> Default for Genome<PIXELS> {
    fn default() -> Self {
        Self::Cppn(Cppn::default())
    }
}

impl<const PIXELS: usize> Clone for Genome<PIXELS> {
    fn clone(&self) -> Self {
        let mut genome = Self::default();
        genome.clone_from(self);
        genome
    }

    fn clone_from(&mut self, source: &Self) {
        match source {
            Self::Cppn(_) => self.be_cppn(),
            Self::Direct(_) => self.be_direct(),
        }
        match (self, source) {
            (Self::Cppn(genome), Self::Cppn(source)) => genome.clone_from(source),
            (Self::Direct(genome), Self::Direct(source)) => genome.clone_from(source),
            _ => {}
        }
    }
}

impl<const PIXELS: usize> genome::Genome for Genome<PIXELS> {
    type Settings = Encoding;

    fn randomize(&mut self, settings: &Encoding, shape: Shape, rng: &mut Stream) {
        match settings {
            Encoding::Cppn(_) => self.be_cppn(),
            Encoding::Direct(_) => self.be_direct(),
        }
        match (self, settings) {
            (Self::Cppn(genome), Encoding::Cppn(settings)) => {
                genome.randomize(settings, shape, rng);
            }
            (Self::Direct(genome), Encoding::Direct(settings)) => {
                genome.randomize(settings, shape, rng);
            }
            _ => {}
        }
    }

    fn vary(
        &mut self,
        mate: &Self,
        settings: &Encoding,
        generation: u32,
        rng: &mut Stream,
    ) -> bool {
        match (self, mate, settings) {
            (Self::Cppn(genome), Self::Cppn(mate), Encoding::Cppn(settings)) => {
                genome.vary(mate, settings, generation, rng)
            }
            (Self::Direct(genome), Self::Direct(mate), Encoding::Direct(settings)) => {
                genome.vary(mate, settings, generation, rng)
            }
            // Of different runs.
            _ => false,
        }
    }

    fn render(&self, settings: &Encoding, shape: Shape, scratch: &mut [f32], image: &mut [u8]) {
        match (self, settings) {
            (Self::Cppn(genome), Encoding::Cppn(settings)) => {
                genome.render(settings, shape, scratch, image);
            }
            (Self::Direct(genome), Encoding::Direct(settings)) => {
                genome.render(settings, shape, scratch, image);
            }
            _ => {}
        }
    }

    fn scratch_len(pixels: usize) -> usize {
        Cppn::<CPPN_NODES, CPPN_CONNECTIONS>::scratch_len(pixels)
    }

    fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        match self {
            Self::Cppn(genome) => genome.encode(sink),
            Self::Direct(genome) => genome.encode(sink),
        }
    }
}
