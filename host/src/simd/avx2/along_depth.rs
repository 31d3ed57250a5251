//! Rows of weights against patches, sixteen elements of depth at a time.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
};
use mirage_core::nn::ROW_ALIGN;

/// Patches that share one pass over the weights: with a few rows of weights they stay
/// in the first-level cache.
const BLOCK: usize = 8;

/// Rows and patches whose sums, with their operands, fill the sixteen registers.
const ROWS: usize = 2;
const PATCHES: usize = 4;

/// [`Kernel::multiply`](mirage_core::nn::Kernel::multiply).
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn multiply(weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
    let stride = depth.next_multiple_of(ROW_ALIGN);
    let rows = weights.len() / stride;
    for (patches, sums) in patches.chunks(BLOCK * stride).zip(sums.chunks_mut(BLOCK * rows)) {
        let count = patches.len() / stride;
        let mut row = 0;
        while row + ROWS <= rows {
            multiply_rows::<ROWS>(
                &weights[row * stride..],
                patches,
                stride,
                rows,
                row,
                count,
                sums,
            );
            row += ROWS;
        }
        while row < rows {
            multiply_rows::<1>(&weights[row * stride..], patches, stride, rows, row, count, sums);
            row += 1;
        }
    }
}

/// The first `R` rows of weights with `count` patches; the sums go to columns
/// `row..row + R`.
#[target_feature(enable = "avx2")]
#[inline]
fn multiply_rows<const R: usize>(
    weights: &[u8],
    patches: &[i16],
    stride: usize,
    rows: usize,
    row: usize,
    count: usize,
    sums: &mut [i32],
) {
    let mut patch = 0;
    while patch < count {
        let tile = &patches[patch * stride..];
        let (width, totals) = match count - patch {
            1 => (1, dot_products::<R, 1>(weights, tile, stride)),
            2 => (2, dot_products::<R, 2>(weights, tile, stride)),
            3 => (3, dot_products::<R, 3>(weights, tile, stride)),
            _ => (PATCHES, dot_products::<R, PATCHES>(weights, tile, stride)),
        };
        for p in 0..width {
            let start = (patch + p) * rows + row;
            for (sum, totals) in sums[start..start + R].iter_mut().zip(totals) {
                *sum = totals[p];
            }
        }
        patch += width;
    }
}

/// The dot products of `R` rows of weights with `P` patches, at most four.
#[target_feature(enable = "avx2")]
#[inline]
fn dot_products<const R: usize, const P: usize>(
    weights: &[u8],
    patches: &[i16],
    stride: usize,
) -> [[i32; PATCHES]; R] {
    assert!(
        weights.len() >= R * stride
            && patches.len() >= P * stride
            && stride.is_multiple_of(ROW_ALIGN)
    );
    let mut sums = [[_mm256_setzero_si256(); P]; R];
    let (weights, patches) = (weights.as_ptr(), patches.as_ptr());
    let mut k = 0;
    while k < stride {
        // SAFETY: k + 16 ≤ stride, and the assertion above leaves that much room in
        // every row.
        let row: [__m256i; R] = core::array::from_fn(|r| unsafe {
            _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(r * stride + k).cast::<__m128i>()))
        });
        for (sums, row) in sums.iter_mut().zip(row) {
            for (p, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let patch =
                    unsafe { _mm256_loadu_si256(patches.add(p * stride + k).cast::<__m256i>()) };
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(row, patch));
            }
        }
        k += 16;
    }
    sums.map(|sums| {
        let at = |p: usize| sums.get(p).copied().unwrap_or(_mm256_setzero_si256());
        let pairs = (_mm256_hadd_epi32(at(0), at(1)), _mm256_hadd_epi32(at(2), at(3)));
        let quads = _mm256_hadd_epi32(pairs.0, pairs.1);
        let total =
            _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
        let mut totals = [0; PATCHES];
        // SAFETY: `totals` has room for four 32-bit integers.
        unsafe { _mm_storeu_si128(totals.as_mut_ptr().cast::<__m128i>(), total) };
        totals
    })
}
