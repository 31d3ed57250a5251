//! The way back through networks, against differences of the plain `f64` networks.

use std::path::Path;
use std::thread;

use mirage::model::onnx::gradient::{GradientNetwork, Objective};
use reference::data;
use reference::network::Network;
use reference::onnx::{self, Attribute, Batch, Builder};
use reference::operators::{OPERATORS, sample};
use reference::rng::SplitMix64;
use tract_onnx::pb::ModelProto;

const OBJECTIVES: [Objective; 2] = [Objective::Logit, Objective::Probability];

/// Largest relative error of a gradient, ‖g − d‖ / ‖d‖.
const TOLERANCE: f64 = 1e-3;

/// A plain network, and where its objectives are.
struct Plain {
    network: Network,
    /// What comes before the softmax or sigmoid, if there is one.
    scores: String,
    is_sigmoid: bool,
}

impl Plain {
    fn new(proto: &ModelProto) -> Self {
        let last = proto.graph.as_ref().and_then(|graph| graph.node.last()).expect("a node");
        let scores = match last.op_type.as_str() {
            "Softmax" | "LogSoftmax" | "Sigmoid" => &last.input[0],
            _ => &last.output[0],
        };
        let is_sigmoid = last.op_type == "Sigmoid";
        Self { network: Network::new(proto), scores: scores.clone(), is_sigmoid }
    }

    fn scores(&self, image: &[f64]) -> Vec<f64> {
        self.network.run_to(&self.scores, image).values
    }

    /// The logit of a class, and the logarithm of its probability.
    fn objectives(&self, class: usize, image: &[f64]) -> [f64; 2] {
        let scores = self.scores(image);
        let logit = scores[class];
        let others = scores.iter().map(|score| (score - logit).exp());
        let inverse = if self.is_sigmoid { 1.0 + (-logit).exp() } else { others.sum() };
        [logit, -inverse.ln()]
    }

    /// Of each objective at some pixels, the slopes in front of them and behind.
    fn slopes(&self, class: usize, image: &[f32], pixels: &[usize], step: f64) -> [Slopes; 2] {
        let image: Vec<f64> = image.iter().copied().map(f64::from).collect();
        let here = self.objectives(class, &image);
        let slope = |pixel: usize| {
            let mut image = image.clone();
            let mut moved = |by| {
                image[pixel] += by;
                let there = self.objectives(class, &image);
                image[pixel] -= by;
                [0, 1].map(|objective| (there[objective] - here[objective]) / by)
            };
            [moved(step), moved(-step)]
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let slopes: Vec<[[f64; 2]; 2]> = thread::scope(|scope| {
            let parts = pixels.chunks(pixels.len().div_ceil(workers));
            let parts = parts.map(|part| scope.spawn(|| part.iter().map(|&p| slope(p)).collect()));
            let parts: Vec<thread::ScopedJoinHandle<'_, Vec<_>>> = parts.collect();
            parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
        });
        [0, 1].map(|objective| Slopes {
            ahead: slopes.iter().map(|slope| slope[0][objective]).collect(),
            behind: slopes.iter().map(|slope| slope[1][objective]).collect(),
        })
    }
}

/// How an objective changes on both sides of some pixels' values.
struct Slopes {
    ahead: Vec<f64>,
    behind: Vec<f64>,
}

impl Slopes {
    fn central(&self) -> Vec<f64> {
        self.ahead.iter().zip(&self.behind).map(|(a, b)| (a + b) / 2.0).collect()
    }

    /// Whether no bend of a ReLU or the like is as near as the step: it would make the two
    /// sides differ.
    fn is_smooth(&self) -> bool {
        distance(&self.ahead, &self.behind) <= TOLERANCE
    }
}

/// ‖found − expected‖ / ‖expected‖.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = expected.iter().map(|b| b * b).sum();
    (difference / norm).sqrt()
}

/// A random image, values from −`size` to `size`.
fn image(random: &mut SplitMix64, length: usize, size: f32) -> Vec<f32> {
    let mut unit = || (random.draw() >> 40) as f32 / (1 << 24) as f32;
    (0..length).map(|_| (unit() * 2.0 - 1.0) * size).collect()
}

/// Holds both gradients of a class, and what else is said of an image, against the plain
/// network's, at some pixels.
fn check(
    proto: &ModelProto,
    plain: &Plain,
    class: usize,
    image: &[f32],
    (pixels, slopes): (&[usize], &[Slopes; 2]),
    what: &str,
) {
    let wide: Vec<f64> = image.iter().copied().map(f64::from).collect();
    let scores = plain.scores(&wide);
    let [logit, log_probability] = plain.objectives(class, &wide);
    for (objective, slopes) in OBJECTIVES.into_iter().zip(slopes) {
        let network = GradientNetwork::from_proto(proto.clone(), objective)
            .unwrap_or_else(|error| panic!("{error}: {what}"));
        let mut gradient = vec![f32::NAN; image.len()];
        let found = network.run(image, class, &mut gradient).expect("lengths that match");
        let gradient: Vec<f64> = pixels.iter().map(|&p| f64::from(gradient[p])).collect();
        let expected = slopes.central();
        let error = distance(&gradient, &expected);
        assert!(
            error <= TOLERANCE,
            "{objective:?} of class {class}: error {error:.2e}: {what}\n{gradient:?}\n{expected:?}"
        );
        let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-4 * expected.abs();
        let probability = log_probability.exp();
        let (value, scale) = match objective {
            Objective::Logit => (logit, 1.0),
            Objective::Probability => (probability, probability),
        };
        let highest = scores.iter().copied().fold(f64::MIN, f64::max);
        assert!(
            near(found.probability, probability)
                && (found.objective - value).abs() <= 1e-4 * value.abs().max(1e-2)
                && near(found.scale, scale)
                && (scores[found.top] - highest).abs() <= 1e-4 * highest.abs(),
            "{objective:?} of class {class}: {found:?}, p = {probability}, {scores:?}: {what}"
        );
    }
}

#[test]
fn every_operator_in_many_forms() {
    for (name, make) in OPERATORS {
        for seed in 0..30 {
            let sample = sample(*make, seed);
            let plain = Plain::new(&sample.proto);
            let length: usize = plain.network.input().iter().product();
            let pixels: Vec<usize> = (0..length).collect();
            let mut random = SplitMix64 { x: seed };
            let class = random.draw() as usize % 3;
            let smooth = (0..10).find_map(|_| {
                let image = image(&mut random, length, 1.0);
                let slopes = plain.slopes(class, &image, &pixels, 1e-5);
                slopes.iter().all(Slopes::is_smooth).then_some((image, slopes))
            });
            let what = format!("{name}, seed {seed}: {}", sample.nodes);
            let (image, slopes) = smooth.unwrap_or_else(|| panic!("no smooth place: {what}"));
            check(&sample.proto, &plain, class, &image, (&pixels, &slopes), &what);
        }
    }
}

/// Checks a network over a random image of values up to `size`, at 100 pixels.
fn check_whole(name: &str, proto: &ModelProto, size: f32) {
    const PIXELS: usize = 100;
    let plain = Plain::new(proto);
    let length = plain.network.input().iter().product();
    let mut random = SplitMix64 { x: 11 };
    let image = image(&mut random, length, size);
    let pixels: Vec<usize> = (0..PIXELS).map(|_| random.draw() as usize % length).collect();
    let class = 3;
    let slopes = plain.slopes(class, &image, &pixels, f64::from(size) * 1e-6);
    check(proto, &plain, class, &image, (&pixels, &slopes), name);
}

#[test]
fn networks_of_alexnets_shape() {
    check_whole("AlexNet", &onnx::alexnet(8, 1), 1.0);
    check_whole("CaffeNet", &onnx::zoo_caffenet(8, 2), 1.0);
}

#[test]
fn networks_of_other_shapes() {
    let lenet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/models/lenet.onnx");
    check_whole("LeNet", &onnx::read(&lenet), 1.0);
    check_whole("residual", &onnx::residual(3), 1.0);
    check_whole("depthwise", &onnx::depthwise(4), 1.0);
    check_whole("gated", &onnx::gated(5), 1.0);
}

#[test]
fn squeezenet() {
    let Some(file) = data::external("squeezenet", "models/squeezenet-v1.0.onnx") else { return };
    check_whole("SqueezeNet", &onnx::read(&file), 120.0);
}

#[test]
fn what_has_no_gradient_is_named() {
    let mut builder = Builder::new(Batch::Symbolic, [1, 2, 3], 1);
    builder.node("Floor", "steps", &["data"], &[]);
    builder.node("Flatten", "flat", &["steps"], &[("axis", Attribute::Int(1))]);
    builder.layer("Gemm", "fc", "flat", &[3, 6], &[("transB", Attribute::Int(1))]);
    let refused = GradientNetwork::from_proto(builder.finish("fc", 13), Objective::Logit);
    let error = refused.expect_err("a step has no slope");
    assert!(error.contains("Floor") && error.contains("\"steps\""), "{error}");
}

#[test]
fn lengths_and_classes_must_match() {
    let network = GradientNetwork::from_proto(onnx::residual(1), Objective::Probability);
    let network = network.expect("a network that is whole");
    let length = network.input().len();
    assert_eq!((length, network.classes()), (3 * 20 * 20, 10));
    for (image, class, gradient) in
        [(length - 1, 0, length), (length, 0, length + 1), (length, 10, length), (0, 0, 0)]
    {
        let run = network.run(&vec![0.0; image], class, &mut vec![0.0; gradient]);
        assert!(run.is_err(), "{image} {class} {gradient}: {run:?}");
    }
    assert!(network.run(&vec![0.0; length], 9, &mut vec![0.0; length]).is_ok());
}
