//! What a run leaves behind: the record that reports are made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Classes;

/// The contents of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of mirage that made the run.
    pub version: String,
    /// Name of the preset.
    pub preset: String,
    /// `cppn` or `direct`.
    pub encoding: String,
    /// Settings of the preset as the run used them: name and value, for people.
    pub settings: Vec<(String, String)>,
    /// Seed of every random stream.
    pub seed: u64,
    /// Children per generation.
    pub children: u32,
    /// Generations asked for.
    pub generations: u32,
    /// The classifier.
    pub model: ModelRecord,
    /// The machine that ran it.
    pub machine: MachineRecord,
    /// Where the run stands.
    pub status: Status,
    /// Generations done.
    pub generations_done: u32,
    /// Children tested so far.
    pub evaluations: u64,
    /// Children whose image equalled their parent's and were not classified again.
    pub skipped: u64,
    /// Children with a score that was not a number.
    #[serde(default)]
    pub undefined: u64,
    /// Wall-clock seconds spent, over all sessions.
    pub seconds: f64,
    /// Digest of the archive, 16 hexadecimal digits.
    pub digest: String,
}

/// The classifier of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Name, or path as given.
    pub name: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// `int8`, `onnx`, or `board` for one that is known by its board only.
    pub kind: String,
    /// Height, width and channels of the pictures that it judges.
    #[serde(alias = "input")]
    pub picture: [usize; 3],
    /// How pictures become its input, in words.
    #[serde(default)]
    pub preprocessing: String,
    /// One label per class.
    pub labels: Vec<String>,
    /// Sets of classes that reports compare with the rest.
    #[serde(default)]
    pub groups: BTreeMap<String, Classes>,
}

impl ModelRecord {
    /// The kind of an int8 network.
    pub const INT8: &str = "int8";

    /// The kind of a model that is known by its board only.
    pub const BOARD: &str = "board";
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// The int8 kernel, such as `avx2`.
    pub kernel: String,
    /// Worker threads.
    pub threads: usize,
    /// The board that classified, or evolved, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
}

impl MachineRecord {
    /// This machine, and the board that is connected to it, if one has a part in the run.
    #[must_use]
    pub fn here(kernel: &str, threads: usize, board: Option<&str>) -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: kernel.to_owned(),
            threads,
            board: board.map(str::to_owned),
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not all generations are done: running, stopped or killed.
    Running,
    /// All generations are done.
    Done,
}

/// One row of `history.csv`: a class whose confidence rose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The generation, counted from 1, after which this holds.
    pub generation: u32,
    /// Children tested by then.
    pub evaluations: u64,
    /// Index of the class.
    pub class: u32,
    /// Confidence of the elite, 0 ..= 1.
    pub confidence: f32,
}

/// The elite of one class, as a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Champion {
    /// Index of the class.
    pub class: usize,
    /// Confidence in that class, 0 ..= 1.
    pub confidence: f32,
    /// The generation, counted from 1, that made it.
    pub generation: u32,
    /// Identity within the run.
    pub id: u64,
    /// Height × width × channels pixel bytes.
    pub picture: Arc<[u8]>,
    /// Confidence in every class.
    pub scores: Arc<[f32]>,
}

/// Everything a report shows.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// The contents of `run.json`.
    pub manifest: Manifest,
    /// The rows of `history.csv`.
    pub history: Vec<HistoryRow>,
    /// The elites, in class order; a class without one is left out.
    pub champions: Vec<Champion>,
}
