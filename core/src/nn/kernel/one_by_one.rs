//! Multiplication for machines that multiply numbers one by one, as microcontrollers do:
//! what counts there is how often a number is loaded, and that a loop's numbers stay in
//! registers.
//!
//! Whole tiles of [`ROW_ALIGN`] elements are multiplied: what follows a row's weights is
//! zero. How well a compiler keeps a tile's numbers in registers depends on its model of
//! the processor: with `-C target-cpu=cortex-m4` a Cortex-M4 needs two thirds of the
//! instructions that it needs without.

use super::{ROW_ALIGN, row_stride};

/// Whether registers are as few as in Armv6-M, which is known by its lack of atomic
/// exchanges.
const IS_TINY: bool = cfg!(all(target_arch = "arm", not(target_has_atomic = "32")));

/// Rows and patches that are multiplied at a time, sharing their loads.
const SIDE: usize = if IS_TINY { 1 } else { 2 };

/// [`Kernel::multiply`](super::Kernel::multiply).
#[inline(never)]
pub(super) fn multiply(weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
    let stride = row_stride(depth);
    let rows = (weights.len() / stride).max(1);
    for (patches, sums) in patches.chunks(SIDE * stride).zip(sums.chunks_mut(SIDE * rows)) {
        if patches.len() == SIDE * stride {
            multiply_block::<SIDE, SIDE>(weights, patches, stride, sums);
        } else {
            multiply_block::<{ SIDE * SIDE }, 1>(weights, patches, stride, sums);
        }
    }
}

/// Multiplies all rows, `R` at a time, with `P` patches.
#[inline(always)]
fn multiply_block<const R: usize, const P: usize>(
    weights: &[u8],
    patches: &[i16],
    stride: usize,
    sums: &mut [i32],
) {
    let rows = sums.len() / P;
    let mut first = 0;
    for group in weights.chunks(R * stride) {
        if group.len() == R * stride {
            store(&dot::<R, P>(group, patches, stride), first, rows, sums);
            first += R;
        } else {
            for row in group.chunks_exact(stride) {
                store(&dot::<1, P>(row, patches, stride), first, rows, sums);
                first += 1;
            }
        }
    }
}

/// Puts the sums of rows from `first` on where they belong among those of `rows` rows.
#[inline(always)]
fn store<const R: usize, const P: usize>(
    block: &[[i32; R]; P],
    first: usize,
    rows: usize,
    sums: &mut [i32],
) {
    for (patch, block) in block.iter().enumerate() {
        if let Some(sums) = sums.get_mut(patch * rows + first..).and_then(<[i32]>::first_chunk_mut)
        {
            *sums = *block;
        }
    }
}

/// The sums of `R` rows with `P` patches.
#[inline(never)]
fn dot<const R: usize, const P: usize>(
    weights: &[u8],
    patches: &[i16],
    stride: usize,
) -> [[i32; R]; P] {
    let mut sums = [[0; R]; P];
    let (weights, patches) = (weights.as_chunks().0, patches.as_chunks().0);
    let steps = stride / ROW_ALIGN;
    let mut rows = [&[][..]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        let Some(weights) = weights.get(r * steps..(r + 1) * steps) else { return sums };
        *row = weights;
    }
    let mut columns = [&[][..]; P];
    for (p, column) in columns.iter_mut().enumerate() {
        let Some(patch) = patches.get(p * steps..(p + 1) * steps) else { return sums };
        *column = patch;
    }
    for step in 0..steps {
        let mut row_tiles = [&[0; ROW_ALIGN]; R];
        for (tile, row) in row_tiles.iter_mut().zip(&rows) {
            let Some(row) = row.get(step) else { return sums };
            *tile = row;
        }
        let mut column_tiles = [&[0; ROW_ALIGN]; P];
        for (tile, column) in column_tiles.iter_mut().zip(&columns) {
            let Some(column) = column.get(step) else { return sums };
            *tile = column;
        }
        if IS_TINY {
            multiply_add(row_tiles, column_tiles, &mut sums);
        } else {
            multiply_add_apart(row_tiles, column_tiles, &mut sums);
        }
    }
    sums
}

/// [`multiply_add`] as a function of its own, where it has all registers to itself: worth
/// the call for more than one row or patch.
#[inline(never)]
fn multiply_add_apart<const R: usize, const P: usize>(
    rows: [&[u8; ROW_ALIGN]; R],
    columns: [&[i16; ROW_ALIGN]; P],
    sums: &mut [[i32; R]; P],
) {
    multiply_add(rows, columns, sums);
}

#[inline(always)]
fn multiply_add<const R: usize, const P: usize>(
    rows: [&[u8; ROW_ALIGN]; R],
    columns: [&[i16; ROW_ALIGN]; P],
    sums: &mut [[i32; R]; P],
) {
    let mut local = *sums;
    // Written out: a compiler that optimises for size keeps a loop, and with it an index
    // that takes registers from the sums.
    macro_rules! multiply_add_at {
        ($($k:literal)*) => {$(
            for p in 0..P {
                for r in 0..R {
                    let product = i32::from(rows[r][$k] as i8) * i32::from(columns[p][$k]);
                    local[p][r] = local[p][r].wrapping_add(product);
                }
            }
        )*};
    }
    multiply_add_at!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    *sums = local;
}
