//! One class more in the last layer of a network, for fooling images.
//!
//! Nguyen, Yosinski and Clune 2015 (section “Training networks to recognize fooling images”)
//! train a network for ImageNet anew with fooling images as class n + 1. Here all layers stay
//! but the last, which gets one row of weights, and that row alone is learned: by softmax
//! regression on what the layers before make of some hundreds of images. With so few, the rows
//! of a thousand classes would forget those that are not among them; as they stay, the logits
//! of the old classes do too, bit for bit, and an image that is not called fooling is called
//! what it was called before.

use mirage_core::rng::Stream;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use crate::model::{HeadModel, ModelError};
use crate::train::evaluate::argmax;
use crate::train::sgd::{BATCH, MOMENTUM, WEIGHT_DECAY, shuffle};

/// Times that every image is seen by default.
pub const EPOCHS: u32 = 100;
/// Learning rate at the start, times the number of weights. The curvature of a logistic
/// regression on so many features of deviation 1 is at most a quarter of their number, so that
/// steps with a momentum of 0.9 stay bounded up to 15.
const LEARNING_RATE: f64 = 10.0;
/// The share of images that are kept to test with by default.
pub const HELD_OUT: f64 = 0.2;

/// Keys of the random streams: which images are held out, and the order of an epoch.
const NATURAL: u32 = 0;
const FOOLING: u32 = 1;
const ORDER: u32 = 2;

/// How to learn the new row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Times that every image is seen.
    pub epochs: u32,
    /// The share of either kind of images that is kept to test with, above 0 and below 1.
    pub held_out: f64,
    /// Seed of which are kept, and of the order of the others.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { epochs: EPOCHS, held_out: HELD_OUT, seed: 1 }
    }
}

/// An image to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Height × width × channels bytes, as the network judges them.
    pub pixels: Vec<u8>,
    /// What it shows; `None` for a fooling image.
    pub class: Option<usize>,
}

/// Why there is no new row.
#[derive(Debug, Error)]
pub enum HeadError {
    /// There are too few images of a kind to learn from some and to test with others.
    #[error(
        "{what}: there are {count}; give two at least, to learn from one and to test with the other"
    )]
    TooFew {
        /// The option and the kind of images.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The network fails.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The threads cannot be started.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// How the network with one class more does on the images that were held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Images of the user's.
    pub images: usize,
    /// Of those, how many were held out.
    pub images_held_out: usize,
    /// Fooling images.
    pub fooling_images: usize,
    /// Of those, how many were held out.
    pub fooling_images_held_out: usize,
    /// The share of the images held out whose class was the most probable before.
    pub accuracy_before: f64,
    /// And with the class for fooling images.
    pub accuracy_after: f64,
    /// The share of them that are called fooling images.
    pub called_fooling_share: f64,
    /// The share of the fooling images held out that are called so.
    pub recognised_share: f64,
}

/// What is known of an image.
struct Example {
    /// Depth × positions.
    features: Vec<f32>,
    /// ln Σ exp of the old logits.
    rest: f64,
    /// The most probable of the old classes, and its logit.
    top: (usize, f32),
    class: Option<usize>,
}

/// The weights of the new class.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    weights: Vec<f32>,
    bias: f32,
    positions: usize,
    has_relu: bool,
}

/// The bytes of an ONNX file with one class more, and how that does on images that it did
/// not learn from. A function of its arguments, whatever the number of threads.
///
/// # Errors
/// [`HeadError`].
pub fn retrain(
    model: &HeadModel,
    pictures: &[Picture],
    settings: Settings,
    threads: usize,
) -> Result<(Vec<u8>, Outcome), HeadError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let look = |picture: &Picture| Example::of(model, picture);
    let examples: Vec<Example> =
        pool.install(|| pictures.par_iter().map(look).collect::<Result<_, ModelError>>())?;
    let (fooling, natural): (Vec<&Example>, Vec<&Example>) =
        examples.iter().partition(|example| example.class.is_none());
    for (what, count) in [("--images", natural.len()), ("--fooling", fooling.len())] {
        if count < 2 {
            return Err(HeadError::TooFew { what, count });
        }
    }
    let (tests, trainings) = part(&natural, settings, NATURAL);
    let (fooling_tests, fooling_trainings) = part(&fooling, settings, FOOLING);
    let learned = [trainings, fooling_trainings].concat();
    let row = Row::begin(model, &learned).trained(&learned, settings);
    let share = |held: &[&Example], holds: &dyn Fn(&Example) -> bool| {
        held.iter().filter(|example| holds(example)).count() as f64 / held.len() as f64
    };
    let outcome = Outcome {
        images: natural.len(),
        images_held_out: tests.len(),
        fooling_images: fooling.len(),
        fooling_images_held_out: fooling_tests.len(),
        accuracy_before: share(&tests, &|example| example.class == Some(example.top.0)),
        accuracy_after: share(&tests, &|example| {
            example.class == Some(example.top.0) && !row.wins(example)
        }),
        called_fooling_share: share(&tests, &|example| row.wins(example)),
        recognised_share: share(&fooling_tests, &|example| row.wins(example)),
    };
    Ok((model.with_class(&row.weights, row.bias)?, outcome))
}

/// Images to test with, and the others; one of each at least, of two or more.
fn part<'a>(
    examples: &[&'a Example],
    settings: Settings,
    kind: u32,
) -> (Vec<&'a Example>, Vec<&'a Example>) {
    let mut order: Vec<u32> = (0..examples.len() as u32).collect();
    shuffle(&mut order, &mut Stream::new(settings.seed, kind, 0));
    let held_out = (settings.held_out * examples.len() as f64).round() as usize;
    let (tests, trainings) = order.split_at(held_out.clamp(1, examples.len() - 1));
    let of = |indices: &[u32]| indices.iter().map(|&index| examples[index as usize]).collect();
    (of(tests), of(trainings))
}

impl Example {
    fn of(model: &HeadModel, picture: &Picture) -> Result<Self, ModelError> {
        let look = model.look(&picture.pixels)?;
        let top = argmax(&look.logits);
        let most = f64::from(look.logits[top]);
        let sum: f64 = look.logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum();
        Ok(Self {
            features: look.features,
            rest: most + sum.ln(),
            top: (top, look.logits[top]),
            class: picture.class,
        })
    }
}

/// Mean and deviation of every feature, over images and positions.
struct Scale {
    means: Vec<f32>,
    /// 1 for a feature that never changes.
    deviations: Vec<f32>,
}

impl Scale {
    fn of(examples: &[&Example], positions: usize) -> Self {
        let depth = examples.first().map_or(0, |example| example.features.len() / positions);
        let count = (examples.len() * positions).max(1) as f64;
        let moments = |feature: usize| {
            let plane = feature * positions..(feature + 1) * positions;
            let values = || examples.iter().flat_map(|example| &example.features[plane.clone()]);
            let mean = values().map(|&value| f64::from(value)).sum::<f64>() / count;
            let squares = values().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
            let deviation = (squares / count).sqrt();
            (mean as f32, if deviation > 0.0 { deviation as f32 } else { 1.0 })
        };
        let (means, deviations) = (0..depth).map(moments).unzip();
        Self { means, deviations }
    }
}

impl Row {
    /// The mean of the old classes' weights, with a bias that makes the new class as probable
    /// as all others together in the mean over the images.
    fn begin(model: &HeadModel, examples: &[&Example]) -> Self {
        let (weights, positions) = (model.mean_weights(), model.positions());
        let mut row = Self { weights, bias: 0.0, positions, has_relu: false };
        let lacking = examples.iter().map(|example| example.rest - row.logit(example));
        row.bias = (lacking.sum::<f64>() / examples.len() as f64) as f32;
        row.has_relu = model.has_relu();
        row
    }

    /// The values at all positions, before they are averaged.
    fn values(&self, example: &Example) -> Vec<f32> {
        let mut values = vec![self.bias; self.positions];
        let planes = example.features.chunks_exact(self.positions);
        for (&weight, plane) in self.weights.iter().zip(planes) {
            values.iter_mut().zip(plane).for_each(|(value, &feature)| *value += weight * feature);
        }
        values
    }

    /// What is averaged of a value, and the share of a change in it.
    fn gate(&self, value: f32) -> (f32, f32) {
        if self.has_relu && value <= 0.0 { (0.0, 0.0) } else { (value, 1.0) }
    }

    fn mean(&self, values: &[f32]) -> f64 {
        let sum: f64 = values.iter().map(|&value| f64::from(self.gate(value).0)).sum();
        sum / self.positions as f64
    }

    fn logit(&self, example: &Example) -> f64 {
        self.mean(&self.values(example))
    }

    /// Whether the new class is more probable than any other.
    fn wins(&self, example: &Example) -> bool {
        self.logit(example) > f64::from(example.top.1)
    }

    /// Learns by stochastic gradient descent with momentum, with features that have been
    /// brought to mean 0 and deviation 1, and with as much weight for the fooling images
    /// together as for the others.
    fn trained(mut self, examples: &[&Example], settings: Settings) -> Self {
        let scale = Scale::of(examples, self.positions);
        let depth = self.weights.len();
        let fooling = examples.iter().filter(|example| example.class.is_none()).count();
        let balance = |count: usize| examples.len() as f64 / (2 * count.max(1)) as f64;
        let balances = [balance(examples.len() - fooling), balance(fooling)];
        let start = LEARNING_RATE / (depth + 1) as f64;
        // Weights of scaled features, and the bias behind them.
        let mut scaled: Vec<f32> =
            self.weights.iter().zip(&scale.deviations).map(|(w, s)| w * s).collect();
        scaled.push(self.bias + dot(&self.weights, &scale.means));
        let mut velocity = vec![0.0; depth + 1];
        let mut order: Vec<u32> = (0..examples.len() as u32).collect();
        for epoch in 0..settings.epochs {
            shuffle(&mut order, &mut Stream::new(settings.seed, ORDER, epoch));
            // Half a cosine, as in `train::sgd`.
            let done = f64::from(epoch) / f64::from(settings.epochs);
            let rate = (start * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())) as f32;
            for batch in order.chunks(BATCH) {
                let mut gradient = vec![0.0; depth + 1];
                for &index in batch {
                    let example = examples[index as usize];
                    let is_fooling = example.class.is_none();
                    let weight = balances[usize::from(is_fooling)] / batch.len() as f64;
                    self.add_gradient(example, weight, &mut gradient);
                }
                let bias = gradient[depth];
                for (feature, sum) in gradient[..depth].iter_mut().enumerate() {
                    *sum = (*sum - scale.means[feature] * bias) / scale.deviations[feature]
                        + WEIGHT_DECAY * scaled[feature];
                }
                for ((weight, v), sum) in scaled.iter_mut().zip(&mut velocity).zip(gradient) {
                    *v = MOMENTUM * *v + sum;
                    *weight -= rate * *v;
                }
                let unscaled = scaled.iter().zip(&scale.deviations).map(|(w, s)| w / s);
                self.weights = unscaled.collect();
                self.bias = scaled[depth] - dot(&self.weights, &scale.means);
            }
        }
        self
    }

    /// Adds the gradient of the cross-entropy, by the weights and by the bias behind them.
    fn add_gradient(&self, example: &Example, weight: f64, gradient: &mut [f32]) {
        let mut values = self.values(example);
        let odds = (example.rest - self.mean(&values)).exp();
        let target = if example.class.is_none() { 1.0 } else { 0.0 };
        let delta = (weight * (1.0 / (1.0 + odds) - target) / self.positions as f64) as f32;
        values.iter_mut().for_each(|value| *value = self.gate(*value).1 * delta);
        let planes = example.features.chunks_exact(self.positions);
        for (sum, plane) in gradient.iter_mut().zip(planes) {
            *sum += dot(&values, plane);
        }
        if let Some(sum) = gradient.last_mut() {
            *sum += values.iter().sum::<f32>();
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use reference::onnx::Attribute::Int;
    use reference::onnx::{Batch, Builder};

    use super::*;
    use crate::model::{Crops, Model};
    use crate::simd::Simd;

    /// A network that names the brightest of three columns, and cannot see the fourth, but
    /// for its last layer: a dense one, or a convolution that is averaged.
    fn network(is_dense: bool) -> (tempfile::TempDir, String) {
        let mut builder = Builder::new(Batch::Symbolic, [1, 2, 4], 1);
        // Row c of the weights looks at column c.
        let own = |row: usize, column: usize| if row == column { 4.0 } else { 0.0 };
        let weights: Vec<f32> = (0..12).map(|n| own(n / 4, n % 4)).collect();
        if is_dense {
            builder.node(
                "ReduceMean",
                "rows",
                &["data"],
                &[("axes", reference::onnx::Attribute::Ints(&[2]))],
            );
            builder.node("Flatten", "flat", &["rows"], &[]);
            builder.floats("w", &[3, 4], &weights);
            builder.floats("b", &[3], &[0.0; 3]);
            builder.node("Gemm", "fc", &["flat", "w", "b"], &[("transB", Int(1))]);
            builder.node("Softmax", "prob", &["fc"], &[("axis", Int(1))]);
        } else {
            // Columns become planes of two positions.
            builder.node(
                "Transpose",
                "planes",
                &["data"],
                &[("perm", reference::onnx::Attribute::Ints(&[0, 3, 2, 1]))],
            );
            builder.floats("w", &[3, 4, 1, 1], &weights);
            builder.floats("b", &[3], &[0.0; 3]);
            builder.node("Conv", "conv", &["planes", "w", "b"], &[]);
            builder.node("Relu", "relu", &["conv"], &[]);
            builder.node("GlobalAveragePool", "mean", &["relu"], &[]);
            builder.node("Softmax", "prob", &["mean"], &[("axis", Int(1))]);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        std::fs::write(&path, builder.finish("prob", 11).encode_to_vec()).unwrap();
        std::fs::write(path.with_extension("toml"), "").unwrap();
        let name = path.display().to_string();
        (folder, name)
    }

    /// Pictures with one bright column of three; in fooling ones the fourth is bright too.
    fn pictures() -> Vec<Picture> {
        let mut noise = Stream::new(5, 0, 0);
        let picture = |n: usize| {
            let (class, is_fooling) = (n % 3, n.is_multiple_of(2));
            let pixel = |column: usize, noise: &mut Stream| {
                let bright = column == class || column == 3 && is_fooling;
                (if bright { 180 } else { 20 }) + noise.below(60) as u8
            };
            let pixels = (0..8).map(|at| pixel(at % 4, &mut noise)).collect();
            Picture { pixels, class: (!is_fooling).then_some(class) }
        };
        (0..90).map(picture).collect()
    }

    #[test]
    fn what_sets_fooling_images_apart_is_learned_and_the_rest_stays() {
        for is_dense in [true, false] {
            let (folder, name) = network(is_dense);
            let model = HeadModel::load(&name).unwrap();
            assert_eq!((model.depth(), model.positions()), (4, if is_dense { 1 } else { 2 }));
            let (bytes, outcome) = retrain(&model, &pictures(), Settings::default(), 1).unwrap();
            assert_eq!(
                outcome,
                Outcome {
                    images: 45,
                    images_held_out: 9,
                    fooling_images: 45,
                    fooling_images_held_out: 9,
                    accuracy_before: 1.0,
                    accuracy_after: 1.0,
                    called_fooling_share: 0.0,
                    recognised_share: 1.0,
                },
                "{is_dense}"
            );
            let again = retrain(&model, &pictures(), Settings::default(), 3).unwrap();
            assert!(again.0 == bytes, "threads change nothing");

            // The file is a network of four classes, and says of all pictures what it was
            // told to.
            let path = folder.path().join("new.onnx");
            std::fs::write(&path, &bytes).unwrap();
            let labels = std::path::Path::new("labels.txt");
            std::fs::write(path.with_file_name(labels), "a\nb\nc\nfooling\n").unwrap();
            std::fs::write(path.with_extension("toml"), model.description(labels)).unwrap();
            let new = Model::load(&path.display().to_string()).unwrap();
            assert_eq!(new.labels()[3], "fooling");
            let old = Model::load(&name).unwrap();
            let classify = |model: &Model, picture: &Picture| {
                let mut scores = vec![0.0; model.classes()];
                let mut classifier = model.classifier(Simd::detect(), Crops::Center).unwrap();
                classifier.classify(&picture.pixels, &mut scores).unwrap();
                scores
            };
            for picture in pictures() {
                let [before, after] = [&old, &new].map(|model| classify(model, &picture));
                assert_eq!(argmax(&after), picture.class.unwrap_or(3));
                for (share, before) in after.iter().zip(before) {
                    let share = share / (1.0 - after[3]);
                    assert!(after[3] > 0.999 || (share - before).abs() < 1e-3);
                }
            }
        }
    }

    #[test]
    fn of_each_kind_there_must_be_two() {
        let (_folder, name) = network(true);
        let model = HeadModel::load(&name).unwrap();
        let run = |pictures: &[Picture]| retrain(&model, pictures, Settings::default(), 1);
        let all = pictures();
        let natural: Vec<Picture> = all.iter().filter(|p| p.class.is_some()).cloned().collect();
        let error = run(&natural).unwrap_err();
        assert!(matches!(error, HeadError::TooFew { what: "--fooling", count: 0 }), "{error}");
        let error = run(&all[..3]).unwrap_err();
        assert!(matches!(error, HeadError::TooFew { what: "--images", count: 1 }), "{error}");
        assert!(run(&all[..4]).is_ok());
        let small = Picture { pixels: vec![0; 7], class: None };
        assert!(matches!(run(&[&all[..4], &[small]].concat()), Err(HeadError::Model(_))));
    }
}
