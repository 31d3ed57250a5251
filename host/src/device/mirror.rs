//! The archive on a board, made again from what the board tells.
//!
//! A child is a function of the archive at its generation's beginning and its index, so
//! its number is enough to have its genome and its parents: the mirror asks for the child
//! as the board did, and does not classify it. The board's digests tell whether the two
//! archives are the same. Where they are not, because a frame was lost or because the
//! board is wrong, the board's elites take the place of the mirror's: it is the board's
//! run that is followed.

use mirage_core::archive::{Archive, Cell, Elite, Origin, Takeover};
use mirage_core::evolve::Evolution;
use mirage_core::genome::{Decode, Genome};
use mirage_core::wire::Reader;

use super::connection::{Claim, Description, is_confidence};
use crate::experiment::engine::{Generation, HeapArchive};
use crate::experiment::journal::Journal;

/// A board's archive as of the end of a generation.
#[derive(Debug)]
pub(super) struct Mirror<G: Genome> {
    evolution: Evolution<G::Settings>,
    archive: HeapArchive<G>,
    generations: u32,
    /// What was claimed since.
    claims: Vec<Claim>,
    /// Generations done and the board's digest then, as far as the board told.
    digests: Vec<(u32, u64)>,
}

/// What may have happened since the archive: who took cells, in order, and what it led to.
struct Course<G> {
    taken: Vec<(Origin, Takeover)>,
    archive: HeapArchive<G>,
}

impl<G: Genome + PartialEq> Mirror<G> {
    /// A mirror of an empty archive.
    pub(super) fn new(evolution: Evolution<G::Settings>, classes: usize) -> Self {
        let archive = Archive::new((0..classes).map(|_| None).collect());
        Self { evolution, archive, generations: 0, claims: Vec::new(), digests: Vec::new() }
    }

    /// The archive after [`generations`](Self::generations).
    pub(super) fn archive(&self) -> &HeapArchive<G> {
        &self.archive
    }

    /// Generations done.
    pub(super) fn generations(&self) -> u32 {
        self.generations
    }

    /// Generations done and the digest then, as far as the board told.
    pub(super) fn digests(&self) -> &[(u32, u64)] {
        &self.digests
    }

    /// Notes what the board claims of its present generation. What cannot be is left out,
    /// as if it had been lost.
    pub(super) fn claim(&mut self, claim: Claim) {
        let is_new = claim.id / u64::from(self.evolution.children) >= self.generations.into();
        if is_new && claim.class < self.archive.cells().len() && is_confidence(claim.confidence) {
            self.claims.push(claim);
        }
    }

    /// Goes to the end of generation `done`, if what was claimed leads to the digest that
    /// the board has then; returns whether it does.
    pub(super) fn advance(&mut self, done: u32, digest: u64, journal: &mut Journal<'_>) -> bool {
        let course = self.course(done);
        let is_same = course.archive.digest().value() == digest;
        if is_same {
            self.follow(course, done, digest, journal);
        }
        is_same
    }

    /// Goes to the end of generation `done` with the board's elites, if they have its
    /// digest; returns whether they do.
    ///
    /// Who held a cell for a moment, and whose claim was lost, is missing in the lineage.
    pub(super) fn catch_up(
        &mut self,
        done: u32,
        digest: u64,
        cells: &[Cell<G>],
        journal: &mut Journal<'_>,
    ) -> bool {
        let archive = Archive::new(cells.to_vec());
        if archive.digest().value() != digest {
            return false;
        }
        // Children of later generations may have had other parents than the mirror's.
        let mut course = self.course(self.generations + 1);
        for (class, elite) in archive.elites() {
            let known = course.archive.cells()[class].as_ref();
            if known != Some(elite) {
                let displaced = known.map(|known| known.origin);
                let takeover = Takeover { class, displaced, confidence: elite.confidence };
                course.taken.push((elite.origin, takeover));
            }
        }
        self.follow(Course { archive, ..course }, done, digest, journal);
        true
    }

    /// What the claims of the generations before `end` lead to.
    fn course(&self, end: u32) -> Course<G> {
        let mut course = Course { taken: Vec::new(), archive: self.archive.clone() };
        let children = u64::from(self.evolution.children);
        for generation in self.generations..end {
            let mut claims =
                self.claims.iter().filter(|claim| claim.id / children == u64::from(generation));
            let Some(first) = claims.next() else { continue };
            let parents = course.archive.clone();
            for claim in std::iter::once(first).chain(claims) {
                let index = (claim.id % children) as u32;
                let child = self.evolution.ask(&parents, generation, index);
                // Sure of one class only, as far as one knows.
                let mut scores = vec![f32::NAN; claim.class + 1];
                scores[claim.class] = claim.confidence;
                self.evolution.tell(&mut course.archive, &child, &scores, |takeover| {
                    course.taken.push((child.origin, takeover));
                });
            }
        }
        course
    }

    /// Takes a course to the end of generation `done`, and writes it down.
    fn follow(&mut self, course: Course<G>, done: u32, digest: u64, journal: &mut Journal<'_>) {
        let mut taken = course.taken.into_iter().peekable();
        for generation in self.generations..done {
            // What was noticed late counts where it was noticed.
            let is_last = generation + 1 == done;
            while let Some((origin, takeover)) =
                taken.next_if(|(origin, _)| is_last || origin.generation <= generation)
            {
                journal.take(origin, takeover);
            }
            let children = u64::from(self.evolution.children);
            journal.end_generation(Generation { children, ..Generation::default() });
        }
        self.archive = course.archive;
        self.generations = done;
        self.digests.push((done, digest));
        let children = u64::from(self.evolution.children);
        self.claims.retain(|claim| claim.id / children >= done.into());
    }
}

/// The elite that the board describes, of a generation before `end`; `None` if it cannot
/// be one.
pub(super) fn elite<G: Decode>(
    evolution: &Evolution<G::Settings>,
    description: &Description,
    end: u32,
) -> Option<Elite<G>> {
    let generation = u32::try_from(description.id / u64::from(evolution.children)).ok()?;
    let mut reader = Reader::new(&description.genome);
    let genome = G::decode(&mut reader, evolution.shape).ok()?;
    reader.finish().ok()?;
    let confidence = description.confidence;
    let origin = Origin { id: description.id, generation, parents: description.parents };
    (is_confidence(confidence) && generation < end).then_some(Elite { origin, confidence, genome })
}
