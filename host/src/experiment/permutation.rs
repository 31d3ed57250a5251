//! Orders and samples drawn at random, for tests that compare with chance.

use mirage_core::rng::Stream;

/// Brings `values` into an order drawn at random (Fisher and Yates); all are as likely.
pub(super) fn shuffle<T>(values: &mut [T], random: &mut Stream) {
    for last in (1..values.len()).rev() {
        values.swap(last, random.below(last as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_as_likely() {
        let mut random = Stream::new(1, 0, 0);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut values = [0, 1, 2];
            shuffle(&mut values, &mut random);
            *counts.entry(values).or_insert(0_u32) += 1;
        }
        // Five standard deviations of a binomial with n = 6000, p = 1/6.
        assert!(counts.len() == 6 && counts.values().all(|n| n.abs_diff(1000) < 145), "{counts:?}");
    }
}
