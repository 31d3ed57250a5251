//! Data sets that are none.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::program::{Workplace, flip};

fn idx(magic: u32, dimensions: &[u32], content: &[u8]) -> Vec<u8> {
    let numbers = std::iter::once(&magic).chain(dimensions);
    numbers.flat_map(|n| n.to_be_bytes()).chain(content.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 20 images of 6 × 6 pixels and their labels, for training and for testing.
fn small_set(place: &Workplace) {
    for part in ["train", "t10k"] {
        let pixels: Vec<u8> = (0..20 * 36).map(|n| (n % 251) as u8).collect();
        place.write(&format!("data/{part}-images-idx3-ubyte"), idx(0x803, &[20, 6, 6], &pixels));
        let labels: Vec<u8> = (0..20).map(|n| n % 10).collect();
        place.write(&format!("data/{part}-labels-idx1-ubyte"), idx(0x801, &[20], &labels));
    }
}

const TRAIN: &str = "train --data data --network dense10 --epochs 1 --out new.onnx";
const QUANTIZE: &str = "quantize --data data --calibrate 20 net.onnx --out new.q8";

#[test]
fn damaged_idx_files_are_refused() {
    let place = Workplace::new();
    small_set(&place);
    place.succeed(&TRAIN.replace("new.onnx", "net.onnx"));
    let images = place.read("data/train-images-idx3-ubyte");
    let labels = place.read("data/train-labels-idx1-ubyte");
    let (image_file, label_file) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    let mut not_a_digit = labels.clone();
    not_a_digit[8] = 10;
    for (file, bytes, word) in [
        (image_file, labels.clone(), "begins with 00000801"),
        (image_file, b"<html>".to_vec(), "not an IDX file"),
        (image_file, Vec::new(), "not an IDX file"),
        (image_file, idx(0x803, &[u32::MAX; 3], &[]), "256 MiB"),
        (image_file, idx(0x803, &[20, 0, 6], &[]), "1 to 4096"),
        (image_file, images[..images.len() - 1].to_vec(), "cut short"),
        (image_file, [images.as_slice(), &[0]].concat(), "bytes follow"),
        (image_file, idx(0x803, &[19, 6, 6], &images[16..16 + 19 * 36]), "19 images but 20"),
        (label_file, idx(0x801, &[19], &labels[8..27]), "20 images but 19"),
        (label_file, images.clone(), "begins with 00000803"),
        (label_file, not_a_digit, "label 10"),
        (label_file, labels[..5].to_vec(), "cut short"),
    ] {
        let place = Workplace::new();
        small_set(&place);
        place.write("net.onnx", "");
        place.write(&format!("data/{file}"), bytes);
        place.refuse(TRAIN, &["--data", "data", word, "fetch"]);
        assert!(!place.path("new.onnx").exists());
    }
    place.write(&format!("data/{image_file}"), &images[..100]);
    place.refuse(QUANTIZE, &["--data", image_file, "cut short"]);
    assert!(!place.path("new.q8").exists());
}

#[test]
fn damaged_compressed_files_are_refused() {
    for (name, bytes) in [
        ("cut", gzip(&idx(0x803, &[20, 6, 6], &[7; 720]))[..40].to_vec()),
        ("header", vec![0x1f, 0x8b, 8]),
        ("flipped", flip(gzip(&idx(0x803, &[20, 6, 6], &[7; 720])))),
        ("two", gzip(&idx(0x803, &[20, 6, 6], &[7; 720])).repeat(2)),
    ] {
        let place = Workplace::new();
        small_set(&place);
        std::fs::remove_file(place.path("data/train-images-idx3-ubyte")).unwrap();
        place.write("data/train-images-idx3-ubyte.gz", bytes);
        let words = ["--data", "train-images-idx3-ubyte.gz", "fetch it again"];
        place.refuse(TRAIN, &words);
        assert!(!place.path("new.onnx").exists(), "{name}");
    }
}

#[test]
fn missing_data_are_named() {
    let place = Workplace::new();
    place.write("empty/other", "");
    place.write("kept.onnx", "precious");
    let words = ["--data", "empty", "mirage data pull mnist"];
    place.refuse("train --data empty --out new.onnx", &words);
    place.refuse("train --data nowhere --out new.onnx", &["nowhere"]);
    place.refuse("train --out new.onnx", &["mirage data pull mnist"]);
    place.refuse("train --data empty --out kept.onnx", &["kept.onnx", "--force"]);
    place.refuse("train --data empty --out kept.onnx --force", &words);
    place.refuse("train --data empty --out no/new.onnx", &["--out", "no"]);
    place.refuse("quantize kept.onnx --data empty --out kept.onnx", &["kept.onnx", "--force"]);
}

#[test]
fn other_files_are_not_pulled() {
    let place = Workplace::new();
    small_set(&place);
    place.write("empty/other", "");
    place.write("file", "");
    for (from, words) in [
        ("empty", ["--from", "train-images-idx3-ubyte", "name the folder"]),
        ("nowhere", ["--from", "nowhere", "name the folder"]),
        ("file", ["--from", "file", "name the folder"]),
        ("data", ["--from", "train-images-idx3-ubyte", "get another copy"]),
    ] {
        place.refuse(&format!("data pull mnist --to to --from {from}"), &words);
        let placed = std::fs::read_dir(place.path("to/mnist")).unwrap().count();
        assert_eq!(placed, 0, "{from}: nothing that is not MNIST");
    }
    place.refuse("data pull mnist --from empty --to file", &["file"]);
}
