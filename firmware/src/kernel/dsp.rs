//! The int8 kernel for Arm's DSP extension (Cortex-M4, M7, M33 and larger): two
//! multiply-adds per instruction.
//!
//! Four int8 weights are loaded as one word, `SXTB16` widens the even and the odd ones
//! to two int16 each, `PKHBT` and `PKHTB` put int16 values of a patch in the same order,
//! and `SMLAD` multiplies and adds both pairs. Sums wrap, as they do in plain Rust, and
//! the network's check leaves them no reason to: the integers are those of
//! [`Portable`](mirage_core::nn::Portable).
//!
//! Words are loaded at any address, so the core must not trap unaligned access
//! (`CCR.UNALIGN_TRP`, which is 0 after reset). On a processor without the extension the
//! assembler refuses the instructions.

#![allow(unsafe_code, reason = "assembly")]

#[cfg(not(target_arch = "arm"))]
compile_error!("feature `dsp` is for Arm processors with the DSP extension, such as thumbv7em");

use core::arch::naked_asm;

use mirage_core::nn::{Kernel, ROW_ALIGN, row_stride};

use super::{rows, store};

/// The kernel for the DSP extension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dsp;

impl Kernel for Dsp {
    fn multiply(&self, weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
        let stride = row_stride(depth);
        let count = (weights.len() / stride).max(1);
        for (patches, sums) in patches.chunks(2 * stride).zip(sums.chunks_mut(2 * count)) {
            let (a, b) = patches.split_at_checked(stride).unwrap_or_default();
            let (sums_a, sums_b) = sums.split_at_mut_checked(count).unwrap_or_default();
            let mut sums_b = sums_b.chunks_mut(2);
            for (weights, sums_a) in weights.chunks(2 * stride).zip(sums_a.chunks_mut(2)) {
                match (sums_a, sums_b.next()) {
                    ([a0, a1], Some([b0, b1])) => {
                        [*a0, *b0, *a1, *b1] = two_rows_two_patches(weights, patches, stride);
                    }
                    (sums_a, sums_b) => {
                        store(sums_a, two_rows(weights, a, stride));
                        store(sums_b.unwrap_or_default(), two_rows(weights, b, stride));
                    }
                }
            }
        }
    }
}

/// The sums of two rows with two patches: row 0 with both, then row 1; zeros if the
/// slices are not two rows and two patches of `stride`, a multiple of [`ROW_ALIGN`].
fn two_rows_two_patches(weights: &[u8], patches: &[i16], stride: usize) -> [i32; 4] {
    let mut sums = [0; 4];
    let is_stride = stride > 0 && stride.is_multiple_of(ROW_ALIGN);
    if is_stride && weights.len() == 2 * stride && patches.len() == 2 * stride {
        // SAFETY: `weights` and `patches` have 2 · `stride` elements, `stride` is a positive
        // multiple of 16, and four sums may be written.
        unsafe { multiply_2x2(weights.as_ptr(), patches.as_ptr(), stride, &mut sums) }
    }
    sums
}

/// The sums of two rows with one patch, or of one row, twice; zeros if they do not fit each
/// other.
fn two_rows(weights: &[u8], patch: &[i16], stride: usize) -> [i32; 2] {
    let Some([first, second]) = rows(weights, patch, stride) else { return [0; 2] };
    // SAFETY: all three have `stride` elements, a positive multiple of 16.
    let sums = unsafe { multiply_2x1(first.as_ptr(), second.as_ptr(), patch.as_ptr(), stride) };
    [sums as i32, (sums >> 32) as i32]
}

/// Multiplies two rows of weights, one behind the other, with two patches.
///
/// # Safety
/// `weights` and `patches` point to 2 · `stride` elements that may be read; `stride` is a
/// positive multiple of 16.
///
/// Registers: r0 weights of row 0 and r1 of patch 0, moving; r2 `stride`, by which row 1
/// and patch 1 lie behind; r3 elements to go; r4 to r7 the sums; r8 to r11 the even and
/// odd values of patch 0 and of patch 1; r12 and lr words on their way. Everything that a
/// callee must keep is pushed and popped.
#[unsafe(naked)]
unsafe extern "C" fn multiply_2x2(
    weights: *const u8,
    patches: *const i16,
    stride: usize,
    sums: &mut [i32; 4],
) {
    naked_asm!(
        "push {{r3-r11, lr}}",
        "mov r3, r2",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "2:",
        ".rept 4",
        "ldr r12, [r1, r2, lsl #1]",
        "ldr lr, [r1], #4",
        "ldr r11, [r1, r2, lsl #1]",
        "ldr r9, [r1], #4",
        "pkhbt r8, lr, r9, lsl #16",
        "pkhtb r9, r9, lr, asr #16",
        "pkhbt r10, r12, r11, lsl #16",
        "pkhtb r11, r11, r12, asr #16",
        "ldr lr, [r0, r2]",
        "sxtb16 r12, lr",
        "smlad r6, r12, r8, r6",
        "smlad r7, r12, r10, r7",
        "sxtb16 r12, lr, ror #8",
        "smlad r6, r12, r9, r6",
        "smlad r7, r12, r11, r7",
        "ldr lr, [r0], #4",
        "sxtb16 r12, lr",
        "smlad r4, r12, r8, r4",
        "smlad r5, r12, r10, r5",
        "sxtb16 r12, lr, ror #8",
        "smlad r4, r12, r9, r4",
        "smlad r5, r12, r11, r5",
        ".endr",
        "subs r3, #16",
        "bne 2b",
        "pop {{r3}}",
        "stm r3, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
    )
}

/// Multiplies two rows of weights with one patch; sum 0 is in the lower half of the result.
///
/// # Safety
/// All three point to `stride` elements that may be read; `stride` is a positive multiple
/// of 16.
///
/// Registers: r0 to r2 rows and patch, moving; r3 elements to go; r4 and r5 the sums; r6
/// and r7 the even and odd values of the patch; r12 and lr words on their way. Everything
/// that a callee must keep is pushed and popped.
#[unsafe(naked)]
unsafe extern "C" fn multiply_2x1(
    first: *const u8,
    second: *const u8,
    patch: *const i16,
    stride: usize,
) -> u64 {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "movs r4, #0",
        "movs r5, #0",
        "2:",
        ".rept 4",
        "ldr lr, [r2], #4",
        "ldr r7, [r2], #4",
        "pkhbt r6, lr, r7, lsl #16",
        "pkhtb r7, r7, lr, asr #16",
        "ldr lr, [r0], #4",
        "sxtb16 r12, lr",
        "smlad r4, r12, r6, r4",
        "sxtb16 r12, lr, ror #8",
        "smlad r4, r12, r7, r4",
        "ldr lr, [r1], #4",
        "sxtb16 r12, lr",
        "smlad r5, r12, r6, r5",
        "sxtb16 r12, lr, ror #8",
        "smlad r5, r12, r7, r5",
        ".endr",
        "subs r3, #16",
        "bne 2b",
        "mov r0, r4",
        "mov r1, r5",
        "pop {{r4-r7, pc}}",
    )
}
