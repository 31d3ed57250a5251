//! How fast ImageNet networks run: `cargo bench --bench network`, images per second of the
//! network alone and of the whole way from a genome to its scores (drawing, colour, crop,
//! network), and the way back: a class's gradient beside the network alone, one image on one
//! thread; and `cargo bench --bench network -- --profile`, where a network's time goes.
//!
//! An AlexNet-shaped network of full size with random weights, and SqueezeNet v1.0 from
//! `$MIRAGE_DATA/models`.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{env, fs, thread};

use criterion::{Criterion, Throughput};
use mirage::genome::ColourCppn;
use mirage::model::onnx::gradient::{GradientNetwork, Objective};
use mirage::model::onnx::network::{BATCH, NodeTime, OnnxNetwork};
use mirage::model::{Crops, Model};
use mirage::simd::Simd;
use mirage_core::colour::Colour;
use mirage_core::evolve::CPPN;
use mirage_core::genome::{CppnSettings, Genome};
use mirage_core::image::Shape;
use mirage_core::rng::Stream;
use prost::Message;
use tract_onnx::pb::ModelProto;

fn networks() -> Vec<(&'static str, ModelProto)> {
    let mut networks = vec![("AlexNet", reference::onnx::alexnet(1, 0))];
    let folder = env::var("MIRAGE_DATA").unwrap_or_default();
    match fs::read(format!("{folder}/models/squeezenet-v1.0.onnx")) {
        Ok(bytes) => {
            let proto = ModelProto::decode(bytes.as_slice()).expect("an ONNX file");
            networks.push(("SqueezeNet", proto));
        }
        Err(_) => reference::skip::skip("SqueezeNet", "data", "MIRAGE_DATA does not hold it"),
    }
    networks
}

const PICTURE: Shape = Shape { height: 256, width: 256, channels: 3 };

/// The network as a model, through a file with its description beside it.
fn model(proto: &ModelProto) -> Model {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    let text = "picture = [256, 256]\norder = 'BGR'\nscale = 1\nmean = [104, 117, 123]\n";
    fs::write(path.with_extension("toml"), text).expect("space on the disk");
    fs::write(&path, proto.encode_to_vec()).expect("space on the disk");
    Model::load(&path.to_string_lossy()).expect("a model that fits its description")
}

/// A CPPN that grew to twenty nodes.
fn genome() -> ColourCppn {
    let grow = CppnSettings { delete_node: 0.0, delete_connection: 0.0, ..CPPN };
    let mut genome = ColourCppn::random(&grow, PICTURE, &mut Stream::new(1, 0, 0));
    for generation in 1.. {
        if genome.nodes().len() >= 20 {
            break;
        }
        let mate = genome.clone();
        genome.vary(&mate, &grow, generation, &mut Stream::new(1, generation, 0));
    }
    genome
}

/// Does something on as many threads as there are workers.
fn on_threads<W: Send>(workers: &mut [W], work: impl Fn(&mut W) + Sync) {
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| work(worker));
        }
    });
}

fn speed(criterion: &mut Criterion) {
    let simd = Simd::detect();
    for (name, proto) in networks() {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(10));
        let model = model(&proto);
        let network = OnnxNetwork::from_proto(proto).expect("a network that tract can run");
        let inputs: Vec<f32> =
            (0..BATCH * network.input().len()).map(|i| (i * 37 % 251) as f32 - 120.0).collect();
        for threads in [1, 2] {
            group.throughput(Throughput::Elements((threads * BATCH) as u64));
            let mut alone: Vec<_> = (0..threads)
                .map(|_| (network.session(), vec![0.0; BATCH * network.classes()]))
                .collect();
            group.bench_function(format!("network alone, threads: {threads}"), |bencher| {
                bencher.iter(|| {
                    on_threads(&mut alone, |(session, outputs)| {
                        session.run(&inputs, outputs).expect("lengths that match");
                    });
                });
            });
            let genome = genome();
            let mut whole: Vec<_> = (0..threads)
                .map(|_| {
                    let classifier = model.classifier(simd, Crops::Center).expect("a classifier");
                    let pictures = vec![0; BATCH * PICTURE.len()];
                    (classifier, vec![0.0; 16 * 1024], pictures, vec![0.0; BATCH * model.classes()])
                })
                .collect();
            group.bench_function(format!("whole path, threads: {threads}"), |bencher| {
                bencher.iter(|| {
                    on_threads(&mut whole, |(classifier, scratch, pictures, scores)| {
                        for picture in pictures.chunks_exact_mut(PICTURE.len()) {
                            simd.render(&genome, &CPPN, PICTURE, scratch, picture);
                            simd.to_rgb(Colour::Hsv, picture);
                        }
                        classifier.classify(pictures, scores).expect("pictures of its shape");
                    });
                });
            });
        }
        group.finish();
    }
}

/// One image on one thread: forward, and forward and back.
fn gradient(criterion: &mut Criterion) {
    for (name, proto) in networks() {
        let mut group = criterion.benchmark_group(format!("{name}, one image"));
        group.sample_size(10).measurement_time(Duration::from_secs(5));
        let forward = OnnxNetwork::whole(proto.clone()).expect("a network that tract can run");
        let image: Vec<f32> =
            (0..forward.input().len()).map(|i| (i * 37 % 251) as f32 - 120.0).collect();
        let mut scores = vec![0.0; forward.classes()];
        let mut session = forward.session();
        group.bench_function("forward", |bencher| {
            bencher.iter(|| session.run(&image, &mut scores).expect("lengths that match"));
        });
        let back = GradientNetwork::from_proto(proto, Objective::Probability);
        let back = back.expect("a network whose operators have gradients");
        let mut gradient = vec![0.0; image.len()];
        group.bench_function("forward and back", |bencher| {
            bencher.iter(|| back.run(&image, 3, &mut gradient).expect("lengths that match"));
        });
        group.finish();
    }
}

/// Prints the time of each kind of operator, and the slowest nodes.
fn profile() {
    const RUNS: usize = 15;
    for (name, proto) in networks() {
        let network = OnnxNetwork::from_proto(proto).expect("a network that tract can run");
        println!("{name}, ms per image on one thread");
        let runs: Vec<Vec<NodeTime>> = (0..RUNS)
            .map(|_| {
                let [body, mut head] = network.profile().expect("a network that runs");
                head.iter_mut().for_each(|node| node.time /= BATCH as u32);
                [body, head].concat()
            })
            .collect();
        let mut nodes: Vec<(f64, &NodeTime)> = Vec::new();
        for (index, node) in runs[0].iter().enumerate() {
            let mut times: Vec<Duration> = runs.iter().map(|run| run[index].time).collect();
            times.sort_unstable();
            nodes.push((times[0].as_secs_f64() * 1e3, node));
        }
        let mut kinds: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for (time, node) in &nodes {
            let (total, count) = kinds.entry(&node.operator).or_default();
            *total += time;
            *count += 1;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0));
        let total: f64 = nodes.iter().map(|(time, _)| time).sum();
        println!("{total:8.3}        all");
        for (kind, (time, count)) in kinds {
            println!("{time:8.3} {:5.1} % {kind} ({count})", time / total * 100.0);
        }
        nodes.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        println!("slowest nodes");
        for (time, node) in nodes.iter().take(10) {
            println!("{time:8.3} {:5.1} % {} {}", time / total * 100.0, node.operator, node.name);
        }
    }
}

fn main() {
    if env::args().any(|argument| argument == "--profile") {
        return profile();
    }
    let mut criterion = Criterion::default().configure_from_args();
    speed(&mut criterion);
    gradient(&mut criterion);
    criterion.final_summary();
}
