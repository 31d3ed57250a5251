//! From pictures to what a network reads.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mirage_core::image::Shape;
use npyz::{NpyFile, Order as Layout, TypeChar};

use super::crops::Crop;
use super::description::{Description, Order};

/// How pixels become a network's input.
#[derive(Debug)]
pub(super) struct Input {
    /// The network's input.
    shape: Shape,
    picture: Shape,
    order: Order,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// The input for every pixel byte, per channel in the network's order.
    Tables(Vec<[f32; 256]>),
    /// (pixel · scale − mean) / std, with a mean of its own for every pixel of the picture:
    /// planes in the network's order.
    MeanImage { scale: f32, mean: Vec<f32>, std: Vec<f32> },
}

impl Input {
    /// Prepares what `description` says for a network with this input.
    ///
    /// # Errors
    /// In one line, what of it does not fit the network, or which file cannot be read.
    pub(super) fn new(description: &Description, shape: Shape) -> Result<Self, String> {
        let Shape { height, width, channels } = shape;
        let picture = match description.picture {
            None => shape,
            Some([high, wide]) if high >= height && wide >= width && high.max(wide) <= 4096 => {
                Shape { height: high, width: wide, channels }
            }
            Some(sides) => {
                return Err(format!(
                    "picture = {sides:?}: give [height, width], at least the network's [{height}, {width}] and at most 4096"
                ));
            }
        };
        let per_channel = |what, values: &super::description::PerChannel| {
            values.values(channels).ok_or_else(|| {
                format!("{what} = {values}: the network has {channels} channels; give one number, or {channels}")
            })
        };
        let scale = description.scale;
        let mean = per_channel("mean", &description.mean)?;
        let std = per_channel("std", &description.std)?;
        let rule = match &description.mean_image {
            Some(path) => Rule::MeanImage { scale, mean: mean_image(path, picture)?, std },
            None => {
                let input = |pixel, mean, std| (pixel * scale - mean) / std;
                let table = |(&mean, &std)| {
                    std::array::from_fn(|pixel| input(f32::from(pixel as u8), mean, std))
                };
                Rule::Tables(mean.iter().zip(&std).map(table).collect())
            }
        };
        Ok(Self { shape, picture, order: description.order, rule })
    }

    /// Shape of pictures.
    pub(super) fn picture(&self) -> Shape {
        self.picture
    }

    /// Writes a crop of a picture as the network reads it: planes of `f32`.
    pub(super) fn write(&self, picture: &[u8], crop: Crop, input: &mut [f32]) {
        let Shape { height, width, channels } = self.shape;
        let rows = input.chunks_exact_mut(width).enumerate();
        for (row, values) in rows {
            let (channel, y) = (row / height, crop.top + row % height);
            let source = match self.order {
                Order::Rgb => channel,
                Order::Bgr => channels - 1 - channel,
            };
            let start = y * self.picture.width + crop.left;
            let pixels = &picture[start * channels..(start + width) * channels];
            let pixels = pixels.iter().skip(source).step_by(channels);
            match &self.rule {
                Rule::Tables(tables) => {
                    let table = &tables[channel];
                    for (value, &pixel) in values.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel)];
                    }
                }
                Rule::MeanImage { scale, mean, std } => {
                    let mean = &mean[channel * self.picture.positions() + start..][..width];
                    for ((value, &pixel), mean) in values.iter_mut().zip(pixels).zip(mean) {
                        *value = (f32::from(pixel) * scale - mean) / std[channel];
                    }
                }
            }
            if crop.mirrored {
                values.reverse();
            }
        }
    }
}

/// Reads a mean image: `f32` or `f64`, channels × height × width of `picture`.
fn mean_image(path: &Path, picture: Shape) -> Result<Vec<f32>, String> {
    let unfit = |reason: String| format!("mean image {}: {reason}", path.display());
    let file = File::open(path).map_err(|error| unfit(error.to_string()))?;
    let array = NpyFile::new(BufReader::new(file)).map_err(|error| unfit(error.to_string()))?;
    let Shape { height, width, channels } = picture;
    let wanted = [channels as u64, height as u64, width as u64];
    if array.shape() != wanted || array.order() != Layout::C {
        return Err(unfit(format!(
            "{:?} values, and {wanted:?} (channels, height and width of the picture) are needed",
            array.shape()
        )));
    }
    let size = match array.dtype() {
        npyz::DType::Plain(kind) if kind.type_char() == TypeChar::Float => kind.size_field(),
        _ => 0,
    };
    let values: Vec<f32> = match size {
        4 => array.into_vec().map_err(|error| unfit(error.to_string()))?,
        8 => {
            let values: Vec<f64> = array.into_vec().map_err(|error| unfit(error.to_string()))?;
            values.into_iter().map(|value| value as f32).collect()
        }
        _ => return Err(unfit("its values are neither f32 nor f64".to_owned())),
    };
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(unfit("not all of its values are finite".to_owned()))
}
