//! Plausible run records for tests: smooth pictures and rising confidences.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::experiment::record::{
    Champion, HistoryRow, MachineRecord, Manifest, ModelRecord, RunRecord, Status,
};

/// Ten digits on 28 × 28 grey pixels after 200 generations.
pub(crate) fn digits() -> RunRecord {
    let labels = (0..10).map(|n| n.to_string()).collect();
    record("mnist-cppn", "lenet", [28, 28, 1], labels, 200, 200, pattern)
}

/// `classes` long names on 64 × 64 colour pixels after 5 000 generations.
pub(super) fn colour(classes: usize) -> RunRecord {
    let names = [
        "tench, Tinca tinca",
        "great white shark, white shark, man-eater",
        "cock",
        "Töpfe & <b>Pfannen</b>",
    ];
    let labels = (0..classes).map(|n| names[n % 4].to_owned()).collect();
    record("imagenet-cppn", "models/caffe net.onnx", [64, 64, 3], labels, 400, 5000, pattern)
}

/// The 1000 classes of ImageNet, a few by their names, on 256 × 256 pixels of noise: what
/// compresses worst. Two groups, and names that occur twice.
pub(super) fn imagenet() -> RunRecord {
    let name = |class| match class {
        5 => "Töpfe & <b>Pfannen</b>".to_owned(),
        134 | 517 => "crane".to_owned(),
        275 => "African hunting dog, hyena dog, Cape hunting dog, Lycaon pictus".to_owned(),
        283 => "猫, ネコ".to_owned(),
        _ => format!("thing {class}, Res {class}"),
    };
    let labels = (0..1000).map(name).collect();
    let noise: Vec<Arc<[u8]>> = (0..8)
        .map(|k| (0..256 * 256 * 3).map(|n| (hash(n * 8 + k) * 256.0) as u8).collect())
        .collect();
    let draw = |class: usize, _| noise[class % noise.len()].clone();
    let (model, shape) = ("squeezenet-v1.0", [256, 256, 3]);
    let mut record = record("imagenet-direct", model, shape, labels, 200, 20_000, draw);
    record.manifest.encoding = "direct".into();
    record.manifest.model.groups = [("dogs and cats", "151-268, 281-285"), ("first", "0")]
        .into_iter()
        .map(|(name, members)| (name.into(), members.to_owned().try_into().unwrap()))
        .collect();
    record
}

fn record(
    preset: &str,
    model: &str,
    picture: [usize; 3],
    labels: Vec<String>,
    children: u32,
    generations: u32,
    draw: impl Fn(usize, [usize; 3]) -> Arc<[u8]>,
) -> RunRecord {
    let classes = labels.len();
    let mut history = Vec::new();
    let mut champions = Vec::new();
    for class in 0..classes {
        let pace = 0.35 + 1.1 * hash(class as u32);
        let mut generation = 1 + (6.0 * hash(class as u32 + 7)) as u32;
        let mut last = 0.0;
        let mut made = generation;
        while generation <= generations {
            let nines = pace * (f64::from(generation) + 1.0).ln() + 0.1;
            let confidence = (1.0 - 10f64.powf(-nines.min(6.4))) as f32;
            if confidence > last {
                let evaluations = u64::from(generation) * u64::from(children);
                history.push(HistoryRow {
                    generation,
                    evaluations,
                    class: class as u32,
                    confidence,
                });
                (last, made) = (confidence, generation);
            }
            generation +=
                1 + (f64::from(generation) * 0.4 * hash(generation + class as u32)) as u32;
        }
        let mut scores = vec![(1.0 - last) / (classes.max(2) - 1) as f32; classes];
        scores[class] = last;
        champions.push(Champion {
            class,
            confidence: last,
            generation: made,
            id: class as u64,
            picture: draw(class, picture),
            scores: scores.into(),
        });
    }
    history.sort_by_key(|row| (row.generation, row.class));
    RunRecord {
        manifest: Manifest {
            version: "0.1.0".into(),
            preset: preset.into(),
            encoding: "cppn".into(),
            settings: vec![
                ("activations".into(), "sine, sigmoid, gaussian, linear".into()),
                ("add connection".into(), "0.5".into()),
                ("mutation rate".into(), "0.1 per weight".into()),
            ],
            seed: 1,
            children,
            generations,
            model: ModelRecord {
                name: model.into(),
                sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
                kind: "int8".into(),
                picture,
                preprocessing: String::new(),
                labels,
                groups: BTreeMap::new(),
            },
            machine: MachineRecord {
                os: "linux".into(),
                arch: "x86_64".into(),
                kernel: "avx2".into(),
                threads: 2,
                board: None,
            },
            status: Status::Done,
            generations_done: generations,
            evaluations: u64::from(children) * u64::from(generations),
            skipped: 312,
            undefined: 0,
            seconds: 1.734,
            digest: "5b1c0a9d7e42f318".into(),
        },
        history,
        champions,
    }
}

/// Waves over the plane, as a CPPN draws them.
fn pattern(class: usize, [height, width, channels]: [usize; 3]) -> Arc<[u8]> {
    let gene = |k: u32| hash(class as u32 * 31 + k) * 2.0 - 1.0;
    let mut bytes = Vec::with_capacity(height * width * channels);
    for row in 0..height {
        for column in 0..width {
            let x = column as f64 / width as f64 * 2.0 - 1.0;
            let y = row as f64 / height as f64 * 2.0 - 1.0;
            let distance = x.hypot(y);
            let wave = (9.0 * gene(1) * x + 9.0 * gene(2) * y + 8.0 * gene(3) * distance).sin();
            for channel in 0..channels {
                let bump = (-(4.0 * gene(4) * wave + 3.0 * x * y + gene(5) * channel as f64)
                    .powi(2))
                .exp();
                bytes.push((255.0 * (bump * 0.7 + 0.3 * wave.abs())) as u8);
            }
        }
    }
    bytes.into()
}

/// A number in 0 .. 1 that looks random.
fn hash(n: u32) -> f64 {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9E37_79B1);
    f64::from((mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA6B) >> 8) / f64::from(1 << 24)
}
