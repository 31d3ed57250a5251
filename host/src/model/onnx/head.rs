//! The last layer of a classifier: found in its graph, and given one class more.
//!
//! It is a dense layer (`Gemm`, or `MatMul` and perhaps `Add`), or a convolution of 1 × 1
//! whose planes, perhaps after a ReLU, are averaged. Behind it may come what changes no
//! number, and a softmax.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use tract_onnx::pb::type_proto::Value::TensorType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

use super::split::{integer, integers, name_constants};

/// The last layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct Head {
    /// The network without its graph.
    shell: ModelProto,
    /// Its graph, whose constants have names.
    graph: GraphProto,
    /// Place of the node that multiplies with the weights.
    node: usize,
    /// Place of the node that adds the biases, if that is another.
    adder: Option<usize>,
    /// The tensor of logits.
    logits: String,
    /// Weights, classes × depth.
    weights: Vec<f32>,
    /// Biases, one per class.
    biases: Vec<f32>,
    /// Whether the file has the weights depth × classes.
    is_transposed: bool,
    /// Whether negative outputs become zero before they are averaged.
    pub(in crate::model) has_relu: bool,
}

/// What is known on the way back from the output.
#[derive(Default)]
struct Path {
    logits: Option<String>,
    pooled: bool,
    has_relu: bool,
    /// A node that adds a constant, by its place, and that constant.
    adder: Option<(usize, String)>,
}

impl Head {
    /// Finds the last layer of a network.
    ///
    /// # Errors
    /// In one line, why it has none of the kinds that are known.
    pub(in crate::model) fn find(mut proto: ModelProto) -> Result<Self, String> {
        super::split::keep_first_output(&mut proto);
        let mut graph = proto.graph.take().ok_or("no graph")?;
        name_constants(&mut graph);
        let output = graph.output.first().ok_or("no output")?.name.clone();
        let mut path = Path::default();
        let mut name = output.clone();
        // A graph without cycles has no path longer than its nodes.
        for _ in 0..graph.node.len() {
            let place = maker(&graph, &name).ok_or_else(|| format!("nothing makes {name:?}"))?;
            match path.step(&graph, place)? {
                Some(next) => name = next,
                None => {
                    let Layer { weights, biases, is_transposed } = Layer::of(&graph, place, &path)?;
                    let adder = path.adder.map(|(place, _)| place);
                    let logits = path.logits.unwrap_or(output);
                    let has_relu = path.has_relu;
                    return Ok(Self {
                        shell: proto,
                        graph,
                        node: place,
                        adder,
                        logits,
                        weights,
                        biases,
                        is_transposed,
                        has_relu,
                    });
                }
            }
        }
        Err("its graph goes round in circles".to_owned())
    }

    /// Number of classes.
    pub(in crate::model) fn classes(&self) -> usize {
        self.biases.len()
    }

    /// Features that a class's weights belong to.
    pub(in crate::model) fn depth(&self) -> usize {
        self.weights.len() / self.biases.len()
    }

    /// The mean over the classes of their weights.
    pub(in crate::model) fn mean_weights(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.depth()];
        for row in self.weights.chunks_exact(self.depth()) {
            sums.iter_mut().zip(row).for_each(|(sum, &weight)| *sum += f64::from(weight));
        }
        sums.into_iter().map(|sum| (sum / self.classes() as f64) as f32).collect()
    }

    /// The network up to what the last layer reads: one input becomes depth × positions
    /// features in a row. Where a convolution pads its input or leaves some of it out, those
    /// are what it sees.
    pub(in crate::model) fn features(&self) -> ModelProto {
        const SEEN: &str = "mirage.seen";
        const ONES: &str = "mirage.ones";
        let (layer, depth) = (&self.graph.node[self.node], self.depth());
        if layer.op_type != "Conv" {
            return self.up_to(&layer.input[0], None);
        }
        // The same, with each plane by itself and a weight of 1.
        let group = AttributeProto {
            name: "group".to_owned(),
            r#type: AttributeType::Int as i32,
            i: depth as i64,
            ..AttributeProto::default()
        };
        let others = layer.attribute.iter().filter(|attribute| attribute.name != "group").cloned();
        let seen = NodeProto {
            op_type: "Conv".to_owned(),
            name: SEEN.to_owned(),
            input: vec![layer.input[0].clone(), ONES.to_owned()],
            output: vec![SEEN.to_owned()],
            attribute: others.chain([group]).collect(),
            ..NodeProto::default()
        };
        let ones = floats(ONES, vec![depth as i64, 1, 1, 1], &vec![1.0; depth]);
        self.up_to(SEEN, Some((seen, ones)))
    }

    /// The network up to its logits.
    pub(in crate::model) fn logits(&self) -> ModelProto {
        self.up_to(&self.logits, None)
    }

    /// The network with `name` as its output, in a row; with one node more, if there is one,
    /// and its weights.
    fn up_to(&self, name: &str, more: Option<(NodeProto, TensorProto)>) -> ModelProto {
        const ROW: &str = "mirage.row";
        let mut graph = self.graph.clone();
        if let Some((node, weights)) = more {
            graph.node.push(node);
            graph.initializer.push(weights);
        }
        graph.node.push(NodeProto {
            op_type: "Flatten".to_owned(),
            input: vec![name.to_owned()],
            output: vec![ROW.to_owned()],
            name: ROW.to_owned(),
            ..NodeProto::default()
        });
        graph.output = vec![ValueInfoProto { name: ROW.to_owned(), ..ValueInfoProto::default() }];
        ModelProto { graph: Some(graph), ..self.shell.clone() }
    }

    /// The bytes of the network with one class more, behind the others. Those keep their
    /// weights.
    pub(in crate::model) fn with_class(&self, weights: &[f32], bias: f32) -> Vec<u8> {
        let (classes, depth) = (self.classes(), self.depth());
        let mut owned = self.graph.clone();
        let graph = &mut owned;
        let all = [&self.weights, weights].concat();
        let biases: Vec<f32> = self.biases.iter().copied().chain([bias]).collect();
        let old = constant(graph, &graph.node[self.node].input[1]);
        let dims = old.map_or(Vec::new(), |old| old.dims.clone());
        let (dims, all) = match (self.is_transposed, &dims[..]) {
            (true, _) => {
                let column = |k: usize| all.iter().skip(k).step_by(depth).copied();
                (vec![depth as i64, classes as i64 + 1], (0..depth).flat_map(column).collect())
            }
            (false, rest) => {
                let rest = rest.iter().skip(1).copied();
                (std::iter::once(classes as i64 + 1).chain(rest).collect(), all)
            }
        };
        let names = [fresh(graph, "mirage.weights"), fresh(graph, "mirage.biases")];
        graph.initializer.push(floats(&names[0], dims, &all));
        graph.initializer.push(floats(&names[1], vec![classes as i64 + 1], &biases));
        let [weights, biases] = names;
        let node = &mut graph.node[self.node];
        node.input.truncate(1);
        node.input.push(weights);
        match (node.op_type.as_str(), self.adder) {
            ("MatMul", None) => {
                // A layer without biases, of which the new class has one.
                let sum = node.output[0].clone();
                let product = format!("{sum}.mirage.product");
                node.output[0].clone_from(&product);
                let adder = NodeProto {
                    op_type: "Add".to_owned(),
                    input: vec![product, biases],
                    output: vec![sum],
                    name: "mirage.add".to_owned(),
                    ..NodeProto::default()
                };
                graph.node.insert(self.node + 1, adder);
            }
            ("MatMul", Some(adder)) => {
                let product = node.output[0].clone();
                graph.node[adder].input = vec![product, biases];
            }
            _ => node.input.push(biases),
        }
        widen(graph, classes as i64);
        // Statements about sizes, some of which are no longer true, that a reader can do without.
        graph.value_info.clear();
        let used: Vec<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
        graph.initializer.retain(|tensor| used.contains(&tensor.name));
        ModelProto { graph: Some(owned), ..self.shell.clone() }.encode_to_vec()
    }
}

impl Path {
    /// Goes back over a node: the tensor in front of it, or `None` if it is the layer.
    fn step(&mut self, graph: &GraphProto, place: usize) -> Result<Option<String>, String> {
        let node = &graph.node[place];
        let input = node.input.first().cloned().ok_or("a node without input")?;
        let is_free = self.adder.is_none();
        match node.op_type.as_str() {
            "Softmax" | "LogSoftmax" if !self.pooled && is_free && self.logits.is_none() => {
                self.logits = Some(input.clone());
            }
            "Flatten" | "Reshape" | "Squeeze" | "Identity" | "Dropout" if is_free => {}
            "GlobalAveragePool" | "AveragePool" if !self.pooled && is_free => self.pooled = true,
            "Relu" if self.pooled && !self.has_relu => self.has_relu = true,
            "Add" if !self.pooled && is_free => {
                let is_constant = |name: &&String| constant(graph, name).is_some();
                let biases = node.input.iter().find(is_constant).cloned();
                let sum = node.input.iter().find(|name| !is_constant(name)).cloned();
                let (Some(biases), Some(product)) = (biases, sum) else {
                    return Err(unfit(node));
                };
                self.adder = Some((place, biases));
                return Ok(Some(product));
            }
            "MatMul" if !self.pooled => return Ok(None),
            "Gemm" if !self.pooled && is_free => return Ok(None),
            "Conv" if self.pooled => return Ok(None),
            _ => return Err(unfit(node)),
        }
        Ok(Some(input))
    }
}

/// The numbers of a layer.
struct Layer {
    weights: Vec<f32>,
    biases: Vec<f32>,
    is_transposed: bool,
}

impl Layer {
    fn of(graph: &GraphProto, place: usize, path: &Path) -> Result<Self, String> {
        let node = &graph.node[place];
        let unfit = || unfit(node);
        let tensor = node.input.get(1).and_then(|name| constant(graph, name)).ok_or_else(unfit)?;
        let values = values(tensor).ok_or_else(unfit)?;
        let sides: Vec<usize> =
            tensor.dims.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect();
        let number = |name| node.attribute.iter().find(|attribute| attribute.name == name);
        let is_one = |name| number(name).is_none_or(|attribute| attribute.f == 1.0);
        let (classes, depth, is_transposed) = match (node.op_type.as_str(), &sides[..]) {
            ("Gemm", &[a, b]) if is_one("alpha") && is_one("beta") => {
                match (integer(node, "transA").unwrap_or(0), integer(node, "transB").unwrap_or(0)) {
                    (0, 0) => (b, a, true),
                    (0, _) => (a, b, false),
                    _ => return Err(unfit()),
                }
            }
            ("MatMul", &[depth, classes]) => (classes, depth, true),
            ("Conv", &[classes, depth, 1, 1]) if integer(node, "group").unwrap_or(1) == 1 => {
                (classes, depth, false)
            }
            _ => return Err(unfit()),
        };
        if classes < 2 || depth == 0 || values.len() != classes * depth {
            return Err(unfit());
        }
        let weights = if is_transposed {
            (0..classes).flat_map(|c| values.iter().skip(c).step_by(classes).copied()).collect()
        } else {
            values
        };
        let adder = path.adder.as_ref().map(|(_, biases)| biases);
        let biases = match adder.or(node.input.get(2)).filter(|name| !name.is_empty()) {
            None => vec![0.0; classes],
            Some(name) => {
                let tensor = constant(graph, name).ok_or_else(unfit)?;
                match self::values(tensor).ok_or_else(unfit)? {
                    one if one.len() == 1 => vec![one[0]; classes],
                    all if all.len() == classes => all,
                    _ => return Err(unfit()),
                }
            }
        };
        Ok(Self { weights, biases, is_transposed })
    }
}

/// Why the way back ends at a node.
fn unfit(node: &NodeProto) -> String {
    let name = [&node.name].into_iter().chain(&node.output).find(|name| !name.is_empty());
    format!(
        "cannot tell its last layer of weights: it has no place for {} {:?}; known are a dense layer, and a convolution of 1 × 1 that is averaged, with a softmax behind",
        node.op_type,
        name.map_or("", String::as_str)
    )
}

/// The place of the node that makes a tensor.
fn maker(graph: &GraphProto, name: &str) -> Option<usize> {
    graph.node.iter().position(|node| node.output.iter().any(|output| output == name))
}

fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a TensorProto> {
    graph.initializer.iter().find(|tensor| tensor.name == name)
}

/// A name that nothing in the graph has.
fn fresh(graph: &GraphProto, stem: &str) -> String {
    let is_taken = |name: &String| constant(graph, name).is_some() || maker(graph, name).is_some();
    let mut name = stem.to_owned();
    while is_taken(&name) {
        name.push('+');
    }
    name
}

/// The values of a tensor of floats.
fn values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (values, rest) = tensor.raw_data.as_chunks();
    rest.is_empty().then(|| values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

fn floats(name: &str, dims: Vec<i64>, values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims,
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// Makes room for one class more where the sizes behind the layer are written down: in the
/// shapes of Reshape, and in the output's.
fn widen(graph: &mut GraphProto, classes: i64) {
    let output = graph.output.first().map(|output| output.name.clone()).unwrap_or_default();
    let mut name = output;
    while let Some(place) = maker(graph, &name) {
        let node = &graph.node[place];
        if ["Gemm", "MatMul", "Add", "Conv"].contains(&node.op_type.as_str()) {
            break;
        }
        let shape = node.input.get(1).and_then(|name| constant(graph, name)).map(integers);
        if let (Some(mut sizes), "Reshape") = (shape, node.op_type.as_str()) {
            sizes.iter_mut().filter(|size| **size == classes).for_each(|size| *size += 1);
            let name = fresh(graph, "mirage.shape");
            graph.initializer.push(TensorProto {
                name: name.clone(),
                dims: vec![sizes.len() as i64],
                data_type: DataType::Int64 as i32,
                int64_data: sizes,
                ..TensorProto::default()
            });
            graph.node[place].input[1] = name;
        }
        name.clone_from(&graph.node[place].input[0]);
    }
    for output in &mut graph.output {
        let Some(TensorType(tensor)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
            continue;
        };
        for dimension in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim).skip(1) {
            if dimension.value == Some(DimValue(classes)) {
                dimension.value = Some(DimValue(classes + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reference::onnx::Attribute::{Int, Ints};
    use reference::onnx::{Batch, Builder};

    use super::super::network::OnnxNetwork;
    use super::*;

    const CLASSES: usize = 5;
    const WEIGHTS: [f32; 4] = [0.5, -0.25, 1.0, 0.125];

    fn body() -> Builder {
        let mut builder = Builder::new(Batch::Symbolic, [1, 6, 5], 3);
        builder.layer("Conv", "conv", "data", &[4, 1, 3, 3], &[]);
        builder.node("Relu", "relu", &["conv"], &[]);
        builder
    }

    /// Features are the means of the four planes, and the last layer is a dense one.
    fn dense(kind: &str) -> ModelProto {
        let mut builder = body();
        builder.node("GlobalAveragePool", "mean", &["relu"], &[]);
        builder.node("Flatten", "flat", &["mean"], &[]);
        let last = match kind {
            "rows" => {
                builder.layer("Gemm", "fc", "flat", &[CLASSES, 4], &[("transB", Int(1))]);
                "fc"
            }
            "columns" => {
                builder.random("w", &[4, CLASSES], 1.0);
                builder.random("b", &[1, CLASSES], 1.0);
                builder.node("Gemm", "fc", &["flat", "w", "b"], &[]);
                "fc"
            }
            _ => {
                builder.random("w", &[4, CLASSES], 1.0);
                builder.node("MatMul", "product", &["flat", "w"], &[]);
                builder.random("b", &[CLASSES], 1.0);
                builder.node("Add", "sum", &["b", "product"], &[]);
                if kind == "product" { "product" } else { "sum" }
            }
        };
        builder.integers("sizes", &[-1, CLASSES as i64]);
        builder.node("Reshape", "shaped", &[last, "sizes"], &[]);
        builder.node("Softmax", "prob", &["shaped"], &[("axis", Int(1))]);
        builder.finish("prob", 13)
    }

    /// As SqueezeNet ends, with padding that sees nothing but biases; or with strides.
    fn convolution(has_relu: bool) -> ModelProto {
        let mut builder = body();
        let pads = [("pads", Ints(&[1, 1, 1, 1])), ("group", Int(1))];
        let strides = [("strides", Ints(&[2, 2]))];
        let attributes = if has_relu { &pads[..] } else { &strides[..] };
        builder.layer("Conv", "last", "relu", &[CLASSES, 4, 1, 1], attributes);
        builder.node("Relu", "last_relu", &["last"], &[]);
        let planes = if has_relu { "last_relu" } else { "last" };
        builder.node("GlobalAveragePool", "mean", &[planes], &[]);
        builder.node("Softmax", "prob", &["mean"], &[("axis", Int(1))]);
        builder.finish("prob", 13)
    }

    fn run(proto: ModelProto, input: &[f32]) -> Vec<f32> {
        let network = OnnxNetwork::from_proto(proto).unwrap();
        let mut outputs = vec![0.0; network.classes()];
        network.session().run(input, &mut outputs).unwrap();
        outputs
    }

    fn input() -> Vec<f32> {
        (0..30).map(|n| ((n * 7) % 11) as f32 / 3.0 - 1.0).collect()
    }

    #[test]
    fn a_class_comes_behind_the_others_and_leaves_them_alone() {
        let kinds = ["rows", "columns", "product", "sum"];
        let all = kinds.map(|kind| (kind, dense(kind)));
        let convolutions = [true, false].map(|has_relu| ("conv", convolution(has_relu)));
        for (kind, proto) in all.into_iter().chain(convolutions) {
            let before = run(proto.clone(), &input());
            let head = Head::find(proto).unwrap();
            assert_eq!((head.classes(), head.depth()), (CLASSES, 4), "{kind}");
            let features = run(head.features(), &input());
            let logits = run(head.logits(), &input());
            let bytes = head.with_class(&WEIGHTS, 0.75);
            let after = run(ModelProto::decode(bytes.as_slice()).unwrap(), &input());
            assert_eq!(after.len(), CLASSES + 1);
            let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
            // By hand: the mean over the positions of what the weights make of each.
            let positions = features.len() / 4;
            let at = |p: usize| -> f32 {
                let sum: f32 = (0..4).map(|c| WEIGHTS[c] * features[c * positions + p]).sum();
                if head.has_relu { (sum + 0.75).max(0.0) } else { sum + 0.75 }
            };
            let own = (0..positions).map(at).sum::<f32>() / positions as f32;
            let new = after[CLASSES];
            for ((&after, before), logit) in after.iter().zip(before).zip(logits) {
                assert!(near((new / after).ln(), own - logit), "{kind}");
                assert!(near(after / (1.0 - new), before), "{kind}");
            }
            let sum: f32 = after.iter().sum();
            assert!(near(sum, 1.0));
        }
    }

    #[test]
    fn mean_weights_are_over_the_classes() {
        for kind in ["rows", "columns", "sum"] {
            let proto = dense(kind);
            let graph = proto.graph.clone().unwrap();
            let name = if kind == "rows" { "fc_w" } else { "w" };
            let numbers = values(constant(&graph, name).unwrap()).unwrap();
            let mean = Head::find(proto).unwrap().mean_weights();
            for (feature, &mean) in mean.iter().enumerate() {
                let weight = |class: usize| match kind {
                    "rows" => numbers[class * 4 + feature],
                    _ => numbers[feature * CLASSES + class],
                };
                let sum: f32 = (0..CLASSES).map(weight).sum();
                assert!((mean - sum / CLASSES as f32).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn other_ends_are_refused_and_named() {
        let ended = |kind: &str, name: &str| {
            let mut builder = body();
            builder.node("GlobalAveragePool", "mean", &["relu"], &[]);
            builder.node("Flatten", "flat", &["mean"], &[]);
            builder.layer("Gemm", "fc", "flat", &[CLASSES, 4], &[("transB", Int(1))]);
            builder.node(kind, name, &["fc"], &[]);
            builder.finish(name, 13)
        };
        let mut wide = body();
        wide.layer("Conv", "wide", "relu", &[CLASSES, 4, 3, 3], &[]);
        wide.node("GlobalAveragePool", "mean", &["wide"], &[]);
        for (proto, words) in [
            (ended("Sigmoid", "independent"), "Sigmoid \"independent\""),
            (ended("Relu", "cut"), "Relu \"cut\""),
            (wide.finish("mean", 13), "Conv \"wide\""),
            (body().finish("relu", 13), "Relu \"relu\""),
        ] {
            let error = Head::find(proto).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{words}: {error}");
        }
    }
}
