//! Cuts a network in two at its first dense layer.
//!
//! Convolutions are fastest one input at a time. Dense layers read far more weights than
//! they have inputs, so that many inputs should share one pass. The head is cut off only
//! where a row of its input makes the same row of its output whatever the other rows are.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, type_proto,
};

/// Operators that treat every element by itself, beside constants.
#[rustfmt::skip]
const ELEMENTWISE: [&str; 22] = [
    "Abs", "Add", "Clip", "Div", "Dropout", "Elu", "Exp", "HardSigmoid", "Identity",
    "LeakyRelu", "Max", "Min", "Mul", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus",
    "Sqrt", "Sub", "Tanh",
];

/// Takes the dense head off `model`, with the weights that only it needs: a network whose
/// input is the body's only output, [N, features].
///
/// None if it has no such head; `Constant` nodes are initializers in any case.
pub(super) fn split_head(model: &mut ModelProto) -> Option<ModelProto> {
    let graph = model.graph.as_mut()?;
    name_constants(graph);
    let (cut, nodes) = Search::new(graph).find()?;
    let head = take_head(graph, cut, &nodes);
    Some(ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        graph: Some(head),
        ..ModelProto::default()
    })
}

/// Leaves out all outputs but the first, which is what a network is judged by, and the nodes
/// that only they need.
pub(super) fn keep_first_output(model: &mut ModelProto) {
    let Some(graph) = model.graph.as_mut() else { return };
    graph.output.truncate(1);
    let Some(output) = graph.output.first() else { return };
    let needed = Search::new(graph).ancestors(&output.name, None);
    // What a node with a graph of its own needs is not known.
    if graph.node.iter().all(|node| node.attribute.iter().all(|a| a.g.is_none())) {
        let mut indices = 0..;
        graph.node.retain(|_| indices.next().is_some_and(|index| needed.contains(&index)));
    }
}

/// Leaves out the value to pad with where padding copies what is there: tract would pad with
/// it.
pub(super) fn forget_unused_padding(model: &mut ModelProto) {
    let nodes = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
    for node in nodes.filter(|node| node.op_type == "Pad") {
        let mode = node.attribute.iter().find(|attribute| attribute.name == "mode");
        let is_by_copies = mode.is_some_and(|mode| mode.s != b"constant");
        if let (true, Some(value)) = (is_by_copies, node.input.get_mut(2)) {
            value.clear();
        }
    }
}

/// Turns every `Constant` node that holds a tensor into an initializer, and lists none of
/// those as an input, as old files do.
pub(super) fn name_constants(graph: &mut GraphProto) {
    let GraphProto { node: nodes, initializer: initializers, .. } = graph;
    nodes.retain_mut(|node| {
        if node.op_type != "Constant" || node.output.len() != 1 {
            return true;
        }
        let value = node.attribute.iter_mut().find(|attribute| attribute.name == "value");
        let Some(tensor) = value.and_then(|value| value.t.take()) else { return true };
        initializers.push(TensorProto { name: node.output[0].clone(), ..tensor });
        false
    });
    graph.input.retain(|input| initializers.iter().all(|tensor| tensor.name != input.name));
}

/// What a graph's tensor names stand for.
pub(super) struct Search<'a> {
    graph: &'a GraphProto,
    pub(super) constants: HashMap<&'a str, &'a TensorProto>,
    /// The node that makes each tensor.
    makers: HashMap<&'a str, usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a GraphProto) -> Self {
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let mut makers = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            makers.extend(node.output.iter().map(|name| (name.as_str(), index)));
        }
        Self { graph, constants: constants.collect(), makers }
    }

    /// The node that makes a tensor; `None` for inputs and constants.
    pub(super) fn maker(&self, name: &str) -> Option<&'a NodeProto> {
        self.makers.get(name).map(|&index| &self.graph.node[index])
    }

    /// Whether a tensor depends on what the network is given.
    pub(super) fn is_data(&self, name: &str) -> bool {
        let is_input = |name: &str| self.graph.input.iter().any(|input| input.name == name);
        let nodes = self.ancestors(name, None);
        let used = nodes.iter().flat_map(|&index| &self.graph.node[index].input);
        is_input(name) || used.into_iter().any(|name| is_input(name))
    }

    /// The tensor to cut at, and the indices of the nodes behind it.
    fn find(&self) -> Option<(String, HashSet<usize>)> {
        let output = &self.graph.output.first()?.name;
        let has_subgraph = |node: &NodeProto| node.attribute.iter().any(|a| a.g.is_some());
        if self.graph.node.iter().any(has_subgraph) {
            return None;
        }
        self.graph.node.iter().filter(|node| self.is_dense(node)).find_map(|node| {
            let cut = node.input[0].as_str();
            if !self.is_flat(cut) {
                return None;
            }
            let body = self.ancestors(cut, None);
            let head = self.ancestors(output, Some(cut));
            let is_apart = |&index: &usize| {
                !body.contains(&index) && self.keeps_rows(&self.graph.node[index], cut)
            };
            (!head.is_empty() && head.iter().all(is_apart)).then(|| (cut.to_owned(), head))
        })
    }

    /// The nodes that `name` is computed with, up to those that make `stop`.
    fn ancestors(&self, name: &str, stop: Option<&str>) -> HashSet<usize> {
        let mut found = HashSet::new();
        let mut names = vec![name];
        while let Some(name) = names.pop() {
            if Some(name) == stop {
                continue;
            }
            if let Some(&maker) = self.makers.get(name)
                && found.insert(maker)
            {
                names.extend(self.graph.node[maker].input.iter().map(String::as_str));
            }
        }
        found
    }

    /// Whether a tensor is [N, features]: made so, and at most changed element by element.
    fn is_flat(&self, name: &str) -> bool {
        let mut name = name;
        // A graph without cycles has no path longer than its nodes.
        for _ in 0..self.graph.node.len() {
            let Some(&maker) = self.makers.get(name) else { return false };
            let node = &self.graph.node[maker];
            match node.op_type.as_str() {
                "Flatten" => return integer(node, "axis").unwrap_or(1) == 1,
                "Reshape" => return self.keeps_rows(node, ""),
                "Gemm" => return true,
                kind if ELEMENTWISE.contains(&kind) => {
                    let Some(input) = node.input.first() else { return false };
                    name = input;
                }
                _ => return false,
            }
        }
        false
    }

    fn is_dense(&self, node: &NodeProto) -> bool {
        let kind = node.op_type.as_str();
        let [data, weights, bias @ ..] = node.input.as_slice() else { return false };
        let is_matrix = |name: &str| self.constants.get(name).is_some_and(|t| t.dims.len() == 2);
        (kind == "Gemm" || kind == "MatMul")
            && integer(node, "transA").unwrap_or(0) == 0
            && !self.constants.contains_key(data.as_str())
            && is_matrix(weights)
            && bias.iter().all(|name| self.is_one_row(name))
    }

    /// Whether a constant means the same for every row.
    fn is_one_row(&self, name: &str) -> bool {
        self.constants.get(name).is_some_and(|t| matches!(t.dims[..], [] | [_] | [1, _]))
    }

    /// Whether each row that `node` makes depends on the same row of its input alone.
    fn keeps_rows(&self, node: &NodeProto, cut: &str) -> bool {
        let is_data = |name: &String| name == cut || self.makers.contains_key(name.as_str());
        match node.op_type.as_str() {
            "Gemm" | "MatMul" => self.is_dense(node) && is_data(&node.input[0]),
            "Softmax" | "LogSoftmax" | "Flatten" => {
                matches!(integer(node, "axis"), None | Some(1 | -1))
                    && node.input.iter().all(is_data)
            }
            "Reshape" => {
                let shape = node.input.get(1).and_then(|name| self.constants.get(name.as_str()));
                shape.is_some_and(|tensor| matches!(integers(tensor)[..], [-1..=1, _]))
                    && is_data(&node.input[0])
            }
            kind => {
                let is_row_wise =
                    |name: &String| name.is_empty() || is_data(name) || self.is_one_row(name);
                ELEMENTWISE.contains(&kind) && node.input.iter().all(is_row_wise)
            }
        }
    }
}

/// Moves the nodes of the head out of `graph`, and their constants.
fn take_head(graph: &mut GraphProto, cut: String, nodes: &HashSet<usize>) -> GraphProto {
    let mut index = 0;
    let node = graph.node.extract_if(.., |_| {
        index += 1;
        nodes.contains(&(index - 1))
    });
    let node: Vec<NodeProto> = node.collect();
    let uses = |nodes: &[NodeProto]| -> HashSet<String> {
        nodes.iter().flat_map(|node| node.input.iter().cloned()).collect()
    };
    let (in_body, in_head) = (uses(&graph.node), uses(&node));
    let shared: Vec<TensorProto> = graph
        .initializer
        .iter()
        .filter(|tensor| in_body.contains(&tensor.name) && in_head.contains(&tensor.name))
        .cloned()
        .collect();
    let is_only_heads = |tensor: &mut TensorProto| !in_body.contains(&tensor.name);
    let mut initializer: Vec<TensorProto> =
        graph.initializer.extract_if(.., is_only_heads).chain(shared).collect();
    initializer.retain(|tensor| in_head.contains(&tensor.name));
    free_batch(&node, &mut initializer);

    let features = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let value = Some(type_proto::Value::TensorType(features));
    let features = ValueInfoProto {
        name: cut,
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    };
    let output = std::mem::replace(&mut graph.output, vec![features.clone()]);
    GraphProto { node, initializer, input: vec![features], output, ..GraphProto::default() }
}

/// Makes every Reshape to one row keep the rows that it is given: 0 copies their number.
fn free_batch(nodes: &[NodeProto], initializers: &mut [TensorProto]) {
    for node in nodes.iter().filter(|node| node.op_type == "Reshape") {
        let shape = initializers.iter_mut().find(|tensor| tensor.name == node.input[1]);
        let Some(shape) = shape else { continue };
        if let [1, features] = integers(shape)[..] {
            shape.raw_data.clear();
            shape.int64_data = vec![0, features];
        }
    }
}

/// An attribute that is one integer.
pub(super) fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

/// The values of a tensor of 64-bit integers.
pub(super) fn integers(tensor: &TensorProto) -> Vec<i64> {
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    let (values, _) = tensor.raw_data.as_chunks();
    values.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}
