//! Random streams keyed by seed, generation and index.
//!
//! A child's randomness depends on nothing but its key, so children can be made in
//! any order, on any thread or machine.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro128PlusPlus};

/// One random stream: xoshiro128++ (Blackman and Vigna, ACM TOMS 2021), which
/// needs no 64-bit arithmetic.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro128PlusPlus);

impl Stream {
    /// The stream of child `index` of `generation` in the run of `seed`.
    ///
    /// The key passes through SplitMix64, once for the seed and once with the
    /// generation and index folded in, so that neighbouring keys give unrelated
    /// streams.
    #[must_use]
    pub fn new(seed: u64, generation: u32, index: u32) -> Self {
        let run = SplitMix64::seed_from_u64(seed).next_u64();
        let child = (u64::from(generation) << 32) | u64::from(index);
        Self(Xoshiro128PlusPlus::seed_from_u64(SplitMix64::seed_from_u64(run ^ child).next_u64()))
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    #[inline]
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// True with probability `p`; never for `p` ≤ 0 or NaN, always for `p` ≥ 1.
    #[inline]
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    ///
    /// Without bias (Lemire, ACM TOMACS 2019).
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_unrelated_streams() {
        let first = |seed, generation, index| Stream::new(seed, generation, index).below(u32::MAX);
        let values = [
            first(1, 0, 0),
            first(2, 0, 0),
            first(1, 1, 0),
            first(1, 0, 1),
            first(0, 0, 0),
            first(u64::MAX, u32::MAX, u32::MAX),
        ];
        for (i, a) in values.iter().enumerate() {
            assert!(values[..i].iter().all(|b| a != b), "{values:?}");
        }
    }

    #[test]
    fn the_stream_is_pinned() {
        let mut stream = Stream::new(1, 2, 3);
        let values: [u32; 4] = core::array::from_fn(|_| stream.below(1_000_000));
        assert_eq!(values, PINNED, "a changed stream changes every run");
    }

    const PINNED: [u32; 4] = [15_744, 604_848, 145_287, 204_987];

    #[test]
    fn below_is_even_and_stays_below() {
        let mut stream = Stream::new(7, 0, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // Five standard deviations of a binomial with n = 60 000, p = 1/6.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 457), "{counts:?}");
        assert_eq!(stream.below(0), 0);
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn chance_keeps_to_its_edges() {
        let mut stream = Stream::new(7, 0, 1);
        for _ in 0..1000 {
            assert!(!stream.chance(0.0) && !stream.chance(f32::NAN) && stream.chance(1.0));
            assert!((0.0..1.0).contains(&stream.unit()));
        }
    }
}
