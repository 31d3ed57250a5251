//! Genomes: what evolution varies, and how an image is drawn from it.

pub mod cppn;
pub mod direct;
pub mod variation;

pub use cppn::{Cppn, CppnSettings};
pub use direct::{Direct, DirectSettings, Pixels};

use crate::image::Shape;
use crate::rng::Stream;
use crate::wire::{DecodeError, Reader};

/// A genome of some encoding.
///
/// The default is a placeholder, quick to write, that `randomize` or `clone_from` makes
/// into a genome: where it stays, not on a device's stack.
pub trait Genome: Clone + Default {
    /// How genomes of this encoding vary and are drawn; part of a run's preset.
    type Settings;

    /// Makes this a genome of the first generation.
    fn randomize(&mut self, settings: &Self::Settings, shape: Shape, rng: &mut Stream);

    /// A genome of the first generation.
    fn random(settings: &Self::Settings, shape: Shape, rng: &mut Stream) -> Self {
        let mut genome = Self::default();
        genome.randomize(settings, shape, rng);
        genome
    }

    /// Makes this copy of a parent into an offspring.
    ///
    /// `mate` is a second parent, for encodings with crossover; `generation` counts
    /// from 0. Returns whether the mate had a part in it.
    fn vary(
        &mut self,
        mate: &Self,
        settings: &Self::Settings,
        generation: u32,
        rng: &mut Stream,
    ) -> bool;

    /// Draws the genome.
    ///
    /// * `image`: height × width × channels pixel bytes, row by row.
    /// * `scratch`: working memory. More of it means more pixels at a time, and
    ///   changes no pixel. With less than [`scratch_len`](Self::scratch_len) the
    ///   image is left as it is.
    fn render(
        &self,
        settings: &Self::Settings,
        shape: Shape,
        scratch: &mut [f32],
        image: &mut [u8],
    );

    /// Least length of the scratch memory that draws `pixels` pixels at a time.
    fn scratch_len(pixels: usize) -> usize;

    /// Writes the genome's canonical bytes, piece by piece.
    fn encode(&self, sink: &mut impl FnMut(&[u8]));
}

/// A genome that can be read back.
pub trait Decode: Genome {
    /// Reads and checks canonical bytes.
    ///
    /// # Errors
    /// If the bytes end early or are not a genome that [`encode`](Genome::encode) writes
    /// and that draws images of `shape`.
    fn decode(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError>;

    /// Most canonical bytes of a genome that draws images of `shape`.
    fn max_len(shape: Shape) -> usize;
}
