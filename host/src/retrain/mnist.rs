//! The paper's experiment on MNIST: train, evolve, add what fooled, and train again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mirage_core::nn::Shape;
use rayon::{ThreadPool, ThreadPoolBuilder};
use thiserror::Error;

use super::folder::{Folder, FolderError, IterationFolder};
use super::harvest::{Harvest, harvest};
use super::record::{DataRecord, Iteration, NetworkRecord, Retraining};
use super::settings::{FOOLING, Settings, SettingsError};
use crate::data::idx::{Dataset, DatasetError, Images, Split};
use crate::experiment::plan::PlanError;
use crate::experiment::record::MachineRecord;
use crate::files;
use crate::interrupt::Interrupt;
use crate::model::{Model, ModelError};
use crate::simd::Simd;
use crate::train::{FloatNetwork, NetworkError, Preprocessing, evaluate, onnx, sgd};
use crate::words::{counted, quoted};

/// Why a retraining did not come to its end.
#[derive(Debug, Error)]
pub enum RetrainError {
    /// The settings make no retraining.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// The preset is not one of this version.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The data set cannot be used.
    #[error("--data: {0}")]
    Dataset(#[from] DatasetError),
    /// There is nothing to learn from, or nothing to test with.
    #[error(
        "--data: there are {train} images to train with and {test} to test with; fetch them again"
    )]
    Empty {
        /// Images to train with.
        train: usize,
        /// Images to test with.
        test: usize,
    },
    /// The test images do not have the training images' size.
    #[error("--data: test and training images differ in size; fetch them again")]
    TestSize,
    /// The layers do not make a network for these images.
    #[error("--network: {0}")]
    Network(#[from] NetworkError),
    /// The folder cannot be used.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// The retraining in the folder is another one.
    #[error("--out {}: its retraining has other {what}; leave the option out, or choose another folder", folder.display())]
    Other {
        /// The folder.
        folder: PathBuf,
        /// What differs: settings or data.
        what: &'static str,
    },
    /// The retraining is past the iterations that were asked for.
    #[error("--iterations {asked}: {} has done {done}; ask for at least as many, or choose another --out", folder.display())]
    Fewer {
        /// The folder.
        folder: PathBuf,
        /// Iterations asked for.
        asked: u32,
        /// Iterations done.
        done: usize,
    },
    /// A training was given up.
    #[error("training DNN_{iteration}: {source}")]
    Train {
        /// The network's number.
        iteration: u32,
        /// Why.
        source: sgd::TrainError,
    },
    /// A network cannot be run.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The threads cannot be started.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// It was asked to stop.
    #[error("stopped: {done} of {} kept: go on with `mirage retrain mnist --resume --out {}`", counted(*iterations, "iteration"), quoted(&folder.display().to_string()))]
    Interrupted {
        /// Iterations that are whole.
        done: u32,
        /// Iterations asked for.
        iterations: u32,
        /// The folder.
        folder: PathBuf,
    },
}

/// Digits to train with, and to test with.
#[derive(Clone, Debug)]
pub struct Digits {
    /// To train with.
    pub train: Dataset,
    /// To test with: images of the same size.
    pub test: Dataset,
}

impl Digits {
    /// Reads MNIST's four files.
    ///
    /// # Errors
    /// If a file is missing or damaged, empty, or the images differ in size.
    pub fn load(folder: &Path) -> Result<Self, RetrainError> {
        let train = Dataset::load(folder, Split::Train)?;
        let test = Dataset::load(folder, Split::Test)?;
        Self { train, test }.checked()
    }

    fn checked(self) -> Result<Self, RetrainError> {
        let (train, test) = (self.train.len(), self.test.len());
        if train == 0 || test == 0 {
            return Err(RetrainError::Empty { train, test });
        }
        let sides = |data: &Dataset| (data.images.rows, data.images.columns);
        if sides(&self.train) != sides(&self.test) {
            return Err(RetrainError::TestSize);
        }
        Ok(self)
    }

    fn record(&self) -> DataRecord {
        let Images { rows, columns, .. } = self.train.images;
        let parts = [&self.train, &self.test]
            .map(|data| files::sha256(&data.images.pixels) + &files::sha256(&data.labels));
        DataRecord {
            train_images: self.train.len(),
            test_images: self.test.len(),
            sides: [rows, columns],
            sha256: files::sha256(parts.concat().as_bytes()),
        }
    }

    /// The digits to train with, and fooling images behind them.
    fn with_fooling(&self, fooling: &[u8]) -> Dataset {
        let Dataset { images, labels } = &self.train;
        let count = fooling.len() / images.image_len();
        Dataset {
            images: Images {
                count: images.count + count,
                pixels: [&images.pixels, fooling].concat(),
                ..*images
            },
            labels: labels.iter().copied().chain(vec![FOOLING as u8; count]).collect(),
        }
    }
}

/// How a retraining is worked on; changes nothing of what it computes.
#[derive(Clone, Debug)]
pub struct Work {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Whether to go on with the retraining that is in the folder.
    pub resume: bool,
    /// Stops it, with what is done kept.
    pub interrupt: Interrupt,
}

/// How far a retraining is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The iteration, from 1.
    pub iteration: u32,
    /// Iterations asked for.
    pub iterations: u32,
    /// What it is at.
    pub step: Step,
}

/// What an iteration is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// It trains its network.
    Training {
        /// How far that is.
        now: sgd::Progress,
        /// Epochs in all.
        epochs: u32,
    },
    /// It evolves against it.
    Evolving {
        /// Runs that are done.
        done: u32,
        /// Runs in all.
        runs: u32,
    },
}

/// Trains a network on digits, evolves images that fool it, adds them to what the next is
/// trained with, from scratch, as class n + 1, and so on.
///
/// The result is a function of the settings and the digits, on one machine bit for bit,
/// whatever the number of threads, and however often it was killed and resumed. `observe` is
/// told after every step of a training and every run. A folder whose retraining has fewer
/// iterations goes on past its end.
///
/// # Errors
/// [`RetrainError`]; the networks and runs that were done are kept.
pub fn run(
    settings: &Settings,
    digits: &Digits,
    path: &Path,
    work: &Work,
    observe: &mut (dyn FnMut(Progress) + Send),
) -> Result<Retraining, RetrainError> {
    settings.check()?;
    let data = digits.record();
    for with_fooling in [false, true] {
        let layers = settings.layers(with_fooling)?;
        FloatNetwork::<f32>::new(shape(&data), &layers)?;
    }
    let pool = ThreadPoolBuilder::new().num_threads(work.threads).build()?;
    let (mut folder, before) = Folder::open(path, work.resume)?;
    let done = before.as_ref().map_or(0, |before| before.iterations.len());
    let mut record = Retraining {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings.clone(),
        data,
        machine: MachineRecord::here(Simd::detect().name(), work.threads, None),
        complete: false,
        seconds: before.as_ref().map_or(0.0, |before| before.seconds),
        iterations: Vec::new(),
    };
    match &before {
        Some(before) => check_same(before, &record, path)?,
        None => folder.write(&record)?,
    }
    let data = record.data.clone();
    let mut session = Session { settings, digits, data, path, pool, work, observe };
    let (started, earlier) = (Instant::now(), record.seconds);
    let mut fooling = Vec::new();
    for iteration in 1..=settings.iterations {
        let place = folder.iteration(iteration)?;
        let network = session.network(iteration, &place, &fooling)?;
        let runs = session.runs(iteration, &place)?;
        record.iterations.push(Iteration::of(iteration, &network, &record.data, &runs));
        let images = runs.iter().flat_map(Harvest::images);
        fooling.extend(images.take(settings.images(iteration) as usize).flatten());
        record.complete = iteration == settings.iterations;
        let is_new = iteration as usize > done;
        if is_new {
            // What was done before took its time before.
            record.seconds = earlier + started.elapsed().as_secs_f64();
        }
        // In the end also what is known: the table may lack what the record has.
        if is_new || record.complete {
            folder.write(&record)?;
        }
    }
    Ok(record)
}

/// Checks that the retraining of a folder is the one that is asked for, apart from the number
/// of its iterations.
fn check_same(before: &Retraining, asked: &Retraining, path: &Path) -> Result<(), RetrainError> {
    let folder = path.to_owned();
    let iterations = asked.settings.iterations;
    if before.data != asked.data {
        return Err(RetrainError::Other { folder, what: "data" });
    }
    if (Settings { iterations, ..before.settings.clone() }) != asked.settings {
        return Err(RetrainError::Other { folder, what: "settings" });
    }
    let done = before.iterations.len();
    if done > iterations as usize {
        return Err(RetrainError::Fewer { folder, asked: iterations, done });
    }
    Ok(())
}

fn shape(data: &DataRecord) -> Shape {
    let [height, width] = data.sides;
    Shape { height, width, channels: 1 }
}

/// A retraining at work.
struct Session<'a> {
    settings: &'a Settings,
    digits: &'a Digits,
    data: DataRecord,
    path: &'a Path,
    pool: ThreadPool,
    work: &'a Work,
    observe: &'a mut (dyn FnMut(Progress) + Send),
}

impl Session<'_> {
    /// The error that says that it was asked to stop in an iteration.
    fn interrupted(&self, iteration: u32) -> RetrainError {
        let (done, iterations) = (iteration - 1, self.settings.iterations);
        RetrainError::Interrupted { done, iterations, folder: self.path.to_owned() }
    }

    /// The network of an iteration: the one that is there, or one that is trained now.
    fn network(
        &mut self,
        iteration: u32,
        place: &IterationFolder,
        fooling: &[u8],
    ) -> Result<NetworkRecord, RetrainError> {
        if let Some(network) = place.network()? {
            return Ok(network);
        }
        let (onnx, record) = self.train(iteration, fooling)?;
        place.write_network(&onnx, &record)?;
        Ok(record)
    }

    /// Trains a network from scratch: its file, and how it does on digits.
    fn train(
        &mut self,
        iteration: u32,
        fooling: &[u8],
    ) -> Result<(Vec<u8>, NetworkRecord), RetrainError> {
        let Self { settings, digits, pool, work, observe, .. } = self;
        let layers = settings.layers(!fooling.is_empty())?;
        let mut network = FloatNetwork::new(shape(&self.data), &layers)?;
        let training = digits.with_fooling(fooling);
        let (epochs, iterations) = (settings.epochs, settings.iterations);
        let how = sgd::Settings {
            seed: settings.training_seed(iteration),
            epochs,
            ..sgd::Settings::default()
        };
        let rule = Preprocessing::PIXEL_OVER_256;
        let trained = pool.install(|| {
            let halvings = sgd::train_gently(&mut network, &training, rule, how, |now| {
                observe(Progress { iteration, iterations, step: Step::Training { now, epochs } });
                match work.interrupt.is_set() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
            Ok((halvings, evaluate::classify_float(&network, rule, &digits.test.images)))
        });
        let (halvings, classes): (u32, Vec<usize>) = match trained {
            Err(sgd::TrainError::Stopped { .. }) => return Err(self.interrupted(iteration)),
            trained => trained.map_err(|source| RetrainError::Train { iteration, source })?,
        };
        let onnx = onnx::encode(&network, &rule);
        let record = NetworkRecord {
            sha256: files::sha256(&onnx),
            fooling_images: training.len() - digits.train.len(),
            test_errors: evaluate::errors(&classes, &digits.test.labels),
            test_called_fooling: classes.iter().filter(|&&class| class == FOOLING).count(),
            halvings,
        };
        Ok((onnx, record))
    }

    /// The runs of an iteration: those that are there, and the others done now, in the order
    /// of their seeds.
    fn runs(
        &mut self,
        iteration: u32,
        place: &IterationFolder,
    ) -> Result<Vec<Harvest>, RetrainError> {
        let settings = self.settings;
        let (iterations, count) = (settings.iterations, settings.runs(iteration));
        let path = place.network_path();
        let mut model = None;
        let mut runs = Vec::new();
        for (done, seed) in (1..).zip(settings.run_seeds(iteration)) {
            let run = match place.run(seed, self.data.sides)? {
                Some(run) => run,
                None => {
                    let model = match &model {
                        Some(model) => model,
                        None => model.insert(Model::load(&path.to_string_lossy())?),
                    };
                    let plan = settings.plan(seed)?;
                    let run = harvest(&plan, model, self.work.threads, &self.work.interrupt)?;
                    let run = run.ok_or_else(|| self.interrupted(iteration))?;
                    place.write_run(seed, &run)?;
                    run
                }
            };
            runs.push(run);
            let step = Step::Evolving { done, runs: count };
            (self.observe)(Progress { iteration, iterations, step });
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits of one bright pixel each, whose column is the digit.
    fn digits(count: usize) -> Dataset {
        let labels: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
        let pixels =
            labels.iter().flat_map(|&label| (0..10).map(move |at| 255 * u8::from(at == label)));
        let images = Images { count, rows: 1, columns: 10, pixels: pixels.collect() };
        Dataset { images, labels }
    }

    #[test]
    fn fooling_images_stand_behind_the_digits_as_a_class_of_their_own() {
        let both = Digits { train: digits(20), test: digits(10) }.checked().unwrap();
        let fooling: Vec<u8> = (100..120).collect();
        let training = both.with_fooling(&fooling);
        assert_eq!(training.len(), 22);
        assert_eq!(training.images.pixels[..200], both.train.images.pixels);
        assert_eq!(training.images.pixels[200..], fooling);
        assert_eq!(training.labels[..20], both.train.labels);
        assert_eq!(training.labels[20..], [FOOLING as u8; 2]);
        assert_eq!(both.with_fooling(&[]).labels, both.train.labels);
    }
}
