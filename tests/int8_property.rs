//! Random networks: the core's layers against the plain ones, bit for bit, and
//! whole forward passes, also
//! with the widest vectors that this machine has, against layer by layer.

use mirage::simd::Simd;
use mirage_core::nn::{Network, Portable};
use proptest::prelude::*;
use reference::bridge::{blob, forward, forward_by, run_layer};
use reference::int8::{self, Kind};
use reference::property::config;
use reference::sample;

fn quantize(pixels: &[u8]) -> Vec<i8> {
    pixels.iter().map(|&pixel| (i16::from(pixel) - 128) as i8).collect()
}

proptest! {
    #![proptest_config(config("int8_property", 20_000))]

    #[test]
    fn layers_equal_the_reference(seed in any::<u64>()) {
        let plain = sample::network(seed);
        let bytes = blob(&plain);
        let core = Network::parse(&bytes);
        prop_assert!(core.is_ok(), "{core:?}: {plain:?}");
        let core = core.expect("just checked");
        let image = quantize(&sample::pixels(seed, plain.input.iter().product()));
        let outputs = plain.run(&image);
        let mut input = &image;
        for (index, output) in outputs.iter().enumerate() {
            let found = run_layer(&core, index, &Portable, input);
            prop_assert_eq!(&found, output, "layer {} of {:?}", index, plain);
            input = output;
        }
    }

    #[test]
    fn forward_equals_layer_by_layer(
        seed in any::<u64>(), batch in 1..6usize,
        spare in prop_oneof![Just([0, 0]), [0..3000usize, 0..300usize], Just([100_000, 100_000])],
    ) {
        let plain = sample::network(seed);
        let bytes = blob(&plain);
        let core = Network::parse(&bytes);
        prop_assert!(core.is_ok(), "{core:?}: {plain:?}");
        let core = core.expect("just checked");
        let len: usize = plain.input.iter().product();
        let images = sample::pixels(seed, batch * len);
        let expected: Vec<f32> = images
            .chunks(len)
            .flat_map(|image| {
                let image = quantize(image);
                let outputs = plain.run(&image);
                let hidden = outputs.len().checked_sub(2).map_or(&image, |i| &outputs[i]);
                plain.logits(hidden)
            })
            .collect();
        let wide = forward_by(&core, &images, spare, |scratch, logits| {
            Simd::detect().forward(&core, &images, scratch, logits)
        });
        prop_assert_eq!(&wide, &expected, "{} of {:?}", Simd::detect().name(), plain);
        prop_assert_eq!(forward(&core, &Portable, &images, spare), expected, "{:?}", plain);
    }

    #[test]
    fn features_are_what_the_last_layer_is_given(seed in any::<u64>(), batch in 1..4usize) {
        let plain = sample::network(seed);
        let bytes = blob(&plain);
        let core = Network::parse(&bytes).expect("a valid blob");
        let len: usize = plain.input.iter().product();
        let images = sample::pixels(seed, batch * len);
        let before = plain.layers.len().checked_sub(2);
        let zero = before.map_or(plain.zero_point, |index| plain.layers[index].zero_point);
        let expected: Vec<i16> = images
            .chunks(len)
            .flat_map(|image| {
                let image = quantize(image);
                let outputs = plain.run(&image);
                let hidden = before.map_or(&image, |index| &outputs[index]);
                hidden.iter().map(|&value| i16::from(value) - i16::from(zero)).collect::<Vec<_>>()
            })
            .collect();
        let mut found = Vec::new();
        let _ = forward_by(&core, &images, [0, 0], |scratch, logits| {
            let done = Simd::detect().forward(&core, &images, scratch, logits);
            found = core.features_in(scratch, batch).to_vec();
            done
        });
        prop_assert_eq!(found.len(), batch * core.features());
        prop_assert_eq!(&found, &expected, "{:?}", plain);
    }
}

/// The samples reach what the properties are about.
#[test]
fn samples_hold_every_kind_fused_and_not() {
    let (mut kinds, mut fused, mut unfused, mut left, mut same, mut odd) = ([0; 5], 0, 0, 0, 0, 0);
    let mut distinct = [false; 256];
    for seed in 0..500 {
        let plain = sample::network(seed);
        let bytes = blob(&plain);
        let core = Network::parse(&bytes).expect("a valid blob");
        for (index, (layer, (shape, _))) in plain.layers.iter().zip(plain.inputs()).enumerate() {
            kinds[match layer.kind {
                Kind::Conv { .. } => 0,
                Kind::Depthwise { .. } => 1,
                Kind::MaxPool => 2,
                Kind::AveragePool => 3,
                Kind::Dense { .. } => 4,
            }] += 1;
            fused += usize::from(core.is_fused(index));
            unfused += usize::from(layer.kind == Kind::MaxPool && !core.is_fused(index));
            left += layer.shifts.iter().filter(|&&shift| shift > 0).count();
            same += usize::from(layer.same);
            odd += usize::from(layer.same && (shape[0] % 2 == 1 || layer.stride[0] == 3));
        }
        let image = quantize(&sample::pixels(seed, plain.input.iter().product()));
        plain
            .run(&image)
            .iter()
            .flatten()
            .for_each(|&v| distinct[(i16::from(v) + 128) as usize] = true);
    }
    assert!(kinds.iter().all(|&count| count > 50), "{kinds:?}");
    assert!(fused > 20 && unfused > 20 && left > 50 && same > 100 && odd > 50, "{fused} {unfused}");
    assert!(distinct.iter().all(|&seen| seen), "outputs are not spread over all values");
}

/// One depthwise layer at a stride of 2, SAME, 3 × 3 on 4 × 4, by hand: the odd row
/// and column of padding are at the bottom right.
#[test]
fn the_reference_pads_as_tensorflow_does() {
    let layer = int8::Layer {
        kind: Kind::Depthwise { multiplier: 1 },
        window: [3, 3],
        stride: [2, 2],
        same: true,
        zero_point: 0,
        clamp: (-128, 127),
        biases: vec![0],
        multipliers: vec![1 << 30],
        shifts: vec![1],
        weights: vec![1; 9],
    };
    let image: Vec<i8> = (1..=16).collect();
    // 1+2+3+5+6+7+9+10+11, 3+4+7+8+11+12, 9+10+11+13+14+15, 11+12+15+16.
    assert_eq!(layer.run([4, 4, 1], 0, &image), [54, 45, 72, 54]);
}
