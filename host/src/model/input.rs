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
    scale: f32,
    mean: Mean,
    /// Per channel in the network's order.
    std: Vec<f32>,
}

/// What is taken away from pixels that have been scaled.
#[derive(Debug)]
enum Mean {
    /// One number per channel in the network's order; with it, the input for every byte.
    Channels(Vec<f32>, Vec<[f32; 256]>),
    /// One for every pixel of the picture: planes in the network's order.
    Image(Vec<f32>),
}

/// What a row of a crop is made of.
struct Row {
    /// The channel, in the network's order.
    channel: usize,
    /// Where the channel's first value lies in the picture; the next is as many values on as
    /// there are channels.
    pixels: usize,
    /// Where the first pixel lies on planes.
    position: usize,
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
        let mean = match &description.mean_image {
            Some(path) => Mean::Image(mean_image(path, picture)?),
            None => {
                let input = |pixel, mean, std| (pixel * scale - mean) / std;
                let table = |(&mean, &std)| {
                    std::array::from_fn(|pixel| input(f32::from(pixel as u8), mean, std))
                };
                let tables = mean.iter().zip(&std).map(table).collect();
                Mean::Channels(mean, tables)
            }
        };
        Ok(Self { shape, picture, order: description.order, scale, mean, std })
    }

    /// Shape of pictures.
    pub(super) fn picture(&self) -> Shape {
        self.picture
    }

    /// A digest of the mean image, if there is one.
    pub(super) fn mean_digest(&self) -> Option<Digest> {
        let Mean::Image(mean) = &self.mean else { return None };
        let mut digest = Digest::new();
        mean.iter().for_each(|value| digest.update(&value.to_bits().to_le_bytes()));
        Some(digest)
    }

    /// The rows of a crop of some size, planes in the network's order.
    fn rows(&self, size: Shape, crop: Crop) -> impl Iterator<Item = Row> {
        let Shape { height, channels, .. } = size;
        let (wide, order) = (self.picture.width, self.order);
        (0..channels * height).map(move |row| {
            let (channel, y) = (row / height, crop.top + row % height);
            let source = match order {
                Order::Rgb => channel,
                Order::Bgr => channels - 1 - channel,
            };
            let position = y * wide + crop.left;
            Row { channel, pixels: position * channels + source, position }
        })
    }

    /// What is taken away from a row of scaled pixels.
    fn means(&self, row: &Row) -> impl Iterator<Item = f32> {
        let (of_channel, of_pixels) = match &self.mean {
            Mean::Channels(means, _) => (Some(means[row.channel]), &[][..]),
            Mean::Image(means) => {
                (None, &means[row.channel * self.picture.positions() + row.position..])
            }
        };
        of_pixels.iter().copied().chain(of_channel.into_iter().cycle())
    }

    /// Writes a crop of a picture as the network reads it: planes of `f32`.
    pub(super) fn write(&self, picture: &[u8], crop: Crop, input: &mut [f32]) {
        let Shape { width, channels, .. } = self.shape;
        for (row, values) in self.rows(self.shape, crop).zip(input.chunks_exact_mut(width)) {
            let pixels = picture[row.pixels..].iter().step_by(channels);
            match &self.mean {
                Mean::Channels(_, tables) => {
                    let table = &tables[row.channel];
                    for (value, &pixel) in values.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel)];
                    }
                }
                Mean::Image(_) => {
                    for ((value, &pixel), mean) in
                        values.iter_mut().zip(pixels).zip(self.means(&row))
                    {
                        *value = (f32::from(pixel) * self.scale - mean) / self.std[row.channel];
                    }
                }
            }
            if crop.mirrored {
                values.reverse();
            }
        }
    }

    /// Writes a crop of a picture whose pixel values need not be whole.
    pub(super) fn write_floats(&self, picture: &[f32], crop: Crop, input: &mut [f32]) {
        let Shape { width, channels, .. } = self.shape;
        for (row, values) in self.rows(self.shape, crop).zip(input.chunks_exact_mut(width)) {
            let pixels = picture[row.pixels..].iter().step_by(channels);
            for ((value, &pixel), mean) in values.iter_mut().zip(pixels).zip(self.means(&row)) {
                *value = (pixel * self.scale - mean) / self.std[row.channel];
            }
            if crop.mirrored {
                values.reverse();
            }
        }
    }

    /// Adds to `picture` the gradient with respect to its pixels, of that with respect to
    /// the input that a crop of it became.
    pub(super) fn pull(&self, input: &[f32], crop: Crop, picture: &mut [f32]) {
        let Shape { width, channels, .. } = self.shape;
        for (row, values) in self.rows(self.shape, crop).zip(input.chunks_exact(width)) {
            let factor = self.scale / self.std[row.channel];
            let pixels = picture[row.pixels..].iter_mut().step_by(channels).take(width);
            if crop.mirrored {
                pixels.zip(values.iter().rev()).for_each(|(pixel, value)| *pixel += factor * value);
            } else {
                pixels.zip(values).for_each(|(pixel, value)| *pixel += factor * value);
            }
        }
    }

    /// The picture that becomes zeros, as far as pixels of 0 to 255 can: as bytes of a
    /// picture, but not rounded.
    pub(super) fn mean_picture(&self) -> Vec<f32> {
        let Shape { width, channels, .. } = self.picture;
        let mut picture = vec![0.0; self.picture.len()];
        for row in self.rows(self.picture, Crop { top: 0, left: 0, mirrored: false }) {
            let pixels = picture[row.pixels..].iter_mut().step_by(channels).take(width);
            for (pixel, mean) in pixels.zip(self.means(&row)) {
                *pixel = (mean / self.scale).clamp(0.0, 255.0);
            }
        }
        picture
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
