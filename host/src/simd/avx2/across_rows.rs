//! Patches against rows of weights, eight rows and two elements of depth at a time.

use super::SHALLOW;
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256,
};
use mirage_core::nn::ROW_ALIGN;

/// Rows that fill a vector register with their sums.
const LANES: usize = 8;

/// Registers of rows that are worked on together.
const GROUPS: usize = 3;

/// One pair of neighbouring weights from each of some rows.
type Pairs = [[i16; 2]; LANES * GROUPS];

/// [`Kernel::multiply`](mirage_core::nn::Kernel::multiply), for `depth` ≤ [`SHALLOW`].
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn multiply(weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
    let stride = depth.next_multiple_of(ROW_ALIGN);
    let rows = weights.len() / stride;
    let used = depth.div_ceil(2).min(SHALLOW / 2);
    for (group, weights) in weights.chunks(LANES * GROUPS * stride).enumerate() {
        let first = group * LANES * GROUPS;
        let mut pairs: [Pairs; SHALLOW / 2] = [[[0; 2]; LANES * GROUPS]; SHALLOW / 2];
        for (row, weights) in weights.chunks_exact(stride).enumerate() {
            for (pairs, weights) in pairs.iter_mut().zip(weights.chunks_exact(2)).take(used) {
                pairs[row] = [i16::from(weights[0] as i8), i16::from(weights[1] as i8)];
            }
        }
        let count = weights.len() / stride;
        for (patch, sums) in patches.chunks_exact(stride).zip(sums.chunks_exact_mut(rows)) {
            let totals = multiply_patch(&pairs[..used], patch);
            let (sums, totals) = (&mut sums[first..first + count], &totals[..count]);
            let (quads, last) = sums.as_chunks_mut::<4>();
            let (total_quads, last_totals) = totals.as_chunks::<4>();
            for (sums, totals) in quads.iter_mut().zip(total_quads) {
                *sums = *totals;
            }
            for (sum, total) in last.iter_mut().zip(last_totals) {
                *sum = *total;
            }
        }
    }
}

/// The dot products of all rows in `pairs` with one patch.
#[target_feature(enable = "avx2")]
#[inline]
fn multiply_patch(pairs: &[Pairs], patch: &[i16]) -> [i32; LANES * GROUPS] {
    let mut sums = [_mm256_setzero_si256(); GROUPS];
    for (pairs, patch) in pairs.iter().zip(patch.as_chunks::<2>().0) {
        let both = i32::from(patch[0]) & 0xffff | i32::from(patch[1]) << 16;
        let both = _mm256_set1_epi32(both);
        for (group, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `pairs` holds GROUPS registers of LANES pairs.
            let pairs =
                unsafe { _mm256_loadu_si256(pairs.as_ptr().add(group * LANES).cast::<__m256i>()) };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, both));
        }
    }
    let mut totals = [0; LANES * GROUPS];
    for (totals, sum) in totals.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
        // SAFETY: `totals` has room for LANES 32-bit integers.
        unsafe { _mm256_storeu_si256(totals.as_mut_ptr().cast::<__m256i>(), sum) };
    }
    totals
}
