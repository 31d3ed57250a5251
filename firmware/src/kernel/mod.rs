//! Int8 kernels in assembly, for processors that Rust cannot be told to use fully. They
//! give the integers of [`Portable`](mirage_core::nn::Portable).

#[cfg(armv6m)]
pub mod armv6m;
#[cfg(feature = "dsp")]
pub mod dsp;

#[cfg(any(armv6m, feature = "dsp"))]
use mirage_core::nn::ROW_ALIGN;

/// The fastest kernel for the processor.
#[cfg(feature = "dsp")]
pub const KERNEL: dsp::Dsp = dsp::Dsp;
/// The fastest kernel for the processor.
#[cfg(armv6m)]
pub const KERNEL: armv6m::Armv6m = armv6m::Armv6m;
/// The fastest kernel for the processor.
#[cfg(not(any(armv6m, feature = "dsp")))]
pub const KERNEL: mirage_core::nn::Portable = mirage_core::nn::Portable;

/// Two rows of weights, or one twice, that with a patch have `stride` elements each, a
/// positive multiple of [`ROW_ALIGN`]; `None` if they do not.
#[cfg(any(armv6m, feature = "dsp"))]
fn rows<'a>(weights: &'a [u8], patch: &[i16], stride: usize) -> Option<[&'a [u8]; 2]> {
    let (first, second) = weights.split_at_checked(stride)?;
    let second = if second.is_empty() { first } else { second };
    let is_stride = stride > 0 && stride.is_multiple_of(ROW_ALIGN);
    let fits = [first.len(), second.len(), patch.len()] == [stride; 3];
    (is_stride && fits).then_some([first, second])
}

/// Puts sums where there is room for them: the last row may be alone.
#[cfg(any(armv6m, feature = "dsp"))]
fn store(sums: &mut [i32], values: [i32; 2]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = value;
    }
}
