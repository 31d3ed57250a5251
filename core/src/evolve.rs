//! The generation loop, in two halves: [`Evolution::ask`] makes a child,
//! [`Evolution::tell`] tests its scores against the archive.
//!
//! `ask` is pure: a child depends on the preset, the seed, the archive as it stood
//! when the generation began, and the child's index. So children can be made and
//! classified in any order, on any thread or machine, as long as `tell` runs in
//! index order. A host asks for a whole generation before it tells; a device that
//! makes one child at a time keeps a copy of the archive from the generation's
//! beginning.

mod preset;

pub use preset::*;

use crate::archive::{Archive, Cell, Origin, Takeover};
use crate::genome::Genome;
use crate::image::Shape;
use crate::rng::Stream;

/// Counts the changes after which the same seed gives other images: a run does not go on
/// under another revision. The golden digests change with it.
pub const REVISION: u32 = 1;

/// An offspring, not yet classified.
///
/// The default is a placeholder for [`Evolution::ask_into`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Child<G> {
    /// Where it comes from.
    pub origin: Origin,
    /// The class whose elite was copied to make it; `None` in the first generation.
    pub parent_class: Option<usize>,
    /// Its genome.
    pub genome: G,
}

/// What a run computes, apart from its classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evolution<S> {
    /// Key of every random stream.
    pub seed: u64,
    /// Children per generation.
    pub children: u32,
    /// Shape of the images.
    pub shape: Shape,
    /// How genomes vary and are drawn.
    pub settings: S,
}

impl<S> Evolution<S> {
    /// Makes child `index` of `generation`, both counted from 0.
    ///
    /// `parents` is the archive as it stood when the generation began. In the first
    /// generation, and as long as it is empty, children are random; after that each
    /// varies an elite drawn uniformly from the cells.
    pub fn ask<G: Genome<Settings = S>, A>(
        &self,
        parents: &Archive<G, A>,
        generation: u32,
        index: u32,
    ) -> Child<G>
    where
        A: AsRef<[Cell<G>]> + AsMut<[Cell<G>]>,
    {
        let mut child = Child::default();
        self.ask_into(parents, generation, index, &mut child);
        child
    }

    /// [`ask`](Self::ask), with the child in the place of another: for a device, whose
    /// stack has no room for two.
    // Not inlined: what it needs would stay on the stack while the child is classified.
    #[inline(never)]
    pub fn ask_into<G: Genome<Settings = S>, A>(
        &self,
        parents: &Archive<G, A>,
        generation: u32,
        index: u32,
        child: &mut Child<G>,
    ) where
        A: AsRef<[Cell<G>]> + AsMut<[Cell<G>]>,
    {
        let mut rng = Stream::new(self.seed, generation, index);
        let id = u64::from(generation) * u64::from(self.children) + u64::from(index);
        child.origin = Origin { id, generation, parents: [None, None] };
        let drawn = (parents.draw(&mut rng), parents.draw(&mut rng));
        let (Some((class, parent)), Some((_, mate))) = drawn else {
            child.parent_class = None;
            child.genome.randomize(&self.settings, self.shape, &mut rng);
            return;
        };
        child.parent_class = Some(class);
        child.genome.clone_from(&parent.genome);
        let is_mixed = child.genome.vary(&mate.genome, &self.settings, generation, &mut rng);
        let mate = is_mixed.then_some(mate.origin.id).filter(|&mate| mate != parent.origin.id);
        child.origin.parents = [Some(parent.origin.id), mate];
    }

    /// Tests a child's scores against every class of the archive; see
    /// [`Archive::insert`].
    pub fn tell<G: Genome<Settings = S>, A>(
        &self,
        archive: &mut Archive<G, A>,
        child: &Child<G>,
        scores: &[f32],
        report: impl FnMut(Takeover),
    ) where
        A: AsRef<[Cell<G>]> + AsMut<[Cell<G>]>,
    {
        archive.insert(child.origin, &child.genome, scores, report);
    }
}
