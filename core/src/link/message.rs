//! Requests and replies.

use crate::image::Shape;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What travels in a frame: [`Request`] or [`Reply`].
pub trait Message: Serialize {}

impl Message for Request<'_> {}
impl Message for Reply<'_> {}

/// What a host asks of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// What are you? Answered by [`Reply::Info`].
    Info,
    /// What do you see in this image? Answered by [`Reply::Scores`].
    ///
    /// Height × width × channels pixel bytes, row by row.
    Classify(#[serde(borrow)] &'a [u8]),
    /// Evolve. Ends a run that is under way and begins this one.
    ///
    /// Answered by a stream: [`Reply::Scores`] for every child if asked for, a
    /// [`Reply::Takeover`] for every cell that changes hands, a
    /// [`Reply::Generation`] after every generation, and at the end
    /// [`Reply::Ended`]. Meanwhile the board answers other requests, between two
    /// children; to [`Elite`](Self::Elite) and [`Digest`](Self::Digest) as of the end
    /// of the last generation, so that a host that lost a reply can catch up.
    Evolve(#[serde(borrow)] Run<'a>),
    /// The elite of a class, by its index. Answered by [`Reply::Elite`].
    Elite(u32),
    /// The digest of the archive. Answered by [`Reply::Digest`].
    Digest,
    /// End the run after the present child; its archive stays as of the end of the last
    /// generation. Answered by the run's [`Reply::Ended`] and, whether or not there was
    /// a run, by one of its own.
    Stop,
}

/// What to evolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<'a> {
    /// Name of a [preset](crate::evolve::PRESETS), which includes the encoding.
    pub preset: &'a str,
    /// Key of every random stream.
    pub seed: u64,
    /// Children per generation, at least 1.
    pub children: u32,
    /// Generations, at least 1.
    pub generations: u32,
    /// Whether to send the scores of every child, to find the first that differs.
    pub scores: bool,
}

/// What a board answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// The board and what it carries.
    Info(#[serde(borrow)] Info<'a>),
    /// One confidence per class, 0 ..= 1: little-endian `f32`, any NaN as 7fc00000.
    Scores(&'a [u8]),
    /// A child took a class's cell.
    Takeover {
        /// Index of the class.
        class: u32,
        /// The child: generation · children per generation + index.
        id: u64,
        /// Its confidence in the class.
        confidence: f32,
    },
    /// A generation is done.
    Generation {
        /// Generations done.
        done: u32,
        /// Cells that changed hands in it.
        takeovers: u32,
        /// Digest of the archive.
        digest: u64,
        /// Ticks of the board's clock that this generation spent on making children.
        vary: u64,
        /// Ticks spent on drawing them.
        render: u64,
        /// Ticks spent on classifying them.
        classify: u64,
    },
    /// The run is over, or there was none.
    Ended {
        /// Generations that the archive is of.
        done: u32,
        /// Digest of the archive.
        digest: u64,
    },
    /// An elite.
    Elite {
        /// Index of the class.
        class: u32,
        /// The child that it is: generation · children per generation + index.
        id: u64,
        /// Its parents: none in the first generation, two after crossover.
        parents: [Option<u64>; 2],
        /// Its confidence in the class.
        confidence: f32,
        /// Its genome's [canonical bytes](crate::genome::Genome::encode).
        genome: &'a [u8],
    },
    /// The digest of the archive.
    Digest {
        /// Generations that the archive is of; 0 before the first run.
        done: u32,
        /// Its digest.
        digest: u64,
    },
    /// The request cannot be answered.
    Refused(Fault),
}

/// What a board is and carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info<'a> {
    /// Name of the board.
    pub board: &'a str,
    /// Name of the model.
    pub model: &'a str,
    /// SHA-256 of the model's bytes.
    pub model_sha256: [u8; 32],
    /// [`REVISION`](crate::evolve::REVISION) of the algorithm; `None` if the board only
    /// classifies.
    pub revision: Option<u32>,
    /// Height, width and channels of the input.
    pub input: [u32; 3],
    /// Number of classes.
    pub classes: u32,
    /// Ticks per second of the board's clock.
    pub hertz: u32,
    /// Deepest that the stack has been, in bytes; 0 if the board does not know.
    pub stack: u32,
}

impl Info<'_> {
    /// Shape of the input.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let [height, width, channels] = self.input.map(|side| side as usize);
        Shape { height, width, channels }
    }
}

/// Why a request cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The frame was damaged on its way.
    Checksum,
    /// The frame is longer than the board's memory for one.
    TooLong,
    /// The frame is of another [`VERSION`](super::VERSION).
    Version,
    /// The frame does not hold a request.
    Message,
    /// The image does not have the length of the network's input.
    Length,
    /// There is no such preset.
    Preset,
    /// A run needs at least one child and one generation, and at most 2³² − 1 of each.
    Empty,
    /// There is no such class, or no elite in its cell.
    Class,
    /// The board only classifies.
    Unsupported,
    /// The classifier failed.
    Classifier,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "the frame was damaged on its way",
            Self::TooLong => "the frame is too long for the board",
            Self::Version => "the board speaks another version of the link",
            Self::Message => "the board does not know this request",
            Self::Length => "the image does not have the size of the board's network",
            Self::Preset => "the board does not know this preset",
            Self::Empty => "a run needs at least one child and one generation",
            Self::Class => "the board has no such class, or no image in its cell",
            Self::Unsupported => "the board only classifies",
            Self::Classifier => "the board's classifier failed",
        })
    }
}
