//! The float types that networks compute in, and their matrix product.
//!
//! The only `unsafe` code of training is the call of `gemm` in [`multiply`].

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` to train in, `f64` to check gradients in.
pub trait Real:
    sealed::Sealed
    + Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
    + From<f32>
    + 'static
{
    /// e to the power of the number.
    #[must_use]
    fn exp(self) -> Self;
    /// The natural logarithm.
    #[must_use]
    fn ln(self) -> Self;
}

impl Real for f32 {
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn ln(self) -> Self {
        f32::ln(self)
    }
}

impl Real for f64 {
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

/// A view of numbers as a matrix.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `values` row by row; their number is a multiple of `columns`.
    pub(super) fn new(values: &'a [T], columns: usize) -> Self {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        assert_eq!(values.len(), rows * columns, "a matrix has whole rows");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Adds the product of `a` and `b` to the row-major matrix `sum`; on one thread.
///
/// # Panics
/// If the shapes do not match: an error in the caller, never in data.
pub(super) fn multiply<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, sum: &mut [T]) {
    let (rows, depth, columns) = (a.rows, a.columns, b.columns);
    assert_eq!(depth, b.rows, "the product of matrices");
    assert_eq!(sum.len(), rows * columns, "the product of matrices");
    let one = T::from(1.0);
    // SAFETY: `Matrix` holds exactly rows × columns elements and its strides are those
    // of the matrix or of its transpose, so every element that `gemm` reads of `a` and
    // `b` lies inside their slices; `sum` was just checked to hold rows × columns
    // elements with strides (columns, 1) and, being borrowed mutably, overlaps neither.
    // `Real` is sealed to f32 and f64, both of which `gemm` knows. Lengths of slices are
    // at most `isize::MAX`, so the casts keep their values.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            sum.as_mut_ptr(),
            1,
            columns as isize,
            true,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            one,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 × 3
        let b = [1.0, 0.0, -1.0, 2.0, 1.0, 1.0]; // 3 × 2
        let a_transposed = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        let b_transposed = [1.0, -1.0, 1.0, 0.0, 2.0, 1.0];
        for a in [Matrix::new(&a, 3), Matrix::new(&a_transposed, 2).transposed()] {
            for b in [Matrix::new(&b, 2), Matrix::new(&b_transposed, 3).transposed()] {
                let mut sum = [100.0_f64, 0.0, 0.0, 0.0];
                multiply(a, b, &mut sum);
                assert_eq!(sum, [102.0, 7.0, 5.0, 16.0]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "product")]
    fn shapes_are_checked() {
        multiply(Matrix::new(&[1.0_f32; 6], 3), Matrix::new(&[1.0; 6], 3), &mut [0.0; 4]);
    }
}
