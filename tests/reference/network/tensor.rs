//! Tensors of `f64`.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Numbers in C order; integers and shapes are such numbers too.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Size of every axis.
    pub shape: Vec<usize>,
    /// As many as the product of the sizes.
    pub values: Vec<f64>,
}

impl Tensor {
    /// A tensor of these values.
    ///
    /// # Panics
    /// If their number does not match.
    #[must_use]
    pub fn new(shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values of {shape:?}");
        Self { shape: shape.to_vec(), values }
    }

    /// The tensor that holds `value(index)` at every index.
    pub(super) fn generate(shape: &[usize], mut value: impl FnMut(&[usize]) -> f64) -> Self {
        let mut values = Vec::with_capacity(shape.iter().product());
        for_each_index(shape, |index| values.push(value(index)));
        Self::new(shape, values)
    }

    /// The constant of an ONNX file.
    pub(super) fn from_proto(proto: &TensorProto) -> Self {
        let shape: Vec<usize> = proto.dims.iter().map(|&size| size as usize).collect();
        let raw = &proto.raw_data;
        let kind = DataType::try_from(proto.data_type).expect("a type of ONNX");
        let values = match kind {
            DataType::Float if raw.is_empty() => {
                proto.float_data.iter().map(|&value| f64::from(value)).collect()
            }
            DataType::Float => {
                raw.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect()
            }
            DataType::Int64 if raw.is_empty() => {
                proto.int64_data.iter().map(|&value| value as f64).collect()
            }
            DataType::Int64 => {
                raw.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect()
            }
            _ => panic!("constant {} is of the type {kind:?}", proto.name),
        };
        Self::new(&shape, values)
    }

    /// The value at an index, as numpy broadcasts: the index may have more axes in front,
    /// and on an axis of size one every position is the first.
    pub(super) fn at(&self, index: &[usize]) -> f64 {
        let index = &index[index.len() - self.shape.len()..];
        let offset = self.shape.iter().zip(index).fold(0, |offset, (&size, &position)| {
            offset * size + if size == 1 { 0 } else { position }
        });
        self.values[offset]
    }

    pub(super) fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Self::new(&self.shape, self.values.iter().map(|&value| function(value)).collect())
    }

    /// The same values in another shape.
    pub(super) fn reshape(&self, shape: &[usize]) -> Self {
        Self::new(shape, self.values.clone())
    }

    pub(super) fn integers(&self) -> Vec<i64> {
        self.values.iter().map(|&value| value as i64).collect()
    }

    /// The only value.
    pub(super) fn scalar(&self) -> f64 {
        let [value] = self.values[..] else { panic!("{:?} is no scalar", self.shape) };
        value
    }

    /// `function` of the elements of two tensors, broadcast.
    pub(super) fn zip(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        let rank = self.shape.len().max(other.shape.len());
        let size = |shape: &[usize], axis: usize| {
            (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
        };
        let broadcast = |axis| match (size(&self.shape, axis), size(&other.shape, axis)) {
            (1, size) | (size, 1) => size,
            (a, b) if a == b => a,
            _ => panic!("{:?} and {:?} do not broadcast", self.shape, other.shape),
        };
        let shape: Vec<usize> = (0..rank).map(broadcast).collect();
        Self::generate(&shape, |index| function(self.at(index), other.at(index)))
    }

    /// The sums over some axes, which keep a size of one.
    pub(super) fn sum(&self, axes: &[usize]) -> Self {
        let mut sums = self.clone();
        for &axis in axes {
            let mut shape = sums.shape.clone();
            let count = std::mem::replace(&mut shape[axis], 1);
            sums = Self::generate(&shape, |index| {
                let mut index = index.to_vec();
                let at = |position| {
                    index[axis] = position;
                    sums.at(&index)
                };
                (0..count).map(at).sum()
            });
        }
        sums
    }
}

/// Calls `action` with every index of a tensor, in C order.
pub(super) fn for_each_index(shape: &[usize], mut action: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        action(&index);
        for (position, &size) in index.iter_mut().zip(shape).rev() {
            *position += 1;
            if *position < size {
                break;
            }
            *position = 0;
        }
    }
}
