//! Operators that take the place of tract's, where those are slow or not repeatable.

pub(super) mod convolution;
pub(super) mod lrn;
pub(super) mod max_pool;
pub(super) mod softmax;
pub(super) mod window;

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;

/// Makes `framework` read networks with the operators here.
pub(super) fn register(framework: &mut Onnx) {
    framework.op_register.insert("LRN", lrn::read);
}

/// Replaces tract's convolutions, and a ReLU behind one with it, in a network before it is
/// decluttered: that turns those of one pixel into something else. Returns how many.
pub(super) fn replace_convolutions(model: &mut TypedModel) -> TractResult<usize> {
    let mut count = 0;
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some((op, last)) = convolution::replacement(model, node) else { continue };
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &node.inputs)?;
        let output = patch.wire_node(&last.name, op, &inputs)?[0];
        patch.shunt_outside(model, last.id.into(), output)?;
        patch.apply(model)?;
        count += 1;
    }
    Ok(count)
}

/// Replaces tract's other operators in a decluttered network. Returns how many.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<usize> {
    let mut count = 0;
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let op = softmax::replacement(model, node);
        let Some(op) = op.or_else(|| max_pool::replacement(model, node)) else { continue };
        let patch = TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?;
        patch.apply(model)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use reference::onnx::Attribute::{Float, Int, Ints, Text};
    use reference::onnx::{self, Attribute, Batch, Builder};
    use reference::rng::SplitMix64;
    use tract_onnx::pb::ModelProto;
    use tract_onnx::prelude::IntoRunnable;

    use super::*;

    /// Two images of random numbers, and what one node makes of them: tract's own
    /// operator, and what takes its place here.
    fn run(kind: &str, image: [usize; 3], attributes: &[(&str, Attribute<'_>)]) -> [Vec<f32>; 3] {
        let mut builder = Builder::new(Batch::Fixed(2), image, 0);
        builder.node(kind, "node", &["data"], attributes);
        let Compared { images, theirs, ours, replaced } =
            compare(builder.finish("node", 13), 2, image);
        assert!(kind == "LRN" || replaced == 1, "{kind} was not replaced");
        [images, theirs, ours]
    }

    /// A network of tract's own operators beside one with those here.
    struct Compared {
        images: Vec<f32>,
        theirs: Vec<f32>,
        ours: Vec<f32>,
        replaced: usize,
    }

    /// Runs a network over random images, as tract would and as it is run here.
    fn compare(proto: ModelProto, count: usize, image: [usize; 3]) -> Compared {
        let shape = [count, image[0], image[1], image[2]];
        let mut random = SplitMix64 { x: 5 };
        let unit = |_| (random.draw() >> 40) as f32 / (1 << 24) as f32;
        let images: Vec<f32> =
            (0..shape.iter().product()).map(unit).map(|u| u * 200.0 - 100.0).collect();
        let mut replaced = 0;
        let outputs = [false, true].map(|is_replaced| {
            let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
            if is_replaced {
                register(&mut framework);
            }
            let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
            let model = framework.model_for_proto_model(&proto);
            let model = model.and_then(|m| m.with_input_fact(0, fact)).and_then(|m| m.into_typed());
            let mut model = model.expect("a valid network");
            if is_replaced {
                replaced += replace_convolutions(&mut model).expect("a valid network");
            }
            model.declutter().expect("a valid network");
            if is_replaced {
                replaced += replace(&mut model).expect("a valid network");
            }
            let input = Tensor::from_shape(&shape, &images).expect("a matching length");
            let plan = model.into_optimized().and_then(|m| m.into_runnable());
            let outputs = plan.and_then(|plan| plan.run(tvec!(input.into())));
            let outputs = outputs.expect("a valid network");
            let view = outputs[0].to_plain_array_view::<f32>().expect("floats");
            view.iter().copied().collect()
        });
        let [theirs, ours] = outputs;
        Compared { images, theirs, ours, replaced }
    }

    /// Checks that values differ by no more than 1e-4 of the largest.
    fn assert_close(theirs: &[f32], ours: &[f32], what: &str) {
        assert_eq!(theirs.len(), ours.len(), "{what}");
        let largest = theirs.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (index, (a, b)) in theirs.iter().zip(ours).enumerate() {
            assert!((a - b).abs() <= 1e-4 * largest, "{what}, {index}: {a} {b}");
        }
    }

    #[test]
    fn max_pool_is_the_same() {
        let kinds = [
            // kernel, strides, pads, dilations, ceil_mode
            ([3, 3], [2, 2], [0; 4], [1, 1], 0),
            ([3, 3], [2, 2], [0, 0, 1, 1], [1, 1], 0),
            ([3, 3], [2, 2], [1; 4], [1, 1], 1),
            ([2, 2], [2, 2], [0; 4], [1, 1], 1),
            ([1, 5], [3, 1], [0, 2, 0, 2], [1, 1], 0),
            ([5, 2], [1, 4], [2, 0, 1, 1], [1, 2], 0),
            ([2, 3], [1, 1], [0; 4], [3, 2], 0),
        ];
        for image in [[3, 11, 13], [1, 8, 8], [5, 7, 40]] {
            for (kernel, strides, pads, dilations, ceil) in kinds {
                let attributes = [
                    ("kernel_shape", Ints(&kernel)),
                    ("strides", Ints(&strides)),
                    ("pads", Ints(&pads)),
                    ("dilations", Ints(&dilations)),
                    ("ceil_mode", Int(ceil)),
                ];
                let [_, theirs, ours] = run("MaxPool", image, &attributes);
                assert_eq!(theirs, ours, "{image:?} {attributes:?}");
            }
        }
    }

    #[test]
    fn convolution_is_nearly_the_same() {
        // kernel, strides, pads, dilations, groups
        let kinds = [
            ([1, 1], [1, 1], [0; 4], [1, 1], 1),
            ([1, 1], [2, 2], [0; 4], [1, 1], 2),
            ([1, 1], [1, 1], [1, 0, 0, 1], [1, 1], 1),
            ([3, 3], [1, 1], [1; 4], [1, 1], 1),
            ([3, 3], [2, 2], [0, 0, 1, 1], [1, 1], 4),
            ([5, 2], [1, 3], [4, 0, 1, 5], [1, 2], 2),
            ([3, 1], [3, 1], [7, 9, 7, 9], [2, 1], 1),
            ([7, 7], [2, 2], [0; 4], [1, 1], 1),
            ([2, 3], [1, 1], [0; 4], [3, 2], 4),
        ];
        for image in [[4, 11, 13], [12, 8, 8], [4, 9, 40], [48, 60, 61]] {
            for (index, (kernel, strides, pads, dilations, groups)) in kinds.into_iter().enumerate()
            {
                let attributes = [
                    ("strides", Ints(&strides)),
                    ("pads", Ints(&pads)),
                    ("dilations", Ints(&dilations)),
                    ("group", Int(groups)),
                ];
                let dims = [8, image[0] / groups as usize, kernel[0], kernel[1]];
                let mut builder = Builder::new(Batch::Fixed(2), image, index as u64);
                builder.layer("Conv", "conv", "data", &dims, &attributes);
                let with_relu = index % 2 == 0;
                if with_relu {
                    builder.node("Relu", "relu", &["conv"], &[]);
                }
                let proto = builder.finish(if with_relu { "relu" } else { "conv" }, 13);
                let Compared { theirs, ours, replaced, .. } = compare(proto, 2, image);
                let what = format!("{image:?} {kernel:?} {attributes:?}");
                assert_eq!(replaced, 1, "{what}");
                assert_close(&theirs, &ours, &what);
            }
        }
    }

    #[test]
    fn automatic_padding_and_missing_biases() {
        for (side, strides) in [("SAME_UPPER", [2, 2]), ("SAME_LOWER", [2, 3]), ("VALID", [1, 1])] {
            let mut builder = Builder::new(Batch::Fixed(2), [4, 10, 12], 1);
            builder.random("weights", &[1, 4, 3, 4], 0.3);
            let attributes = [("auto_pad", Text(side)), ("strides", Ints(&strides))];
            builder.node("Conv", "conv", &["data", "weights"], &attributes);
            let proto = builder.finish("conv", 13);
            let Compared { theirs, ours, replaced, .. } = compare(proto, 2, [4, 10, 12]);
            assert_eq!(replaced, 1);
            assert_close(&theirs, &ours, side);
        }
    }

    #[test]
    fn a_value_used_before_relu_too_is_kept() {
        let mut builder = Builder::new(Batch::Fixed(1), [3, 9, 9], 2);
        builder.layer("Conv", "conv", "data", &[4, 3, 3, 3], &[]);
        builder.node("Relu", "relu", &["conv"], &[]);
        builder.node("Add", "sum", &["conv", "relu"], &[]);
        let Compared { theirs, ours, replaced, .. } =
            compare(builder.finish("sum", 13), 1, [3, 9, 9]);
        assert_eq!(replaced, 1);
        assert_close(&theirs, &ours, "sum");
        assert!(ours.iter().any(|value| *value < 0.0));
    }

    #[test]
    fn whole_networks_are_nearly_the_same() {
        let alexnet = onnx::alexnet(8, 1);
        let Compared { theirs, ours, replaced, .. } = compare(alexnet, 1, [3, 227, 227]);
        assert_eq!(replaced, 9, "5 convolutions, 3 max-pools and a softmax");
        assert_close(&theirs, &ours, "AlexNet");
        let folder = std::env::var("MIRAGE_DATA").unwrap_or_default();
        let Ok(bytes) = std::fs::read(format!("{folder}/models/squeezenet-v1.0.onnx")) else {
            return reference::skip::skip("SqueezeNet", "data", "MIRAGE_DATA does not hold it");
        };
        let squeezenet = ModelProto::decode(bytes.as_slice()).expect("an ONNX file");
        let Compared { theirs, ours, replaced, .. } = compare(squeezenet, 1, [3, 227, 227]);
        assert_eq!(replaced, 30, "26 convolutions, 3 max-pools and a softmax");
        assert_close(&theirs, &ours, "SqueezeNet");
    }

    #[test]
    fn softmax_is_nearly_the_same() {
        let [_, theirs, ours] = run("Softmax", [3, 4, 37], &[("axis", Int(-1))]);
        for (a, b) in theirs.iter().zip(&ours) {
            assert!((a - b).abs() <= 1e-6, "{a} {b}");
        }
    }

    /// The definition, in f64.
    fn lrn(
        input: &[f32],
        shape: [usize; 3],
        size: usize,
        [alpha, beta, bias]: [f64; 3],
    ) -> Vec<f64> {
        let [channels, height, width] = shape;
        let plane = height * width;
        let normalised = |(index, &x): (usize, &f32)| {
            let channel = index / plane % channels;
            let image = index / (plane * channels) * plane * channels;
            let first = channel.saturating_sub((size - 1) / 2);
            let last = (channel + size / 2).min(channels - 1);
            let near = (first..=last).map(|c| f64::from(input[image + c * plane + index % plane]));
            let sum: f64 = near.map(|x| x * x).sum();
            f64::from(x) / (bias + alpha / size as f64 * sum).powf(beta)
        };
        input.iter().enumerate().map(normalised).collect()
    }

    #[test]
    fn lrn_is_what_it_is_defined_as() {
        for (image, size, [alpha, beta, bias]) in [
            ([7, 20, 30], 5, [1e-4, 0.75, 1.0]),
            ([96, 5, 5], 5, [1e-4, 0.75, 1.0]),
            ([3, 3, 3], 5, [0.02, 0.75, 2.0]),
            ([8, 1, 257], 4, [1e-3, 0.5, 1.0]),
            ([4, 16, 16], 1, [1.0, 0.75, 0.1]),
        ] {
            let attributes = [
                ("size", Int(size as i64)),
                ("alpha", Float(alpha)),
                ("beta", Float(beta)),
                ("bias", Float(bias)),
            ];
            let [input, _, ours] = run("LRN", image, &attributes);
            let expected = lrn(&input, image, size, [alpha, beta, bias].map(f64::from));
            for (value, expected) in ours.iter().zip(&expected) {
                let error = (f64::from(*value) - expected).abs();
                assert!(error <= 1e-5 * expected.abs(), "{image:?}: {value} {expected}");
            }
        }
    }
}
