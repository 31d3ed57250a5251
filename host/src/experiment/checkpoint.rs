//! The checkpoint of a run: all that is needed to go on from a generation's end.
//!
//! | bytes | `checkpoint.bin`, little-endian |
//! |---|---|
//! | 8 | magic `MIRAGECP` |
//! | 2 | version, 1 |
//! | 4, n | length and UTF-8 text of the run's identity |
//! | 4 | generations done |
//! | 8, 8, 8 | children tested, children skipped, `f64` seconds |
//! | 8, 8 | bytes of `history.csv` and `lineage.csv` that belong to this state |
//! | 4, n·16 | living taxa: id (8), class (4), `f32` confidence (4), by id |
//! | n | the archive's canonical bytes |
//! | 4 | CRC-32 of all before |

use mirage_core::archive::{Cell, Elite, Origin};
use mirage_core::genome::{Decode, Genome};
use mirage_core::image::Shape;
use mirage_core::wire::{DecodeError, Reader};
use thiserror::Error;

use super::engine::HeapArchive;
use super::log::Taxon;
use super::plan::MAX_CHILDREN;

const MAGIC: [u8; 8] = *b"MIRAGECP";
const VERSION: u16 = 1;

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
    /// The checksum is right and the contents are not.
    #[error("{0}")]
    Contents(#[from] DecodeError),
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
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Bytes of `history.csv`.
    pub history_len: u64,
    /// Bytes of `lineage.csv`.
    pub lineage_len: u64,
    /// Individuals that hold a cell, by id.
    pub living: Vec<Taxon>,
}

/// The bytes of a checkpoint. `identity` is a text that differs between runs that
/// compute different things.
#[must_use]
pub fn encode<G: Genome>(identity: &str, state: &State, archive: &HeapArchive<G>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((identity.len() as u32).to_le_bytes());
    bytes.extend(identity.as_bytes());
    bytes.extend(state.generations.to_le_bytes());
    bytes.extend(state.evaluations.to_le_bytes());
    bytes.extend(state.skipped.to_le_bytes());
    bytes.extend(state.seconds.to_le_bytes());
    bytes.extend(state.history_len.to_le_bytes());
    bytes.extend(state.lineage_len.to_le_bytes());
    bytes.extend((state.living.len() as u32).to_le_bytes());
    for taxon in &state.living {
        bytes.extend(taxon.id.to_le_bytes());
        bytes.extend(taxon.class.to_le_bytes());
        bytes.extend(taxon.confidence.to_le_bytes());
    }
    archive.encode(&mut |piece| bytes.extend_from_slice(piece));
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Reads a checkpoint of the run with this identity, whose model has `classes` classes
/// and images of `shape`.
///
/// # Errors
/// If the bytes are damaged or belong to another run.
pub fn decode<G: Decode>(
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
        && state.evaluations <= u64::from(state.generations) * u64::from(MAX_CHILDREN);
    if !(taxa_are_sound && counts_are_sound) {
        return Err(DecodeError::Archive.into());
    }
    if !(state.seconds.is_finite() && archive.elites().all(|(_, elite)| is_sound(elite))) {
        return Err(DecodeError::Archive.into());
    }
    Ok((state, archive))
}
