//! A node of a graph, with the values that it reads.

use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::tensor::Tensor;

/// A node, ready to be computed.
pub(super) struct Node<'a> {
    pub(super) proto: &'a NodeProto,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    /// None where an optional input is left out.
    pub(super) inputs: Vec<Option<&'a Tensor>>,
}

impl<'a> Node<'a> {
    /// An input that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.inputs.get(index).copied().flatten()
    }

    pub(super) fn input(&self, index: usize) -> &'a Tensor {
        let input = self.optional(index);
        input.unwrap_or_else(|| panic!("{} has no input {index}", self.proto.op_type))
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f64 {
        f64::from(self.attribute(name).map_or(default, |attribute| attribute.f))
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.attribute(name).map(|attribute| str::from_utf8(&attribute.s).expect("a word"))
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// Integers that are an attribute in old versions, an input in newer ones.
    pub(super) fn ints_or_input(&self, name: &str, input: usize) -> Option<Vec<i64>> {
        let attribute = self.ints(name).map(<[i64]>::to_vec);
        attribute.or_else(|| self.optional(input).map(Tensor::integers))
    }

    /// The number of an axis, which counts from the end if it is negative.
    pub(super) fn axis(axis: i64, rank: usize) -> usize {
        usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).expect("an axis")
    }
}
