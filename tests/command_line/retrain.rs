//! Networks that are trained with what fooled the ones before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reference::data::Arrays;
use serde_json::Value;

use crate::program::{Workplace, contents, flip};

/// Digits of 10 × 10 pixels, of which row *d* is brighter than the noise: 300 to train with,
/// 100 to test with.
fn with_digits() -> Workplace {
    let place = Workplace::new();
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 / 4
    };
    for (part, count) in [("train", 300_u32), ("t10k", 100)] {
        let mut images: Vec<u8> =
            [0x803, count, 10, 10].iter().flat_map(|n| n.to_be_bytes()).collect();
        let mut labels: Vec<u8> = [0x801, count].iter().flat_map(|n| n.to_be_bytes()).collect();
        for image in 0..count {
            labels.push((image % 10) as u8);
            for pixel in 0..100 {
                images.push(noise() + if pixel / 10 == image % 10 { 150 } else { 0 });
            }
        }
        place.write(&format!("data/{part}-images-idx3-ubyte"), images);
        place.write(&format!("data/{part}-labels-idx1-ubyte"), labels);
    }
    place
}

const MNIST: &str = "retrain mnist --data data --network dense10 --epochs 8 --iterations 3 \
                     --first 60 --more 30 --generations 8 --children 40";

/// What depends on time, threads or the place.
const DIFFERS: [&str; 2] = ["retraining.json", "report.html"];

/// Every file of a retraining that is the same whatever happened on the way.
fn lasting(place: &Workplace, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = place.path(out);
    let files = contents(&root).into_iter().filter_map(|(path, bytes)| {
        let name = path.file_name()?.to_str()?;
        // What was being written when the process was killed.
        let is_lasting = !DIFFERS.contains(&name) && !name.starts_with(".mirage-");
        Some((path.strip_prefix(&root).ok()?.to_owned(), bytes.filter(|_| is_lasting)?))
    });
    files.collect()
}

fn record(place: &Workplace, out: &str) -> Value {
    let record: Value =
        serde_json::from_slice(&place.read(&format!("{out}/retraining.json"))).unwrap();
    serde_json::json!([
        record["settings"],
        record["data"],
        record["iterations"],
        record["complete"]
    ])
}

#[test]
fn each_network_learns_from_what_fooled_the_ones_before() {
    let place = with_digits();
    let told = place.json(&format!("{MNIST} --out out"));
    let of = |key: &str| -> Vec<Value> {
        told["iterations"].as_array().unwrap().iter().map(|i| i[key].clone()).collect()
    };
    assert_eq!(of("fooling_images"), [0, 60, 90]);
    for (told, share) in of("fooling_share").iter().zip([0.0, 60.0 / 360.0, 90.0 / 390.0]) {
        assert!((told.as_f64().unwrap() - share).abs() < 1e-12);
    }
    // A run gives 20 images.
    assert_eq!(of("runs"), [3, 2, 2]);
    assert!(of("called_fooling_share")[0].is_null());
    assert_eq!((&told["complete"], &told["folder"]), (&true.into(), &"out".into()));
    for share in of("median_confidence").iter().chain(&of("fooled_share")) {
        assert!((0.0..=1.0).contains(&share.as_f64().unwrap()), "{told}");
    }

    // The first network is that of `mirage train`, and a run against it that of `mirage evolve`.
    place.succeed("train --data data --network dense10 --epochs 8 --out net.onnx");
    assert!(place.read("net.onnx") == place.read("out/iteration-01/network.onnx"));
    for seed in 1..=3 {
        let run = format!("--generations 8 --children 40 --seed {seed} --out run{seed}");
        place.succeed(&format!("evolve --model net.onnx {run}"));
        let mut champions = Arrays::open(&place.path(&format!("run{seed}/champions.npz")));
        let mut kept = Arrays::open(&place.path(&format!("out/iteration-01/run-{seed}.npz")));
        assert_eq!(champions.get::<u8>("images"), kept.get::<u8>("last"));
        assert_eq!(champions.get::<f32>("confidences"), kept.get::<f32>("confidences"));
    }

    let table = String::from_utf8(place.read("out/retraining.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.starts_with("iteration,fooling_images,fooling_share,test_error,"), "{table}");
    let page = String::from_utf8(place.read("out/report.html")).unwrap();
    assert!(page.contains("DNN_3") && !page.contains("NaN"));
    // Every network begins with other weights.
    let networks = [2, 3].map(|n| place.read(&format!("out/iteration-0{n}/network.onnx")));
    assert_eq!(networks[0].len(), networks[1].len());
    assert!(networks[0] != networks[1]);
}

#[test]
fn threads_and_sessions_change_nothing() {
    let place = with_digits();
    for encoding in ["cppn", "direct"] {
        let line = format!("{MNIST} --encoding {encoding}");
        place.succeed(&format!("{line} --threads 1 --out {encoding}1"));
        place.succeed(&format!("{line} --threads 3 --out {encoding}3"));
        let whole = lasting(&place, &format!("{encoding}1"));
        assert!(whole == lasting(&place, &format!("{encoding}3")), "{encoding}");
        // One iteration more than before, with the settings of before.
        let shorter = line.replace("--iterations 3", "--iterations 2");
        place.succeed(&format!("{shorter} --out {encoding}2"));
        place.succeed(&format!(
            "retrain mnist --data data --resume --iterations 3 --out {encoding}2"
        ));
        let [one, two] = [1, 2].map(|n| record(&place, &format!("{encoding}{n}")));
        assert_eq!(one, two);
        assert!(whole == lasting(&place, &format!("{encoding}2")), "{encoding}");
    }
}

#[test]
fn killed_at_any_moment_and_resumed_it_gives_the_same_networks_and_images() {
    let place = with_digits();
    let started = Instant::now();
    place.succeed(&format!("{MNIST} --out whole"));
    let whole = started.elapsed();
    let mut state = 777_u32;
    let mut kills = 0;
    for attempt in 0..6 {
        let out = format!("out{attempt}");
        for session in 0.. {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Up to half of what the whole takes, and later longer, so that it ends.
            let half = whole.mul_f64(f64::from(1 + session / 4) / 2.0);
            let delay = half.mul_f64(f64::from(state >> 8) / f64::from(1 << 24));
            let threads = 1 + session % 3;
            let mut command =
                place.command(&format!("{MNIST} --resume --threads {threads} --out {out}"));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(delay);
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.is_empty() || errors.contains("a new one begins"), "{errors}");
            if output.status.success() {
                break;
            }
            kills += 1;
        }
        assert_eq!(record(&place, "whole"), record(&place, &out));
        assert!(lasting(&place, "whole") == lasting(&place, &out), "{out}");
    }
    assert!(kills >= 6, "{kills}");
}

/// Ctrl-C keeps what is done, and says how to go on.
#[cfg(unix)]
#[test]
fn asked_to_stop_it_says_how_to_go_on() {
    let place = with_digits();
    let line = MNIST.replace("--generations 8", "--generations 800000");
    let mut command = place.command(&format!("{line} --out out"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let network = place.path("out/iteration-01/network.json");
    let started = Instant::now();
    while !network.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no network was trained");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("0 of 3 iterations kept"), "{errors}");
    assert!(errors.contains("mirage retrain mnist --resume --out out"), "{errors}");
}

#[test]
fn what_cannot_go_on_is_refused() {
    let place = with_digits();
    place.succeed(&format!("{MNIST} --out out"));
    place.write("other/file", "x");
    place.write("file", "x");
    let with = |more: &str| format!("{MNIST} {more}");
    let resume = "retrain mnist --data data --resume --out out";
    for (line, words) in [
        (with("--out out"), &["--out out", "--resume"][..]),
        (with("--out other"), &["--out other", "not empty"]),
        (with("--resume --out other"), &["--out other", "no retraining"]),
        (with("--out file"), &["--out file", "not a folder"]),
        (format!("{resume} --epochs 9"), &["--epochs", "begun with 8", "out"]),
        (format!("{resume} --encoding direct"), &["--encoding", "mnist-cppn"]),
        (format!("{resume} --iterations 2"), &["--iterations 2", "has done 3"]),
        (MNIST.replace("dense10", "dense11"), &["--network", "dense10"]),
        (MNIST.replace("dense10", "dence10"), &["--network", "dence10"]),
        (MNIST.replace("dense10", "lenet"), &["--network", "layer"]),
        (MNIST.replace("--first 60", "--first 0"), &["--first"]),
        (MNIST.replace("--data data", "--data nowhere"), &["--data", "nowhere"]),
        ("retrain mnist".to_owned(), &["mirage data pull mnist"]),
    ] {
        place.refuse(&line, words);
    }
}

#[test]
fn damage_is_found_and_named() {
    let place = with_digits();
    place.succeed(&format!("{MNIST} --out good"));
    let resume = "retrain mnist --data data --resume --iterations 4 --out out";
    for (file, damage, words) in [
        ("retraining.json", &(|_| b"{".to_vec()) as &dyn Fn(Vec<u8>) -> Vec<u8>, "retraining.json"),
        ("iteration-01/network.onnx", &flip, "network.onnx"),
        ("iteration-02/network.json", &|_| b"{}".to_vec(), "network.json"),
        ("iteration-01/run-2.npz", &flip, "run-2.npz"),
        ("iteration-03/run-7.npz", &|bytes| bytes[..bytes.len() / 2].to_vec(), "run-7.npz"),
    ] {
        let _ = std::fs::remove_dir_all(place.path("out"));
        place.copy("good", "out");
        place.write(&format!("out/{file}"), damage(place.read(&format!("good/{file}"))));
        place.refuse(resume, &[words]);
        // As the message says: what is removed is computed again.
        if file.ends_with(".npz") {
            std::fs::remove_file(place.path(&format!("out/{file}"))).unwrap();
            place.succeed(&resume.replace("--iterations 4", "--iterations 3"));
            assert!(lasting(&place, "good") == lasting(&place, "out"), "{file}");
        }
    }
    // Other digits make another retraining.
    place.copy("good", "out2");
    place.write("data/t10k-labels-idx1-ubyte", {
        let mut labels = place.read("data/t10k-labels-idx1-ubyte");
        labels[8] = 9;
        labels
    });
    place.refuse(&resume.replace("--out out", "--out out2"), &["out2", "other data"]);
}
