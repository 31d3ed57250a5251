//! The archive of MAP-Elites over classes: one cell per class, in it the image with
//! the highest confidence in that class so far.
//!
//! Mouret and Clune 2015 (arXiv:1504.04909), with the classes of the network as
//! cells, as in the paper's section 2.

use crate::digest::Digest;
use crate::genome::{Decode, Genome};
use crate::image::Shape;
use crate::math::canonical_bits;
use crate::rng::Stream;
use crate::wire::{DecodeError, Reader};
use core::marker::PhantomData;

/// The best individual of a cell.
// In this order, the small fields first, a compiler builds an elite in its cell and not
// on the stack; see `occupy`.
#[derive(Clone, Debug, PartialEq)]
#[repr(C)]
pub struct Elite<G> {
    /// Where it came from.
    pub origin: Origin,
    /// Its confidence in the cell's class, 0 ..= 1.
    pub confidence: f32,
    /// Its genome.
    pub genome: G,
}

/// Where an individual came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Unique in the run: generation · children per generation + index.
    pub id: u64,
    /// The generation that made it, counted from 0.
    pub generation: u32,
    /// Its parents: none in the first generation, two after crossover.
    pub parents: [Option<u64>; 2],
}

/// A cell of the archive; empty until an individual comes.
pub type Cell<G> = Option<Elite<G>>;

/// A cell that changed hands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Takeover {
    /// The class of the cell.
    pub class: usize,
    /// The elite that had the cell, or `None` if it was empty.
    pub displaced: Option<Origin>,
    /// Confidence of the new elite.
    pub confidence: f32,
}

/// One cell per class, in memory that the caller chooses: an array on a device, a
/// `Vec` on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive<G, S> {
    cells: S,
    genome: PhantomData<G>,
}

impl<G: Genome, S: AsRef<[Cell<G>]> + AsMut<[Cell<G>]>> Archive<G, S> {
    /// An archive in `cells`, as they are.
    pub const fn new(cells: S) -> Self {
        Self { cells, genome: PhantomData }
    }

    /// The cells, in class order.
    pub fn cells(&self) -> &[Cell<G>] {
        self.cells.as_ref()
    }

    /// The elites with their classes, in class order.
    pub fn elites(&self) -> impl Iterator<Item = (usize, &Elite<G>)> {
        let cells = self.cells().iter().enumerate();
        cells.filter_map(|(class, cell)| cell.as_ref().map(|elite| (class, elite)))
    }

    /// An elite drawn uniformly from the occupied cells, with its class: one that
    /// holds k cells has k tickets. `None` if all are empty.
    pub fn draw(&self, rng: &mut Stream) -> Option<(usize, &Elite<G>)> {
        let occupied = self.elites().count();
        let ticket = rng.below(u32::try_from(occupied).ok()?);
        self.elites().nth(ticket as usize)
    }

    /// Tests an individual against every class.
    ///
    /// It takes each cell that is empty or whose elite has a strictly lower
    /// confidence: a tie keeps the older elite, and NaN never enters. Inserting by
    /// the highest score alone would leave cells empty whose class is never the
    /// most likely.
    ///
    /// `scores` are in class order; a missing one counts as NaN. `report` is called
    /// for each cell taken, in class order.
    pub fn insert(
        &mut self,
        origin: Origin,
        genome: &G,
        scores: &[f32],
        mut report: impl FnMut(Takeover),
    ) {
        let cells = self.cells.as_mut().iter_mut().zip(scores).enumerate();
        for (class, (cell, &confidence)) in cells {
            let better = match cell {
                Some(elite) => confidence > elite.confidence,
                None => !confidence.is_nan(),
            };
            if better {
                let displaced = cell.as_ref().map(|elite| elite.origin);
                occupy(cell, origin, confidence, genome);
                report(Takeover { class, displaced, confidence });
            }
        }
    }

    /// Becomes a copy of `later`, a later state of the same run's archive.
    ///
    /// Only cells that changed hands are copied, told by the [id](Origin::id) of their
    /// elites, and each straight into its place: the way for a device to keep the state
    /// from a generation's beginning.
    pub fn catch_up(&mut self, later: &Self) {
        for (cell, later) in self.cells.as_mut().iter_mut().zip(later.cells()) {
            match later {
                Some(Elite { origin, confidence, genome }) => {
                    if cell.as_ref().is_none_or(|elite| elite.origin.id != origin.id) {
                        occupy(cell, *origin, *confidence, genome);
                    }
                }
                None => *cell = None,
            }
        }
    }

    /// Empties every cell.
    pub fn clear(&mut self) {
        for cell in self.cells.as_mut() {
            *cell = None;
        }
    }

    /// Writes the archive's canonical bytes: `u32` number of cells, then for each a
    /// byte 0, or 1 followed by `u64` id, `u32` generation, number of parents as a
    /// byte, `u64` for each, `f32` confidence, and the genome.
    pub fn encode(&self, sink: &mut impl FnMut(&[u8])) {
        sink(&(self.cells().len() as u32).to_le_bytes());
        for cell in self.cells() {
            let Some(elite) = cell else {
                sink(&[0]);
                continue;
            };
            sink(&[1]);
            sink(&elite.origin.id.to_le_bytes());
            sink(&elite.origin.generation.to_le_bytes());
            let parents = elite.origin.parents.iter().flatten();
            sink(&[parents.clone().count() as u8]);
            for parent in parents {
                sink(&parent.to_le_bytes());
            }
            sink(&canonical_bits(elite.confidence).to_le_bytes());
            elite.genome.encode(sink);
        }
    }

    /// Reads canonical bytes into the cells.
    ///
    /// # Errors
    /// If the bytes end early, belong to another number of classes, or hold a genome
    /// that does not draw images of `shape`. The cells read before the error are
    /// overwritten.
    pub fn decode(&mut self, reader: &mut Reader<'_>, shape: Shape) -> Result<(), DecodeError>
    where
        G: Decode,
    {
        let cells = self.cells.as_mut();
        if reader.u32()? as usize != cells.len() {
            return Err(DecodeError::Archive);
        }
        for cell in cells {
            *cell = match reader.u8()? {
                0 => None,
                1 => {
                    let (id, generation) = (reader.u64()?, reader.u32()?);
                    let parents = match reader.u8()? {
                        0 => [None, None],
                        1 => [Some(reader.u64()?), None],
                        2 => [Some(reader.u64()?), Some(reader.u64()?)],
                        _ => return Err(DecodeError::Archive),
                    };
                    let confidence = reader.f32()?;
                    if confidence.is_nan() {
                        return Err(DecodeError::Archive);
                    }
                    let origin = Origin { id, generation, parents };
                    Some(Elite { origin, confidence, genome: G::decode(reader, shape)? })
                }
                _ => return Err(DecodeError::Archive),
            };
        }
        Ok(())
    }

    /// The digest of the canonical bytes.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::new();
        self.encode(&mut |bytes| digest.update(bytes));
        digest
    }
}

/// Puts an individual into a cell, where its genome is written once: a device's stack has
/// no room for another in between.
fn occupy<G: Genome>(cell: &mut Cell<G>, origin: Origin, confidence: f32, genome: &G) {
    let elite = cell.get_or_insert_with(|| Elite { origin, confidence, genome: G::default() });
    (elite.origin, elite.confidence) = (origin, confidence);
    elite.genome.clone_from(genome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::Direct;

    type Small = Archive<Direct<[u8; 1]>, [Cell<Direct<[u8; 1]>>; 3]>;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };

    fn origin(id: u64) -> Origin {
        Origin { id, generation: 0, parents: [None, None] }
    }

    fn insert(archive: &mut Small, id: u64, scores: &[f32]) -> [Option<Takeover>; 3] {
        let mut taken = [None; 3];
        archive.insert(origin(id), &Direct::new([id as u8]), scores, |takeover| {
            taken[takeover.class] = Some(takeover);
        });
        taken
    }

    #[test]
    fn a_child_takes_every_cell_it_is_better_in() {
        let mut archive = Small::new([None, None, None]);
        let first = insert(&mut archive, 1, &[0.5, 0.25, f32::NAN]);
        assert!(first[0].is_some() && first[1].is_some() && first[2].is_none());
        let second = insert(&mut archive, 2, &[0.5, 0.375, 0.0]);
        assert_eq!(second[0], None, "a tie keeps the older elite");
        assert_eq!(second[1].and_then(|t| t.displaced), Some(origin(1)));
        assert_eq!(second[2].map(|t| t.displaced), Some(None));
        let ids: [_; 3] = core::array::from_fn(|c| archive.cells()[c].as_ref().unwrap().origin.id);
        assert_eq!(ids, [1, 2, 2]);
    }

    #[test]
    fn too_few_scores_leave_the_rest_alone() {
        let mut archive = Small::new([None, None, None]);
        insert(&mut archive, 1, &[1.0]);
        assert_eq!(archive.elites().count(), 1);
    }

    #[test]
    fn catching_up_copies_what_changed_hands() {
        let mut archive = Small::new([None, None, None]);
        let mut parents = archive.clone();
        insert(&mut archive, 1, &[0.5, 0.5, f32::NAN]);
        parents.catch_up(&archive);
        assert_eq!(parents, archive);
        insert(&mut archive, 2, &[0.25, 0.75, 0.5]);
        parents.catch_up(&archive);
        assert_eq!(parents, archive);
        archive.clear();
        assert_eq!(archive.elites().count(), 0);
        // Of another run: ids do not tell individuals apart.
        insert(&mut archive, 1, &[0.125]);
        parents.catch_up(&archive);
        let confidences = parents.elites().map(|(class, elite)| (class, elite.confidence));
        assert!(confidences.eq([(0, 0.5)]), "{parents:?}");
    }

    #[test]
    fn tickets_count_cells() {
        let mut archive = Small::new([None, None, None]);
        assert_eq!(archive.draw(&mut Stream::new(1, 0, 0)), None);
        insert(&mut archive, 1, &[0.5, 0.5, 0.5]);
        insert(&mut archive, 2, &[0.6, 0.1, 0.1]);
        let mut rng = Stream::new(1, 0, 0);
        let twos = (0..3000).filter(|_| archive.draw(&mut rng).unwrap().1.origin.id == 2).count();
        assert!((900..1100).contains(&twos), "{twos}");
    }

    #[test]
    fn bytes_round_trip_and_every_truncation_is_refused() {
        let mut archive = Small::new([None, None, None]);
        insert(&mut archive, 7, &[0.5, f32::NAN, 0.25]);
        let mut bytes = [0u8; 128];
        let mut len = 0;
        archive.encode(&mut |piece| {
            bytes[len..len + piece.len()].copy_from_slice(piece);
            len += piece.len();
        });
        let mut copy = Small::new([None, None, None]);
        let mut reader = Reader::new(&bytes[..len]);
        copy.decode(&mut reader, SHAPE).unwrap();
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(copy, archive);
        assert_eq!(copy.digest(), archive.digest());
        for end in 0..len {
            let mut copy = Small::new([None, None, None]);
            let result = copy.decode(&mut Reader::new(&bytes[..end]), SHAPE);
            assert_eq!(result, Err(DecodeError::Truncated), "{end}");
        }
    }
}
