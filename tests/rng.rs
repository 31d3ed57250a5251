//! The core's random streams against the published generators.

use mirage_core::rng::Stream;
use proptest::prelude::*;
use reference::property::config;
use reference::rng::stream;

proptest! {
    #![proptest_config(config("rng", 2_000))]

    #[test]
    fn units_are_the_upper_24_bits(
        seed in any::<u64>(), generation in any::<u32>(), index in any::<u32>(),
    ) {
        let (mut core, mut plain) = (Stream::new(seed, generation, index), stream(seed, generation, index));
        for _ in 0..100 {
            let expected = f64::from(plain.draw() >> 8) / f64::from(1 << 24);
            prop_assert_eq!(f64::from(core.unit()), expected);
        }
    }

    #[test]
    fn bounded_numbers_are_lemires(
        seed in any::<u64>(), index in any::<u32>(),
        bound in prop_oneof![1..100u32, any::<u32>().prop_map(|b| b.max(1)), Just(3 << 30)],
    ) {
        let (mut core, mut plain) = (Stream::new(seed, 0, index), stream(seed, 0, index));
        // A draw is rejected where the low half of the product is below 2³² mod bound.
        let rejected = (1u64 << 32) % u64::from(bound);
        for _ in 0..50 {
            let expected = loop {
                let product = u64::from(plain.draw()) * u64::from(bound);
                if product % (1 << 32) >= rejected {
                    break product / (1 << 32);
                }
            };
            prop_assert_eq!(u64::from(core.below(bound)), expected);
        }
    }

    #[test]
    fn chances_take_one_draw(seed in any::<u64>(), p in 0.0..1.0f32) {
        let (mut core, mut plain) = (Stream::new(seed, 1, 2), stream(seed, 1, 2));
        for _ in 0..50 {
            let expected = f64::from(plain.draw() >> 8) / f64::from(1 << 24) < f64::from(p);
            prop_assert_eq!(core.chance(p), expected);
        }
    }
}
