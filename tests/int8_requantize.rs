//! Requantization where rounding matters most: single operators with scales and
//! accumulators full of exact ties, run by TensorFlow Lite 2.21
//! (`data/requant-stress.npz`), and random multipliers and shifts.

use mirage_core::nn::{Network, Portable, requantize};
use proptest::prelude::*;
use reference::bridge::{blob, run_layer};
use reference::data::{Arrays, json, own};
use reference::int8::{self, Kind, Layer, multiply_by_quantized_multiplier, quantize_multiplier};
use reference::property::config;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One case of `requant-stress.json`.
#[derive(Deserialize)]
struct Case {
    op: String,
    in_scale: f32,
    in_zp: i8,
    out_scale: f32,
    out_zp: i8,
    /// Compared outputs.
    ref_elems: usize,
    /// Outputs where double rounding differs from that engine's.
    double_mism: usize,
}

/// A network of one case, followed by a dense layer because a blob ends in one.
struct Built {
    network: int8::Network,
    images: Vec<Vec<i8>>,
    expected: Vec<i8>,
    scales: Vec<f64>,
}

fn build(name: &str, case: &Case, arrays: &mut Arrays) -> Built {
    let (shape, inputs) = arrays.get::<i8>(&format!("{name}_x"));
    let (weight_shape, weights) = arrays.get::<i8>(&format!("{name}_w"));
    let biases = arrays.values::<i32>(&format!("{name}_b"));
    let weight_scales = arrays.values::<f32>(&format!("{name}_wscale"));
    let channels = biases.len();
    let scales: Vec<f64> = (0..channels)
        .map(|c| {
            let weight_scale = weight_scales[c % weight_scales.len()];
            f64::from(case.in_scale) * f64::from(weight_scale) / f64::from(case.out_scale)
        })
        .collect();
    let (multipliers, shifts) = scales.iter().map(|&scale| quantize_multiplier(scale)).unzip();
    let (input, kind, window) = match case.op.as_str() {
        "CONV_2D" => {
            let kind = Kind::Conv { filters: channels };
            ([shape[1], shape[2], shape[3]], kind, [weight_shape[1], weight_shape[2]])
        }
        "DEPTHWISE_CONV_2D" => {
            let kind = Kind::Depthwise { multiplier: channels / shape[3] };
            ([shape[1], shape[2], shape[3]], kind, [weight_shape[1], weight_shape[2]])
        }
        "FULLY_CONNECTED" => ([1, 1, shape[1]], Kind::Dense { units: channels }, [1, 1]),
        other => panic!("unexpected operator {other}"),
    };
    let layer = Layer {
        kind,
        window,
        stride: [1, 1],
        same: false,
        zero_point: case.out_zp,
        clamp: (-128, 127),
        biases,
        multipliers,
        shifts,
        weights,
    };
    let last = Layer {
        kind: Kind::Dense { units: 1 },
        window: [1, 1],
        weights: vec![0; layer.output(input).iter().product()],
        biases: vec![0],
        multipliers: vec![1 << 30],
        shifts: vec![0],
        ..layer.clone()
    };
    let len = input.iter().product();
    Built {
        network: int8::Network {
            input,
            zero_point: case.in_zp,
            layers: vec![layer, last],
            logit_scales: vec![1.0],
        },
        images: inputs.chunks(len).map(<[i8]>::to_vec).collect(),
        expected: arrays.values(&format!("{name}_y_ref")),
        scales,
    }
}

fn cases() -> (BTreeMap<String, Case>, Arrays) {
    (json(&own("requant-stress.json")), Arrays::open(&own("requant-stress.npz")))
}

/// What core and reference make of all images of a case.
fn outputs(built: &Built) -> (Vec<i8>, Vec<i8>) {
    let bytes = blob(&built.network);
    let core = Network::parse(&bytes).expect("a valid blob");
    let layer = &built.network.layers[0];
    let (shape, zero_point) = built.network.inputs()[0];
    let by_core = built.images.iter().flat_map(|image| run_layer(&core, 0, &Portable, image));
    let plainly = built.images.iter().flat_map(|image| layer.run(shape, zero_point, image));
    (by_core.collect(), plainly.collect())
}

#[test]
fn convolutions_give_tensorflow_lites_values() {
    let (cases, mut arrays) = cases();
    let mut compared = 0;
    for (name, case) in cases.iter().filter(|(_, case)| case.op != "FULLY_CONNECTED") {
        let built = build(name, case, &mut arrays);
        let (core, plain) = outputs(&built);
        assert!(plain == built.expected, "{name}: the reference differs");
        assert!(core == built.expected, "{name}: the core differs");
        assert_eq!((core.len(), case.double_mism), (case.ref_elems, 0));
        compared += core.len();
    }
    assert_eq!(compared, 3 * (12_544 + 3_136));
}

/// Version 2.21 rounds dense layers once, in `f64`. Its outputs check the sums
/// (requantized that way), and double rounding must differ from it in exactly as
/// many places as an independent implementation found.
#[test]
fn dense_layers_differ_from_single_rounding_just_where_they_must() {
    let (cases, mut arrays) = cases();
    let mut seen = 0;
    for (name, case) in cases.iter().filter(|(_, case)| case.op == "FULLY_CONNECTED") {
        let built = build(name, case, &mut arrays);
        let (core, plain) = outputs(&built);
        assert!(core == plain, "{name}: core and reference differ");
        assert_eq!(core.len(), case.ref_elems);
        let layer = &built.network.layers[0];
        let (shape, zero_point) = built.network.inputs()[0];
        let once: Vec<i8> = built
            .images
            .iter()
            .flat_map(|image| layer.accumulate(shape, zero_point, image))
            .zip(built.scales.iter().cycle())
            .map(|(sum, scale)| {
                let rounded = (sum as f64 * scale).round() + f64::from(case.out_zp);
                rounded.clamp(-128.0, 127.0) as i8
            })
            .collect();
        assert!(once == built.expected, "{name}: rounding once does not give the recorded values");
        let differing = core.iter().zip(&built.expected).filter(|(a, b)| a != b).count();
        assert_eq!(differing, case.double_mism, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// Accumulators near ties, near the limits, and anywhere.
fn accumulator() -> impl Strategy<Value = i32> {
    prop_oneof![
        any::<i32>(),
        -100_000..100_000i32,
        (0u32..31, -3..=3i32).prop_map(|(bit, off)| (1i32 << bit).wrapping_add(off)),
        (0u32..31, -3..=3i32).prop_map(|(bit, off)| (-1i32 << bit).wrapping_add(off)),
        Just(i32::MIN),
        Just(i32::MAX),
    ]
}

fn multiplier() -> impl Strategy<Value = i32> {
    prop_oneof![
        (1 << 30)..=i32::MAX,
        0..=i32::MAX,
        Just(0),
        Just(1 << 30),
        Just(i32::MAX),
        (0u32..31).prop_map(|bit| 1 << bit),
    ]
}

proptest! {
    #![proptest_config(config("int8_requantize", 200_000))]

    #[test]
    fn every_multiplier_and_shift_rounds_alike(
        value in accumulator(), multiplier in multiplier(), shift in -31..=30i32,
    ) {
        prop_assert_eq!(
            requantize(value, multiplier, shift),
            multiply_by_quantized_multiplier(value, multiplier, shift)
        );
    }

    #[test]
    fn requantization_never_decreases(
        value in accumulator(), step in 1..=1000i32, multiplier in multiplier(), shift in -31..=30i32,
    ) {
        let next = value.saturating_add(step);
        prop_assert!(requantize(value, multiplier, shift) <= requantize(next, multiplier, shift));
    }
}
