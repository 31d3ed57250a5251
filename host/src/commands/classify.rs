//! `mirage classify`: what a model sees in images.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::{OutputError, print};
use crate::model::{Crops, Model, ModelError};
use crate::report::image::{Image, ImageError};
use crate::simd::Simd;

/// Classes shown per image.
const TOP: usize = 5;

/// Arguments of `mirage classify`.
#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// lenet, lenet-small (int8), lenet-float, or the path of an int8 model or ONNX network
    #[arg(long, value_name = "NAME|FILE", default_value = "lenet")]
    model: String,
    /// PNG files of the model's size: white digits on black for the LeNets
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why `mirage classify` failed.
#[derive(Debug, Error)]
pub enum ClassifyError {
    /// The model cannot be used.
    #[error("--model: {0}")]
    Model(ModelError),
    /// The model fails on an image.
    #[error("{0}")]
    Run(#[from] ModelError),
    /// An image cannot be read.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// An image is not of the model's size.
    #[error(
        "{}: the image is {} with {} channels, and model {model} takes {} with {}; scale it first",
        path.display(), size(*found), found[2], size(*wanted), wanted[2]
    )]
    Size {
        /// The image file.
        path: PathBuf,
        /// Height, width and channels of the image.
        found: [usize; 3],
        /// Height, width and channels of the model's input.
        wanted: [usize; 3],
        /// The model.
        model: String,
    },
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

fn size([height, width, _]: [usize; 3]) -> String {
    format!("{width}×{height} pixels")
}

#[derive(Serialize)]
struct Prediction {
    class: usize,
    label: String,
    confidence: f32,
}

#[derive(Serialize)]
struct ImageResult {
    image: String,
    top: Vec<Prediction>,
}

/// The image in grey (`channels` 1; the luma of ITU-R BT.601, which leaves grey as it
/// is) or in colour (3).
fn with_channels(image: Image, channels: usize) -> Image {
    let pixels = match (image.channels, channels) {
        (3, 1) => {
            let luma = |p: &[u8; 3]| {
                let [r, g, b] = p.map(u32::from);
                ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
            };
            image.pixels.as_chunks().0.iter().map(luma).collect()
        }
        (1, 3) => image.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => return image,
    };
    Image { channels, pixels, ..image }
}

/// Runs `mirage classify`.
///
/// # Errors
/// [`ClassifyError`]; nothing is printed then.
pub fn run(args: &ClassifyArgs) -> Result<(), ClassifyError> {
    let model = Model::load(&args.model).map_err(ClassifyError::Model)?;
    tell(&model, &args.images, args.json)
}

/// Tells what a model sees in images.
///
/// # Errors
/// [`ClassifyError`]; nothing is printed then.
pub fn tell(model: &Model, images: &[PathBuf], as_json: bool) -> Result<(), ClassifyError> {
    let record = model.record();
    let mut classifier = model.classifier(Simd::detect(), Crops::Center)?;
    let mut results = Vec::new();
    for path in images {
        let image = Image::open(path)?;
        let found = [image.height, image.width, image.channels];
        let pixels = with_channels(image, record.input[2]);
        if [pixels.height, pixels.width, pixels.channels] != record.input {
            let (path, model) = (path.clone(), record.name);
            return Err(ClassifyError::Size { path, found, wanted: record.input, model });
        }
        let mut scores = vec![0.0; model.classes()];
        classifier.classify(&pixels.pixels, &mut scores)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let predictions = order.iter().take(TOP).map(|&class| Prediction {
            class,
            label: record.labels[class].clone(),
            confidence: scores[class],
        });
        results.push(ImageResult { image: path.display().to_string(), top: predictions.collect() });
    }
    if as_json {
        print(&format!("{}\n", serde_json::json!({ "model": record.name, "results": results })))?;
    } else {
        let lines = results.iter().flat_map(|result| {
            let predictions = result
                .top
                .iter()
                .map(|p| format!("  {:>9.4} %  {}\n", f64::from(p.confidence) * 100.0, p.label));
            std::iter::once(format!("{}\n", result.image)).chain(predictions)
        });
        print(&lines.collect::<String>())?;
    }
    Ok(())
}
