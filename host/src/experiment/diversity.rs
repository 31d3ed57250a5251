//! Whether different runs give different images for a class.
//!
//! Two distances tell how different two images are: of their pixels, and of the features that
//! the network's last layer makes its logits of ([`FeatureModel`]). For each class, the distance
//! *between runs* is the mean over all pairs of runs of the distance of their images for that
//! class. The distance *between classes* is the mean
//! over the runs of the distance of that image to the same run's images for other classes:
//! the yardstick, for different classes look different. Their ratio over all classes is 0
//! if runs give the same images, and 1 if the images of a class are as unlike from run to
//! run as those of different classes are within one. Its interval comes from a bootstrap over
//! the classes (Efron and Tibshirani 1993, chapter 13).

use mirage_core::rng::Stream;
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use super::permutation::shuffle;
use super::record::{Champion, RunRecord};
use super::summary::quantile;
use crate::model::{FeatureModel, Model, ModelError};
use crate::simd::Simd;

/// Other classes that an image is compared with at most; of more, so many are drawn.
pub const OTHERS: usize = 20;

/// Samples of the bootstrap.
pub const SAMPLES: usize = 1000;

/// The share of the samples that the interval leaves out at either end.
pub const TAIL: f64 = 0.025;

/// Why runs cannot be compared.
#[derive(Debug, Error)]
pub enum DiversityError {
    /// There are fewer than two.
    #[error("one run has nothing to be compared with; name two or more, of different seeds")]
    Alone,
    /// They were not evolved on the same network.
    #[error(
        "run {number} was evolved on {other}, and the first on {first}, whose SHA-256 differs; name runs of one network"
    )]
    Networks {
        /// Which run, counted from 1.
        number: usize,
        /// Its network.
        other: String,
        /// The network of the first.
        first: String,
    },
    /// No class has images in all runs, or only one has.
    #[error("fewer than two classes have an image in every run; evolve more first")]
    TooFew,
    /// The network fails.
    #[error("{0}")]
    Model(#[from] ModelError),
}

/// What images are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Root mean square difference of pixel values, as a share of their range: 0 ..= 1.
    Pixels,
    /// Root mean square difference of the features of the middle of the pictures, in the
    /// network's own units.
    Features,
}

impl Space {
    /// What is compared, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Features => "features",
        }
    }

    /// How far apart two images are; at least 0, and 0 for the same image.
    fn distance(self, a: &Seen, b: &Seen) -> f64 {
        let squares: (f64, usize) = match self {
            Self::Pixels => {
                let square = |(&a, &b): (&u8, &u8)| u64::from(a.abs_diff(b)).pow(2);
                let (a, b) = (&a.champion.picture, &b.champion.picture);
                let sum: u64 = a.iter().zip(&**b).map(square).sum();
                (sum as f64 / 255.0_f64.powi(2), a.len())
            }
            Self::Features => {
                let square = |(&a, &b): (&f32, &f32)| f64::from(a - b).powi(2);
                (a.features.iter().zip(b.features).map(square).sum(), a.features.len())
            }
        };
        (squares.0 / squares.1.max(1) as f64).sqrt()
    }
}

/// How different the images of some runs are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diversity {
    /// Runs compared.
    pub runs: usize,
    /// Classes that have an image in every run.
    pub classes: usize,
    /// By each [`Space`]; pixels are the first.
    pub spaces: Vec<Distances>,
    /// Why [`Space::Features`] is not among them, in one line.
    pub without_features: Option<String>,
}

/// An image, and what the network sees in it.
struct Seen<'a> {
    champion: &'a Champion,
    /// Empty if the network has none.
    features: &'a [f32],
}

/// Distances in one space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// The space.
    pub space: Space,
    /// Mean over the classes of the distance between runs.
    pub between_runs: f64,
    /// Mean over the classes of the distance between classes of a run.
    pub between_classes: f64,
    /// The first by the second.
    pub ratio: f64,
    /// Its 95 % bootstrap interval over the classes: lower end, upper end.
    pub interval: [f64; 2],
    /// Every class, in order.
    pub by_class: Vec<ClassDistances>,
}

/// Distances of one class's images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassDistances {
    /// Index of the class.
    pub class: usize,
    /// Mean over the pairs of runs.
    pub between_runs: f64,
    /// Mean over the runs and the other classes.
    pub between_classes: f64,
}

/// Compares the images of runs against one network, `model`. If that has no features, they are
/// left out.
///
/// `seed` draws the other classes, if they are more than [`OTHERS`], and the bootstrap.
///
/// # Errors
/// [`DiversityError`].
pub fn diversity(
    runs: &[RunRecord],
    model: &Model,
    seed: u64,
) -> Result<Diversity, DiversityError> {
    let [first, others @ ..] = runs else { return Err(DiversityError::Alone) };
    if others.is_empty() {
        return Err(DiversityError::Alone);
    }
    let first = &first.manifest.model;
    for (number, run) in (2..).zip(others) {
        let other = &run.manifest.model;
        if (&other.sha256, other.picture) != (&first.sha256, first.picture) {
            let (other, first) = (other.name.clone(), first.name.clone());
            return Err(DiversityError::Networks { number, other, first });
        }
    }
    let champions = in_all_runs(runs, first.labels.len());
    if champions.len() < 2 {
        return Err(DiversityError::TooFew);
    }
    let (features, without_features) = match FeatureModel::of(model) {
        Ok(network) => (features(&network, &champions)?, None),
        Err(ModelError::NoFeatures { reason, .. }) => (Vec::new(), Some(reason)),
        Err(error) => return Err(error.into()),
    };
    let width = features.len() / (champions.len() * runs.len());
    let mut rows = features.chunks_exact(width.max(1));
    let mut seen = |champion| Seen { champion, features: rows.next().unwrap_or_default() };
    let images: Vec<Vec<Seen>> = champions
        .into_iter()
        .map(|of_class| of_class.into_iter().map(&mut seen).collect())
        .collect();
    let partners: Vec<Vec<usize>> =
        (0..images.len()).map(|place| others_of(place, images.len(), seed)).collect();
    let spaces = if without_features.is_none() {
        &[Space::Pixels, Space::Features][..]
    } else {
        &[Space::Pixels]
    };
    let spaces = spaces.iter().map(|&space| Distances::of(space, &images, &partners, seed));
    let spaces = spaces.collect();
    Ok(Diversity { runs: runs.len(), classes: images.len(), spaces, without_features })
}

/// The features of images, one row behind the other.
fn features(network: &FeatureModel, images: &[Vec<&Champion>]) -> Result<Vec<f32>, ModelError> {
    // All pictures of many runs in a row are more than there may be memory for.
    const AT_ONCE: usize = 256;
    let all: Vec<&Champion> = images.iter().flatten().copied().collect();
    let mut features = Vec::new();
    for some in all.chunks(AT_ONCE) {
        let pictures: Vec<u8> = some.iter().flat_map(|image| &*image.picture).copied().collect();
        features.extend(network.run(Simd::detect(), &pictures)?.features);
    }
    Ok(features)
}

/// The images of each class that has one in every run, in the order of the runs.
fn in_all_runs(runs: &[RunRecord], classes: usize) -> Vec<Vec<&Champion>> {
    let mut images = vec![Vec::new(); classes];
    for champion in runs.iter().flat_map(|run| &run.champions) {
        images[champion.class].push(champion);
    }
    images.retain(|images| images.len() == runs.len());
    images
}

/// The places of other classes that the one at `place` is compared with.
fn others_of(place: usize, classes: usize, seed: u64) -> Vec<usize> {
    let mut others: Vec<usize> = (0..classes).filter(|&other| other != place).collect();
    if others.len() > OTHERS {
        shuffle(&mut others, &mut Stream::new(seed, 0, place as u32));
        others.truncate(OTHERS);
    }
    others
}

impl Distances {
    /// What the interval says, in words.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.interval {
            [_, 0.0] => "the runs give the same images",
            [low, _] if low > 1.0 => {
                "from run to run, a class's images differ more than those of different classes do"
            }
            [_, high] if high < 1.0 => {
                "from run to run, a class's images differ, but less than those of different classes do"
            }
            _ => {
                "from run to run, a class's images differ as much as those of different classes do"
            }
        }
    }

    fn of(space: Space, images: &[Vec<Seen>], partners: &[Vec<usize>], seed: u64) -> Self {
        let by_class: Vec<ClassDistances> = (0..images.len())
            .into_par_iter()
            .map(|place| {
                let own = &images[place];
                let pairs = own
                    .iter()
                    .enumerate()
                    .flat_map(|(run, a)| own[..run].iter().map(|b| space.distance(a, b)));
                let to_others = partners[place].iter().flat_map(|&other| {
                    own.iter().zip(&images[other]).map(|(a, b)| space.distance(a, b))
                });
                ClassDistances {
                    class: own[0].champion.class,
                    between_runs: mean(pairs),
                    between_classes: mean(to_others),
                }
            })
            .collect();
        let interval = interval(&by_class, seed);
        let [between_runs, between_classes] = means(&by_class.iter().collect::<Vec<_>>());
        let ratio = ratio([between_runs, between_classes]);
        Self { space, between_runs, between_classes, ratio, interval, by_class }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

/// Mean distances between runs and between classes.
fn means(classes: &[&ClassDistances]) -> [f64; 2] {
    let of = |distance: fn(&ClassDistances) -> f64| mean(classes.iter().map(|&c| distance(c)));
    [of(|class| class.between_runs), of(|class| class.between_classes)]
}

/// 0 where nothing differs.
fn ratio([between_runs, between_classes]: [f64; 2]) -> f64 {
    if between_runs == 0.0 { 0.0 } else { between_runs / between_classes }
}

/// The bootstrap interval of the ratio.
fn interval(classes: &[ClassDistances], seed: u64) -> [f64; 2] {
    let mut random = Stream::new(seed, 1, 0);
    let mut sample = || {
        let mut draw = || &classes[random.below(classes.len() as u32) as usize];
        let drawn: Vec<&ClassDistances> = (0..classes.len()).map(|_| draw()).collect();
        ratio(means(&drawn)) as f32
    };
    let mut ratios: Vec<f32> = (0..SAMPLES).map(|_| sample()).collect();
    [TAIL, 1.0 - TAIL].map(|q| quantile(&mut ratios, q).map_or(0.0, f64::from))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use reference::onnx::{Batch, Builder};
    use tempfile::TempDir;

    use super::*;
    use crate::report::sample;

    fn lenet() -> Model {
        Model::load("lenet").unwrap()
    }

    /// A run whose picture of class c is as bright as `brightness` says.
    fn run(brightness: impl Fn(usize) -> u8) -> RunRecord {
        let mut record = sample::digits();
        for champion in &mut record.champions {
            champion.picture = vec![brightness(champion.class); 784].into();
        }
        record
    }

    #[test]
    fn a_run_beside_itself_is_at_distance_zero() {
        let run = sample::digits();
        let diversity = diversity(&[run.clone(), run.clone(), run], &lenet(), 1).unwrap();
        assert_eq!((diversity.runs, diversity.classes, diversity.spaces.len()), (3, 10, 2));
        for space in diversity.spaces {
            assert_eq!((space.between_runs, space.ratio, space.interval), (0.0, 0.0, [0.0; 2]));
            assert!(space.between_classes > 0.01, "{space:?}");
        }
    }

    #[test]
    fn distances_are_what_they_say() {
        // Classes are 20 levels apart, and the runs 51: a fifth of the range.
        let runs = [run(|class| 20 * class as u8), run(|class| 20 * class as u8 + 51)];
        let result = diversity(&runs, &lenet(), 1).unwrap();
        let pixels = &result.spaces[0];
        assert!((pixels.between_runs - 0.2).abs() < 1e-12, "{pixels:?}");
        // The first class is 1 + … + 9 times 20 levels from the nine others.
        assert!((pixels.by_class[0].between_classes - 5.0 * 20.0 / 255.0).abs() < 1e-12);
        // |i − j| of ten numbers is 11/3 in the mean.
        assert!((pixels.between_classes - 11.0 / 3.0 * 20.0 / 255.0).abs() < 1e-12);
        let [low, high] = pixels.interval;
        assert!(low < pixels.ratio && pixels.ratio < high && high - low < 0.3, "{pixels:?}");
        assert!(result.spaces[1].between_runs > 0.0, "LeNet sees it");
        assert_eq!(diversity(&runs, &lenet(), 1).unwrap(), result);
    }

    /// A network, and the folder of its file, whose two features are the first
    /// pixel's value, 0 ..= 1, and 0, and whose scores come from an operator that may be no softmax.
    fn that_sees_one_pixel(end: &str) -> (TempDir, Model) {
        let mut builder = Builder::new(Batch::Symbolic, [1, 28, 28], 1);
        builder.node("Flatten", "flat", &["data"], &[]);
        let mut weights = [0.0; 2 * 784];
        weights[0] = 1.0;
        builder.floats("first", &[784, 2], &weights);
        builder.node("MatMul", "pixel", &["flat", "first"], &[]);
        builder.random("last", &[2, 10], 1.0);
        builder.node("MatMul", "logits", &["pixel", "last"], &[]);
        builder.node(end, "scores", &["logits"], &[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pixel.onnx");
        std::fs::write(&path, builder.finish("scores", 13).encode_to_vec()).unwrap();
        std::fs::write(path.with_extension("toml"), "").unwrap();
        let model = Model::load(path.to_str().unwrap()).unwrap();
        (folder, model)
    }

    #[test]
    fn features_are_what_the_network_looks_at() {
        let mut runs = [run(|class| 20 * class as u8), run(|class| 20 * class as u8)];
        for champion in &mut runs[1].champions {
            let mut picture = champion.picture.to_vec();
            picture[1..].fill(7);
            champion.picture = picture.into();
        }
        let (_folder, model) = that_sees_one_pixel("Softmax");
        let result = diversity(&runs, &model, 1).unwrap();
        let [pixels, features] = &result.spaces[..] else { panic!("{result:?}") };
        assert!(pixels.between_runs > 0.1, "{pixels:?}");
        assert_eq!((features.space, features.between_runs), (Space::Features, 0.0));
        let expected = 11.0 / 3.0 * 20.0 / 255.0 / 2.0_f64.sqrt();
        assert!((features.between_classes - expected).abs() < 1e-6, "{features:?}");
        let (_folder, model) = that_sees_one_pixel("Sigmoid");
        let result = diversity(&runs, &model, 1).unwrap();
        assert_eq!(result.spaces.len(), 1);
        assert!(result.without_features.unwrap().contains("no softmax"));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let one = sample::digits();
        let refused = |runs: &[RunRecord]| diversity(runs, &lenet(), 1).unwrap_err();
        assert!(matches!(refused(&[]), DiversityError::Alone));
        assert!(matches!(refused(std::slice::from_ref(&one)), DiversityError::Alone));
        let mut other = one.clone();
        other.manifest.model.sha256 = "0".to_owned();
        let error = refused(&[one.clone(), one.clone(), other]);
        assert!(error.to_string().starts_with("run 3 was evolved on lenet"), "{error}");
        let mut empty = one.clone();
        empty.champions.truncate(1);
        assert!(matches!(refused(&[one, empty]), DiversityError::TooFew));
    }

    #[test]
    fn of_many_classes_some_others_are_drawn() {
        let others = others_of(7, 100, 1);
        assert_eq!(others.len(), OTHERS);
        assert!(!others.contains(&7) && others != others_of(8, 100, 1));
    }
}
