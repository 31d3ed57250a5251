//! Training: stochastic gradient descent with momentum.
//!
//! The result is a function of the network, the data and the [`Settings`], bit for bit
//! on one machine, whatever the number of threads: every batch is cut into a fixed
//! number of shards, whose gradients are added in order.

use std::ops::ControlFlow;

use rayon::prelude::*;
use thiserror::Error;

use mirage_core::rng::Stream;

use super::network::FloatNetwork;
use super::pass::Pass;
use super::preprocessing::Preprocessing;
use crate::data::idx::Dataset;

/// Images per step: Caffe's `lenet_train_test.prototxt`.
pub const BATCH: usize = 64;
/// Share of the last step that goes on: Caffe's `lenet_solver.prototxt`.
pub const MOMENTUM: f32 = 0.9;
/// Pull of every parameter towards zero: Caffe's `lenet_solver.prototxt`.
pub const WEIGHT_DECAY: f32 = 5e-4;
/// Learning rate at the start. It falls to zero along half a cosine (Loshchilov and
/// Hutter 2017, arXiv:1608.03983, without restarts). Caffe's `lenet_solver.prototxt`
/// begins at 0.01 and hardly falls; LeNet errs less with this (`host/models/README.md`).
pub const LEARNING_RATE: f32 = 0.06;
/// Times that [`train_gently`] halves it.
pub const HALVINGS: u32 = 4;
/// Epochs by default; Caffe's 10 000 steps are 10.7.
pub const EPOCHS: u32 = 10;

/// Parts of a batch that are computed apart; at most so many threads are busy.
const SHARDS: usize = 4;
/// Images of one pass through the network.
const MICRO_BATCH: usize = 8;
/// Parameters that one task updates.
const UPDATE_CHUNK: usize = 1 << 14;
/// Key of the random stream that shuffles; [`FloatNetwork::initialize`] has key 0.
const SHUFFLE: u32 = 1;

/// How to train; see the constants for the values of Caffe's LeNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Seed of the initial weights and of the order of the images.
    pub seed: u64,
    /// Times that every image is seen, at least 1.
    pub epochs: u32,
    /// Learning rate at the start.
    pub learning_rate: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, epochs: EPOCHS, learning_rate: LEARNING_RATE }
    }
}

/// Where training stands, after each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Steps of this epoch that are done.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Mean loss over the images of this epoch so far.
    pub loss: f64,
}

/// Why training did not run or was given up.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("the training set is empty")]
    Empty,
    /// The images have another size than the network's input.
    #[error("images of {rows} × {columns} pixels do not fit the network's input")]
    Size {
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        columns: usize,
    },
    /// The network has fewer classes than the labels need.
    #[error("a label is {label}, but the network has {classes} classes")]
    Classes {
        /// The largest label.
        label: u8,
        /// Classes of the network.
        classes: usize,
    },
    /// The loss or a weight is no longer a number.
    #[error("training diverged in epoch {epoch}: use a smaller learning rate or another seed")]
    Diverged {
        /// The epoch, from 1.
        epoch: u32,
    },
    /// Whoever was told of the progress wanted it to stop.
    #[error("training was stopped in epoch {epoch}")]
    Stopped {
        /// The epoch, from 1.
        epoch: u32,
    },
}

/// Memory and gradient of one shard.
struct Shard {
    pass: Pass,
    inputs: Vec<f32>,
    labels: Vec<u8>,
    gradient: Vec<f32>,
}

impl Shard {
    /// Sets the gradient to that of the images of `indices`; returns their summed loss.
    fn run(
        &mut self,
        network: &FloatNetwork,
        data: &Dataset,
        table: &[f32; 256],
        indices: &[u32],
    ) -> f64 {
        self.gradient.fill(0.0);
        let mut loss = 0.0;
        for indices in indices.chunks(MICRO_BATCH) {
            self.inputs.clear();
            self.labels.clear();
            for &index in indices {
                let pixels = data.images.get(index as usize).unwrap_or_default();
                self.inputs.extend(pixels.iter().map(|&pixel| table[usize::from(pixel)]));
                self.labels.push(data.labels[index as usize]);
            }
            let sum = self.pass.gradient(network, &self.inputs, &self.labels, &mut self.gradient);
            loss += f64::from(sum);
        }
        loss
    }
}

/// Draws the initial weights of `network` and trains it on `data`, on the threads of
/// the rayon pool that it is called in; calls `progress` after each step, which may stop it.
///
/// # Errors
/// If data and network do not fit, the loss or a weight leaves the numbers, or it was stopped;
/// the network is then half trained.
pub fn train(
    network: &mut FloatNetwork,
    data: &Dataset,
    preprocessing: Preprocessing,
    settings: Settings,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    check_fit(network, data)?;
    network.initialize(settings.seed);
    let table = preprocessing.table();
    let length = network.parameters().len();
    let shard = || Shard {
        pass: Pass::new(network, MICRO_BATCH),
        inputs: Vec::new(),
        labels: Vec::new(),
        gradient: vec![0.0; length],
    };
    let mut shards: Vec<Shard> = (0..SHARDS).map(|_| shard()).collect();
    let mut velocity = vec![0.0; length];
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    let steps = data.len().div_ceil(BATCH);
    for epoch in 1..=settings.epochs {
        shuffle(&mut order, &mut Stream::new(settings.seed, SHUFFLE, epoch));
        let mut loss = 0.0;
        for (step, batch) in order.chunks(BATCH).enumerate() {
            let parts = batch.chunks(BATCH.div_ceil(SHARDS));
            let running: Vec<_> = shards.iter_mut().zip(parts).collect();
            let used = running.len();
            let losses: Vec<f64> = running
                .into_par_iter()
                .map(|(shard, indices)| shard.run(network, data, &table, indices))
                .collect();
            loss += losses.iter().sum::<f64>();
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch });
            }
            let done = f64::from(epoch - 1) + step as f64 / steps as f64;
            let rate = learning_rate(settings, done);
            let gradients: Vec<&[f32]> =
                shards[..used].iter().map(|shard| &shard.gradient[..]).collect();
            let parameters = network.parameters_mut();
            if !update(parameters, &mut velocity, &gradients, rate, batch.len()) {
                return Err(TrainError::Diverged { epoch });
            }
            let seen = (step * BATCH + batch.len()) as f64;
            let now = Progress { epoch, step: step + 1, steps, loss: loss / seen };
            if progress(now).is_break() {
                return Err(TrainError::Stopped { epoch });
            }
        }
    }
    Ok(())
}

/// Trains as [`train`]; if that diverges, again from the start with half the learning rate,
/// [`HALVINGS`] times at most. Returns how often the rate was halved.
///
/// # Errors
/// As [`train`].
pub fn train_gently(
    network: &mut FloatNetwork,
    data: &Dataset,
    preprocessing: Preprocessing,
    settings: Settings,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<u32, TrainError> {
    let mut settings = settings;
    let mut halvings = 0;
    loop {
        match train(network, data, preprocessing, settings, &mut progress) {
            Err(TrainError::Diverged { .. }) if halvings < HALVINGS => {
                settings.learning_rate *= 0.5;
                halvings += 1;
            }
            done => return done.map(|()| halvings),
        }
    }
}

fn check_fit(network: &FloatNetwork, data: &Dataset) -> Result<(), TrainError> {
    let (input, images) = (network.input(), &data.images);
    if (input.height, input.width, input.channels) != (images.rows, images.columns, 1) {
        return Err(TrainError::Size { rows: images.rows, columns: images.columns });
    }
    let &label = data.labels.iter().max().ok_or(TrainError::Empty)?;
    let classes = network.classes();
    if usize::from(label) >= classes {
        return Err(TrainError::Classes { label, classes });
    }
    Ok(())
}

/// The learning rate after `done` epochs: half a cosine from the start to zero.
fn learning_rate(settings: Settings, done: f64) -> f32 {
    let share = done / f64::from(settings.epochs);
    let cosine = (std::f64::consts::PI * share).cos();
    (f64::from(settings.learning_rate) * 0.5 * (1.0 + cosine)) as f32
}

/// One step: v ← momentum · v + mean gradient + decay · w, then w ← w − rate · v. Returns
/// whether all weights are still finite: ReLU and max-pooling make zeros and other numbers
/// of NaN, so that the loss alone does not tell.
fn update(
    parameters: &mut [f32],
    velocity: &mut [f32],
    gradients: &[&[f32]],
    rate: f32,
    images: usize,
) -> bool {
    let share = 1.0 / images as f32;
    let chunks = parameters.par_chunks_mut(UPDATE_CHUNK).zip(velocity.par_chunks_mut(UPDATE_CHUNK));
    let finite = chunks.enumerate().map(|(chunk, (parameters, velocity))| {
        let mut sums = vec![0.0; parameters.len()];
        for gradient in gradients {
            let gradient = &gradient[chunk * UPDATE_CHUNK..];
            sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
        for ((w, v), g) in parameters.iter_mut().zip(velocity).zip(sums) {
            *v = MOMENTUM * *v + g * share + WEIGHT_DECAY * *w;
            *w -= rate * *v;
        }
        parameters.iter().all(|w| w.is_finite())
    });
    finite.reduce(|| true, |a, b| a && b)
}

/// Puts `order` into one of all orders, each as likely (Fisher and Yates; Durstenfeld
/// 1964).
pub(crate) fn shuffle(order: &mut [u32], stream: &mut Stream) {
    for last in (1..order.len()).rev() {
        order.swap(last, stream.below(last as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::idx::Images;
    use crate::train::{evaluate, spec};
    use mirage_core::nn::Shape;

    /// Bright bars at one of three places, with noise: easy to learn.
    fn bars(count: usize) -> Dataset {
        let mut stream = Stream::new(9, 0, 0);
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let pixel = |(label, at): (u8, usize), stream: &mut Stream| {
            let bright = at % 8 / 3 == usize::from(label);
            (stream.below(100) + if bright { 120 } else { 0 }) as u8
        };
        let places = labels.iter().flat_map(|&label| (0..64).map(move |at| (label, at)));
        let pixels = places.map(|place| pixel(place, &mut stream)).collect();
        Dataset { images: Images { count, rows: 8, columns: 8, pixels }, labels }
    }

    fn network() -> FloatNetwork {
        let layers = spec::parse("conv3x3x4 relu, maxpool2, dense3").unwrap();
        FloatNetwork::new(Shape { height: 8, width: 8, channels: 1 }, &layers).unwrap()
    }

    fn settings() -> Settings {
        Settings { seed: 4, epochs: 6, learning_rate: 0.05 }
    }

    fn trained(threads: usize) -> (FloatNetwork, Vec<Progress>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut network, mut calls) = (network(), Vec::new());
        pool.install(|| {
            let rule = Preprocessing::PIXEL_OVER_256;
            let note = |now| {
                calls.push(now);
                ControlFlow::Continue(())
            };
            train(&mut network, &bars(500), rule, settings(), note).unwrap();
        });
        (network, calls)
    }

    #[test]
    fn it_learns_and_does_not_depend_on_threads() {
        let (one, calls) = trained(1);
        assert_eq!(calls.len(), 6 * 8);
        assert!(calls[47].loss < 0.5 * calls[7].loss, "{calls:?}");
        let test = bars(300);
        let classes = evaluate::classify_float(&one, Preprocessing::PIXEL_OVER_256, &test.images);
        assert!(evaluate::errors(&classes, &test.labels) < 3);
        for threads in [2, 3, 7] {
            assert!(trained(threads).0 == one, "{threads} threads");
        }
    }

    #[test]
    fn a_training_that_diverges_begins_again_with_half_the_rate() {
        let go_on = |_| ControlFlow::Continue(());
        let (data, rule) = (bars(200), Preprocessing::PIXEL_OVER_256);
        let at = |learning_rate| Settings { learning_rate, ..settings() };
        let mut rate = settings().learning_rate;
        let mut last = network();
        let mut next = network();
        while train(&mut next, &data, rule, at(rate), go_on).is_ok() {
            last.clone_from(&next);
            rate *= 2.0;
        }
        assert!(rate > settings().learning_rate, "the usual one is not too large");
        let mut gentle = network();
        assert_eq!(train_gently(&mut gentle, &data, rule, at(rate), go_on), Ok(1));
        assert!(gentle == last, "as if it had begun so");
        assert_eq!(train_gently(&mut gentle, &data, rule, at(rate / 2.0), go_on), Ok(0));
        let error = train_gently(&mut gentle, &data, rule, at(1e30), go_on);
        assert!(matches!(error, Err(TrainError::Diverged { .. })));
    }

    #[test]
    fn a_weight_that_is_no_number_is_seen_though_relu_hides_it() {
        let mut hidden = network();
        hidden.initialize(4);
        let weight = hidden.parameters_mut().first_mut().unwrap();
        *weight = f32::NAN;
        let classes =
            evaluate::classify_float(&hidden, Preprocessing::PIXEL_OVER_256, &bars(3).images);
        assert_eq!(classes.len(), 3, "the network still answers");
        let gradient = vec![0.0; hidden.parameters().len()];
        let step = |network: &mut FloatNetwork| {
            update(network.parameters_mut(), &mut gradient.clone(), &[&gradient], 0.1, 1)
        };
        assert!(!step(&mut hidden));
        hidden.initialize(4);
        assert!(step(&mut hidden));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let run = |data: &Dataset, rate| {
            let settings = Settings { learning_rate: rate, ..settings() };
            let go_on = |_| ControlFlow::Continue(());
            train(&mut network(), data, Preprocessing::PIXEL_OVER_256, settings, go_on)
        };
        let mut data = bars(70);
        assert!(matches!(run(&data, 1e30), Err(TrainError::Diverged { .. })));
        data.labels[3] = 3;
        assert_eq!(run(&data, 0.01), Err(TrainError::Classes { label: 3, classes: 3 }));
        data.images.columns = 4;
        assert_eq!(run(&data, 0.01), Err(TrainError::Size { rows: 8, columns: 4 }));
        assert_eq!(run(&bars(0), 0.01), Err(TrainError::Empty));
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let (mut calls, rule) = (0, Preprocessing::PIXEL_OVER_256);
        let thrice = |_| {
            calls += 1;
            if calls < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let stopped = train(&mut network(), &bars(500), rule, settings(), thrice);
        assert_eq!((stopped, calls), (Err(TrainError::Stopped { epoch: 1 }), 3));
    }

    #[test]
    fn the_learning_rate_falls_to_zero() {
        assert_eq!(learning_rate(settings(), 0.0), 0.05);
        assert!((learning_rate(settings(), 3.0) - 0.025).abs() < 1e-8);
        assert!(learning_rate(settings(), 6.0) < 1e-9);
    }

    #[test]
    fn shuffling_keeps_every_index() {
        let mut order: Vec<u32> = (0..100).collect();
        shuffle(&mut order, &mut Stream::new(1, 1, 1));
        assert!(order != (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert!(order == (0..100).collect::<Vec<_>>());
    }
}
