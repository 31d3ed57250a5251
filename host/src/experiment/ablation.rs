//! Whether an image needs all the copies of what is repeated in it.
//!
//! Nguyen, Yosinski and Clune 2015, section “Evolving regular images to match ImageNet”: CPPN
//! images repeat elements, and without some of the copies the confidence drops in many of them,
//! although one copy would do for a person.
//!
//! The [repeated element](Repetition) of an image is found, and its copies are removed one
//! at a time, in an order drawn at random, until none is left: their pixels are filled with
//! the background. As a *control*, the shape of each copy is laid on another picture at
//! places drawn anywhere in the image (what passes an edge comes in at the opposite one)
//! and fills what it covers, until as many pixels that are not background are gone as were
//! of the copy. So the two lose the same area: one by whole copies, one in pieces from
//! anywhere, copies included. Both are the mean of several draws. An image depends on
//! the seed and its own class alone.

use std::sync::Arc;

use mirage_core::rng::Stream;
use rayon::prelude::*;
use serde::Serialize;

use super::permutation::shuffle;
use super::record::{Champion, RunRecord};
use super::repetition::{FAINT, Repetition, contrast};
use crate::image::Image;
use crate::model::{Crops, Model, ModelError, ThreadClassifier};
use crate::simd::Simd;

/// By how much a confidence falls at least that is said to drop, of 1.
pub const DROP: f64 = 0.01;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Images whose confidence is less, of 1, are left out.
    pub least: f32,
    /// Orders that the copies are removed in, each with its control; at least 1.
    pub draws: u32,
    /// Seed of every random stream.
    pub seed: u64,
    /// What of a picture the network looks at.
    pub crops: Crops,
}

/// What the copies are worth in the images of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    /// Images whose confidence is at least [`Settings::least`].
    pub images: usize,
    /// Those with an element that is repeated; all below is about them.
    pub repeated: usize,
    /// Images whose confidence with one copy left is lower by at least [`DROP`].
    pub dropped: usize,
    /// Those whose control, with as much removed, is.
    pub control_dropped: usize,
    /// Those whose confidence with one copy left is lower by at least [`DROP`] than the control's.
    pub dropped_more: usize,
    /// Mean confidence, 0 ..= 1, of the images as they were evolved; `None` of no image.
    pub whole: Option<f64>,
    /// With one copy left.
    pub one_left: Option<f64>,
    /// Of the control of that.
    pub one_left_control: Option<f64>,
    /// With no copy left.
    pub none_left: Option<f64>,
    /// Of the control of that.
    pub none_left_control: Option<f64>,
    /// The images, in class order.
    pub ablated: Vec<Ablated>,
}

/// An image without some of the copies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablated {
    /// Index of the class that the image was evolved for.
    pub class: usize,
    /// Copies of the repeated element.
    pub copies: usize,
    /// The share of the image that they cover, 0 ..= 1.
    pub area: f64,
    /// From all copies to none.
    pub levels: Vec<Level>,
}

/// The confidence in the class with some copies left, as means over the draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Copies left.
    pub left: usize,
    /// Confidence, 0 ..= 1.
    pub confidence: f64,
    /// That of the control.
    pub control: f64,
}

impl Ablated {
    /// How it does with so many copies left.
    #[must_use]
    pub fn left(&self, copies: usize) -> Option<Level> {
        self.levels.iter().find(|level| level.left == copies).copied()
    }

    /// By how much the confidence falls until one copy is left; negative if it rises.
    #[must_use]
    pub fn drop(&self) -> f64 {
        self.fall(|level| level.confidence)
    }

    /// By how much that of the control falls.
    #[must_use]
    pub fn control_drop(&self) -> f64 {
        self.fall(|level| level.control)
    }

    fn fall(&self, confidence: fn(Level) -> f64) -> f64 {
        let [whole, one] = [self.copies, 1].map(|left| self.left(left).map_or(0.0, confidence));
        whole - one
    }
}

/// The pictures of an image in the first draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// With one copy left.
    pub one_left: Arc<[u8]>,
    /// The control of that.
    pub control: Arc<[u8]>,
}

/// Removes copies from the images of a run and asks `model`, the run's, what it makes of it.
///
/// `observe` is called with every image that is done, on any thread.
///
/// # Errors
/// If the network fails.
pub fn ablate(
    record: &RunRecord,
    model: &Model,
    settings: Settings,
    observe: &(dyn Fn() + Sync),
) -> Result<Ablation, ModelError> {
    let sure: Vec<&Champion> =
        record.champions.iter().filter(|c| c.scores[c.class] >= settings.least).collect();
    let ablated = sure
        .par_iter()
        .map(|champion| {
            let image = picture(record, champion);
            let found = Repetition::of(&image);
            let ablated = found.map(|found| {
                let mut network = model.classifier(Simd::detect(), settings.crops)?;
                Ablated::of(champion, &image, &found, settings, &mut network)
            });
            observe();
            ablated.transpose()
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Ablation::of(sure.len(), ablated.into_iter().flatten().collect()))
}

/// The pictures of the first draw; `None` if nothing is repeated in the image.
#[must_use]
pub fn example(record: &RunRecord, champion: &Champion, settings: Settings) -> Option<Example> {
    let image = picture(record, champion);
    let found = Repetition::of(&image)?;
    let step =
        Removal::new(&image, &found, settings, champion.class, 0).nth(found.copies.len() - 2);
    step.map(|Step { rest, control }| Example { one_left: rest.into(), control: control.into() })
}

fn picture(record: &RunRecord, champion: &Champion) -> Image {
    let [height, width, channels] = record.manifest.model.picture;
    Image { width, height, channels, pixels: champion.picture.to_vec() }
}

/// The copies of an image going one by one.
struct Removal<'a> {
    background: &'a [u8],
    /// Those that are left, the next one last.
    copies: Vec<&'a [usize]>,
    step: Step,
    /// Which pixels of the control are not background.
    ink: Vec<bool>,
    width: usize,
    random: Stream,
}

/// The pixel bytes of a picture without some copies, and of its control.
#[derive(Clone)]
struct Step {
    rest: Vec<u8>,
    control: Vec<u8>,
}

impl<'a> Removal<'a> {
    fn new(
        image: &Image,
        found: &'a Repetition,
        settings: Settings,
        class: usize,
        draw: u32,
    ) -> Self {
        let mut random = Stream::new(settings.seed, draw, class as u32);
        let background = found.background.as_slice();
        let mut copies: Vec<&[usize]> = found.copies.iter().map(Vec::as_slice).collect();
        shuffle(&mut copies, &mut random);
        let pixels = image.pixels.chunks_exact(image.channels);
        Self {
            background,
            copies,
            step: Step { rest: image.pixels.clone(), control: image.pixels.clone() },
            ink: pixels.map(|pixel| contrast(pixel, background) > FAINT).collect(),
            width: image.width,
            random,
        }
    }
}

impl Iterator for Removal<'_> {
    type Item = Step;

    /// Removes one copy more.
    fn next(&mut self) -> Option<Step> {
        let copy = self.copies.pop()?;
        let channels = self.background.len();
        let fill = |pixels: &mut [u8], at: usize| {
            pixels[at * channels..][..channels].copy_from_slice(self.background);
        };
        copy.iter().for_each(|&at| fill(&mut self.step.rest, at));
        let (width, height) = (self.width, self.ink.len() / self.width);
        // All that the control has lost by now are copies' pixels in number, and those are
        // ink: enough of it is left.
        let mut owed = copy.len();
        while owed > 0 {
            let right = self.random.below(width as u32) as usize;
            let down = self.random.below(height as u32) as usize;
            for at in copy {
                let to = (at / width + down) % height * width + (at % width + right) % width;
                if owed > 0 && std::mem::take(&mut self.ink[to]) {
                    fill(&mut self.step.control, to);
                    owed -= 1;
                }
            }
        }
        Some(self.step.clone())
    }
}

impl Ablated {
    fn of(
        champion: &Champion,
        image: &Image,
        found: &Repetition,
        settings: Settings,
        network: &mut ThreadClassifier<'_>,
    ) -> Result<Self, ModelError> {
        let (class, copies, classes) = (champion.class, found.copies.len(), champion.scores.len());
        let mut sums = vec![[0.0; 2]; copies];
        let draws = settings.draws.max(1);
        for draw in 0..draws {
            let removal = Removal::new(image, found, settings, class, draw);
            let pictures: Vec<u8> =
                removal.flat_map(|Step { rest, control }| [rest, control]).flatten().collect();
            let mut scores = vec![0.0; 2 * copies * classes];
            network.classify(&pictures, &mut scores)?;
            let confidences = scores.chunks_exact(classes).map(|scores| scores[class].max(0.0));
            let sums = sums.iter_mut().flatten();
            sums.zip(confidences).for_each(|(sum, confidence)| *sum += f64::from(confidence));
        }
        let whole = f64::from(champion.scores[champion.class]);
        let mut levels = vec![Level { left: copies, confidence: whole, control: whole }];
        levels.extend(sums.iter().zip((0..copies).rev()).map(|(sums, left)| {
            let [confidence, control] = sums.map(|sum| sum / f64::from(draws));
            Level { left, confidence, control }
        }));
        let covered: usize = found.copies.iter().map(Vec::len).sum();
        let area = covered as f64 / (image.width * image.height) as f64;
        Ok(Self { class, copies, area, levels })
    }
}

impl Ablation {
    fn of(images: usize, ablated: Vec<Ablated>) -> Self {
        let count =
            |holds: fn(&Ablated) -> bool| ablated.iter().filter(|image| holds(image)).count();
        let mean = |value: fn(&Ablated) -> Option<f64>| {
            let sum: Option<f64> = ablated.iter().map(value).sum();
            sum.filter(|_| !ablated.is_empty()).map(|sum| sum / ablated.len() as f64)
        };
        Self {
            images,
            repeated: ablated.len(),
            dropped: count(|image| image.drop() >= DROP),
            control_dropped: count(|image| image.control_drop() >= DROP),
            dropped_more: count(|image| image.drop() - image.control_drop() >= DROP),
            whole: mean(|image| image.left(image.copies).map(|level| level.confidence)),
            one_left: mean(|image| image.left(1).map(|level| level.confidence)),
            one_left_control: mean(|image| image.left(1).map(|level| level.control)),
            none_left: mean(|image| image.left(0).map(|level| level.confidence)),
            none_left_control: mean(|image| image.left(0).map(|level| level.control)),
            ablated,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use reference::onnx::Attribute::Int;
    use reference::onnx::{Batch, Builder};

    use super::super::repetition::tests::{paint, plain};
    use super::*;
    use crate::report::sample;

    const SETTINGS: Settings = Settings { least: 0.5, draws: 3, seed: 1, crops: Crops::Center };

    /// Pixels of one of the four squares, and of the picture.
    const SQUARE: usize = 36;

    /// A network of ten classes whose logit for class 3 is 2 for every white square of
    /// [`SQUARE`] pixels, and 0 for all others.
    fn counts_squares(folder: &std::path::Path) -> Model {
        let mut builder = Builder::new(Batch::Symbolic, [1, 28, 28], 0);
        let mut weights = vec![0.0; 10 * 784];
        weights[3 * 784..4 * 784].fill(2.0 / SQUARE as f32);
        builder.floats("w", &[10, 784], &weights);
        builder.floats("b", &[10], &[0.0; 10]);
        builder.node("Flatten", "flat", &["data"], &[("axis", Int(1))]);
        builder.node("Gemm", "logits", &["flat", "w", "b"], &[("transB", Int(1))]);
        builder.node("Softmax", "prob", &["logits"], &[("axis", Int(1))]);
        let path = folder.join("squares.onnx");
        std::fs::write(&path, builder.finish("prob", 13).encode_to_vec()).unwrap();
        std::fs::write(path.with_extension("toml"), "").unwrap();
        Model::load(path.to_str().unwrap()).unwrap()
    }

    /// A run of digits whose class 3 has an image of four squares, and class 4 one of none.
    fn record() -> RunRecord {
        let mut record = sample::digits();
        record.champions.retain(|champion| [3, 4].contains(&champion.class));
        let mut image = plain(28, 28, &[0]);
        record.champions[1].picture = image.pixels.clone().into();
        for [left, top] in [[2, 2], [18, 3], [5, 19], [20, 20]] {
            paint(&mut image, [left, top, 6, 6], &[255]);
        }
        record.champions[0].picture = image.pixels.into();
        let mut scores = vec![0.0; 10];
        scores[3] = confidence(4) as f32;
        record.champions[0].scores = scores.into();
        record
    }

    /// What the network makes of so many squares.
    fn confidence(squares: i32) -> f64 {
        let power = (2.0 * f64::from(squares)).exp();
        power / (power + 9.0)
    }

    #[test]
    fn a_network_that_counts_squares_loses_what_each_is_worth() {
        let folder = tempfile::tempdir().unwrap();
        let model = counts_squares(folder.path());
        let ablation = ablate(&record(), &model, SETTINGS, &|| ()).unwrap();
        assert_eq!((ablation.images, ablation.repeated, ablation.dropped), (2, 1, 1));
        // It counts pixels, and the control loses as many: there is no difference.
        assert_eq!((ablation.control_dropped, ablation.dropped_more), (1, 0));
        let image = &ablation.ablated[0];
        assert_eq!((image.class, image.copies, image.levels.len()), (3, 4, 5));
        assert!((image.area - 4.0 * SQUARE as f64 / 784.0).abs() < 1e-12);
        for (level, left) in image.levels.iter().zip((0..=4).rev()) {
            assert_eq!(level.left, left as usize);
            assert!((level.confidence - confidence(left)).abs() < 1e-5, "{level:?}");
            assert!((level.control - confidence(left)).abs() < 1e-5, "{level:?}");
        }
        assert!((image.drop() - (confidence(4) - confidence(1))).abs() < 1e-5);
        assert_eq!(ablation.none_left, Some(image.levels[4].confidence));
    }

    #[test]
    fn the_control_loses_as_many_pixels_elsewhere() {
        let record = record();
        let of = |seed| {
            let settings = Settings { seed, ..SETTINGS };
            example(&record, &record.champions[0], settings).unwrap()
        };
        let first = of(1);
        let white = |picture: &[u8]| picture.iter().filter(|&&value| value == 255).count();
        assert_eq!([white(&first.one_left), white(&first.control)], [SQUARE; 2]);
        assert_ne!(first.one_left, first.control);
        assert_eq!(first, of(1));
        assert!((2..9).any(|seed| of(seed).one_left != first.one_left));
        assert_eq!(example(&record, &record.champions[1], SETTINGS), None);
    }

    #[test]
    fn the_unsure_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let model = counts_squares(folder.path());
        let settings = Settings { least: 1.1, ..SETTINGS };
        let ablation = ablate(&record(), &model, settings, &|| ()).unwrap();
        assert_eq!((ablation.images, ablation.whole), (0, None));
    }
}
