//! Classifiers: int8 blobs and ONNX networks, found by name or file, and boards.

mod board;
mod crops;
mod description;
mod features;
mod file;
mod gradient;
mod guarded;
mod head;
mod input;
mod int8;
mod labels;
pub mod onnx;
pub mod registry;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use mirage_core::image::{Classifier, Shape};
use mirage_core::nn::{BlobError, Network};
use thiserror::Error;

use crate::data::NoDataDir;
use crate::device::{Connection, DeviceError};
use crate::experiment::record::ModelRecord;
use crate::files;
use crate::image::Resize;
use crate::simd::Simd;
use board::OnBoard;
pub use crops::Crops;
pub use description::{Description, Order, PerChannel};
pub use features::{FeatureModel, FeatureSession, Features};
pub use file::MAX_FILE;
use file::{BUILT_IN, Described, File};
pub use gradient::{GradientModel, GradientSession};
use guarded::Guarded;
pub use head::{HeadModel, Look};
pub use labels::Classes;
pub use onnx::Output;
pub use onnx::gradient::{Evaluation, Objective};
use onnx::{OnnxModel, Unfit};

/// Why a model cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// There is no such built-in model, and no such file.
    #[error(
        "model {0:?}: no such file, and no model of that name; there are {names}",
        names = registry::names().join(", ")
    )]
    Unknown(String),
    /// A network that is known by name has not been pulled.
    #[error(
        "model {name}: not here yet (no {}); fetch it with `mirage models pull {name}`",
        path.display()
    )]
    NotHere {
        /// Name of the network.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The file of a network that is known by name is another one.
    #[error(
        "model {name}: {} is not the network of that name (its SHA-256 differs); fetch it again with `mirage models pull {name}`",
        path.display()
    )]
    Changed {
        /// Name of the network.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// There is no folder of data to look for a network in.
    #[error("{0}")]
    NoDataDir(#[from] NoDataDir),
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
    /// There is no way back through the network.
    #[error("model {name}: {reason}")]
    NoGradient {
        /// Name or path.
        name: String,
        /// Why.
        reason: String,
    },
    /// The network does not tell what it makes probabilities of.
    #[error("model {name}: {reason}; give another network")]
    NoFeatures {
        /// Name or path.
        name: String,
        /// Why.
        reason: String,
    },
    /// The network cannot be given one class more.
    #[error("model {name}: {reason}")]
    NoHead {
        /// Name or path.
        name: String,
        /// Why.
        reason: String,
    },
    /// What is said of an ONNX network is wrong, or does not fit it.
    #[error("model {name}: {reason}")]
    Description {
        /// Name or path of the network.
        name: String,
        /// The file, or part of it, and what is wrong with it.
        reason: String,
    },
    /// Nothing says how pixels become the network's input.
    #[error(
        "model {name}: it does not say how pixels become its input; write {} beside it, with lines such as order = \"BGR\", scale = 1, mean = [104, 117, 123]; an empty one means order = \"RGB\", scale = 0.00392157 (1/255), mean = 0",
        toml.display()
    )]
    Undescribed {
        /// Name or path of the network.
        name: String,
        /// The description that is missing.
        toml: PathBuf,
    },
    /// The names of classes cannot be read, or are not as many as the classes.
    #[error("labels {}: {reason}; give one line per class", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Crops that need a larger picture than the network's input.
    #[error(
        "model {0}: ten crops need pictures larger than its input; use --crops center, or an ONNX network whose TOML file says picture = [height, width]"
    )]
    NoMargin(String),
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
    labels: Vec<String>,
    description: Description,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Int8(Cow<'static, [u8]>),
    Onnx(Box<OnnxModel>),
    Board(Box<OnBoard>),
    Guarded(Box<Guarded>),
}

/// Labels of classes that have no names.
fn numbers(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
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
    /// Loads a built-in model by name, a file (an int8 blob or an ONNX network, told apart
    /// by their first bytes), or a network of the [registry] that has been pulled.
    ///
    /// # Errors
    /// If there is no such model or it cannot be run.
    pub fn load(name: &str) -> Result<Self, ModelError> {
        Self::from_file(File::find(name)?)
    }

    /// The name of the built-in model with this SHA-256, hexadecimal.
    #[must_use]
    pub fn built_in(sha256: &str) -> Option<&'static str> {
        let found = BUILT_IN.iter().find(|(_, bytes)| files::sha256(bytes) == sha256);
        found.map(|(name, _)| *name)
    }

    /// The built-in float network that a built-in int8 model was made from.
    #[must_use]
    pub fn float_twin(name: &str) -> Option<&'static str> {
        (name == "lenet").then_some("lenet-float")
    }

    /// The model that a board carries, classified there. It has the name of the built-in
    /// model that it is, else the board's name for it.
    #[must_use]
    pub fn on_board(connection: Connection) -> Self {
        let info = connection.info();
        let name = Self::built_in(&info.model_sha256).unwrap_or(&info.model).to_owned();
        let (sha256, shape, classes) = (info.model_sha256.clone(), info.shape(), info.classes);
        let kind = Kind::Board(Box::new(OnBoard::new(connection)));
        Self::plain(name, sha256, shape, classes, kind)
    }

    /// The name of the board that classifies, if one does.
    #[must_use]
    pub fn board(&self) -> Option<&str> {
        match &self.kind {
            Kind::Board(board) => Some(board.name()),
            Kind::Int8(_) | Kind::Onnx(_) | Kind::Guarded(_) => None,
        }
    }

    /// Makes a model of a blob or an ONNX file.
    fn from_file(file: File) -> Result<Self, ModelError> {
        if file.is_int8() {
            let File { name, sha256, bytes, .. } = file;
            let network = Network::parse(&bytes)
                .map_err(|source| ModelError::Blob { name: name.clone(), source })?;
            let (shape, classes) = (network.input(), network.classes());
            return Ok(Self::plain(name, sha256, shape, classes, Kind::Int8(bytes)));
        }
        let Described { name, sha256, proto, description, source } = file.describe()?;
        let model = OnnxModel::new(proto, &description).map_err(|error| match error {
            Unfit::Network(reason) => ModelError::Onnx { name: name.clone(), reason },
            Unfit::Description(reason) => ModelError::Description {
                name: name.clone(),
                reason: format!("{source}: {reason}"),
            },
        })?;
        let classes = model.classes();
        if let Some((group, _)) =
            description.groups.iter().find(|(_, held)| held.largest() >= classes)
        {
            let reason = format!("{source}: group {group:?}: the last class is {}", classes - 1);
            return Err(ModelError::Description { name, reason });
        }
        let labels = match &description.labels {
            Some(path) => labels::read(path, classes)?,
            None => numbers(classes),
        };
        Ok(Self {
            name,
            sha256,
            shape: model.picture(),
            labels,
            description,
            kind: Kind::Onnx(Box::new(model)),
        })
    }

    /// A model of which nothing is said.
    fn plain(name: String, sha256: String, shape: Shape, classes: usize, kind: Kind) -> Self {
        let (labels, description) = (numbers(classes), Description::default());
        Self { name, sha256, shape, labels, description, kind }
    }

    /// Name of a built-in model, or the path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name as part of a folder's: without the path and the ending of a file.
    #[must_use]
    pub fn stem(&self) -> String {
        let name = Path::new(&self.name).file_name().unwrap_or_default().to_string_lossy();
        // Names of the registry have dots.
        let stem = [".onnx", ".q8"].iter().find_map(|end| name.strip_suffix(end));
        stem.unwrap_or(&name).to_owned()
    }

    /// Whether it is an int8 network, such as boards carry, that runs here.
    #[must_use]
    pub fn is_int8(&self) -> bool {
        match &self.kind {
            Kind::Guarded(guarded) => guarded.record.kind == ModelRecord::INT8,
            kind => matches!(kind, Kind::Int8(_)),
        }
    }

    /// SHA-256 of its bytes, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it is called, for people; its [`name`](Self::name) if it has no other.
    #[must_use]
    pub fn title(&self) -> &str {
        self.description.name.as_deref().unwrap_or(&self.name)
    }

    /// Shape of the pictures that it judges.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Shape of the network's input: of pictures, or of the crops that are cut from them.
    #[must_use]
    pub fn input(&self) -> Shape {
        match &self.kind {
            Kind::Onnx(model) => model.input(),
            Kind::Guarded(guarded) => guarded.input,
            Kind::Int8(_) | Kind::Board(_) => self.shape,
        }
    }

    /// Whether pictures are larger than the network's input.
    #[must_use]
    pub fn has_margin(&self) -> bool {
        self.input() != self.shape
    }

    /// How images of another size become pictures.
    #[must_use]
    pub fn resize(&self) -> Resize {
        self.description.resize
    }

    /// What the network's output means.
    #[must_use]
    pub fn output(&self) -> Output {
        match &self.kind {
            Kind::Onnx(model) => model.output(),
            Kind::Int8(_) | Kind::Board(_) | Kind::Guarded(_) => Output::Logits,
        }
    }

    /// How pixels become the network's input, in words: `BGR, pixel - (104, 117, 123)`.
    #[must_use]
    pub fn preprocessing(&self) -> String {
        match &self.kind {
            Kind::Onnx(model) => {
                let words = self.description.in_words(self.shape.channels);
                match model.mean_digest() {
                    None => words,
                    Some(digest) => format!("{words}, mean image {digest}"),
                }
            }
            Kind::Guarded(guarded) => guarded.record.preprocessing.clone(),
            Kind::Int8(_) | Kind::Board(_) => "part of the network".to_owned(),
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.labels.len()
    }

    /// What the classes are called: their numbers, if they have no names. Two classes may
    /// have the same name.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What a run's manifest says of the model.
    #[must_use]
    pub fn record(&self) -> ModelRecord {
        let kind = match &self.kind {
            Kind::Int8(_) => ModelRecord::INT8,
            Kind::Onnx(_) => "onnx",
            Kind::Board(_) => ModelRecord::BOARD,
            Kind::Guarded(guarded) => &guarded.record.kind,
        };
        ModelRecord {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            kind: kind.to_owned(),
            picture: [self.shape.height, self.shape.width, self.shape.channels],
            preprocessing: self.preprocessing(),
            labels: self.labels.clone(),
            groups: self.description.groups.clone(),
        }
    }

    /// Pictures that a classifier works on together.
    #[must_use]
    pub fn pictures_at_once(&self, crops: Crops) -> usize {
        match &self.kind {
            Kind::Onnx(_) => (onnx::network::BATCH / crops.count()).max(1),
            Kind::Int8(_) | Kind::Board(_) | Kind::Guarded(_) => int8::BATCH,
        }
    }

    /// A classifier for one thread, with its own working memory.
    ///
    /// # Errors
    /// If the network cannot be set up, or [`Crops::Ten`] are asked for without a margin.
    pub fn classifier(&self, simd: Simd, crops: Crops) -> Result<ThreadClassifier<'_>, ModelError> {
        if crops == Crops::Ten && !self.has_margin() {
            return Err(ModelError::NoMargin(self.name.clone()));
        }
        match &self.kind {
            Kind::Int8(blob) => {
                let network = Network::parse(blob)
                    .map_err(|source| ModelError::Blob { name: self.name.clone(), source })?;
                Ok(Box::new(int8::Int8Classifier::new(network, simd)))
            }
            Kind::Onnx(model) => Ok(Box::new(model.classifier(crops))),
            Kind::Board(board) => Ok(Box::new(board.classifier())),
            Kind::Guarded(guarded) if crops == Crops::Center => {
                Ok(Box::new(guarded.classifier(simd)?))
            }
            Kind::Guarded(_) => {
                let reason = "a guard looks at the centre crop alone".to_owned();
                Err(ModelError::NoFeatures { name: self.name.clone(), reason })
            }
        }
    }
}
