//! From pictures to what a network reads.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mirage_core::digest::Digest;
use mirage_core::image::Shape;
use mirage_core::limits::MAX_SIDE;
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
            Some([high, wide]) if high >= height && wide >= width && high.max(wide) <= MAX_SIDE => {
                Shape { height: high, width: wide, channels }
            }
            Some(sides) => {
                return Err(format!(
                    "picture = {sides:?}: give [height, width], at least the network's [{height}, {width}] and at most {MAX_SIDE}"
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

    /// A digest of the mean image, if there is one.
    pub(super) fn mean_digest(&self) -> Option<Digest> {
        let Rule::MeanImage { mean, .. } = &self.rule else { return None };
        let mut digest = Digest::new();
        mean.iter().for_each(|value| digest.update(&value.to_bits().to_le_bytes()));
        Some(digest)
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

#[cfg(test)]
mod tests {
    use super::super::description::PerChannel;
    use super::*;

    const INPUT: Shape = Shape { height: 1, width: 2, channels: 3 };
    const CROP: Crop = Crop { top: 1, left: 1, mirrored: false };

    /// A picture of 2 × 3: 10 · position + channel.
    fn picture() -> Vec<u8> {
        (0..6).flat_map(|position| [0, 1, 2].map(|channel| 10 * position + channel)).collect()
    }

    fn written(description: &Description, crop: Crop) -> Vec<f32> {
        let mut input = vec![0.0; INPUT.len()];
        let rule = Input::new(description, INPUT).unwrap();
        rule.write(&picture(), crop, &mut input);
        input
    }

    fn description() -> Description {
        Description { picture: Some([2, 3]), scale: 2.0, ..Description::default() }
    }

    /// Saves a mean image.
    fn save<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
        use npyz::WriterBuilder as _;
        let file = File::create(path).unwrap();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file);
        let mut writer = options.begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn planes_come_in_the_order_of_the_network() {
        assert_eq!(written(&description(), CROP), [80.0, 100.0, 82.0, 102.0, 84.0, 104.0]);
        let description = Description {
            order: Order::Bgr,
            mean: PerChannel::Each(vec![4.0, 2.0, 0.0]),
            std: PerChannel::Each(vec![1.0, 1.0, 2.0]),
            ..description()
        };
        assert_eq!(written(&description, CROP), [80.0, 100.0, 80.0, 100.0, 40.0, 50.0]);
        let mirrored = Crop { mirrored: true, ..CROP };
        assert_eq!(written(&description, mirrored), [100.0, 80.0, 100.0, 80.0, 50.0, 40.0]);
    }

    #[test]
    fn a_mean_image_is_taken_away_before_crops_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mean.npy");
        let means: Vec<f64> = (0..18).map(f64::from).collect();
        let description =
            Description { order: Order::Bgr, mean_image: Some(path.clone()), ..description() };
        let expected =
            [84.0 - 4.0, 104.0 - 5.0, 82.0 - 10.0, 102.0 - 11.0, 80.0 - 16.0, 100.0 - 17.0];
        save(&path, &[3, 2, 3], &means);
        assert_eq!(written(&description, CROP), expected);
        let narrow: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
        save(&path, &[3, 2, 3], &narrow);
        assert_eq!(written(&description, CROP), expected);
        let mirrored = written(&description, Crop { mirrored: true, ..CROP });
        assert_eq!(mirrored[..2], [expected[1], expected[0]]);

        let refusal = || Input::new(&description, INPUT).unwrap_err();
        save(&path, &[2, 3, 3], &narrow);
        assert!(refusal().contains("mean.npy: [2, 3, 3] values, and [3, 2, 3]"), "{}", refusal());
        save(&path, &[3, 2, 3], &[1_i32; 18]);
        assert!(refusal().contains("neither f32 nor f64"), "{}", refusal());
        save(&path, &[3, 2, 3], &[f32::NAN; 18]);
        assert!(refusal().contains("finite"), "{}", refusal());
        std::fs::write(&path, "no array").unwrap();
        assert!(refusal().contains("mean.npy: "), "{}", refusal());
        std::fs::remove_file(&path).unwrap();
        assert!(refusal().contains("mean.npy: "), "{}", refusal());
    }

    #[test]
    fn what_does_not_fit_the_network_is_refused() {
        let small = Description { picture: Some([1, 1]), ..description() };
        assert!(Input::new(&small, INPUT).unwrap_err().contains("at least the network's [1, 2]"));
        let mean = Description { mean: PerChannel::Each(vec![1.0; 2]), ..description() };
        assert!(Input::new(&mean, INPUT).unwrap_err().contains("mean = (1, 1): the network has 3"));
    }
}
