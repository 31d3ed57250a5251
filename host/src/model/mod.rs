//! Classifiers: int8 blobs and ONNX networks, found by name or file, and boards.

mod board;
mod crops;
mod int8;
pub mod labels;
mod onnx;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mirage_core::image::{Classifier, Shape};
use mirage_core::nn::{BlobError, Network};
use thiserror::Error;

use crate::device::{Connection, DeviceError};
use crate::experiment::record::ModelRecord;
use crate::files;
use crate::simd::Simd;
pub use crops::Crops;

use board::OnBoard;
use onnx::OnnxModel;

/// The networks that are part of the program: the int8 LeNet, the small one for small
/// boards, and the float LeNet that the first was made from.
static BUILT_IN: [(&str, &[u8]); 3] = [
    ("lenet", include_bytes!("../../models/lenet.q8")),
    ("lenet-small", include_bytes!("../../models/lenet-small.q8")),
    ("lenet-float", include_bytes!("../../models/lenet.onnx")),
];

/// Largest model file that is read, bytes.
pub const MAX_FILE: u64 = 1 << 30;

/// Why a model cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// There is no such built-in model, and no such file.
    #[error(
        "model {0:?}: no such file, and no built-in model of that name; built in: {names}",
        names = BUILT_IN.map(|(name, _)| name).join(", ")
    )]
    Unknown(String),
    /// The file cannot be read.
    #[error("model {}: {source}; name another file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a valid int8 blob.
    #[error("model {name}: {source}; make it again with `mirage quantize`")]
    Blob {
        /// Name or path.
        name: String,
        /// What is wrong with it.
        source: BlobError,
    },
    /// The file is not an ONNX classifier that can be run.
    #[error("model {name}: {reason}; give an int8 model or an ONNX classifier of images")]
    Onnx {
        /// Name or path.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A classifier failed while running.
    #[error("model failed to classify an image: {0}")]
    Run(String),
    /// The board that classifies does not.
    #[error("{0}")]
    Board(#[from] DeviceError),
}

/// A classifier that has been loaded and checked.
#[derive(Debug)]
pub struct Model {
    name: String,
    sha256: String,
    shape: Shape,
    classes: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Int8(Cow<'static, [u8]>),
    Onnx(Box<OnnxModel>),
    Board(Box<OnBoard>),
}

/// Checks that there is one row of scores per image, and no part of an image.
fn check_lengths(
    images: &[u8],
    pixels: usize,
    scores: &[f32],
    classes: usize,
) -> Result<(), ModelError> {
    let count = images.len() / pixels.max(1);
    if images.len() == count * pixels && scores.len() == count * classes {
        return Ok(());
    }
    let (bytes, scores) = (images.len(), scores.len());
    Err(ModelError::Run(format!("{bytes} bytes of images and {scores} scores do not match it")))
}

/// A classifier for one thread.
pub type ThreadClassifier<'a> = Box<dyn Classifier<Error = ModelError> + Send + 'a>;

impl Model {
    /// Loads a built-in model by name, or a file: an int8 blob or an ONNX network,
    /// told apart by their first bytes.
    ///
    /// # Errors
    /// If there is no such model or it cannot be run.
    pub fn load(name: &str) -> Result<Self, ModelError> {
        if let Some((name, bytes)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::from_bytes(name, Cow::Borrowed(bytes));
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(ModelError::Unknown(name.to_owned()));
        }
        let bytes = files::read(path, MAX_FILE)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(name, Cow::Owned(bytes))
    }

    /// The name of the built-in model with this SHA-256, hexadecimal.
    #[must_use]
    pub fn built_in(sha256: &str) -> Option<&'static str> {
        let found = BUILT_IN.iter().find(|(_, bytes)| files::sha256(bytes) == sha256);
        found.map(|(name, _)| *name)
    }

    /// The model that a board carries, classified there. It has the name of the built-in
    /// model that it is, else the board's name for it.
    #[must_use]
    pub fn on_board(connection: Connection) -> Self {
        let info = connection.info();
        let name = Self::built_in(&info.model_sha256).unwrap_or(&info.model).to_owned();
        let (sha256, shape, classes) = (info.model_sha256.clone(), info.shape(), info.classes);
        let kind = Kind::Board(Box::new(OnBoard::new(connection)));
        Self { name, sha256, shape, classes, kind }
    }

    /// The name of the board that classifies, if one does.
    #[must_use]
    pub fn board(&self) -> Option<&str> {
        match &self.kind {
            Kind::Board(board) => Some(board.name()),
            Kind::Int8(_) | Kind::Onnx(_) => None,
        }
    }

    /// Makes a model from the bytes of a blob or an ONNX file; `name` is for messages
    /// and records.
    ///
    /// # Errors
    /// If the bytes are neither, or cannot be run.
    pub fn from_bytes(name: &str, bytes: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        let name = name.to_owned();
        let sha256 = files::sha256(&bytes);
        if bytes.starts_with(&mirage_core::nn::blob::MAGIC) {
            let network = Network::parse(&bytes)
                .map_err(|source| ModelError::Blob { name: name.clone(), source })?;
            let (shape, classes) = (network.input(), network.classes());
            return Ok(Self { name, sha256, shape, classes, kind: Kind::Int8(bytes) });
        }
        match OnnxModel::from_bytes(&bytes) {
            Ok(model) => {
                let (shape, classes) = (model.shape(), model.classes());
                Ok(Self { name, sha256, shape, classes, kind: Kind::Onnx(Box::new(model)) })
            }
            Err(reason) => Err(ModelError::Onnx { name, reason }),
        }
    }

    /// Name of a built-in model, or the path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is an int8 network, such as boards carry, that runs here.
    #[must_use]
    pub fn is_int8(&self) -> bool {
        matches!(self.kind, Kind::Int8(_))
    }

    /// SHA-256 of its bytes, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Shape of its input images.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What a run's manifest says of the model.
    #[must_use]
    pub fn record(&self) -> ModelRecord {
        let kind = match self.kind {
            Kind::Int8(_) => "int8",
            Kind::Onnx(_) => "onnx",
            Kind::Board(_) => ModelRecord::BOARD,
        };
        ModelRecord {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            kind: kind.to_owned(),
            input: [self.shape.height, self.shape.width, self.shape.channels],
            labels: (0..self.classes).map(|class| class.to_string()).collect(),
            groups: BTreeMap::new(),
        }
    }

    /// Pictures that a classifier works on together.
    #[must_use]
    pub fn pictures_at_once(&self, _: Crops) -> usize {
        int8::BATCH
    }

    /// Whether pictures are larger than the network's input.
    #[must_use]
    pub fn has_margin(&self) -> bool {
        false
    }

    /// A classifier for one thread, with its own working memory.
    ///
    /// # Errors
    /// If the network cannot be set up.
    pub fn classifier(&self, simd: Simd, _: Crops) -> Result<ThreadClassifier<'_>, ModelError> {
        match &self.kind {
            Kind::Int8(blob) => {
                let network = Network::parse(blob)
                    .map_err(|source| ModelError::Blob { name: self.name.clone(), source })?;
                Ok(Box::new(int8::Int8Classifier::new(network, simd)))
            }
            Kind::Onnx(model) => Ok(Box::new(model.classifier())),
            Kind::Board(board) => Ok(Box::new(board.classifier())),
        }
    }
}
