//! Finds and reads test data: `.npz` arrays, JSON, and what TensorFlow Lite left
//! about the LeNet that it quantized.

use crate::int8::{Kind, Layer, Network};
use crate::skip::skip;
use npyz::npz::NpzArchive;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The file `name` of the data that is part of this package.
#[must_use]
pub fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// The file `name` below the folder that `MIRAGE_DATA` names, if it exists.
///
/// Otherwise says aloud that `test` skips something.
///
/// # Panics
/// If the file is missing while `MIRAGE_REQUIRE` lists `data`.
#[must_use]
pub fn external(test: &str, name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("MIRAGE_DATA").filter(|value| !value.is_empty());
    let why = match &root {
        None => "MIRAGE_DATA is not set".to_owned(),
        Some(root) => {
            // Tests run in the package's folder; a relative path counts from the workspace.
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let file = workspace.join(root).join(name);
            if file.is_file() {
                return Some(file);
            }
            format!("{} does not exist", file.display())
        }
    };
    skip(test, "data", &format!("it needs {name}, and {why}"));
    None
}

/// The arrays of an `.npz` file.
pub struct Arrays {
    path: PathBuf,
    archive: NpzArchive<std::io::BufReader<fs::File>>,
}

impl Arrays {
    /// Opens `path`.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let archive = NpzArchive::open(path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        Self { path: path.to_owned(), archive }
    }

    /// The shape and values of one array, in C order.
    ///
    /// # Panics
    /// If there is no such array, or of another type.
    #[must_use]
    pub fn get<T: npyz::Deserialize>(&mut self, name: &str) -> (Vec<usize>, Vec<T>) {
        let found = self.archive.by_name(name).ok().flatten();
        let array = found.unwrap_or_else(|| panic!("{} has no {name}", self.path.display()));
        let shape = array.shape().iter().map(|&side| side as usize).collect();
        let values = array.into_vec();
        (shape, values.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// The values of one array, in C order.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn values<T: npyz::Deserialize>(&mut self, name: &str) -> Vec<T> {
        self.get(name).1
    }
}

/// Reads a JSON file.
///
/// # Panics
/// If it cannot be read or has another form.
#[must_use]
pub fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `lenet-int8.json`, as far as the arithmetic needs it.
#[derive(Debug, Deserialize)]
struct Description {
    input: Tensor,
    layers: Vec<Described>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    shape: [usize; 4],
    zero_point: i8,
}

#[derive(Debug, Deserialize)]
struct Described {
    op: String,
    name: String,
    output_shape: Vec<usize>,
    output_zero_point: i8,
    #[serde(default)]
    padding: String,
    #[serde(default)]
    stride_hw: Option<[usize; 2]>,
    #[serde(default)]
    filter_hw: Option<[usize; 2]>,
    #[serde(default)]
    weight_shape: Vec<usize>,
    #[serde(default)]
    clamp_min: i8,
    #[serde(default)]
    clamp_max: i8,
    #[serde(default)]
    bias_scale: Vec<f64>,
    #[serde(default)]
    quantized_multiplier: Vec<i32>,
    #[serde(default)]
    shift: Vec<i8>,
}

/// The network of `lenet-int8.json` and `lenet-int8-weights.npz`, with the name of
/// each layer. Reshaping is left out: it moves nothing.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn tflite_lenet(description: &Path, weights: &Path) -> (Network, Vec<String>) {
    let description: Description = json(description);
    let mut arrays = Arrays::open(weights);
    let mut layers = Vec::new();
    let mut names = Vec::new();
    let mut logit_scales = Vec::new();
    for layer in description.layers {
        let channels = layer.output_shape[layer.output_shape.len() - 1];
        let (kind, window) = match layer.op.as_str() {
            "CONV_2D" => {
                let window = [layer.weight_shape[1], layer.weight_shape[2]];
                (Kind::Conv { filters: channels }, window)
            }
            "MAX_POOL_2D" => (Kind::MaxPool, layer.filter_hw.expect("a pool without a window")),
            "FULLY_CONNECTED" => (Kind::Dense { units: channels }, [1, 1]),
            "RESHAPE" => continue,
            other => panic!("unexpected operator {other}"),
        };
        let weighted = kind != Kind::MaxPool;
        let array = |suffix| format!("{}_{suffix}", layer.name);
        logit_scales = layer.bias_scale.iter().map(|&scale| scale as f32).collect();
        layers.push(Layer {
            kind,
            window,
            stride: layer.stride_hw.unwrap_or([1, 1]),
            same: layer.padding == "SAME",
            zero_point: layer.output_zero_point,
            clamp: (layer.clamp_min, layer.clamp_max),
            biases: if weighted { arrays.values(&array("b")) } else { Vec::new() },
            multipliers: layer.quantized_multiplier,
            shifts: layer.shift,
            weights: if weighted { arrays.values(&array("w")) } else { Vec::new() },
        });
        names.push(layer.name);
    }
    let [_, height, width, channels] = description.input.shape;
    let input = [height, width, channels];
    let network = Network { input, zero_point: description.input.zero_point, layers, logit_scales };
    (network, names)
}
