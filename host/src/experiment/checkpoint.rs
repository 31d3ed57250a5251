//! The checkpoint of a run: all that is needed to go on from a generation's end.
//!
//! | bytes | `checkpoint.bin`, little-endian |
//! |---|---|
//! | 8 | magic `MIRAGECP` |
//! | 2 | version, 2 |
//! | 4, n | length and UTF-8 text of the run's identity |
//! | 4 | generations done |
//! | 8, 8, 8, 8 | children tested, children skipped, children with undefined scores, `f64` seconds |
//! | 8, 8 | bytes of `history.csv` and `lineage.csv` that belong to this state |
//! | 4, n·16 | living taxa: id (8), class (4), `f32` confidence (4), by id |
//! | n | the archive's canonical bytes |
//! | 4 | CRC-32 of all before |
//!
//! An archive of 1000 direct genomes of 256×256×3 bytes takes 197 MB. It is written as it
//! is encoded, without a copy in memory; reading takes one, which is given back before a
//! picture is drawn. A file that is larger than the run's can be is not read.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use mirage_core::archive::{Cell, Elite, Origin};
use mirage_core::digest::Digest;
use mirage_core::genome::{Decode, Genome};
use mirage_core::image::Shape;
use mirage_core::wire::{DecodeError, Reader};
use thiserror::Error;

use super::engine::HeapArchive;
use super::log::Taxon;
use super::plan::MAX_CHILDREN;

const MAGIC: [u8; 8] = *b"MIRAGECP";
const VERSION: u16 = 2;

/// Why bytes are no checkpoint of this run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The bytes do not begin like a checkpoint.
    #[error("not a mirage checkpoint")]
    NotACheckpoint,
    /// Another version of the format.
    #[error("format version {0}, this program reads version {VERSION}")]
    Version(u16),
    /// The bytes were damaged or cut short.
    #[error("checksum mismatch: the file is damaged")]
    Checksum,
    /// It belongs to another run.
    #[error("belongs to another run: {found}; this one is {expected}")]
    OtherRun {
        /// The identity in the checkpoint.
        found: String,
        /// The identity of the run.
        expected: String,
    },
    /// The file has more bytes than any checkpoint of the run.
    #[error("belongs to another run: more than the {0} bytes that this one's has at most")]
    TooLarge(u64),
    /// The checksum is right and the contents are not.
    #[error("{0}")]
    Contents(#[from] DecodeError),
}

impl CheckpointError {
    /// Whether the file was one of this run, before something happened to it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotACheckpoint | Self::Checksum | Self::Contents(_) => true,
            Self::Version(_) | Self::OtherRun { .. } | Self::TooLarge(_) => false,
        }
    }
}

/// How far apart checkpoints are: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Generations, at least 1.
    pub generations: u32,
    /// Time, if a generation takes no longer.
    pub time: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { generations: 20, time: Duration::from_secs(60) }
    }
}

impl Pace {
    /// Time that a session may spend on saving whatever it lasts.
    const FREE: Duration = Duration::from_secs(1);

    /// Of a session's time, one part in so many may go to saving beyond that.
    const SHARE: u32 = 25;

    /// Whether it is time to save a run that was saved `since` ago, when it had done
    /// `saved` generations and not `done`. In this session, which began `session` ago,
    /// saving has taken `saving`: on a slow disk, large archives are saved less often.
    #[must_use]
    pub fn is_due(
        self,
        saved: u32,
        done: u32,
        since: Duration,
        saving: Duration,
        session: Duration,
    ) -> bool {
        let every = self.generations.max(1);
        let is_wanted = done / every > saved / every || since >= self.time;
        is_wanted && saving <= Self::FREE + session / Self::SHARE
    }
}

/// The state of a run at the end of a generation, apart from its archive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Generations done.
    pub generations: u32,
    /// Children tested.
    pub evaluations: u64,
    /// Children not classified because their picture was their parent's.
    pub skipped: u64,
    /// Children with a score that was not a number.
    pub undefined: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Bytes of `history.csv`.
    pub history_len: u64,
    /// Bytes of `lineage.csv`.
    pub lineage_len: u64,
    /// Individuals that hold a cell, by id.
    pub living: Vec<Taxon>,
}

/// Bytes on their way out, with their checksum so far and the first error.
struct Sealing<W> {
    out: W,
    checksum: crc32fast::Hasher,
    result: io::Result<()>,
}

impl<W: Write> Sealing<W> {
    fn put(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.checksum.update(bytes);
            self.result = self.out.write_all(bytes);
        }
    }
}

/// Writes a checkpoint, in many small pieces; returns the archive's digest. `identity` is
/// a text that differs between runs that compute different things.
///
/// # Errors
/// If `out` does not take it.
pub fn encode<G: Genome>(
    out: impl Write,
    identity: &str,
    state: &State,
    archive: &HeapArchive<G>,
) -> io::Result<Digest> {
    let mut out = Sealing { out, checksum: crc32fast::Hasher::new(), result: Ok(()) };
    out.put(&MAGIC);
    out.put(&VERSION.to_le_bytes());
    out.put(&(identity.len() as u32).to_le_bytes());
    out.put(identity.as_bytes());
    out.put(&state.generations.to_le_bytes());
    for number in [state.evaluations, state.skipped, state.undefined, state.seconds.to_bits()] {
        out.put(&number.to_le_bytes());
    }
    out.put(&state.history_len.to_le_bytes());
    out.put(&state.lineage_len.to_le_bytes());
    out.put(&(state.living.len() as u32).to_le_bytes());
    for taxon in &state.living {
        out.put(&taxon.id.to_le_bytes());
        out.put(&taxon.class.to_le_bytes());
        out.put(&taxon.confidence.to_le_bytes());
    }
    let mut digest = Digest::new();
    archive.encode(&mut |piece| {
        digest.update(piece);
        out.put(piece);
    });
    let Sealing { mut out, checksum, result } = out;
    result?;
    out.write_all(&checksum.finalize().to_le_bytes())?;
    Ok(digest)
}

/// The most bytes that a checkpoint has of the run with this identity, whose model has
/// `classes` classes and images of `shape`.
#[must_use]
pub fn max_len<G: Decode>(identity: &str, classes: usize, shape: Shape) -> u64 {
    let header = MAGIC.len() + 2 + 4 + identity.len() + 4 + 4 * 8 + 2 * 8 + 4;
    // An elite: whether there is one, id, generation, parents, confidence.
    let class = 16 + (1 + 8 + 4 + 1 + 2 * 8 + 4) + G::max_len(shape);
    header as u64 + classes as u64 * class as u64 + 4 + 4
}

/// Reads a checkpoint of the run with this identity, whose model has `classes` classes
/// and images of `shape`.
///
/// # Errors
/// If the bytes are damaged or belong to another run.
pub fn decode<G: Decode + PartialEq>(
    bytes: &[u8],
    identity: &str,
    classes: usize,
    shape: Shape,
) -> Result<(State, HeapArchive<G>), CheckpointError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(CheckpointError::NotACheckpoint);
    }
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(CheckpointError::Checksum)?;
    if u32::from_le_bytes(*checksum) != crc32fast::hash(body) {
        return Err(CheckpointError::Checksum);
    }
    let mut reader = Reader::new(body);
    reader.take(MAGIC.len())?;
    let version = reader.u16()?;
    if version != VERSION {
        return Err(CheckpointError::Version(version));
    }
    let length = reader.u32()? as usize;
    let found = String::from_utf8_lossy(reader.take(length)?).into_owned();
    if found != identity {
        return Err(CheckpointError::OtherRun { found, expected: identity.to_owned() });
    }
    let mut state = State {
        generations: reader.u32()?,
        evaluations: reader.u64()?,
        skipped: reader.u64()?,
        undefined: reader.u64()?,
        seconds: f64::from_bits(reader.u64()?),
        history_len: reader.u64()?,
        lineage_len: reader.u64()?,
        living: Vec::new(),
    };
    let living = reader.u32()? as usize;
    if living > classes {
        return Err(DecodeError::Archive.into());
    }
    for _ in 0..living {
        let (id, class, confidence) = (reader.u64()?, reader.u32()?, reader.f32()?);
        state.living.push(Taxon { id, class, confidence });
    }
    let cells: Vec<Cell<G>> = (0..classes).map(|_| None).collect();
    let mut archive = HeapArchive::new(cells);
    archive.decode(&mut reader, shape)?;
    reader.finish()?;
    // What the rest of the program relies on, though no run writes anything else.
    let is_sound = |elite: &Elite<G>| {
        elite.confidence.is_finite() && elite.origin.generation < state.generations
    };
    let is_known = |origin: Origin| state.living.iter().any(|taxon| taxon.id == origin.id);
    let taxa_are_sound = archive.elites().all(|(_, elite)| is_known(elite.origin))
        && state
            .living
            .iter()
            .all(|taxon| (taxon.class as usize) < classes && taxon.confidence.is_finite());
    let counts_are_sound = state.skipped <= state.evaluations
        && state.undefined <= state.evaluations - state.skipped
        && state.evaluations <= u64::from(state.generations) * u64::from(MAX_CHILDREN);
    if !(taxa_are_sound && counts_are_sound) {
        return Err(DecodeError::Archive.into());
    }
    if !(state.seconds.is_finite() && archive.elites().all(|(_, elite)| is_sound(elite))) {
        return Err(DecodeError::Archive.into());
    }
    Ok((state, shared(archive)))
}

/// The archive with one genome in all cells of an individual: genomes may share memory
/// with their clones, as those of the run did that was saved.
fn shared<G: Genome + PartialEq>(archive: HeapArchive<G>) -> HeapArchive<G> {
    let mut genomes: HashMap<u64, G> = HashMap::new();
    let mut cells = archive.cells().to_vec();
    for elite in cells.iter_mut().flatten() {
        let genome = genomes.entry(elite.origin.id).or_insert_with(|| elite.genome.clone());
        if elite.genome == *genome {
            elite.genome.clone_from(genome);
        }
    }
    HeapArchive::new(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::HeapDirect;
    use mirage_core::evolve::DIRECT;
    use mirage_core::genome::Pixels;
    use mirage_core::rng::Stream;

    const SHAPE: Shape = Shape { height: 8, width: 8, channels: 3 };

    #[test]
    fn a_full_checkpoint_is_as_long_as_it_can_be_and_shares_genomes() {
        let classes = 4;
        let mut archive = HeapArchive::new(vec![None; classes]);
        let genome = HeapDirect::random(&DIRECT, SHAPE, &mut Stream::new(1, 0, 0));
        let origin = Origin { id: 7, generation: 1, parents: [Some(1), Some(2)] };
        archive.insert(origin, &genome, &[0.5; 4], |_| {});
        let taxon = Taxon { id: 7, class: 0, confidence: 0.5 };
        // One individual holds all cells; room is for one in each.
        let state = State { generations: 2, living: vec![taxon; classes], ..State::default() };
        let mut bytes = Vec::new();
        let digest = encode(&mut bytes, "run", &state, &archive).unwrap();
        assert_eq!(digest, archive.digest());
        assert_eq!(bytes.len() as u64, max_len::<HeapDirect>("run", classes, SHAPE));
        let (read, copy) = decode::<HeapDirect>(&bytes, "run", classes, SHAPE).unwrap();
        assert_eq!((read, &copy), (state, &archive));
        let pixels = |class: usize| copy.cells()[class].as_ref().unwrap().genome.pixels();
        assert!(std::ptr::eq(pixels(0).bytes(), pixels(3).bytes()), "in memory once");
    }

    #[test]
    fn saving_is_due_by_generations_or_time_unless_it_takes_too_long() {
        let pace = Pace { generations: 20, time: Duration::from_secs(60) };
        let [none, second, minute, hour] = [0, 1, 60, 3600].map(Duration::from_secs);
        assert!(!pace.is_due(20, 39, second, none, hour));
        assert!(pace.is_due(20, 40, second, none, hour));
        assert!(pace.is_due(39, 40, second, none, hour));
        assert!(pace.is_due(20, 21, minute, none, hour));
        assert!(pace.is_due(20, 40, second, second, second), "the first second is free");
        assert!(!pace.is_due(20, 40, second, 2 * second, second));
        assert!(pace.is_due(20, 40, second, 2 * second, minute));
        assert!(pace.is_due(20, 40, second, 2 * minute, hour));
        assert!(!pace.is_due(20, 40, second, 3 * minute, hour));
    }

    #[test]
    fn the_first_error_of_the_disk_is_told() {
        let archive = HeapArchive::<HeapDirect>::new(vec![None; 4]);
        let mut little = [0; 20];
        let result = encode(little.as_mut_slice(), "run", &State::default(), &archive);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
