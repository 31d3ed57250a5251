//! Networks read from ONNX, quantized and measured on MNIST: the one that is part of
//! the program, and published ones whose figures are known.

use std::fs;
use std::path::Path;

use mirage::data::idx::{Dataset, Images, Split};
use mirage::simd::Simd;
use mirage::train::quantize::{CALIBRATION, Comparison, compare, quantize};
use mirage::train::{FloatNetwork, Preprocessing, onnx, spec};
use mirage_core::nn::{Network, Op, Padding, Window};
use reference::data::external;

/// MNIST, or `None` where there are no data.
fn mnist(test: &str, split: Split) -> Option<Dataset> {
    let file = external(test, &format!("mnist/{}.gz", split.files().0))?;
    let folder = file.parent().expect("a file lies in a folder");
    Some(Dataset::load(folder, split).unwrap_or_else(|error| panic!("{error}")))
}

/// A published network of the folder of data.
fn published(test: &str, name: &str) -> Option<(FloatNetwork, Preprocessing)> {
    let bytes = fs::read(external(test, &format!("models/{name}"))?).unwrap();
    Some(onnx::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The network quantized on the first training digits, and both on the test digits.
fn quantized(test: &str, network: &FloatNetwork, rule: Preprocessing) -> Option<Comparison> {
    let images = mnist(test, Split::Train)?.images;
    let pixels = images.pixels[..CALIBRATION * images.image_len()].to_vec();
    let first = Images { count: CALIBRATION, pixels, ..images };
    let blob = quantize(network, &rule, &first).unwrap();
    let int8 = Network::parse(&blob).unwrap();
    Some(compare(network, rule, &int8, Simd::detect(), &mnist(test, Split::Test)?).unwrap())
}

#[test]
fn our_lenet_errs_no_more_than_the_papers() {
    let test = "our_lenet_errs_no_more_than_the_papers";
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/models");
    let (network, rule) = onnx::decode(&fs::read(models.join("lenet.onnx")).unwrap()).unwrap();
    let layers: Vec<_> = network.layers().iter().map(|l| (l.op(), l.relu())).collect();
    assert_eq!(layers, spec::parse("lenet").unwrap());
    assert_eq!(rule, Preprocessing::PIXEL_OVER_256);
    let blob = fs::read(models.join("lenet.q8")).unwrap();
    let int8 = Network::parse(&blob).unwrap();

    let Some(digits) = mnist(test, Split::Test) else { return };
    let found = compare(&network, rule, &int8, Simd::detect(), &digits).unwrap();
    assert_eq!(found.images, 10_000);
    assert!(found.float_errors <= 95, "{found:?}");
    assert!(found.int8_errors <= found.float_errors + 10, "{found:?}");
    assert!(found.agreeing >= 9_980, "{found:?}");
}

#[test]
fn the_authors_lenet_keeps_its_published_errors() {
    let test = "the_authors_lenet_keeps_its_published_errors";
    let Some((network, rule)) = published(test, "lenet-caffe.onnx") else { return };
    let layers: Vec<_> = network.layers().iter().map(|l| (l.op(), l.relu())).collect();
    assert_eq!(layers, spec::parse("lenet").unwrap());
    let Some(found) = quantized(test, &network, rule) else { return };
    assert_eq!(found.float_errors, 82);
    assert!(found.int8_errors <= 92 && found.agreeing >= 9_980, "{found:?}");
}

#[test]
fn another_network_with_another_preprocessing() {
    let test = "another_network_with_another_preprocessing";
    let Some((network, rule)) = published(test, "mnist-cnn-b.onnx") else { return };
    let window = Window::square(3, 1, Padding::Same);
    assert_eq!(network.layers()[2].op(), Op::Conv { window, filters: 64 });
    assert!(network.layers()[2].relu());
    let Some(found) = quantized(test, &network, rule) else { return };
    assert_eq!(found.float_errors, 94);
    assert!(found.int8_errors <= 104 && found.agreeing >= 9_980, "{found:?}");
}

#[test]
fn a_network_that_is_not_sequential_is_refused() {
    let test = "a_network_that_is_not_sequential_is_refused";
    let Some(path) = external(test, "models/squeezenet-v1.0.onnx") else { return };
    assert!(onnx::decode(&fs::read(path).unwrap()).is_err());
}
