//! The int8 kernel for Armv6-M (Cortex-M0, M0+), which has eight registers to calculate
//! with and loads signed numbers only with the offset in a register: two rows at a time
//! share what is loaded of a patch, and just fit.

#![allow(unsafe_code, reason = "assembly")]

use core::arch::naked_asm;

use mirage_core::nn::{Kernel, row_stride};

use super::{rows, store};

/// The kernel for Armv6-M.
#[derive(Clone, Copy, Debug, Default)]
pub struct Armv6m;

impl Kernel for Armv6m {
    fn multiply(&self, weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
        let stride = row_stride(depth);
        let count = (weights.len() / stride).max(1);
        for (patch, sums) in patches.chunks(stride).zip(sums.chunks_mut(count)) {
            for (weights, sums) in weights.chunks(2 * stride).zip(sums.chunks_mut(2)) {
                store(sums, two_rows(weights, patch, stride));
            }
        }
    }
}

/// The sums of two rows with a patch, or of one row, twice; zeros if they do not fit each
/// other.
fn two_rows(weights: &[u8], patch: &[i16], stride: usize) -> [i32; 2] {
    let Some([first, second]) = rows(weights, patch, stride) else { return [0; 2] };
    // SAFETY: all three have `stride` elements, a positive multiple of 16.
    let sums = unsafe { multiply(first.as_ptr(), second.as_ptr(), patch.as_ptr(), stride) };
    [sums as i32, (sums >> 32) as i32]
}

/// Multiplies two rows of weights with a patch; sum 0 is in the lower half of the result.
///
/// # Safety
/// All three point to `stride` elements that may be read; `stride` is a positive multiple
/// of 16.
///
/// Registers: r0 to r2 rows and patch, moving; r3 a value of the patch; r4 and r5 the
/// sums; r6 and r7 values of the rows; r12 elements to go. What a callee must keep is
/// pushed and popped.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    first: *const u8,
    second: *const u8,
    patch: *const i16,
    stride: usize,
) -> u64 {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r12, r3",
        "movs r4, #0",
        "movs r5, #0",
        "2:",
        ".irp k, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movs r6, #\\k",
        "ldrsb r7, [r1, r6]",
        "ldrsb r6, [r0, r6]",
        "movs r3, #(2 * \\k)",
        "ldrsh r3, [r2, r3]",
        "muls r6, r3, r6",
        "muls r7, r3, r7",
        "adds r4, r4, r6",
        "adds r5, r5, r7",
        ".endr",
        "adds r0, #16",
        "adds r1, #16",
        "adds r2, #32",
        "mov r3, r12",
        "subs r3, #16",
        "mov r12, r3",
        // Too far for a conditional branch.
        "beq 3f",
        "b 2b",
        "3:",
        "mov r0, r4",
        "mov r1, r5",
        "pop {{r4-r7, pc}}",
    )
}
