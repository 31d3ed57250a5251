//! Loops compiled for the widest vectors that the processor has.

/// A loop to be compiled several times. Its `run` must be `#[inline(always)]`, without
/// closures, so that it is compiled as its caller is.
pub(super) trait Kernel {
    fn run(self);
}

/// Runs `kernel` with AVX2 where there is AVX2; the results are the same bits.
pub(super) fn run(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2(kernel: impl Kernel) {
            kernel.run();
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was detected.
            return unsafe { avx2(kernel) };
        }
    }
    kernel.run();
}
