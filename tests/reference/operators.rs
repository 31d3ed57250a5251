//! Small random networks with one operator each in their middle, for what must hold of every
//! operator in all its forms.

use tract_onnx::pb::ModelProto;

use crate::network::Network;
use crate::onnx::Attribute::{self, Float, Int, Ints, Text};
use crate::onnx::{Batch, Builder};
use crate::rng::SplitMix64;

/// Adds an operator, with attributes and constants drawn, to a network that is being made;
/// returns the name of what it computes.
type Make = fn(&mut Draft) -> String;

/// The operators, by what they are called in failures.
pub const OPERATORS: &[(&str, Make)] = &[
    ("Conv", convolution),
    ("depthwise Conv", depthwise),
    ("Conv after Concat", concat_and_convolution),
    ("Gemm", gemm),
    ("MatMul", matmul),
    ("MatMul of two", matmul_of_two),
    ("Relu", |draft| draft.activation("Relu", &[])),
    ("LeakyRelu", |draft| draft.activation("LeakyRelu", &[("alpha", Float(0.2))])),
    ("PRelu", prelu),
    ("Clip", clip),
    ("Sigmoid", |draft| draft.activation("Sigmoid", &[])),
    ("HardSigmoid", |draft| draft.activation("HardSigmoid", &[("alpha", Float(0.5))])),
    ("HardSwish", |draft| draft.activation("HardSwish", &[])),
    ("Tanh", |draft| draft.activation("Tanh", &[])),
    ("Elu", |draft| draft.activation("Elu", &[("alpha", Float(0.7))])),
    ("Selu", |draft| draft.activation("Selu", &[])),
    ("Softplus", |draft| draft.activation("Softplus", &[])),
    ("Erf", |draft| draft.activation("Erf", &[])),
    ("Exp", |draft| draft.activation("Exp", &[])),
    ("Abs", |draft| draft.activation("Abs", &[])),
    ("Neg", |draft| draft.activation("Neg", &[])),
    ("Log", |draft| draft.of_positive("Log")),
    ("Sqrt", |draft| draft.of_positive("Sqrt")),
    ("Reciprocal", |draft| draft.of_positive("Reciprocal")),
    ("Pow", pow),
    ("Add", |draft| draft.broadcast("Add")),
    ("Sub", |draft| draft.broadcast("Sub")),
    ("Mul", |draft| draft.broadcast("Mul")),
    ("Div", |draft| draft.broadcast("Div")),
    ("Max", |draft| draft.broadcast("Max")),
    ("Min", |draft| draft.broadcast("Min")),
    ("Sum", sum),
    ("x + x·y", product_and_sum),
    ("MaxPool", |draft| draft.pool("MaxPool")),
    ("AveragePool", |draft| draft.pool("AveragePool")),
    ("GlobalAveragePool", |draft| draft.activation("GlobalAveragePool", &[])),
    ("GlobalMaxPool", |draft| draft.activation("GlobalMaxPool", &[])),
    ("LRN", lrn),
    ("BatchNormalization", batch_normalization),
    ("Concat", concat),
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("Squeeze, Unsqueeze", squeeze),
    ("Transpose", transpose),
    ("Dropout", |draft| draft.activation("Dropout", &[])),
    ("Identity", |draft| draft.activation("Identity", &[])),
    ("Pad", pad),
    ("Slice", slice),
    ("ReduceMean", |draft| draft.reduce("ReduceMean")),
    ("ReduceSum", |draft| draft.reduce("ReduceSum")),
    ("Softmax", |draft| draft.softmax("Softmax")),
    ("LogSoftmax", |draft| draft.softmax("LogSoftmax")),
];

/// A small network.
#[derive(Debug)]
pub struct Sample {
    /// An image of one or three channels; three values `logits`; and often what makes
    /// probabilities of them.
    pub proto: ModelProto,
    /// Its nodes, for failures.
    pub nodes: String,
}

/// The network of that seed around the operator that `make` adds.
#[must_use]
pub fn sample(make: fn(&mut Draft) -> String, seed: u64) -> Sample {
    let mut random = SplitMix64 { x: seed };
    let mut pick = |options: &[usize]| options[random.draw() as usize % options.len()];
    let image = [pick(&[1, 3]), pick(&[5, 6, 7, 8]), pick(&[5, 6, 7, 9])];
    let opset = pick(&[9, 13]) as i64;
    let builder = Builder::new(Batch::Symbolic, image, seed);
    let mut draft = Draft { builder, image, opset, random, count: 0, nodes: String::new() };
    let mut last = make(&mut draft);
    if draft.shape(&last).len() != 2 || draft.shape(&last)[0] != 1 {
        last = draft.add("Flatten", &[&last], &[("axis", Int(0))]);
    }
    let width = draft.shape(&last)[1];
    draft.builder.layer("Gemm", "logits", &last, &[3, width], &[("transB", Int(1))]);
    let mut output = "logits".to_owned();
    if let Some(kind) = draft.pick(&[None, Some("Softmax"), Some("LogSoftmax"), Some("Sigmoid")]) {
        let attributes = [("axis", Int(1))];
        let attributes = if kind == "Sigmoid" { &[] } else { &attributes[..] };
        output = draft.add(kind, &["logits"], attributes);
    }
    Sample { proto: draft.builder.finish(&output, opset), nodes: draft.nodes }
}

/// A network in the making, and what it draws at random.
#[derive(Debug)]
pub struct Draft {
    builder: Builder,
    /// Channels, height, width.
    image: [usize; 3],
    opset: i64,
    random: SplitMix64,
    count: usize,
    nodes: String,
}

impl Draft {
    fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.random.draw() as usize % options.len()]
    }

    /// A name that nothing has yet.
    fn name(&mut self) -> String {
        self.count += 1;
        format!("value{}", self.count)
    }

    /// Adds a node and returns its output.
    fn add(&mut self, kind: &str, inputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> String {
        let name = self.name();
        self.builder.node(kind, &name, inputs, attributes);
        self.nodes += &format!("\n{name} = {kind}({}) {attributes:?}", inputs.join(", "));
        name
    }

    /// Adds a constant of random numbers.
    fn constant(&mut self, dims: &[usize], deviation: f32) -> String {
        let name = self.name();
        self.builder.random(&name, dims, deviation);
        self.nodes += &format!("\n{name} = random {dims:?}");
        name
    }

    /// Adds a constant of random numbers from 0.5 to 1.5.
    fn positive_constant(&mut self, dims: &[usize]) -> String {
        let name = self.name();
        self.builder.positive(&name, dims);
        self.nodes += &format!("\n{name} = positive {dims:?}");
        name
    }

    /// Adds a constant that is one number.
    fn scalar(&mut self, value: f32) -> String {
        let name = self.name();
        self.builder.floats(&name, &[], &[value]);
        self.nodes += &format!("\n{name} = {value}");
        name
    }

    /// Adds a constant of integers.
    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.name();
        self.builder.integers(&name, values);
        self.nodes += &format!("\n{name} = {values:?}");
        name
    }

    /// The shape of a value: that which the reference makes.
    fn shape(&self, value: &str) -> Vec<usize> {
        if value == "data" {
            return [1].into_iter().chain(self.image).collect();
        }
        let proto = self.builder.clone().finish(value, self.opset);
        let zeros = vec![0.0; self.image.iter().product()];
        Network::new(&proto).run(&zeros).shape
    }

    /// Adds a convolution of the image that keeps its height and width.
    fn features(&mut self, channels: usize) -> String {
        let name = self.name();
        let dims = [channels, self.image[0], 3, 3];
        self.builder.layer("Conv", &name, "data", &dims, &[("pads", Ints(&[1; 4]))]);
        self.nodes += &format!("\n{name} = features {dims:?}");
        name
    }

    /// The image, or a convolution of it.
    fn some(&mut self) -> String {
        let channels = self.pick(&[2, 3, 4]);
        if self.pick(&[false, true]) { self.features(channels) } else { "data".to_owned() }
    }

    /// Numbers that are above 0.3.
    fn positive(&mut self) -> String {
        let value = self.some();
        let square = self.add("Mul", &[&value, &value], &[]);
        let least = self.scalar(0.3);
        self.add("Add", &[&square, &least], &[])
    }

    fn activation(&mut self, kind: &str, attributes: &[(&str, Attribute<'_>)]) -> String {
        let input = self.some();
        self.add(kind, &[&input], attributes)
    }

    fn of_positive(&mut self, kind: &str) -> String {
        let input = self.positive();
        self.add(kind, &[&input], &[])
    }

    /// An operator of two inputs, either of which may be a constant or the smaller one.
    fn broadcast(&mut self, kind: &str) -> String {
        let channels = self.pick(&[2, 3, 4]);
        let [_, height, width] = self.image;
        let large = self.features(channels);
        let form = self.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let shape = match form {
            0 => vec![channels, 1, 1],
            1 => vec![1, channels, 1, 1],
            2 => vec![width],
            3 => vec![height, 1],
            4 => vec![],
            _ => vec![1, channels, height, width],
        };
        let mut other = match form {
            6 => self.features(channels),
            7 => self.features(1),
            8 => {
                let features = self.features(channels);
                self.add("GlobalAveragePool", &[&features], &[])
            }
            9 => {
                let features = self.features(channels);
                self.add("ReduceMean", &[&features], &[("axes", Ints(&[2])), ("keepdims", Int(1))])
            }
            _ if kind == "Div" => self.positive_constant(&shape),
            _ => self.constant(&shape, 0.7),
        };
        let mut large = large;
        let is_swapped = self.pick(&[false, true]);
        if kind == "Div" {
            // What divides is kept away from 0.
            let divisor = if is_swapped { &mut large } else { &mut other };
            let gate = self.add("Sigmoid", &[divisor], &[]);
            let least = self.scalar(0.5);
            *divisor = self.add("Add", &[&gate, &least], &[]);
        }
        let inputs: [&str; 2] = if is_swapped { [&other, &large] } else { [&large, &other] };
        self.add(kind, &inputs, &[])
    }

    fn pool(&mut self, kind: &str) -> String {
        let input = self.some();
        let kernel = [self.pick(&[1, 2, 3]), self.pick(&[1, 2, 3])];
        let strides = [self.pick(&[1, 2, 3]), self.pick(&[1, 2, 3])];
        let [top, left, bottom, right] =
            [0, 1, 2, 3].map(|side: usize| self.pick(&[0, kernel[side % 2] - 1]));
        let ceil = self.pick(&[0, 1]);
        let (pads, dilations) = ([top, left, bottom, right], [self.pick(&[1, 2]), 1]);
        let own = match kind {
            "MaxPool" => ("dilations", Ints(&dilations)),
            _ => ("count_include_pad", Int(self.pick(&[0, 1]))),
        };
        let (kernel, strides) = (("kernel_shape", Ints(&kernel)), ("strides", Ints(&strides)));
        let padding = match self.pick(&["pads", "pads", "SAME_UPPER", "SAME_LOWER"]) {
            "pads" => vec![("pads", Ints(&pads)), ("ceil_mode", Int(ceil)), own],
            side => vec![("auto_pad", Text(side))],
        };
        self.add(kind, &[&input], &[&[kernel, strides], &padding[..]].concat())
    }

    fn reduce(&mut self, kind: &str) -> String {
        let input = self.some();
        let axes: &[i64] = self.pick(&[&[2, 3], &[1], &[-1], &[2], &[1, 2, 3]]);
        let keep = ("keepdims", Int(self.pick(&[0, 1])));
        if kind == "ReduceSum" && self.opset >= 13 {
            let axes = self.integers(axes);
            self.add(kind, &[&input, &axes], &[keep])
        } else {
            self.add(kind, &[&input], &[("axes", Ints(axes)), keep])
        }
    }

    fn softmax(&mut self, kind: &str) -> String {
        // Over one channel alone it is 1, and flat.
        let channels = self.pick(&[2, 3, 4]);
        let input = self.features(channels);
        let axis = self.pick(&[Some(1), Some(2), Some(3), None]);
        let attribute = axis.map(|axis| ("axis", Int(axis)));
        self.add(kind, &[&input], attribute.as_slice())
    }

    /// Adds a convolution of any kernel of up to 3 × 3.
    fn convolve(&mut self, input: &str, outputs: usize, groups: usize) -> String {
        let inputs = self.shape(input)[1];
        let kernel = [self.pick(&[1, 2, 3]), self.pick(&[1, 2, 3])];
        let name = self.name();
        let strides = [self.pick(&[1, 1, 2, 3]), self.pick(&[1, 1, 2, 3])];
        let dilations = [self.pick(&[1, 1, 2]), self.pick(&[1, 1, 2])];
        let pads = [0; 4].map(|_| self.pick(&[0, 0, 1, 2]));
        let padding = match self.pick(&["pads", "pads", "pads", "SAME_UPPER", "SAME_LOWER"]) {
            "pads" => ("pads", Ints(&pads)),
            side => ("auto_pad", Text(side)),
        };
        let attributes = [
            ("group", Int(groups as i64)),
            ("strides", Ints(&strides)),
            ("dilations", Ints(&dilations)),
            padding,
        ];
        let dims = [outputs, inputs / groups, kernel[0], kernel[1]];
        self.builder.layer("Conv", &name, input, &dims, &attributes);
        self.nodes += &format!("\n{name} = Conv({input}) {dims:?} {attributes:?}");
        name
    }
}

fn convolution(draft: &mut Draft) -> String {
    let groups = draft.pick(&[1, 1, 2, 3]);
    let channels = groups * draft.pick(&[1, 2, 3]);
    let features = draft.features(channels);
    let (input, groups) =
        if draft.pick(&[false, true]) { (features, groups) } else { ("data".to_owned(), 1) };
    let outputs = groups * draft.pick(&[1, 2, 3]);
    draft.convolve(&input, outputs, groups)
}

fn depthwise(draft: &mut Draft) -> String {
    let channels = draft.pick(&[2, 3, 5]);
    let features = draft.features(channels);
    let multiplier = draft.pick(&[1, 1, 2]);
    draft.convolve(&features, multiplier * channels, channels)
}

fn concat_and_convolution(draft: &mut Draft) -> String {
    let branches = [draft.features(2), draft.features(3), draft.features(1)];
    let joined = draft.add("Concat", &branches.each_ref().map(String::as_str), &[("axis", Int(1))]);
    let groups = draft.pick(&[1, 1, 2, 3]);
    draft.convolve(&joined, 6, groups)
}

fn gemm(draft: &mut Draft) -> String {
    let input = draft.some();
    let depth: usize = draft.shape(&input).iter().product();
    let is_column = draft.pick(&[false, true]);
    let is_transposed = draft.pick(&[false, true]);
    let rows = if is_column { [depth as i64, 1] } else { [1, depth as i64] };
    let rows = draft.integers(&rows);
    let flat = draft.add("Reshape", &[&input, &rows], &[]);
    let dims = if is_transposed { [7, depth] } else { [depth, 7] };
    let weights = draft.constant(&dims, (1.0 / depth as f32).sqrt());
    let attributes = [
        ("transA", Int(i64::from(is_column))),
        ("transB", Int(i64::from(is_transposed))),
        ("alpha", Float(draft.pick(&[1.0, 1.7]))),
        ("beta", Float(draft.pick(&[1.0, -0.4]))),
    ];
    let mut inputs = vec![flat, weights];
    if let Some(dims) = draft.pick::<Option<&[usize]>>(&[None, Some(&[7]), Some(&[1, 7])]) {
        inputs.push(draft.constant(dims, 0.5));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let product = draft.add("Gemm", &inputs, &attributes);
    draft.add("Tanh", &[&product], &[])
}

fn matmul(draft: &mut Draft) -> String {
    let input = draft.some();
    let shape = draft.shape(&input);
    let (height, width) = (shape[2], shape[3]);
    match draft.pick(&[0, 1, 2]) {
        0 => {
            let weights = draft.constant(&[width, 4], 0.5);
            draft.add("MatMul", &[&input, &weights], &[])
        }
        1 => {
            let weights = draft.constant(&[3, height], 0.5);
            draft.add("MatMul", &[&weights, &input], &[])
        }
        _ => {
            let flat = draft.add("Flatten", &[&input], &[]);
            let weights = draft.constant(&[shape[1] * height * width, 5], 0.2);
            draft.add("MatMul", &[&flat, &weights], &[])
        }
    }
}

fn matmul_of_two(draft: &mut Draft) -> String {
    let [left, right] = [draft.features(2), draft.features(2)];
    let right = draft.add("Transpose", &[&right], &[("perm", Ints(&[0, 1, 3, 2]))]);
    draft.add("MatMul", &[&left, &right], &[])
}

fn prelu(draft: &mut Draft) -> String {
    let input = draft.some();
    let channels = draft.shape(&input)[1];
    let count = draft.pick(&[channels, 1]);
    let slopes = draft.constant(&[count, 1, 1], 0.3);
    draft.add("PRelu", &[&input, &slopes], &[])
}

fn clip(draft: &mut Draft) -> String {
    let input = draft.some();
    if draft.opset < 11 {
        let bounds = [("min", Float(-0.2)), ("max", Float(0.6))];
        let bounds = draft.pick(&[&bounds[..], &bounds[..1], &bounds[1..]]);
        return draft.add("Clip", &[&input], bounds);
    }
    let [low, high] = [draft.scalar(-0.2), draft.scalar(0.6)];
    let inputs = [input.as_str(), &low, &high];
    let only_high = [input.as_str(), "", &high];
    let inputs = draft.pick(&[&inputs[..], &inputs[..2], &only_high]);
    draft.add("Clip", inputs, &[])
}

fn pow(draft: &mut Draft) -> String {
    let base = draft.positive();
    let exponent = draft.pick(&[2.0, 3.0, 0.5, -1.0, 1.7]);
    let exponent = draft.scalar(exponent);
    draft.add("Pow", &[&base, &exponent], &[])
}

fn sum(draft: &mut Draft) -> String {
    let [a, b, c] = [draft.features(3), draft.features(3), draft.features(1)];
    let gate = draft.add("Tanh", &[&b], &[]);
    draft.add("Sum", &[&a, &gate, &c], &[])
}

fn product_and_sum(draft: &mut Draft) -> String {
    let [x, y] = [draft.features(3), draft.features(3)];
    let product = draft.add("Mul", &[&x, &y], &[]);
    draft.add("Add", &[&x, &product], &[])
}

fn lrn(draft: &mut Draft) -> String {
    let channels = draft.pick(&[1, 3, 7]);
    let input = draft.features(channels);
    let attributes = [
        ("size", Int(draft.pick(&[1, 3, 4, 5]))),
        ("alpha", Float(draft.pick(&[0.5, 2.0]))),
        ("beta", Float(draft.pick(&[0.75, 0.5, 1.3]))),
        ("bias", Float(draft.pick(&[1.0, 2.0]))),
    ];
    draft.add("LRN", &[&input], &attributes)
}

fn batch_normalization(draft: &mut Draft) -> String {
    let input = draft.some();
    let gate = draft.pick(&[None, Some("Tanh")]);
    // Not always right behind a convolution, with which it could be merged.
    let input = gate.map_or(input.clone(), |gate| draft.add(gate, &[&input], &[]));
    let (channels, name) = (draft.shape(&input)[1], draft.name());
    draft.builder.batch_normalization(&name, &input, channels);
    draft.nodes += &format!("\n{name} = BatchNormalization({input})");
    name
}

fn concat(draft: &mut Draft) -> String {
    let channels = draft.pick(&[1, 2, 3]);
    let [a, b] = [draft.features(channels), draft.features(channels)];
    let gate = draft.add("Tanh", &[&b], &[]);
    let constant = draft.shape(&a);
    let constant = draft.constant(&constant, 1.0);
    let inputs = [a.as_str(), &gate, &constant, &a];
    let inputs = draft.pick(&[&inputs[..2], &inputs[..3], &inputs[..]]);
    let axis = draft.pick(&[1, 2, 3, -1]);
    let joined = draft.add("Concat", inputs, &[("axis", Int(axis))]);
    draft.add("Sigmoid", &[&joined], &[])
}

fn flatten(draft: &mut Draft) -> String {
    let axis = draft.pick(&[0, 1, 2, 3, -1]);
    let flat = draft.activation("Flatten", &[("axis", Int(axis))]);
    draft.add("Tanh", &[&flat], &[])
}

fn reshape(draft: &mut Draft) -> String {
    let input = draft.some();
    let shape: &[i64] = draft.pick(&[&[0, -1], &[1, 0, -1], &[-1], &[0, 0, -1, 1]]);
    let shape = draft.integers(shape);
    let shaped = draft.add("Reshape", &[&input, &shape], &[]);
    draft.add("Tanh", &[&shaped], &[])
}

fn squeeze(draft: &mut Draft) -> String {
    let features = draft.features(1);
    let mut value = features;
    for (kind, axes) in [("Squeeze", [0, 1]), ("Unsqueeze", [1, -1])] {
        value = if draft.opset < 13 {
            draft.add(kind, &[&value], &[("axes", Ints(&axes))])
        } else {
            let axes = draft.integers(&axes);
            draft.add(kind, &[&value, &axes], &[])
        };
        value = draft.add("Tanh", &[&value], &[]);
    }
    value
}

fn transpose(draft: &mut Draft) -> String {
    let input = draft.some();
    let order: &[i64] = draft.pick(&[&[0, 2, 3, 1], &[0, 3, 1, 2], &[0, 1, 3, 2], &[2, 0, 3, 1]]);
    let moved = draft.add("Transpose", &[&input], &[("perm", Ints(order))]);
    draft.add("Tanh", &[&moved], &[])
}

fn pad(draft: &mut Draft) -> String {
    let input = draft.some();
    let pads: &[i64; 8] = draft.pick(&[&[0, 0, 1, 2, 0, 0, 3, 0], &[0, 1, 0, 0, 0, 2, 1, 1]]);
    let mode = draft.pick(&["constant", "constant", "reflect", "edge"]);
    // Reflection needs more values than it adds.
    let pads = if mode == "reflect" { &[0, 0, 1, 2, 0, 0, 2, 0] } else { pads };
    let padded = if draft.opset < 11 {
        let attributes = [("pads", Ints(pads)), ("mode", Text(mode)), ("value", Float(0.3))];
        draft.add("Pad", &[&input], &attributes)
    } else {
        let [pads, value] = [draft.integers(pads), draft.scalar(0.3)];
        draft.add("Pad", &[&input, &pads, &value], &[("mode", Text(mode))])
    };
    draft.add("Tanh", &[&padded], &[])
}

fn slice(draft: &mut Draft) -> String {
    let input = draft.some();
    let [starts, ends, axes] = [[1, -4], [-1, 100], [2, 3]];
    let sliced = if draft.opset < 10 {
        let [starts, ends, axes] = [&starts, &ends, &axes].map(|values| Ints(values));
        draft.add("Slice", &[&input], &[("starts", starts), ("ends", ends), ("axes", axes)])
    } else {
        let steps = draft.pick(&[[1, 1], [2, 3], [1, 2]]);
        let values = [starts, ends, axes, steps].map(|values| draft.integers(&values));
        let [starts, ends, axes, steps] = values.each_ref().map(String::as_str);
        draft.add("Slice", &[&input, starts, ends, axes, steps], &[])
    };
    draft.add("Tanh", &[&sliced], &[])
}
