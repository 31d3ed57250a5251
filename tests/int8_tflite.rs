//! The int8 network against TensorFlow Lite's own outputs, bit for bit: the LeNet
//! that TensorFlow Lite quantized, layer by layer.

use mirage::simd::Simd;
use mirage_core::nn::{Network, Portable};
use reference::bridge::{blob, forward, forward_by, run_layer};
use reference::data::{Arrays, external, tflite_lenet};
use reference::int8;

/// The reference network, its layers' names, and its blob.
fn lenet(test: &str) -> Option<(int8::Network, Vec<String>, Vec<u8>)> {
    let description = external(test, "tflite/lenet-int8.json")?;
    let weights = external(test, "tflite/lenet-int8-weights.npz")?;
    let (network, names) = tflite_lenet(&description, &weights);
    let bytes = blob(&network);
    Some((network, names, bytes))
}

/// The recorded outputs: (layer, values of all 256 images), the input first.
///
/// Dense layers come from version 2.14, which rounds twice there too.
fn vectors(test: &str) -> Option<Vec<(&'static str, Vec<i8>)>> {
    let mut all = Arrays::open(&external(test, "tflite/lenet-int8-vectors.npz")?);
    let mut dense = Arrays::open(&external(test, "tflite/lenet-int8-vectors-tflite214.npz")?);
    let from_all = ["input", "conv1", "pool1", "conv2", "pool2"].map(|n| (n, all.values(n)));
    let from_dense = ["fc1", "logits"].map(|n| (n, dense.values(n)));
    Some(from_all.into_iter().chain(from_dense).collect())
}

fn pixels(quantized: &[i8]) -> Vec<u8> {
    quantized.iter().map(|&value| (i16::from(value) + 128) as u8).collect()
}

#[test]
fn every_layer_gives_the_recorded_values() {
    let test = "every_layer_gives_the_recorded_values";
    let (Some((plain, names, bytes)), Some(vectors)) = (lenet(test), vectors(test)) else { return };
    let network = Network::parse(&bytes).expect("a valid blob");
    assert_eq!(network.layers().count(), 6);
    for (index, (shape, zero_point)) in plain.inputs().into_iter().enumerate() {
        let (inputs, (name, outputs)) = (&vectors[index].1, &vectors[index + 1]);
        assert_eq!(*name, names[index]);
        let input_len: usize = shape.iter().product();
        let output_len = outputs.len() / 256;
        let mut compared = 0;
        for (image, (input, output)) in
            inputs.chunks(input_len).zip(outputs.chunks(output_len)).enumerate()
        {
            let core = run_layer(&network, index, &Portable, input);
            assert!(core == output, "core differs from TensorFlow Lite: {name}, image {image}");
            // The plain version is slow and need not see every image.
            if image % 16 == 0 {
                let reference = plain.layers[index].run(shape, zero_point, input);
                assert!(reference == output, "the reference differs: {name}, image {image}");
            }
            compared += output.len();
        }
        assert_eq!(compared, outputs.len());
        println!("{name}: {compared} values equal");
    }
}

#[test]
fn forward_equals_layer_by_layer() {
    let test = "forward_equals_layer_by_layer";
    let (Some((plain, _, bytes)), Some(vectors)) = (lenet(test), vectors(test)) else { return };
    let network = Network::parse(&bytes).expect("a valid blob");
    assert!(network.is_fused(1) && network.is_fused(3), "both pools are fused");
    let expected: Vec<f32> =
        vectors[5].1.chunks(500).flat_map(|hidden| plain.logits(hidden)).collect();
    let images = pixels(&vectors[0].1);
    for (batch, spare) in [
        (1, [0, 0]),
        (1, [5_000, 5_000]),
        (3, [1_001, 77]),
        (7, [100_000, 0]),
        (64, [333_333, 100_000]),
        (256, [0, 100_000]),
    ] {
        let logits: Vec<f32> = images
            .chunks(batch * 784)
            .flat_map(|images| forward(&network, &Portable, images, spare))
            .collect();
        assert!(logits == expected, "batch {batch}, scratch {spare:?} longer than required");
        let wide: Vec<f32> = images
            .chunks(batch * 784)
            .flat_map(|images| {
                forward_by(&network, images, spare, |scratch, logits| {
                    Simd::detect().forward(&network, images, scratch, logits)
                })
            })
            .collect();
        assert!(wide == expected, "{}: batch {batch}, scratch {spare:?}", Simd::detect().name());
    }
}

#[test]
fn all_test_digits_are_classified_alike() {
    let test = "all_test_digits_are_classified_alike";
    let Some((plain, _, bytes)) = lenet(test) else { return };
    let files = ("mnist/t10k-images-idx3-ubyte.gz", "tflite/lenet-int8-test10k.npz");
    let (Some(images), Some(logits)) = (external(test, files.0), external(test, files.1)) else {
        return;
    };
    let recorded: Vec<i8> = Arrays::open(&logits).values("logits_ref214");
    let images = gunzip(&images);
    let images = &images[16..];
    assert_eq!((images.len(), recorded.len()), (7_840_000, 100_000));
    let network = Network::parse(&bytes).expect("a valid blob");
    let last = &plain.layers[5];
    let (mut equal, mut agree) = (0, 0);
    for (images, recorded) in images.chunks(100 * 784).zip(recorded.chunks(1000)) {
        let logits = forward(&network, &Portable, images, [100_000, 100_000]);
        for (logits, recorded) in logits.chunks(10).zip(recorded.chunks(10)) {
            // Accumulators come back from the real logits and are requantized plainly.
            let requantized: Vec<i8> = (0..10)
                .map(|c| {
                    let sum = (logits[c] / plain.logit_scales[c]).round() as i32;
                    let (multiplier, shift) = (last.multipliers[c], i32::from(last.shifts[c]));
                    let scaled = int8::multiply_by_quantized_multiplier(sum, multiplier, shift);
                    (scaled + i32::from(last.zero_point)).clamp(-128, 127) as i8
                })
                .collect();
            equal += usize::from(requantized == recorded);
            // Where int8 logits tie, any of the tied classes is an equal prediction.
            let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("ten");
            agree += usize::from(recorded.iter().all(|&other| other <= recorded[best]));
        }
    }
    assert_eq!((equal, agree), (10_000, 10_000), "equal int8 logits, agreeing predictions");
}

/// The contents of a gzip file.
fn gunzip(path: &std::path::Path) -> Vec<u8> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).expect("a file that exists");
    let mut bytes = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(file);
    decoder.read_to_end(&mut bytes).expect("a whole gzip file");
    bytes
}
