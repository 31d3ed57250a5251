//! Operators that take the place of tract's, where those are slow or not repeatable.

mod lrn;
mod max_pool;
mod softmax;
mod vector;

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;

/// Makes `framework` read networks with the operators here.
pub(super) fn register(framework: &mut Onnx) {
    framework.op_register.insert("LRN", lrn::read);
}

/// Replaces tract's operators in a decluttered network.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let op = softmax::replacement(model, node);
        let Some(op) = op.or_else(|| max_pool::replacement(model, node)) else { continue };
        let patch = TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?;
        patch.apply(model)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reference::onnx::Attribute::{Float, Int, Ints};
    use reference::onnx::{Attribute, Batch, Builder};
    use reference::rng::SplitMix64;
    use tract_onnx::prelude::IntoRunnable;

    use super::*;

    /// Two images of random numbers, and what one node makes of them: tract's own
    /// operator, and what takes its place here.
    fn run(kind: &str, image: [usize; 3], attributes: &[(&str, Attribute<'_>)]) -> [Vec<f32>; 3] {
        let shape = [2, image[0], image[1], image[2]];
        let mut random = SplitMix64 { x: 5 };
        let unit = |_| (random.draw() >> 40) as f32 / (1 << 24) as f32;
        let input: Vec<f32> =
            (0..shape.iter().product()).map(unit).map(|u| u * 200.0 - 100.0).collect();
        let mut builder = Builder::new(Batch::Fixed(2), image, 0);
        builder.node(kind, "node", &["data"], attributes);
        let proto = builder.finish("node", 13);
        let outputs = [false, true].map(|is_replaced| {
            let mut framework = tract_onnx::onnx();
            if is_replaced {
                register(&mut framework);
            }
            let model = framework.model_for_proto_model(&proto).and_then(|m| m.into_typed());
            let mut model = model.expect("a valid network");
            model.declutter().expect("a valid network");
            let before = format!("{model:?}");
            if is_replaced {
                replace(&mut model).expect("a valid network");
                assert!(kind == "LRN" || format!("{model:?}") != before, "{kind} was not replaced");
            }
            let input = Tensor::from_shape(&shape, &input).expect("a matching length");
            let plan = model.into_optimized().and_then(|m| m.into_runnable());
            let outputs = plan.and_then(|plan| plan.run(tvec!(input.into())));
            let outputs = outputs.expect("a valid network");
            let view = outputs[0].to_plain_array_view::<f32>().expect("floats");
            view.iter().copied().collect()
        });
        let [theirs, ours] = outputs;
        [input, theirs, ours]
    }

    #[test]
    fn max_pool_is_the_same() {
        let kinds: [(&[i64], &[i64], &[i64], &[i64], i64); 7] = [
            // kernel, strides, pads, dilations, ceil_mode
            (&[3, 3], &[2, 2], &[0; 4], &[1, 1], 0),
            (&[3, 3], &[2, 2], &[0, 0, 1, 1], &[1, 1], 0),
            (&[3, 3], &[2, 2], &[1; 4], &[1, 1], 1),
            (&[2, 2], &[2, 2], &[0; 4], &[1, 1], 1),
            (&[1, 5], &[3, 1], &[0, 2, 0, 2], &[1, 1], 0),
            (&[5, 2], &[1, 4], &[2, 0, 1, 1], &[1, 2], 0),
            (&[2, 3], &[1, 1], &[0; 4], &[3, 2], 0),
        ];
        for image in [[3, 11, 13], [1, 8, 8], [5, 7, 40]] {
            for (kernel, strides, pads, dilations, ceil) in kinds {
                let attributes = [
                    ("kernel_shape", Ints(kernel)),
                    ("strides", Ints(strides)),
                    ("pads", Ints(pads)),
                    ("dilations", Ints(dilations)),
                    ("ceil_mode", Int(ceil)),
                ];
                let [_, theirs, ours] = run("MaxPool", image, &attributes);
                assert_eq!(theirs, ours, "{image:?} {attributes:?}");
            }
        }
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
