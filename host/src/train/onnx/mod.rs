//! Networks as ONNX files, opset 13.
//!
//! Written and read: `Conv` (one group, or depthwise), `MaxPool`, `AveragePool`, `Relu`,
//! `Flatten`, `Reshape`, `Gemm`, `Softmax`, one after the other; read besides:
//! `GlobalAveragePool`, `MatMul` and `Add`, `Dropout`, `Identity`, `Constant`.
//!
//! ONNX stores images channel by channel (NCHW); the order of weights is changed on the
//! way. The input `data` is [N, C, H, W], the output `prob` [N, classes].
//!
//! | key in `metadata_props` | value |
//! |---|---|
//! | `preprocessing` | for people, such as `x = pixel/256, no mean` |
//! | `mirage.scale`, `mirage.mean`, `mirage.std` | x = (pixel · scale − mean) / std, decimal |
//!
//! A file without the last three is read by its text; see [`Preprocessing::parse`].

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;

use thiserror::Error;
use tract_onnx::pb::ModelProto;

use super::network::NetworkError;
use super::preprocessing::{Preprocessing, PreprocessingError};

pub use read::decode;
pub use write::encode;

const TEXT_KEY: &str = "preprocessing";
const SCALE_KEY: &str = "mirage.scale";
const MEAN_KEY: &str = "mirage.mean";
const STD_KEY: &str = "mirage.std";

/// Why an ONNX file cannot be read as a sequential network.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OnnxError {
    /// The bytes are no ONNX model.
    #[error("not an ONNX model: {0}")]
    Parse(String),
    /// The model has no graph, or its input is not one image.
    #[error("the graph needs one input of float [N, channels, height, width] with fixed sizes")]
    Input,
    /// An operator, or a way to use it, that has no counterpart here.
    #[error("node {node:?}: {operator}: {reason}")]
    Unsupported {
        /// Name of the node, or of its output where it has none.
        node: String,
        /// Its operator.
        operator: String,
        /// What is not supported.
        reason: &'static str,
    },
    /// The layers do not make a network.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// The metadata do not say how pixels become inputs.
    #[error(
        "no usable metadata \"preprocessing\" or \"mirage.scale\", \"mirage.mean\", \"mirage.std\": add one, such as \"x = pixel/256, no mean\""
    )]
    NoPreprocessing,
    /// The metadata are not understood.
    #[error("{0}")]
    Preprocessing(#[from] PreprocessingError),
}

/// The preprocessing that the metadata of `model` state.
///
/// # Errors
/// If they state none, or one of another form.
pub fn preprocessing(model: &ModelProto) -> Result<Preprocessing, OnnxError> {
    let properties: HashMap<&str, &str> =
        model.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    let number = |key| properties.get(key).map(|value| value.parse::<f32>());
    match (number(SCALE_KEY), number(MEAN_KEY), number(STD_KEY)) {
        (Some(scale), Some(mean), Some(std)) => match (scale, mean, std) {
            (Ok(scale), Ok(mean), Ok(std)) => {
                Preprocessing { scale, mean, std }.checked().ok_or(OnnxError::NoPreprocessing)
            }
            _ => Err(OnnxError::NoPreprocessing),
        },
        _ => match properties.get(TEXT_KEY) {
            Some(text) => Ok(Preprocessing::parse(text)?),
            None => Err(OnnxError::NoPreprocessing),
        },
    }
}

/// Exchanges the two inner axes: `values` is `outer` × `a` × `b`, the result
/// `outer` × `b` × `a`. It turns HWC into CHW and, with `a` and `b` exchanged, back.
fn exchange_axes(values: &[f32], a: usize, b: usize) -> Vec<f32> {
    let mut exchanged = Vec::with_capacity(values.len());
    for block in values.chunks_exact(a * b) {
        for column in 0..b {
            exchanged.extend(block.iter().skip(column).step_by(b));
        }
    }
    exchanged
}
