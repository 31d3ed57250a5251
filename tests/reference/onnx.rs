//! ONNX files made in memory: AlexNet-shaped networks with seeded random weights, and
//! whatever else a test needs.

use std::path::Path;

use tract_onnx::pb::attribute_proto::AttributeType;
pub use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use tract_onnx::prelude::Framework;

use crate::rng::SplitMix64;
use Attribute::{Float, Int, Ints, Text};

/// Reads a file.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn read(path: &Path) -> ModelProto {
    let proto = tract_onnx::onnx().proto_model_for_path(path);
    proto.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The batch that a file says it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// A number.
    Fixed(i64),
    /// A name.
    Symbolic,
    /// Nothing.
    Absent,
}

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(&'a [i64]),
    /// A number.
    Float(f32),
    /// A word.
    Text(&'a str),
}

/// A network in the making.
#[derive(Clone, Debug)]
pub struct Builder {
    graph: GraphProto,
    random: SplitMix64,
}

impl Builder {
    /// A network with the input `data`: float, `batch` images of channels, height, width.
    #[must_use]
    pub fn new(batch: Batch, image: [usize; 3], seed: u64) -> Self {
        let batch = match batch {
            Batch::Fixed(size) => Some(Value::DimValue(size)),
            Batch::Symbolic => Some(Value::DimParam("N".to_owned())),
            Batch::Absent => None,
        };
        let sizes = image.map(|size| Some(Value::DimValue(size as i64)));
        let mut builder = Self { graph: GraphProto::default(), random: SplitMix64 { x: seed } };
        builder.input("data", DataType::Float, [batch].into_iter().chain(sizes).collect());
        builder
    }

    /// Another input, of these dimensions.
    pub fn input(&mut self, name: &str, kind: DataType, dimensions: Vec<Option<Value>>) {
        let dim = dimensions.into_iter().map(|value| Dimension { value, ..Dimension::default() });
        let tensor = type_proto::Tensor {
            elem_type: kind as i32,
            shape: Some(TensorShapeProto { dim: dim.collect() }),
        };
        let value = Some(type_proto::Value::TensorType(tensor));
        self.graph.input.push(ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto { value, ..TypeProto::default() }),
            ..ValueInfoProto::default()
        });
    }

    /// A node; its output has its name.
    pub fn node(
        &mut self,
        kind: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let attribute = attributes.iter().map(|&(name, value)| {
            let attribute = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
            match value {
                Int(i) => AttributeProto { i, r#type: AttributeType::Int as i32, ..attribute },
                Ints(ints) => AttributeProto {
                    ints: ints.to_vec(),
                    r#type: AttributeType::Ints as i32,
                    ..attribute
                },
                Float(f) => AttributeProto { f, r#type: AttributeType::Float as i32, ..attribute },
                Text(text) => AttributeProto {
                    s: text.as_bytes().to_vec(),
                    r#type: AttributeType::String as i32,
                    ..attribute
                },
            }
        });
        self.graph.node.push(NodeProto {
            op_type: kind.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute: attribute.collect(),
            ..NodeProto::default()
        });
    }

    /// A constant of 64-bit integers, such as a shape.
    pub fn integers(&mut self, name: &str, values: &[i64]) {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
    }

    /// A constant of these numbers.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: dims.iter().map(|&size| size as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    /// A constant of random numbers with this standard deviation, uniformly drawn.
    pub fn random(&mut self, name: &str, dims: &[usize], deviation: f32) {
        let width = deviation * 12_f32.sqrt();
        let units = self.units(dims);
        let values: Vec<f32> = units.iter().map(|unit| (unit - 0.5) * width).collect();
        self.floats(name, dims, &values);
    }

    /// A constant of random numbers from 0.5 to 1.5.
    pub fn positive(&mut self, name: &str, dims: &[usize]) {
        let units = self.units(dims);
        let values: Vec<f32> = units.iter().map(|unit| 0.5 + unit).collect();
        self.floats(name, dims, &values);
    }

    /// Random numbers from 0 to 1 for a tensor.
    fn units(&mut self, dims: &[usize]) -> Vec<f32> {
        let unit = |_| (self.random.draw() >> 40) as f32 / (1 << 24) as f32;
        (0..dims.iter().product()).map(unit).collect()
    }

    /// A layer (`Conv` or `Gemm`) called `name` with random weights and biases, which
    /// roughly keep the size of what passes through them and a ReLU.
    pub fn layer(
        &mut self,
        kind: &str,
        name: &str,
        input: &str,
        dims: &[usize],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let fan_in: usize = dims[1..].iter().product();
        let (weights, biases) = (format!("{name}_w"), format!("{name}_b"));
        self.random(&weights, dims, (2.0 / fan_in as f32).sqrt());
        self.random(&biases, &dims[..1], 0.1);
        self.node(kind, name, &[input, &weights, &biases], attributes);
    }

    /// A batch normalisation called `name` with random constants.
    pub fn batch_normalization(&mut self, name: &str, input: &str, channels: usize) {
        let [scale, shift, mean, variance] =
            ["scale", "shift", "mean", "variance"].map(|what| format!("{name}_{what}"));
        self.positive(&scale, &[channels]);
        self.random(&shift, &[channels], 0.3);
        self.random(&mean, &[channels], 0.3);
        self.positive(&variance, &[channels]);
        let inputs = [input, &scale, &shift, &mean, &variance];
        self.node("BatchNormalization", name, &inputs, &[("epsilon", Float(1e-3))]);
    }

    /// Lists the constants as inputs too, as old files do.
    pub fn list_constants(&mut self) {
        for index in 0..self.graph.initializer.len() {
            let tensor = &self.graph.initializer[index];
            let name = tensor.name.clone();
            let kind = DataType::try_from(tensor.data_type).expect("a type that it was given");
            let dims = tensor.dims.iter().map(|&size| Some(Value::DimValue(size))).collect();
            self.input(&name, kind, dims);
        }
    }

    /// The file.
    #[must_use]
    pub fn finish(mut self, output: &str, opset: i64) -> ModelProto {
        let name = output.to_owned();
        self.graph.output.push(ValueInfoProto { name, ..ValueInfoProto::default() });
        let import = OperatorSetIdProto { version: opset, ..OperatorSetIdProto::default() };
        ModelProto {
            ir_version: 7,
            opset_import: vec![import],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }
}

/// A network of AlexNet's shape, all widths divided by `divisor` (1, 2, 4, 8 or 16): an
/// image of 3×227×227, a batch with a name, LRN before max-pool; 61 million parameters
/// at full width.
#[must_use]
pub fn alexnet(divisor: usize, seed: u64) -> ModelProto {
    let mut builder = Builder::new(Batch::Symbolic, [3, 227, 227], seed);
    let output = builder.features(divisor, ["LRN", "MaxPool"], &[0; 4]);
    builder.node("Flatten", "flatten", &[&output], &[("axis", Int(1))]);
    builder.classes(divisor, "flatten", false);
    builder.finish("prob", 13)
}

/// A network of CaffeNet's shape, written as the ONNX model zoo's files are: one image of
/// 3×224×224, max-pool (padded at its end) before LRN, constants listed as inputs, a
/// Reshape to one row, Dropout.
#[must_use]
pub fn zoo_caffenet(divisor: usize, seed: u64) -> ModelProto {
    let mut builder = Builder::new(Batch::Fixed(1), [3, 224, 224], seed);
    let output = builder.features(divisor, ["MaxPool", "LRN"], &[0, 0, 1, 1]);
    builder.integers("shape", &[1, (256 / divisor * 36) as i64]);
    builder.node("Reshape", "rows", &[&output, "shape"], &[]);
    builder.classes(divisor, "rows", true);
    builder.list_constants();
    builder.finish("prob", 12)
}

impl Builder {
    /// The convolutions of AlexNet; `order`: what follows the first two of them.
    fn features(&mut self, divisor: usize, order: [&str; 2], pads: &[i64; 4]) -> String {
        // Outputs, inputs per group, kernel, stride, padding, groups.
        const CONVS: [[usize; 6]; 5] = [
            [96, 3, 11, 4, 0, 1],
            [256, 48, 5, 1, 2, 2],
            [384, 256, 3, 1, 1, 1],
            [384, 192, 3, 1, 1, 2],
            [256, 192, 3, 1, 1, 2],
        ];
        const WITH_NORM: [usize; 2] = [0, 1];
        const WITH_POOL: [usize; 3] = [0, 1, 4];
        let mut output = "data".to_owned();
        for (index, [out, input, kernel, stride, pad, group]) in CONVS.into_iter().enumerate() {
            let input = if index == 0 { input } else { input / divisor };
            let dims = [out / divisor, input, kernel, kernel];
            let attributes = [
                ("kernel_shape", Ints(&[kernel as i64; 2])),
                ("strides", Ints(&[stride as i64; 2])),
                ("pads", Ints(&[pad as i64; 4])),
                ("group", Int(group as i64)),
            ];
            let conv = format!("conv{}", index + 1);
            self.layer("Conv", &conv, &output, &dims, &attributes);
            output = format!("relu{}", index + 1);
            self.node("Relu", &output, &[&conv], &[]);
            for kind in order {
                let name = format!("{kind}{}", index + 1);
                let attributes: &[(&str, Attribute<'_>)] = match kind {
                    "LRN" if WITH_NORM.contains(&index) => &[
                        ("size", Int(5)),
                        ("alpha", Float(1e-4)),
                        ("beta", Float(0.75)),
                        ("bias", Float(1.0)),
                    ],
                    "MaxPool" if WITH_POOL.contains(&index) => &[
                        ("kernel_shape", Ints(&[3, 3])),
                        ("strides", Ints(&[2, 2])),
                        ("pads", Ints(pads)),
                    ],
                    _ => continue,
                };
                self.node(kind, &name, &[&output], attributes);
                output = name;
            }
        }
        output
    }

    /// The dense layers of AlexNet, to probabilities of 1000 classes.
    fn classes(&mut self, divisor: usize, input: &str, with_dropout: bool) {
        let widths = [256 / divisor * 36, 4096 / divisor, 4096 / divisor];
        let mut output = input.to_owned();
        for (number, pair) in (6..).zip(widths.windows(2)) {
            let fc = format!("fc{number}");
            self.layer("Gemm", &fc, &output, &[pair[1], pair[0]], &[("transB", Int(1))]);
            output = format!("relu{number}");
            self.node("Relu", &output, &[&fc], &[]);
            if with_dropout {
                let dropout = format!("drop{number}");
                self.node("Dropout", &dropout, &[&output], &[]);
                output = dropout;
            }
        }
        self.random("fc8_w", &[1000, widths[2]], 0.03 / (widths[2] as f32).sqrt());
        self.random("fc8_b", &[1000], 0.1);
        self.node("Gemm", "fc8", &[&output, "fc8_w", "fc8_b"], &[("transB", Int(1))]);
        self.node("Softmax", "prob", &["fc8"], &[("axis", Int(1))]);
    }
}

/// A small network of ResNet's kind: a basic block with a projection, then one without;
/// an image of 3×20×20, ten classes.
#[must_use]
pub fn residual(seed: u64) -> ModelProto {
    let mut builder = Builder::new(Batch::Symbolic, [3, 20, 20], seed);
    builder.normalized("stem", "data", [8, 3, 3, 1, 1]);
    builder.node("Relu", "stem_relu", &["stem"], &[]);
    let mut input = "stem_relu".to_owned();
    for (block, channels, out, stride) in [("one", 8, 12, 2), ("two", 12, 12, 1)] {
        let [a, relu, b, side, sum, last] =
            ["a", "relu", "b", "side", "sum", "last"].map(|part| format!("{block}_{part}"));
        builder.normalized(&a, &input, [out, channels, 3, stride, 1]);
        builder.node("Relu", &relu, &[&a], &[]);
        builder.normalized(&b, &relu, [out, out, 3, 1, 1]);
        let mut shortcut = input;
        if stride > 1 {
            builder.normalized(&side, &shortcut, [out, channels, 1, stride, 1]);
            shortcut = side;
        }
        builder.node("Add", &sum, &[&b, &shortcut], &[]);
        builder.node("Relu", &last, &[&sum], &[]);
        input = last;
    }
    builder.pooled_classes(&input, 12)
}

/// A small network of MobileNet's kind: depthwise convolutions, values clipped to 0..=6, a
/// block that is added to what it was made of; an image of 3×20×20, ten classes.
#[must_use]
pub fn depthwise(seed: u64) -> ModelProto {
    let mut builder = Builder::new(Batch::Symbolic, [3, 20, 20], seed);
    builder.floats("zero", &[], &[0.0]);
    builder.floats("six", &[], &[6.0]);
    let mut input = "data".to_owned();
    for (name, layer) in [
        ("stem", [8, 3, 3, 2, 1]),
        ("deep", [8, 1, 3, 1, 8]),
        ("point", [6, 8, 1, 1, 1]),
        ("wide", [18, 6, 1, 1, 1]),
        ("deep_wide", [18, 1, 3, 1, 18]),
        ("narrow", [6, 18, 1, 1, 1]),
    ] {
        builder.normalized(name, &input, layer);
        input = name.to_owned();
        if !["point", "narrow"].contains(&name) {
            input = format!("{name}_clip");
            builder.node("Clip", &input, &[name, "zero", "six"], &[]);
        }
    }
    builder.node("Add", "sum", &["point", "narrow"], &[]);
    builder.pooled_classes("sum", 6)
}

/// A small network of MobileNetV3's kind: channels that a branch of their means opens and
/// shuts (squeeze and excitation), and activations that are gates; an image of 3×20×20,
/// ten classes.
#[must_use]
pub fn gated(seed: u64) -> ModelProto {
    let mut builder = Builder::new(Batch::Symbolic, [3, 20, 20], seed);
    builder.normalized("stem", "data", [8, 3, 3, 2, 1]);
    builder.node("HardSwish", "swish", &["stem"], &[]);
    let mut input = "swish";
    for (names, gate) in [
        (["squeeze", "relu", "excite", "gate", "open"], "HardSigmoid"),
        (["squeeze2", "relu2", "excite2", "gate2", "open2"], "Sigmoid"),
    ] {
        let [squeeze, relu, excite, open, product] = names;
        let mean = format!("{squeeze}_mean");
        builder.node("GlobalAveragePool", &mean, &[input], &[]);
        builder.layer("Conv", squeeze, &mean, &[4, 8, 1, 1], &[]);
        builder.node("Relu", relu, &[squeeze], &[]);
        builder.layer("Conv", excite, relu, &[8, 4, 1, 1], &[]);
        builder.node(gate, open, &[excite], &[]);
        builder.node("Mul", product, &[input, open], &[]);
        input = product;
    }
    builder.normalized("last", input, [12, 8, 3, 1, 1]);
    builder.node("Sigmoid", "last_gate", &["last"], &[]);
    builder.node("Mul", "silu", &["last", "last_gate"], &[]);
    builder.pooled_classes("silu", 12)
}

impl Builder {
    /// A convolution, and a batch normalisation called `name`; `layer`: outputs, inputs per
    /// group, kernel, stride, groups. A kernel of 3 is padded.
    fn normalized(&mut self, name: &str, input: &str, layer: [usize; 5]) {
        let [outputs, inputs, kernel, stride, groups] = layer;
        let conv = format!("{name}_conv");
        let attributes = [
            ("pads", Ints(&[kernel as i64 / 2; 4])),
            ("strides", Ints(&[stride as i64; 2])),
            ("group", Int(groups as i64)),
        ];
        self.layer("Conv", &conv, input, &[outputs, inputs, kernel, kernel], &attributes);
        self.batch_normalization(name, &conv, outputs);
    }

    /// The probabilities of ten classes, from the means of channels.
    fn pooled_classes(mut self, input: &str, channels: usize) -> ModelProto {
        self.node("GlobalAveragePool", "mean", &[input], &[]);
        self.node("Flatten", "flatten", &["mean"], &[]);
        self.layer("Gemm", "logits", "flatten", &[10, channels], &[("transB", Int(1))]);
        self.node("Softmax", "prob", &["logits"], &[("axis", Int(1))]);
        self.finish("prob", 13)
    }
}
