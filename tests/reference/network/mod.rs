//! ONNX networks in `f64`, operator by operator as ONNX defines them
//! (<https://onnx.ai/onnx/operators/>), one image at a time.
//!
//! Slow, but for convolutions: those run row by row, so that whole networks can be
//! differentiated by finite differences.

mod node;
mod tensor;
mod window;

use std::collections::HashMap;
use std::f64::consts::PI;

use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use tract_onnx::pb::type_proto::Value::TensorType;
use tract_onnx::pb::{ModelProto, NodeProto, ValueInfoProto};

use node::Node;
pub use tensor::Tensor;
use window::Window;

/// A network.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<NodeProto>,
    constants: HashMap<String, Tensor>,
    input: String,
    shape: Vec<usize>,
    output: String,
    opset: i64,
}

impl Network {
    /// The network of an ONNX file.
    ///
    /// # Panics
    /// If it is not one graph with one input.
    #[must_use]
    pub fn new(proto: &ModelProto) -> Self {
        let graph = proto.graph.as_ref().expect("a graph");
        let constants: HashMap<_, _> = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.clone(), Tensor::from_proto(tensor)))
            .collect();
        let mut inputs = graph.input.iter().filter(|input| !constants.contains_key(&input.name));
        let (Some(input), None) = (inputs.next(), inputs.next()) else { panic!("one input") };
        Self {
            nodes: graph.node.clone(),
            input: input.name.clone(),
            shape: one_image(input),
            output: graph.output[0].name.clone(),
            opset: proto.opset_import[0].version,
            constants,
        }
    }

    /// Shape of the input: one image, [1, channels, height, width].
    #[must_use]
    pub fn input(&self) -> &[usize] {
        &self.shape
    }

    /// The first output.
    #[must_use]
    pub fn run(&self, input: &[f64]) -> Tensor {
        self.run_to(&self.output, input)
    }

    /// The value `name`, an output or any other.
    ///
    /// # Panics
    /// If there is none, or a node that it needs is not known here.
    #[must_use]
    pub fn run_to(&self, name: &str, input: &[f64]) -> Tensor {
        let input = Tensor::new(&self.shape, input.to_vec());
        let mut values = HashMap::from([(self.input.as_str(), input)]);
        for node in &self.nodes {
            let value = |name: &String| values.get(name.as_str()).or(self.constants.get(name));
            let inputs = node.input.iter().map(value).collect();
            let output = compute(&Node { proto: node, opset: self.opset, inputs });
            if node.output[0] == name {
                return output;
            }
            values.insert(&node.output[0], output);
        }
        panic!("no node makes {name}")
    }
}

/// The shape of an input whose batch is one image, whatever the file says.
fn one_image(input: &ValueInfoProto) -> Vec<usize> {
    let Some(TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        panic!("{} is no tensor", input.name)
    };
    let sizes = &tensor.shape.as_ref().expect("a shape").dim[1..];
    let size = |value: &Option<_>| match value {
        Some(DimValue(size)) => *size as usize,
        _ => panic!("the image of {} has no fixed size", input.name),
    };
    [1].into_iter().chain(sizes.iter().map(|dimension| size(&dimension.value))).collect()
}

/// The first output of a node.
fn compute(node: &Node<'_>) -> Tensor {
    if let Some(function) = element_wise(node) {
        return node.input(0).map(function);
    }
    if let Some(function) = of_two(&node.proto.op_type) {
        let zip = |sum: Tensor, index: usize| sum.zip(node.input(index), function);
        return (1..node.inputs.len()).fold(node.input(0).clone(), zip);
    }
    let input = || node.input(0);
    match node.proto.op_type.as_str() {
        "Constant" => Tensor::from_proto(node.tensor("value").expect("a constant's value")),
        "Conv" => {
            let (weights, groups) = (node.input(1), node.int("group", 1) as usize);
            let kernel = [weights.shape[2], weights.shape[3]];
            window(node, kernel).convolve(input(), weights, node.optional(2), groups)
        }
        "MaxPool" => window(node, kernel(node)).max_pool(input()),
        "AveragePool" => {
            let count_pads = node.int("count_include_pad", 0) == 1;
            window(node, kernel(node)).average_pool(input(), count_pads)
        }
        "GlobalAveragePool" => mean(input(), &[2, 3]),
        "GlobalMaxPool" => {
            let [images, channels] = [input().shape[0], input().shape[1]];
            let planes = input().values.chunks(input().values.len() / (images * channels));
            let values = planes.map(|plane| plane.iter().copied().fold(f64::MIN, f64::max));
            Tensor::new(&[images, channels, 1, 1], values.collect())
        }
        "LRN" => lrn(node),
        "BatchNormalization" => batch_normalization(node),
        "Gemm" => gemm(node),
        "MatMul" => matmul(input(), node.input(1)),
        "Softmax" => softmax(node, |value, sum| value.exp() / sum),
        "LogSoftmax" => softmax(node, |value, sum| value - sum.ln()),
        "ReduceSum" | "ReduceMean" => reduce(node),
        "Concat" => concat(node),
        "Slice" => slice(node),
        "Pad" => pad(node),
        "Transpose" => transpose(node),
        "Flatten" => {
            let axis = Node::axis(node.int("axis", 1), input().shape.len());
            let rows: usize = input().shape[..axis].iter().product();
            input().reshape(&[rows, input().values.len() / rows])
        }
        "Reshape" => reshape(node),
        "Squeeze" | "Unsqueeze" => squeeze(node),
        "Dropout" | "Identity" => input().clone(),
        other => panic!("operator {other} is not known here"),
    }
}

/// Operators that treat every element by itself, and alike.
fn element_wise(node: &Node<'_>) -> Option<Box<dyn Fn(f64) -> f64>> {
    let alpha = |default| node.float("alpha", default);
    Some(match node.proto.op_type.as_str() {
        "Relu" => Box::new(|x| x.max(0.0)),
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (alpha(1.673_263_2), node.float("gamma", 1.050_701));
            Box::new(move |x| gamma * if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Clip" => {
            let [low, high] = [("min", 1, f32::MIN), ("max", 2, f32::MAX)].map(
                |(name, index, default)| match node.optional(index) {
                    Some(bound) => bound.scalar(),
                    None => node.float(name, default),
                },
            );
            Box::new(move |x| x.max(low).min(high))
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), node.float("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Sigmoid" => Box::new(|x| 1.0 / (1.0 + (-x).exp())),
        "Softplus" => Box::new(|x| x.exp().ln_1p()),
        "Tanh" => Box::new(f64::tanh),
        "Erf" => Box::new(erf),
        "Exp" => Box::new(f64::exp),
        "Log" => Box::new(f64::ln),
        "Sqrt" => Box::new(f64::sqrt),
        "Abs" => Box::new(f64::abs),
        "Neg" => Box::new(|x| -x),
        "Reciprocal" => Box::new(f64::recip),
        _ => return None,
    })
}

/// Operators of two elements; those that take more tensors go on from left to right.
fn of_two(kind: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match kind {
        "Add" | "Sum" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Max" => f64::max,
        "Min" => f64::min,
        "Pow" => f64::powf,
        "PRelu" => |x, slope| if x < 0.0 { slope * x } else { x },
        _ => return None,
    })
}

/// erf x = 2 / √π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!! (Abramowitz and Stegun, 7.1.6).
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

fn kernel(node: &Node<'_>) -> [usize; 2] {
    let sizes = node.ints("kernel_shape").expect("a window");
    [sizes[0] as usize, sizes[1] as usize]
}

fn window(node: &Node<'_>, kernel: [usize; 2]) -> Window {
    let shape = &node.input(0).shape;
    Window::new(node, kernel, [shape[2], shape[3]])
}

fn mean(input: &Tensor, axes: &[usize]) -> Tensor {
    let count: usize = axes.iter().map(|&axis| input.shape[axis]).product();
    input.sum(axes).map(|sum| sum / count as f64)
}

fn reduce(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let rank = input.shape.len();
    let axes: Vec<usize> = match node.ints_or_input("axes", 1) {
        Some(axes) => axes.into_iter().map(|axis| Node::axis(axis, rank)).collect(),
        None => (0..rank).collect(),
    };
    let reduced = match node.proto.op_type.as_str() {
        "ReduceMean" => mean(input, &axes),
        _ => input.sum(&axes),
    };
    if node.int("keepdims", 1) == 1 {
        return reduced;
    }
    let kept = (0..rank).filter(|axis| !axes.contains(axis));
    reduced.reshape(&kept.map(|axis| input.shape[axis]).collect::<Vec<_>>())
}

/// x / (bias + alpha / size · Σ x²)^beta over the `size` channels around x's own.
fn lrn(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let size = node.int("size", 0) as usize;
    let [alpha, beta] = [node.float("alpha", 1e-4), node.float("beta", 0.75)];
    let bias = node.float("bias", 1.0);
    Tensor::generate(&input.shape, |index| {
        let &[image, channel, y, x] = index else { panic!("LRN of {:?}", input.shape) };
        let first = channel.saturating_sub((size - 1) / 2);
        let last = (channel + size / 2).min(input.shape[1] - 1);
        let squares = (first..=last).map(|near| input.at(&[image, near, y, x]).powi(2));
        let scale = bias + alpha / size as f64 * squares.sum::<f64>();
        input.at(index) / scale.powf(beta)
    })
}

/// (x − mean) / √(variance + epsilon) · scale + shift, each of a channel.
fn batch_normalization(node: &Node<'_>) -> Tensor {
    let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|index| &node.input(index).values);
    let epsilon = node.float("epsilon", 1e-5);
    let input = node.input(0);
    Tensor::generate(&input.shape, |index| {
        let channel = index[1];
        let deviation = (variance[channel] + epsilon).sqrt();
        (input.at(index) - mean[channel]) / deviation * scale[channel] + shift[channel]
    })
}

/// alpha · A′ B′ + beta · C.
fn gemm(node: &Node<'_>) -> Tensor {
    let [a, b] = [("transA", 0), ("transB", 1)].map(|(name, index)| {
        let matrix = node.input(index);
        let &[rows, columns] = &matrix.shape[..] else { panic!("Gemm of {:?}", matrix.shape) };
        if node.int(name, 0) == 0 {
            matrix.clone()
        } else {
            Tensor::generate(&[columns, rows], |index| matrix.at(&[index[1], index[0]]))
        }
    });
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let product = matmul(&a, &b).map(|value| alpha * value);
    match node.optional(2) {
        Some(c) => product.zip(c, |value, c| value + beta * c),
        None => product,
    }
}

/// The products of the matrices in the last two axes; the axes before them broadcast.
fn matmul(a: &Tensor, b: &Tensor) -> Tensor {
    let split = |tensor: &Tensor| {
        let (outer, inner) = tensor.shape.split_at(tensor.shape.len() - 2);
        (Tensor::generate(outer, |_| 0.0), inner[0], inner[1])
    };
    let ((a_outer, rows, depth), (b_outer, b_rows, columns)) = (split(a), split(b));
    assert_eq!(depth, b_rows, "MatMul of {:?} and {:?}", a.shape, b.shape);
    let mut shape = a_outer.zip(&b_outer, |a, _| a).shape;
    shape.extend([rows, columns]);
    let inner = shape.len() - 2;
    Tensor::generate(&shape, |index| {
        let (mut left, mut right) = (index.to_vec(), index.to_vec());
        let product = |k| {
            (left[inner + 1], right[inner]) = (k, k);
            a.at(&left) * b.at(&right)
        };
        (0..depth).map(product).sum()
    })
}

/// `function` of each value and of the sum of the exponentials: over one axis, or before
/// version 13 over that axis and all behind it.
fn softmax(node: &Node<'_>, function: fn(f64, f64) -> f64) -> Tensor {
    let input = node.input(0);
    let rank = input.shape.len();
    let over_all = node.opset < 13;
    let axis = Node::axis(node.int("axis", if over_all { 1 } else { -1 }), rank);
    let axes: Vec<usize> = (axis..if over_all { rank } else { axis + 1 }).collect();
    let sums = input.map(f64::exp).sum(&axes);
    input.zip(&sums, function)
}

fn concat(node: &Node<'_>) -> Tensor {
    let inputs: Vec<&Tensor> = (0..node.inputs.len()).map(|index| node.input(index)).collect();
    let mut shape = inputs[0].shape.clone();
    let axis = Node::axis(node.int("axis", 0), shape.len());
    shape[axis] = inputs.iter().map(|input| input.shape[axis]).sum();
    Tensor::generate(&shape, |index| {
        let mut index = index.to_vec();
        for input in &inputs {
            if index[axis] < input.shape[axis] {
                return input.at(&index);
            }
            index[axis] -= input.shape[axis];
        }
        unreachable!("the sizes add up")
    })
}

fn slice(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let starts = node.ints_or_input("starts", 1).expect("starts");
    let ends = node.ints_or_input("ends", 2).expect("ends");
    let axes = node.ints_or_input("axes", 3);
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.ints_or_input("steps", 4).unwrap_or_else(|| vec![1; starts.len()]);
    // Of every axis: the first position, and the way from one to the next.
    let mut walk = vec![(0, 1); input.shape.len()];
    let mut shape = input.shape.clone();
    for (((axis, start), end), step) in axes.into_iter().zip(starts).zip(ends).zip(steps) {
        assert!(step > 0, "Slice backwards is not known here");
        let axis = Node::axis(axis, shape.len());
        let size = shape[axis] as i64;
        let [start, end] = [start, end].map(|position| {
            (if position < 0 { position + size } else { position }).clamp(0, size) as usize
        });
        shape[axis] = end.saturating_sub(start).div_ceil(step as usize);
        walk[axis] = (start, step as usize);
    }
    Tensor::generate(&shape, |index| {
        let position =
            |(&position, &(start, step)): (&usize, &(usize, usize))| start + position * step;
        let index: Vec<usize> = index.iter().zip(&walk).map(position).collect();
        input.at(&index)
    })
}

fn pad(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let pads = node.ints_or_input("pads", 1).expect("pads");
    let value = node.optional(2).map_or(node.float("value", 0.0), Tensor::scalar);
    let mode = node.text("mode").unwrap_or("constant");
    let (before, after) = pads.split_at(input.shape.len());
    let sizes = input.shape.iter().zip(before).zip(after);
    let shape: Vec<usize> =
        sizes.map(|((&size, before), after)| (size as i64 + before + after) as usize).collect();
    Tensor::generate(&shape, |index| {
        let position = |((&position, before), &size): ((&usize, &i64), &usize)| {
            let (position, last) = (position as i64 - before, size as i64 - 1);
            let position = match mode {
                "constant" => position,
                "edge" => position.clamp(0, last),
                "reflect" => last - (last - position.abs()).abs(),
                other => panic!("Pad by {other} is not known here"),
            };
            (0..=last).contains(&position).then_some(position as usize)
        };
        let index: Option<Vec<usize>> =
            index.iter().zip(before).zip(&input.shape).map(position).collect();
        index.map_or(value, |index| input.at(&index))
    })
}

fn transpose(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let order: Vec<usize> = match node.ints("perm") {
        Some(order) => order.iter().map(|&axis| axis as usize).collect(),
        None => (0..input.shape.len()).rev().collect(),
    };
    let shape: Vec<usize> = order.iter().map(|&axis| input.shape[axis]).collect();
    let mut from = vec![0; order.len()];
    Tensor::generate(&shape, |index| {
        order.iter().zip(index).for_each(|(&axis, &position)| from[axis] = position);
        input.at(&from)
    })
}

/// 0 keeps a size, −1 takes what is left.
fn reshape(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let sizes = node.input(1).integers();
    let mut shape: Vec<usize> = sizes
        .iter()
        .enumerate()
        .map(|(axis, &size)| match size {
            0 => input.shape[axis],
            -1 => 1,
            size => size as usize,
        })
        .collect();
    if let Some(axis) = sizes.iter().position(|&size| size == -1) {
        shape[axis] = input.values.len() / shape.iter().product::<usize>();
    }
    input.reshape(&shape)
}

/// Takes axes of size one away (without `axes`: all), or puts them in.
fn squeeze(node: &Node<'_>) -> Tensor {
    let input = node.input(0);
    let (axes, rank) = (node.ints_or_input("axes", 1), input.shape.len());
    let shape: Vec<usize> = if node.proto.op_type == "Squeeze" {
        let is_taken = |axis: usize| match &axes {
            Some(axes) => axes.iter().any(|&a| Node::axis(a, rank) == axis),
            None => input.shape[axis] == 1,
        };
        (0..rank).filter(|&axis| !is_taken(axis)).map(|axis| input.shape[axis]).collect()
    } else {
        let axes = axes.expect("axes");
        let rank = rank + axes.len();
        let mut sizes = input.shape.iter().copied();
        let size = |axis| match axes.iter().any(|&a| Node::axis(a, rank) == axis) {
            true => 1,
            false => sizes.next().expect("a size for every old axis"),
        };
        (0..rank).map(size).collect()
    };
    input.reshape(&shape)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{
        Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor as TractTensor,
        tvec,
    };

    use super::*;
    use crate::data;
    use crate::onnx::Attribute::{self, Float, Int, Ints};
    use crate::onnx::{self, Batch, Builder};
    use crate::operators::{OPERATORS, sample};
    use crate::rng::SplitMix64;

    /// What one node makes of 1, 2, 3, … .
    fn of_count(kind: &str, image: [usize; 3], attributes: &[(&str, Attribute<'_>)]) -> Vec<f64> {
        let mut builder = Builder::new(Batch::Absent, image, 0);
        builder.node(kind, "node", &["data"], attributes);
        run(builder, image)
    }

    fn run(builder: Builder, image: [usize; 3]) -> Vec<f64> {
        let count: Vec<f64> = (1..=image.iter().product()).map(|i: usize| i as f64).collect();
        Network::new(&builder.finish("node", 13)).run(&count).values
    }

    #[test]
    fn convolutions_by_hand() {
        // 1 2 3
        // 4 5 6
        let image = [1, 2, 3];
        let mut builder = Builder::new(Batch::Absent, image, 0);
        builder.floats("w", &[2, 1, 1, 2], &[1.0, 10.0, 0.0, 1.0]);
        builder.floats("b", &[2], &[0.5, 0.0]);
        let attributes = [("pads", Ints(&[0, 1, 0, 0])), ("strides", Ints(&[1, 2]))];
        builder.node("Conv", "node", &["data", "w", "b"], &attributes);
        assert_eq!(run(builder, image), [10.5, 32.5, 40.5, 65.5, 1.0, 3.0, 4.0, 6.0]);
        // Two channels in two groups, dilated.
        let image = [2, 1, 3];
        let mut builder = Builder::new(Batch::Absent, image, 0);
        builder.floats("w", &[2, 1, 1, 2], &[1.0, 10.0, -1.0, 1.0]);
        let attributes = [("dilations", Ints(&[1, 2])), ("group", Int(2))];
        builder.node("Conv", "node", &["data", "w"], &attributes);
        assert_eq!(run(builder, image), [31.0, 2.0]);
    }

    #[test]
    fn pools_by_hand() {
        let kernel = [("kernel_shape", Ints(&[1, 2])), ("strides", Ints(&[1, 2]))];
        let ceil = [kernel[0], kernel[1], ("ceil_mode", Int(1))];
        let padded = [kernel[0], kernel[1], ("pads", Ints(&[0, 1, 0, 0]))];
        let counted = [padded[0], padded[1], padded[2], ("count_include_pad", Int(1))];
        let same = [kernel[0], kernel[1], ("auto_pad", Attribute::Text("SAME_LOWER"))];
        let image = [1, 1, 5];
        assert_eq!(of_count("MaxPool", image, &kernel), [2.0, 4.0]);
        assert_eq!(of_count("MaxPool", image, &ceil), [2.0, 4.0, 5.0]);
        assert_eq!(of_count("MaxPool", image, &same), [1.0, 3.0, 5.0]);
        assert_eq!(of_count("AveragePool", image, &ceil), [1.5, 3.5, 5.0]);
        assert_eq!(of_count("AveragePool", image, &padded), [1.0, 2.5, 4.5]);
        assert_eq!(of_count("AveragePool", image, &counted), [0.5, 2.5, 4.5]);
        assert_eq!(of_count("GlobalAveragePool", [2, 1, 2], &[]), [1.5, 3.5]);
    }

    #[test]
    fn normalisations_by_hand() {
        let attributes =
            [("size", Int(2)), ("alpha", Float(4.0)), ("beta", Float(0.5)), ("bias", Float(-1.0))];
        // 1 / √(−1 + 2 (1 + 4)), 2 / √(−1 + 2 (4 + 9)), 3 / √(−1 + 2 · 9).
        let expected = [1.0 / 3.0, 0.4, 3.0 / 17_f64.sqrt()];
        assert_eq!(of_count("LRN", [3, 1, 1], &attributes), expected);
        let softmax = of_count("Softmax", [2, 1, 2], &[("axis", Int(1))]);
        let expected = [-2.0, -2.0, 2.0, 2.0].map(|x: f64| 1.0 / (1.0 + (-x).exp()));
        assert!(softmax.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{softmax:?}");
        for (x, expected) in [(0.5, 0.520_499_877_813_046_5), (-2.0, -0.995_322_265_018_952_7)] {
            assert!((erf(x) - expected).abs() < 1e-15, "{x}: {}", erf(x));
        }
    }

    /// What tract computes, in f32.
    fn of_tract(proto: &ModelProto, shape: &[usize], input: &[f32]) -> Vec<f32> {
        let onnx = tract_onnx::onnx().with_ignore_value_info(true);
        let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
        let model = onnx.model_for_proto_model(proto);
        let model = model.and_then(|model| model.with_input_fact(0, fact));
        let plan = model.and_then(|model| model.into_optimized()?.into_runnable());
        let input = TractTensor::from_shape(shape, input).expect("a matching length");
        let outputs = plan.and_then(|plan| plan.run(tvec!(input.into())));
        let outputs = outputs.unwrap_or_else(|error| panic!("{error:?}"));
        outputs[0].to_plain_array_view::<f32>().expect("floats").iter().copied().collect()
    }

    /// Checks a network against tract over an image of random numbers from −`size` to `size`.
    fn compare(proto: &ModelProto, size: f32, what: &str) {
        let network = Network::new(proto);
        let mut random = SplitMix64 { x: 1 };
        let unit = |_| (random.draw() >> 40) as f32 / (1 << 24) as f32;
        let count = network.input().iter().product();
        let input: Vec<f32> = (0..count).map(unit).map(|u| (u * 2.0 - 1.0) * size).collect();
        let theirs = of_tract(proto, network.input(), &input);
        let input: Vec<f64> = input.into_iter().map(f64::from).collect();
        let ours = network.run(&input).values;
        assert_eq!(ours.len(), theirs.len(), "{what}");
        for (our, their) in ours.iter().zip(&theirs) {
            let error = (our - f64::from(*their)).abs();
            assert!(error <= 1e-4 * our.abs().max(1.0), "{ours:?} {theirs:?} {what}");
        }
    }

    /// What tract 0.23 gets wrong by itself: a constant minus a convolution, a part of a
    /// convolution, and padding by copies where a value to pad with is given too.
    const WRONG: [&str; 3] = ["Sub", "Slice", "Pad"];

    #[test]
    fn every_operator_is_as_tract_computes_it() {
        for (name, make) in OPERATORS.iter().filter(|(name, _)| !WRONG.contains(name)) {
            for seed in 0..20 {
                let sample = sample(*make, seed);
                compare(&sample.proto, 1.0, &format!("{name}, seed {seed}: {}", sample.nodes));
            }
        }
    }

    #[test]
    fn whole_networks_are_as_tract_computes_them() {
        for (name, proto) in [
            ("AlexNet", onnx::alexnet(16, 1)),
            ("CaffeNet", onnx::zoo_caffenet(16, 2)),
            ("residual", onnx::residual(3)),
            ("depthwise", onnx::depthwise(4)),
            ("gated", onnx::gated(5)),
        ] {
            compare(&proto, 1.0, name);
        }
        let Some(file) = data::external("SqueezeNet", "models/squeezenet-v1.0.onnx") else {
            return;
        };
        compare(&onnx::read(&file), 120.0, "SqueezeNet");
    }
}
