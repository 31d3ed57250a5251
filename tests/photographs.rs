//! Photographs through SqueezeNet v1.0: as many are recognised as by onnxruntime.

use std::fs;

use mirage::image::{Image, Resize};
use mirage::model::{Crops, Model};
use mirage::simd::Simd;
use reference::data::external;

/// Photographs whose class is the first, and among the first five, of onnxruntime 1.32.0
/// on the very same files, decoded by Pillow 13.0.0, the middle 227 × 227 pixels, BGR
/// planes less (104, 117, 123). Another decoder's pixels differ by a little.
const ONNXRUNTIME: [usize; 2] = [169, 212];

const DESCRIPTION: &str = "
    picture = [256, 256]
    order = \"BGR\"
    scale = 1
    mean = [104, 117, 123]
";

#[test]
fn squeezenet_recognises_as_many_as_in_onnxruntime() {
    let test = "squeezenet_recognises_as_many_as_in_onnxruntime";
    let Some(network) = external(test, "models/squeezenet-v1.0.onnx") else { return };
    let Some(list) = external(test, "imagenet/dev.txt") else { return };
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("squeezenet.onnx");
    fs::copy(network, &path).unwrap();
    fs::write(path.with_extension("toml"), DESCRIPTION).unwrap();
    let model = Model::load(path.to_str().unwrap()).unwrap();

    let mut pictures = Vec::new();
    let mut classes = Vec::new();
    for line in fs::read_to_string(&list).unwrap().lines() {
        let (file, class) = line.split_once(' ').unwrap();
        let image = Image::open(&list.with_file_name(file)).unwrap().with_channels(3);
        pictures.extend(image.fitted(256, 256, Resize::Squash).unwrap().pixels);
        classes.push(class.parse::<usize>().unwrap());
    }
    assert_eq!(classes.len(), 250);
    let mut scores = vec![0.0; classes.len() * model.classes()];
    let mut classifier = model.classifier(Simd::detect(), Crops::Center).unwrap();
    classifier.classify(&pictures, &mut scores).unwrap();

    let mut found = [0; 2];
    for (&class, row) in classes.iter().zip(scores.chunks_exact(model.classes())) {
        let better = row.iter().filter(|&&score| score > row[class]).count();
        found[0] += usize::from(better < 1);
        found[1] += usize::from(better < 5);
    }
    println!("top-1 {}, top-5 {} of 250; onnxruntime {ONNXRUNTIME:?}", found[0], found[1]);
    for (found, expected) in found.into_iter().zip(ONNXRUNTIME) {
        assert!(found.abs_diff(expected) <= 1, "{found} of 250, onnxruntime {expected}");
    }
}
