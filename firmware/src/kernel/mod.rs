//! Int8 kernels in assembly, for processors that Rust cannot be told to use fully. They
//! give the integers of [`Portable`](mirage_core::nn::Portable).

#[cfg(armv6m)]
pub mod armv6m;
#[cfg(feature = "dsp")]
pub mod dsp;

/// The fastest kernel for the processor.
#[cfg(feature = "dsp")]
pub const KERNEL: dsp::Dsp = dsp::Dsp;
/// The fastest kernel for the processor.
#[cfg(armv6m)]
pub const KERNEL: armv6m::Armv6m = armv6m::Armv6m;
/// The fastest kernel for the processor.
#[cfg(not(any(armv6m, feature = "dsp")))]
pub const KERNEL: mirage_core::nn::Portable = mirage_core::nn::Portable;
