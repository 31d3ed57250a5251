//! The file of a model: where it is, and what is said of it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use tract_onnx::pb::ModelProto;

use super::description::Description;
use super::{ModelError, onnx, registry};
use crate::files;
use crate::train::onnx::{OnnxError, preprocessing};

/// The networks that are part of the program: the int8 LeNet, the small one for small
/// boards, and the float LeNet that the first was made from.
pub(super) static BUILT_IN: [(&str, &[u8]); 3] = [
    ("lenet", include_bytes!("../../models/lenet.q8")),
    ("lenet-small", include_bytes!("../../models/lenet-small.q8")),
    ("lenet-float", include_bytes!("../../models/lenet.onnx")),
];

/// Largest model file that is read, bytes.
pub const MAX_FILE: u64 = 1 << 30;

/// Largest description that is read, bytes.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// The bytes of a model.
pub(super) struct File {
    /// For messages and records.
    pub(super) name: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) sha256: String,
    pub(super) bytes: Cow<'static, [u8]>,
    /// Where a description of the user's would be; built-in models have none.
    toml: Option<PathBuf>,
}

/// An ONNX network, and what is said of it.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) proto: ModelProto,
    pub(super) description: Description,
    /// Where the description comes from, for messages.
    pub(super) source: String,
}

impl File {
    /// Finds a built-in model by name, a file, or a network of the [registry] that has been
    /// pulled.
    pub(super) fn find(name: &str) -> Result<Self, ModelError> {
        if let Some((name, bytes)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            let (bytes, sha256) = (Cow::Borrowed(*bytes), files::sha256(bytes));
            return Ok(Self { name: (*name).to_owned(), sha256, bytes, toml: None });
        }
        let known = if Path::new(name).is_file() { None } else { registry::find(name) };
        let path = match known {
            None => PathBuf::from(name),
            Some(network) => network.path()?,
        };
        match (path.exists(), known) {
            (true, _) => {}
            (false, None) => return Err(ModelError::Unknown(name.to_owned())),
            (false, Some(_)) => return Err(ModelError::NotHere { name: name.to_owned(), path }),
        }
        let bytes = files::read(&path, MAX_FILE)
            .map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let sha256 = files::sha256(&bytes);
        if known.is_some_and(|network| network.sha256 != sha256) {
            return Err(ModelError::Changed { name: name.to_owned(), path });
        }
        let toml = Some(path.with_extension("toml"));
        Ok(Self { name: name.to_owned(), sha256, bytes: Cow::Owned(bytes), toml })
    }

    /// Whether it is an int8 network, by its first bytes.
    pub(super) fn is_int8(&self) -> bool {
        self.bytes.starts_with(&mirage_core::nn::blob::MAGIC)
    }

    /// Reads an ONNX network and its description: the user's beside it, else the
    /// registry's, else the file's own.
    pub(super) fn describe(self) -> Result<Described, ModelError> {
        let Self { name, sha256, bytes, toml } = self;
        let broken = |reason| ModelError::Onnx { name: name.clone(), reason };
        let unfit = |reason| ModelError::Description { name: name.clone(), reason };
        let proto = onnx::decode(&bytes).map_err(broken)?;
        let own = toml.as_deref().filter(|path| path.exists());
        let (description, source) = match (own, registry::description(&sha256)) {
            (Some(path), _) => {
                let what = path.display().to_string();
                let text = files::read(path, MAX_DESCRIPTION)
                    .and_then(|text| String::from_utf8(text).map_err(io::Error::other))
                    .map_err(|error| unfit(format!("{what}: {error}")))?;
                let base = path.parent().unwrap_or(Path::new(""));
                (Description::parse(&text, base, &what).map_err(unfit)?, what)
            }
            (None, Some((mut description, base))) => {
                description = description.relative_to(&base);
                // Names are no reason to do without a network: numbers do.
                description.labels = description.labels.filter(|path| path.exists());
                (description, "the registry of models".to_owned())
            }
            (None, None) => match (preprocessing(&proto), toml) {
                (Ok(rule), _) => (rule.into(), "metadata".to_owned()),
                (Err(OnnxError::NoPreprocessing | OnnxError::Preprocessing(_)), Some(toml)) => {
                    return Err(ModelError::Undescribed { name, toml });
                }
                (Err(error), _) => return Err(broken(error.to_string())),
            },
        };
        Ok(Described { name, sha256, proto, description, source })
    }
}
