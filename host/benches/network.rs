//! How fast ImageNet networks run by themselves: `cargo bench --bench network`, images per
//! second; and `cargo bench --bench network -- --profile`, where the time of one goes.
//!
//! An AlexNet-shaped network of full size with random weights, and SqueezeNet v1.0 from
//! `$MIRAGE_DATA/models`.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{env, fs, thread};

use criterion::{Criterion, Throughput};
use mirage::model::onnx::network::{BATCH, NodeTime, OnnxNetwork};
use prost::Message;
use tract_onnx::pb::ModelProto;

fn networks() -> Vec<(&'static str, OnnxNetwork)> {
    let load = |proto| OnnxNetwork::from_proto(proto).expect("a network that tract can run");
    let mut networks = vec![("AlexNet", load(reference::onnx::alexnet(1, 0)))];
    let folder = env::var("MIRAGE_DATA").unwrap_or_default();
    match fs::read(format!("{folder}/models/squeezenet-v1.0.onnx")) {
        Ok(bytes) => {
            let proto = ModelProto::decode(bytes.as_slice()).expect("an ONNX file");
            networks.push(("SqueezeNet", load(proto)));
        }
        Err(_) => reference::skip::skip("SqueezeNet", "data", "MIRAGE_DATA does not hold it"),
    }
    networks
}

/// Every thread passes one batch of its own through the network.
fn run(network: &OnnxNetwork, threads: usize, inputs: &[f32]) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut outputs = vec![0.0; BATCH * network.classes()];
                network.session().run(inputs, &mut outputs).expect("lengths that match");
            });
        }
    });
}

fn speed(criterion: &mut Criterion) {
    for (name, network) in networks() {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(10));
        let length = BATCH * network.input().len();
        let inputs: Vec<f32> = (0..length).map(|i| (i * 37 % 251) as f32 - 120.0).collect();
        for threads in [1, 2] {
            group.throughput(Throughput::Elements((threads * BATCH) as u64));
            group.bench_function(format!("threads: {threads}"), |bencher| {
                bencher.iter(|| run(&network, threads, &inputs));
            });
        }
        group.finish();
    }
}

/// Prints the time of each kind of operator, and the slowest nodes.
fn profile() {
    const RUNS: usize = 15;
    for (name, network) in networks() {
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
    criterion.final_summary();
}
