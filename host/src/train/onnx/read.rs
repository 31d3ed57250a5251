//! From the bytes of an ONNX file to a network.

use std::collections::HashMap;

use mirage_core::nn::{Op, Padding, Shape, Window};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

use super::super::network::FloatNetwork;
use super::super::preprocessing::Preprocessing;
use super::{OnnxError, exchange_axes, preprocessing};

/// Reads a sequential network and the preprocessing that belongs to it.
///
/// # Errors
/// If the bytes are no ONNX model, do not state the preprocessing, or hold anything that
/// a [`FloatNetwork`] has no counterpart for: the error names the node.
pub fn decode(bytes: &[u8]) -> Result<(FloatNetwork, Preprocessing), OnnxError> {
    let model = ModelProto::decode(bytes).map_err(|e| OnnxError::Parse(e.to_string()))?;
    let preprocessing = preprocessing(&model)?;
    let graph = model.graph.as_ref().ok_or(OnnxError::Input)?;
    Ok((Chain::read(graph)?, preprocessing))
}

/// What one node is not, for [`OnnxError::Unsupported`].
type Fault = &'static str;

/// Dimensions and values of a constant.
type Constant = (Vec<usize>, Vec<f32>);

/// The layers read so far.
struct Chain<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    /// Name of the value that the next node must read.
    value: &'a str,
    shape: Shape,
    /// Whether the value is [N, length] rather than [N, channels, height, width].
    flat: bool,
    done: bool,
    layers: Vec<Layer>,
}

struct Layer {
    op: Op,
    relu: bool,
    /// In the order that [`Op`] states.
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl<'a> Chain<'a> {
    fn read(graph: &'a GraphProto) -> Result<FloatNetwork, OnnxError> {
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut inputs =
            graph.input.iter().filter(|input| !constants.contains_key(input.name.as_str()));
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(OnnxError::Input);
        };
        let shape = input_shape(input).ok_or(OnnxError::Input)?;
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            if let (Some(output), Some(value)) = (node.output.first(), attribute(node, "value")) {
                constants.extend(value.t.as_ref().map(|tensor| (output.as_str(), tensor)));
            }
        }
        let mut chain = Chain {
            constants,
            value: &input.name,
            shape,
            flat: false,
            done: false,
            layers: Vec::new(),
        };
        for node in graph.node.iter().filter(|node| node.op_type != "Constant") {
            chain.node(node).map_err(|reason| OnnxError::Unsupported {
                node: [&node.name, node.output.first().unwrap_or(&node.name)]
                    .into_iter()
                    .find(|name| !name.is_empty())
                    .cloned()
                    .unwrap_or_default(),
                operator: node.op_type.clone(),
                reason,
            })?;
        }
        chain.network(shape)
    }

    fn network(self, input: Shape) -> Result<FloatNetwork, OnnxError> {
        let ops: Vec<(Op, bool)> = self.layers.iter().map(|l| (l.op, l.relu)).collect();
        let mut network = FloatNetwork::new(input, &ops)?;
        let places: Vec<_> =
            network.layers().iter().map(|layer| (layer.weights(), layer.biases())).collect();
        for (layer, (weights, biases)) in self.layers.iter().zip(places) {
            // `node` has checked the numbers of weights and biases against the shapes.
            network.parameters_mut()[weights].copy_from_slice(&layer.weights);
            network.parameters_mut()[biases].copy_from_slice(&layer.biases);
        }
        Ok(network)
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<(), Fault> {
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err("only operators of ONNX itself are supported");
        }
        let reads_value = node.input.iter().position(|input| input == self.value);
        let swapped_add = node.op_type == "Add" && reads_value == Some(1);
        if self.done || (reads_value != Some(0) && !swapped_add) {
            return Err("every node must read what the one before it gives, up to one softmax");
        }
        match node.op_type.as_str() {
            "Conv" => self.conv(node)?,
            "MaxPool" | "AveragePool" | "GlobalAveragePool" => self.pool(node)?,
            "Gemm" => self.gemm(node)?,
            "MatMul" => self.matmul(node)?,
            "Add" => self.add(node)?,
            "Relu" => self.relu()?,
            "Flatten" => {
                if int(node, "axis", 1) != 1 {
                    return Err("axis must be 1");
                }
                self.flat = true;
            }
            "Reshape" => self.reshape(node)?,
            "Softmax" => {
                let axis = int(node, "axis", -1);
                if !self.flat || (axis != 1 && axis != -1) {
                    return Err("softmax must be over the classes, axis 1 of [N, classes]");
                }
                self.done = true;
            }
            "Dropout" | "Identity" => {}
            _ => return Err("this operator is not supported in a sequential network"),
        }
        self.value = node.output.first().ok_or("the node has no output")?;
        Ok(())
    }

    fn push(&mut self, op: Op, weights: Vec<f32>, biases: Vec<f32>) -> Result<(), Fault> {
        self.shape = op.output(self.shape).ok_or("the layer does not fit its input")?;
        self.layers.push(Layer { op, relu: false, weights, biases });
        Ok(())
    }

    fn conv(&mut self, node: &NodeProto) -> Result<(), Fault> {
        let (dims, values) = self.floats(node, 1)?.ok_or("the weights must be constants")?;
        let &[filters, per_group, height, width] = &dims[..] else {
            return Err("the weights must have four dimensions");
        };
        let channels = self.shape.channels;
        let group = usize::try_from(int(node, "group", 1)).unwrap_or(0);
        let window = self.window(node, (height, width))?;
        if ints(node, "kernel_shape").is_some_and(|k| k != [height as i64, width as i64]) {
            return Err("kernel_shape differs from the shape of the weights");
        }
        let biases = self.biases(node, 2, filters)?;
        if group == 1 && per_group == channels {
            let weights = exchange_axes(&values, channels, height * width);
            self.push(Op::Conv { window, filters }, weights, biases)
        } else if group == channels && per_group == 1 && filters % channels == 0 {
            let weights = exchange_axes(&values, filters, height * width);
            let multiplier = filters / channels;
            self.push(Op::DepthwiseConv { window, multiplier }, weights, biases)
        } else {
            Err("groups must be one, or as many as input channels")
        }
    }

    fn pool(&mut self, node: &NodeProto) -> Result<(), Fault> {
        if node.output.iter().skip(1).any(|output| !output.is_empty()) {
            return Err("a second output is not supported");
        }
        let Shape { height, width, .. } = self.shape;
        if node.op_type == "GlobalAveragePool" {
            if self.flat {
                return Err("the input must be an image");
            }
            let whole = Window { height, width, stride_y: 1, stride_x: 1, padding: Padding::Valid };
            return self.push(Op::AveragePool(whole), Vec::new(), Vec::new());
        }
        let kernel = match ints(node, "kernel_shape") {
            Some(&[h, w]) => (size(h)?, size(w)?),
            _ => return Err("kernel_shape must have two numbers"),
        };
        let window = self.window(node, kernel)?;
        let op = if node.op_type == "MaxPool" {
            Op::MaxPool(window)
        } else if window.padding == Padding::Same && int(node, "count_include_pad", 0) != 0 {
            return Err("count_include_pad with padding is not supported");
        } else {
            Op::AveragePool(window)
        };
        self.push(op, Vec::new(), Vec::new())
    }

    /// The window that the node's attributes describe, if there is one with the same
    /// results.
    fn window(&self, node: &NodeProto, kernel: (usize, usize)) -> Result<Window, Fault> {
        if self.flat {
            return Err("the input must be an image");
        }
        if ints(node, "dilations").is_some_and(|d| d.iter().any(|&n| n != 1)) {
            return Err("dilations other than 1 are not supported");
        }
        let (stride_y, stride_x) = match ints(node, "strides") {
            None => (1, 1),
            Some(&[y, x]) => (size(y)?, size(x)?),
            Some(_) => return Err("strides must have two numbers"),
        };
        let (height, width) = kernel;
        let padded = |padding| Window { height, width, stride_y, stride_x, padding };
        let pads = match ints(node, "pads") {
            None => [0; 4],
            Some(pads) => <[i64; 4]>::try_from(pads).map_err(|_| "pads must have four numbers")?,
        };
        let named = attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |a| &a.s);
        let window = match named {
            b"SAME_UPPER" => padded(Padding::Same),
            b"NOTSET" if pads != [0; 4] => {
                let window = padded(Padding::Same);
                let [top, left, bottom, right] = pads.map(|n| usize::try_from(n).ok());
                let along = |size: usize, pads: (Option<usize>, Option<usize>), reach, stride| {
                    let padded = size.checked_add(pads.0?)?.checked_add(pads.1?)?;
                    Some(padded.checked_sub(reach)? / stride + 1)
                };
                let rows = along(self.shape.height, (top, bottom), height, stride_y);
                let columns = along(self.shape.width, (left, right), width, stride_x);
                let (above, before) = window.offset(self.shape);
                if rows.zip(columns) != window.output(self.shape)
                    || (top, left) != (Some(above), Some(before))
                {
                    return Err("padding must be none or that of SAME_UPPER");
                }
                window
            }
            b"NOTSET" | b"VALID" => padded(Padding::Valid),
            _ => return Err("this auto_pad is not supported"),
        };
        if int(node, "ceil_mode", 0) != 0 {
            let divides = |size: usize, pads: i64, reach: usize, stride: usize| {
                (size as i64 + pads - reach as i64) % stride as i64 == 0
            };
            if !divides(self.shape.height, pads[0] + pads[2], height, stride_y)
                || !divides(self.shape.width, pads[1] + pads[3], width, stride_x)
            {
                return Err("ceil_mode is not supported where it makes a difference");
            }
        }
        Ok(window)
    }

    fn gemm(&mut self, node: &NodeProto) -> Result<(), Fault> {
        let one = |name| attribute(node, name).is_none_or(|a| a.f == 1.0);
        if !one("alpha") || !one("beta") || int(node, "transA", 0) != 0 {
            return Err("alpha and beta must be 1, transA 0");
        }
        let units = self.dense(node, int(node, "transB", 0) != 0)?;
        let biases = self.biases(node, 2, units)?;
        self.layers.last_mut().ok_or("no layer")?.biases = biases;
        Ok(())
    }

    fn matmul(&mut self, node: &NodeProto) -> Result<(), Fault> {
        self.dense(node, false).map(|_| ())
    }

    /// Appends a dense layer without biases; returns the number of its units.
    fn dense(&mut self, node: &NodeProto, units_first: bool) -> Result<usize, Fault> {
        if !self.flat {
            return Err("the input must be flattened to [N, length] first");
        }
        let (dims, values) = self.floats(node, 1)?.ok_or("the weights must be constants")?;
        let &[rows, columns] = &dims[..] else {
            return Err("the weights must have two dimensions");
        };
        let (units, length) = if units_first { (rows, columns) } else { (columns, rows) };
        if length != self.shape.len() {
            return Err("the weights do not fit the input");
        }
        let values = if units_first { values } else { exchange_axes(&values, rows, columns) };
        let weights = exchange_axes(&values, self.shape.channels, self.shape.positions());
        self.push(Op::Dense { units }, weights, vec![0.0; units])?;
        Ok(units)
    }

    /// Adds a constant to the biases of the layer before.
    fn add(&mut self, node: &NodeProto) -> Result<(), Fault> {
        let index = usize::from(node.input.first().is_some_and(|input| input == self.value));
        let (dims, values) = self.floats(node, index)?.ok_or("only constants can be added")?;
        let channels = self.shape.channels;
        let fits = match &dims[..] {
            &[n] | &[1, n] => self.flat && n == channels,
            &[n, 1, 1] | &[1, n, 1, 1] => !self.flat && n == channels,
            _ => false,
        };
        match self.layers.last_mut() {
            Some(layer) if fits && !layer.weights.is_empty() && !layer.relu => {
                layer.biases.iter_mut().zip(values).for_each(|(bias, value)| *bias += value);
                Ok(())
            }
            _ => Err("only biases of the layer before can be added"),
        }
    }

    /// Gives the last layer with weights a ReLU; max pools between change nothing.
    fn relu(&mut self) -> Result<(), Fault> {
        let layer = self.layers.iter_mut().rev().find(|l| !matches!(l.op, Op::MaxPool(_)));
        match layer {
            Some(layer) if !layer.weights.is_empty() => {
                layer.relu = true;
                Ok(())
            }
            _ => Err("a relu must follow a layer with weights"),
        }
    }

    fn reshape(&mut self, node: &NodeProto) -> Result<(), Fault> {
        let name = node.input.get(1).map_or("", String::as_str);
        let tensor = self.constants.get(name).ok_or("the shape must be a constant")?;
        let sizes = integers(tensor).ok_or("the shape must be a constant of int64")?;
        let is = |stated: i64, size: usize| stated == size as i64;
        let Shape { height, width, channels } = self.shape;
        match sizes[..] {
            [-1..=1, length] if is(length, self.shape.len()) => self.flat = true,
            [0 | 1, -1] => self.flat = true,
            [-1..=1, c, h, w]
                if is(c, channels)
                    && is(h, height)
                    && is(w, width)
                    && (!self.flat || self.shape.positions() == 1) =>
            {
                self.flat = false;
            }
            _ => return Err("only reshaping to [N, length] is supported"),
        }
        Ok(())
    }

    /// The constant that input `index` of `node` is, with its dimensions; `None` if the
    /// node has no such input.
    fn floats(&self, node: &NodeProto, index: usize) -> Result<Option<Constant>, Fault> {
        let Some(name) = node.input.get(index).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let tensor = self.constants.get(name.as_str()).ok_or("the weights must be constants")?;
        let dims = tensor.dims.iter().map(|&n| size(n)).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<f32> = if tensor.data_type != DataType::Float as i32 {
            return Err("constants must be of type float");
        } else if tensor.raw_data.is_empty() {
            tensor.float_data.clone()
        } else {
            tensor.raw_data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        };
        let count = dims.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if count != Some(values.len()) {
            return Err("a constant has another length than its dimensions state");
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err("a constant holds values that are not finite");
        }
        Ok(Some((dims, values)))
    }

    /// The biases that input `index` is; zeros if the node has no such input.
    fn biases(&self, node: &NodeProto, index: usize, channels: usize) -> Result<Vec<f32>, Fault> {
        match self.floats(node, index)? {
            None => Ok(vec![0.0; channels]),
            Some((dims, values)) if dims == [channels] || dims == [1, channels] => Ok(values),
            Some(_) => Err("the biases must be one per output channel"),
        }
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| &attribute.ints[..])
}

/// A size of at least 1 that products of a few cannot overflow.
fn size(n: i64) -> Result<usize, Fault> {
    u16::try_from(n).ok().filter(|&n| n > 0).map(usize::from).ok_or("a size is out of range")
}

fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 {
        return None;
    }
    let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes));
    Some(if tensor.raw_data.is_empty() { tensor.int64_data.clone() } else { raw.collect() })
}

/// The shape of an input [N, channels, height, width].
fn input_shape(input: &ValueInfoProto) -> Option<Shape> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    if tensor.elem_type != DataType::Float as i32 {
        return None;
    }
    let [_, sizes @ ..] = &tensor.shape.as_ref()?.dim[..] else { return None };
    let sizes = sizes.iter().map(|size_proto| match size_proto.value {
        Some(dimension::Value::DimValue(n)) => size(n).ok(),
        _ => None,
    });
    match sizes.collect::<Option<Vec<_>>>()?[..] {
        [channels, height, width] => Some(Shape { height, width, channels }),
        _ => None,
    }
}
