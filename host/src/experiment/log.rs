//! The two tables that a run appends to: `history.csv` and `lineage.csv`.
//!
//! Both only grow. A checkpoint states how much of them belongs to it, and resuming
//! cuts off what a killed process wrote after it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use mirage_core::archive::{Origin, Takeover};

use super::record::HistoryRow;

/// The header of `history.csv`: one row per class whose confidence rose in a
/// generation, generations counted from 1.
pub const HISTORY_HEADER: &str = "generation,evaluations,class,confidence\n";

/// The header of `lineage.csv`, in the ALife data standard for phylogenies: one row per
/// individual that ever held a cell, generations counted from 1. `class` is the one it
/// was surest of when it came, `confidence` how sure.
pub const LINEAGE_HEADER: &str = "id,ancestor_list,origin_time,destruction_time,class,confidence\n";

/// A file that rows are appended to.
#[derive(Debug)]
pub struct Table {
    file: File,
    length: u64,
    pending: Vec<u8>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another process has the table.
    #[error("another mirage is at work in this folder")]
    Busy,
    /// The file is shorter than the part of it that counts.
    #[error("the file has {found} bytes and had {expected} when the checkpoint was written")]
    Short {
        /// Bytes that count.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Table {
    /// Opens a table for this process alone, as long as it lives. What is in the file is
    /// left as it is; [`begin`](Self::begin) comes before the first row.
    ///
    /// # Errors
    /// If another process has it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, length: 0, pending: Vec::new() }),
            Err(TryLockError::WouldBlock) => Err(TableError::Busy),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Whether the file has at least the `length` bytes that count.
    ///
    /// # Errors
    /// [`TableError::Short`] if not.
    pub fn check(&self, length: u64) -> Result<(), TableError> {
        let found = self.file.metadata()?.len();
        if found < length {
            return Err(TableError::Short { expected: length, found });
        }
        Ok(())
    }

    /// Cuts off all but the first `length` bytes, to append to them. A new or empty table
    /// (`length` 0) begins with `header`.
    ///
    /// # Errors
    /// If the file is shorter than `length` or cannot be written.
    pub fn begin(&mut self, header: &str, length: u64) -> Result<(), TableError> {
        self.check(length)?;
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::End(0))?;
        self.length = length;
        self.pending.clear();
        if length == 0 {
            self.pending.extend(header.as_bytes());
        }
        Ok(())
    }

    /// Appends a row; it reaches the file with the next [`flush`](Self::flush).
    pub fn push(&mut self, row: &str) {
        self.pending.extend(row.as_bytes());
        self.pending.push(b'\n');
    }

    /// Writes what was appended, through to the disk.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
            self.file.sync_data()?;
            self.length += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Bytes in the file after the last flush.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was flushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// A row of `history.csv`.
#[must_use]
pub fn history_row(row: &HistoryRow) -> String {
    format!("{},{},{},{}", row.generation, row.evaluations, row.class, row.confidence)
}

/// An individual that holds a cell, as the phylogeny names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taxon {
    /// Its identity in the run.
    pub id: u64,
    /// The class it was surest of when it came, of those whose cell it took.
    pub class: u32,
    /// How sure.
    pub confidence: f32,
}

/// Follows who holds cells, to write a row when the last is lost.
#[derive(Debug, Default)]
pub struct Lineage {
    living: BTreeMap<u64, Life>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    origin: Origin,
    taxon: Taxon,
    cells: u32,
}

impl Lineage {
    /// The lineage at a checkpoint: its living taxa, and the origins of the elites of
    /// all cells.
    #[must_use]
    pub fn restore(taxa: &[Taxon], elites: impl Iterator<Item = Origin>) -> Self {
        let mut living: BTreeMap<u64, Life> = BTreeMap::new();
        for origin in elites {
            let known = taxa.iter().find(|taxon| taxon.id == origin.id).copied();
            let taxon = known.unwrap_or(Taxon { id: origin.id, class: 0, confidence: 0.0 });
            living.entry(origin.id).or_insert(Life { origin, taxon, cells: 0 }).cells += 1;
        }
        Self { living }
    }

    /// Notes that `origin` took a cell; returns the row of the individual that thereby
    /// lost its last, if any.
    pub fn take(&mut self, origin: Origin, takeover: Takeover, generation: u32) -> Option<String> {
        let class = takeover.class as u32;
        let taxon = Taxon { id: origin.id, class, confidence: takeover.confidence };
        let life = self.living.entry(origin.id).or_insert(Life { origin, taxon, cells: 0 });
        life.cells += 1;
        if takeover.confidence > life.taxon.confidence {
            life.taxon = taxon;
        }
        let displaced = takeover.displaced?.id;
        let life = self.living.get_mut(&displaced)?;
        life.cells -= 1;
        if life.cells > 0 {
            return None;
        }
        let life = self.living.remove(&displaced)?;
        Some(row(&life, Some(generation)))
    }

    /// The individuals that hold cells, by id.
    #[must_use]
    pub fn taxa(&self) -> Vec<Taxon> {
        self.living.values().map(|life| life.taxon).collect()
    }

    /// The rows of the individuals that hold cells, by id.
    pub fn survivors(&self) -> impl Iterator<Item = String> {
        self.living.values().map(|life| row(life, None))
    }
}

fn row(life: &Life, destruction: Option<u32>) -> String {
    let parents: Vec<String> = life.origin.parents.iter().flatten().map(u64::to_string).collect();
    let ancestors = if parents.is_empty() { "none".to_owned() } else { parents.join(",") };
    let destruction = destruction.map(|generation| (generation + 1).to_string());
    format!(
        "{},\"[{ancestors}]\",{},{},{},{}",
        life.taxon.id,
        life.origin.generation + 1,
        destruction.unwrap_or_default(),
        life.taxon.class,
        life.taxon.confidence
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(id: u64, parent: Option<u64>) -> Origin {
        Origin { id, generation: id as u32, parents: [parent, None] }
    }

    #[test]
    fn a_row_is_written_when_the_last_cell_is_lost() {
        let mut lineage = Lineage::default();
        let takeover = |class, displaced, confidence| Takeover { class, displaced, confidence };
        let (a, b) = (origin(0, None), origin(3, Some(0)));
        assert_eq!(lineage.take(a, takeover(0, None, 0.5), 0), None);
        assert_eq!(lineage.take(a, takeover(1, None, 0.75), 0), None);
        assert_eq!(lineage.take(b, takeover(0, Some(a), 0.625), 3), None);
        let row = lineage.take(b, takeover(1, Some(a), 0.875), 3);
        assert_eq!(row.as_deref(), Some("0,\"[none]\",1,4,1,0.75"));
        let survivors: Vec<_> = lineage.survivors().collect();
        assert_eq!(survivors, ["3,\"[0]\",4,,1,0.875"]);
        let restored = Lineage::restore(&lineage.taxa(), [b, b].into_iter());
        assert_eq!(restored.survivors().collect::<Vec<_>>(), survivors);
    }

    #[test]
    fn what_came_after_the_checkpoint_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        let open = |length| {
            let mut table = Table::open(&path)?;
            table.begin("h\n", length).map(|()| table)
        };
        let mut table = open(0).unwrap();
        table.push("kept");
        table.flush().unwrap();
        let length = table.len();
        table.push("lost");
        table.flush().unwrap();
        drop(table);
        let mut table = open(length).unwrap();
        table.push("again");
        table.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "h\nkept\nagain\n");
        assert!(matches!(open(3), Err(TableError::Busy)));
        drop(table);
        assert!(matches!(open(1000), Err(TableError::Short { expected: 1000, found: 13 })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "h\nkept\nagain\n");
    }
}
