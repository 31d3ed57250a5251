//! From a network to the bytes of an ONNX file.

use mirage_core::nn::{Op, Padding, Shape, Window};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::super::network::{FloatLayer, FloatNetwork};
use super::super::preprocessing::Preprocessing;
use super::{MEAN_KEY, SCALE_KEY, STD_KEY, TEXT_KEY, exchange_axes};

/// Version of the file format: that of opset 13's time, which old readers take.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;

/// The bytes of an ONNX file with this network and the preprocessing it was trained
/// with. Equal networks give equal bytes.
#[must_use]
pub fn encode(network: &FloatNetwork, preprocessing: &Preprocessing) -> Vec<u8> {
    let mut graph = Graph { proto: GraphProto::default(), value: "data".to_owned() };
    graph.proto.name = "mirage".to_owned();
    let input = network.input();
    graph.proto.input =
        vec![value_info("data", &[input.channels, input.height, input.width].map(|n| n as i64))];
    graph.proto.output = vec![value_info("prob", &[network.classes() as i64])];

    let mut spatial = true;
    let mut counts = [0; 3];
    for (index, layer) in network.layers().iter().enumerate() {
        let (stem, counter) = match layer.op() {
            Op::Conv { .. } | Op::DepthwiseConv { .. } => ("conv", 0),
            Op::MaxPool(_) | Op::AveragePool(_) => ("pool", 1),
            Op::Dense { .. } => ("dense", 2),
        };
        counts[counter] += 1;
        let name = format!("{stem}{}", counts[counter]);
        let dense = matches!(layer.op(), Op::Dense { .. });
        if dense && spatial {
            graph.node("Flatten", &format!("{name}_flat"), &[], vec![int("axis", 1)]);
        } else if !dense && !spatial {
            graph.image(&name, layer.input());
        }
        spatial = !dense;
        graph.layer(&name, layer, network.weights(index), network.biases(index));
        if layer.relu() {
            graph.node("Relu", &format!("{name}_relu"), &[], vec![]);
        }
    }
    graph.node("Softmax", "prob", &[], vec![int("axis", 1)]);

    let metadata = [
        (TEXT_KEY, preprocessing.to_string()),
        (SCALE_KEY, preprocessing.scale.to_string()),
        (MEAN_KEY, preprocessing.mean.to_string()),
        (STD_KEY, preprocessing.std.to_string()),
    ];
    let entry =
        |(key, value): (&str, String)| StringStringEntryProto { key: key.to_owned(), value };
    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "mirage".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph.proto),
        metadata_props: metadata.map(entry).to_vec(),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

/// A graph that grows node by node.
struct Graph {
    proto: GraphProto,
    /// Name of the last node's output.
    value: String,
}

impl Graph {
    /// Appends a node that reads the last value and `constants`, and is named like its
    /// output.
    fn node(
        &mut self,
        operator: &str,
        name: &str,
        constants: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        let input = std::mem::replace(&mut self.value, name.to_owned());
        self.proto.node.push(NodeProto {
            input: std::iter::once(input).chain(constants.iter().map(|&c| c.to_owned())).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute,
            ..NodeProto::default()
        });
    }

    fn constant(&mut self, name: &str, dims: &[usize], data_type: DataType, raw_data: Vec<u8>) {
        self.proto.initializer.push(TensorProto {
            dims: dims.iter().map(|&n| n as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            raw_data,
            ..TensorProto::default()
        });
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, dims, DataType::Float, bytes);
    }

    /// Turns a flat value back into an image of one position.
    fn image(&mut self, name: &str, shape: Shape) {
        let sizes = [-1, shape.channels as i64, shape.height as i64, shape.width as i64];
        let bytes = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
        let constant = format!("{name}_shape");
        self.constant(&constant, &[4], DataType::Int64, bytes);
        self.node("Reshape", &format!("{name}_image"), &[&constant], vec![]);
    }

    fn layer(&mut self, name: &str, layer: &FloatLayer, weights: &[f32], biases: &[f32]) {
        let (w, b) = (format!("{name}_w"), format!("{name}_b"));
        let input = layer.input();
        let channels = layer.output().channels;
        match layer.op() {
            Op::Conv { window, filters } => {
                let dims = [filters, input.channels, window.height, window.width];
                let positions = window.height * window.width;
                self.floats(&w, &dims, &exchange_axes(weights, positions, input.channels));
                self.floats(&b, &[filters], biases);
                self.node("Conv", name, &[&w, &b], geometry(&window, input));
            }
            Op::DepthwiseConv { window, .. } => {
                let dims = [channels, 1, window.height, window.width];
                let positions = window.height * window.width;
                self.floats(&w, &dims, &exchange_axes(weights, positions, channels));
                self.floats(&b, &[channels], biases);
                let mut attributes = geometry(&window, input);
                attributes.push(int("group", input.channels as i64));
                self.node("Conv", name, &[&w, &b], attributes);
            }
            Op::MaxPool(window) => self.node("MaxPool", name, &[], geometry(&window, input)),
            Op::AveragePool(window) => {
                self.node("AveragePool", name, &[], geometry(&window, input));
            }
            Op::Dense { units } => {
                let weights = exchange_axes(weights, input.positions(), input.channels);
                self.floats(&w, &[units, input.len()], &weights);
                self.floats(&b, &[units], biases);
                self.node("Gemm", name, &[&w, &b], vec![int("transB", 1)]);
            }
        }
    }
}

/// The attributes of a window: its sides, strides, and rows and columns of padding.
fn geometry(window: &Window, input: Shape) -> Vec<AttributeProto> {
    let mut attributes = vec![
        ints("kernel_shape", &[window.height, window.width]),
        ints("strides", &[window.stride_y, window.stride_x]),
    ];
    if window.padding == Padding::Same {
        let (top, left) = window.offset(input);
        let (height, width) = window.output(input).unwrap_or_default();
        let after = |count: usize, stride: usize, reach: usize, before: usize, size: usize| {
            (count.saturating_sub(1) * stride + reach).saturating_sub(before + size)
        };
        let bottom = after(height, window.stride_y, window.height, top, input.height);
        let right = after(width, window.stride_x, window.width, left, input.width);
        attributes.push(ints("pads", &[top, left, bottom, right]));
    }
    attributes
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

/// A value of float [N, `sizes`…].
fn value_info(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let any = dimension::Value::DimParam("N".to_owned());
    let sizes = sizes.iter().map(|&size| dimension::Value::DimValue(size));
    let dim = std::iter::once(any)
        .chain(sizes)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim }),
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}
