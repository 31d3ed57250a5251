//! The integer multiply-accumulate kernel: the one part of the network that a
//! platform may replace.

use crate::limits::MAX_DEPTH;

mod one_by_one;

/// Rows of weights and of patches begin at multiples of this many elements, and what
/// follows a row's weights is zero, so that a kernel may work on whole vectors.
pub const ROW_ALIGN: usize = 16;

/// Elements from one row to the next, if `depth` ≤ [`MAX_DEPTH`] of them are used: the next
/// multiple of [`ROW_ALIGN`], and never zero.
#[must_use]
#[inline(always)]
pub const fn row_stride(depth: usize) -> usize {
    let depth = if depth > MAX_DEPTH { MAX_DEPTH } else { depth };
    if depth == 0 { ROW_ALIGN } else { depth.next_multiple_of(ROW_ALIGN) }
}

/// Multiplies int8 weights with int16 patches.
///
/// Every implementation gives the same integers as [`Portable`]; a platform
/// chooses one for its speed.
pub trait Kernel {
    /// `sums[p · rows + r] = Σ_k weights[r][k] · patches[p][k]` for `k < depth`.
    ///
    /// * `weights`: `rows` rows of two's-complement int8.
    /// * `patches`: any number of rows of −255 ..= 255.
    /// * `depth`: used elements of a row. Rows of both are [`row_stride`] apart; the rest
    ///   of a row of weights is zero, that of a patch anything.
    /// * `sums`: one row of `rows` sums per patch. The caller has checked that no
    ///   sum leaves the range of `i32`.
    fn multiply(&self, weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]);
}

/// Whether the machine has no vectors that a compiler could turn plain loops into.
const IS_SCALAR: bool = cfg!(any(target_arch = "arm", target_arch = "riscv32"));

/// The kernel in plain Rust, for every platform.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn multiply(&self, weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
        if IS_SCALAR {
            return one_by_one::multiply(weights, patches, depth, sums);
        }
        let stride = row_stride(depth);
        let rows = weights.len() / stride;
        if rows == 0 {
            return;
        }
        // Two patches at a time share the loads of the weights.
        for (patches, sums) in patches.chunks(2 * stride).zip(sums.chunks_mut(2 * rows)) {
            if patches.len() == 2 * stride && sums.len() == 2 * rows {
                let (a, b) = patches.split_at(stride);
                let (sums_a, sums_b) = sums.split_at_mut(rows);
                let sums = sums_a.iter_mut().zip(sums_b);
                for (row, (sum_a, sum_b)) in weights.chunks_exact(stride).zip(sums) {
                    (*sum_a, *sum_b) = dot2(used(row, depth), a, b);
                }
            } else {
                for (row, sum) in weights.chunks_exact(stride).zip(sums) {
                    *sum = dot(used(row, depth), patches);
                }
            }
        }
    }
}

/// The first `depth` elements, or all if there are fewer.
#[inline(always)]
fn used(row: &[u8], depth: usize) -> &[u8] {
    row.get(..depth).unwrap_or(row)
}

#[inline(always)]
fn dot(row: &[u8], patch: &[i16]) -> i32 {
    let products = row.iter().zip(patch).map(|(&w, &x)| i32::from(w as i8) * i32::from(x));
    products.fold(0, i32::wrapping_add)
}

#[inline(always)]
fn dot2(row: &[u8], a: &[i16], b: &[i16]) -> (i32, i32) {
    let (mut sum_a, mut sum_b) = (0i32, 0i32);
    for ((&w, &a), &b) in row.iter().zip(a).zip(b) {
        let w = i32::from(w as i8);
        sum_a = sum_a.wrapping_add(w * i32::from(a));
        sum_b = sum_b.wrapping_add(w * i32::from(b));
    }
    (sum_a, sum_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape around those that are multiplied together, by a function with the
    /// arguments of [`Kernel::multiply`].
    fn check(multiply: impl Fn(&[u8], &[i16], usize, &mut [i32])) {
        for depth in [1, 4, 15, 16, 17, 19, 48] {
            let stride = row_stride(depth);
            let mut weights = [0u8; 5 * 48];
            // What follows a patch's elements is anything, here not zero.
            let mut patches = [-255i16; 5 * 48];
            for row in 0..5 {
                for k in 0..depth {
                    weights[row * stride + k] = (row * 91 + k * 37) as u8;
                    patches[row * stride + k] = ((row * 53 + k * 29) % 511) as i16 - 255;
                }
            }
            let product = |p: usize, r: usize, k: usize| {
                i32::from(weights[r * stride + k] as i8) * i32::from(patches[p * stride + k])
            };
            for (rows, count) in (1..=5).flat_map(|rows| (1..=5).map(move |count| (rows, count))) {
                let mut sums = [7i32; 25];
                let used = &mut sums[..count * rows];
                multiply(&weights[..rows * stride], &patches[..count * stride], depth, used);
                for p in 0..count {
                    for r in 0..rows {
                        let expected: i32 = (0..depth).map(|k| product(p, r, k)).sum();
                        let found = sums[p * rows + r];
                        assert_eq!(found, expected, "{rows} × {count}, depth {depth}: {p}, {r}");
                    }
                }
                assert!(sums[count * rows..].iter().all(|&sum| sum == 7));
            }
        }
    }

    #[test]
    fn every_shape_gives_the_sums() {
        check(|weights, patches, depth, sums| Portable.multiply(weights, patches, depth, sums));
        check(one_by_one::multiply);
    }

    #[test]
    fn empty_operands_do_nothing() {
        Portable.multiply(&[], &[], 0, &mut []);
        Portable.multiply(&[], &[0; 16], 4, &mut [1]);
        one_by_one::multiply(&[], &[], 0, &mut []);
        one_by_one::multiply(&[], &[0; 16], 4, &mut [1]);
    }
}
