//! `mirage classify`: what a model sees in images.

use std::path::PathBuf;

use clap::Args;
use mirage_core::image::Shape;
use serde::Serialize;
use thiserror::Error;

use super::{CropsName, OutputError, print};
use crate::image::{Image, ImageError};
use crate::model::{Crops, Model, ModelError};
use crate::simd::Simd;

/// Classes shown per image.
const TOP: usize = 5;

/// Arguments of `mirage classify`.
#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// A name of `mirage models list`, or the path of an int8 model or ONNX network
    #[arg(long, value_name = "NAME|FILE", default_value = "lenet")]
    model: String,
    /// Parts of each image that the model looks at
    #[arg(long, value_enum, default_value = "center")]
    crops: CropsName,
    /// PNG or JPEG files; those of another size are scaled: white digits on black for the
    /// LeNets
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
    /// An image cannot be brought to the model's size.
    #[error("{}: {reason}; scale it to {width} × {height} pixels first", path.display())]
    Size {
        /// The image file.
        path: PathBuf,
        /// What the resampler said.
        reason: String,
        /// Width of the model's pictures.
        width: usize,
        /// Their height.
        height: usize,
    },
    /// A score is no number.
    #[error(
        "{}: model {model} answers NaN, not a number; check what its TOML file says of scale, mean and std, or take another model",
        path.display()
    )]
    NotANumber {
        /// The image file.
        path: PathBuf,
        /// The model.
        model: String,
    },
    /// The result cannot be printed.
    #[error("{0}")]
    Output(#[from] OutputError),
}

#[derive(Serialize)]
struct Prediction {
    class: usize,
    label: String,
    confidence: f32,
}

impl Prediction {
    /// The confidence and the label; the index too, unless the label is it.
    fn in_words(&self) -> String {
        let Self { class, label, confidence } = self;
        let percent = f64::from(*confidence) * 100.0;
        if *label == class.to_string() {
            format!("  {percent:>9.4} %  {label}\n")
        } else {
            format!("  {percent:>9.4} %  {class:>4}  {label}\n")
        }
    }
}

#[derive(Serialize)]
struct ImageResult {
    image: String,
    top: Vec<Prediction>,
}

/// Runs `mirage classify`.
///
/// # Errors
/// [`ClassifyError`]; nothing is printed then.
pub fn run(args: &ClassifyArgs) -> Result<(), ClassifyError> {
    let model = Model::load(&args.model).map_err(ClassifyError::Model)?;
    tell(&model, args.crops.into(), &args.images, args.json)
}

/// Tells what a model sees in images.
///
/// # Errors
/// [`ClassifyError`]; nothing is printed then.
pub fn tell(
    model: &Model,
    crops: Crops,
    images: &[PathBuf],
    as_json: bool,
) -> Result<(), ClassifyError> {
    let mut classifier = model.classifier(Simd::detect(), crops)?;
    let Shape { height, width, channels } = model.shape();
    let mut results = Vec::new();
    for path in images {
        let image = Image::open(path)?.with_channels(channels);
        let picture = image
            .fitted(width, height, model.resize())
            .map_err(|reason| ClassifyError::Size { path: path.clone(), reason, width, height })?;
        let mut scores = vec![0.0; model.classes()];
        classifier.classify(&picture.pixels, &mut scores)?;
        if scores.iter().any(|score| score.is_nan()) {
            let (path, model) = (path.clone(), model.name().to_owned());
            return Err(ClassifyError::NotANumber { path, model });
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let predictions = order.iter().take(TOP).map(|&class| Prediction {
            class,
            label: model.labels()[class].clone(),
            confidence: scores[class],
        });
        results.push(ImageResult { image: path.display().to_string(), top: predictions.collect() });
    }
    if as_json {
        print(&format!("{}\n", serde_json::json!({ "model": model.name(), "results": results })))?;
    } else {
        let lines = results.iter().flat_map(|result| {
            let predictions = result.top.iter().map(Prediction::in_words);
            std::iter::once(format!("{}\n", result.image)).chain(predictions)
        });
        print(&lines.collect::<String>())?;
    }
    Ok(())
}
