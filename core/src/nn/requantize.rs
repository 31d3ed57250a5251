//! From int32 accumulators back to int8.

/// Scales an accumulator by `multiplier · 2^(shift − 31)`, rounding twice.
///
/// This is TensorFlow Lite's rule for convolutions (and, up to version 2.14, for
/// dense layers): first a high multiplication that rounds to nearest with ties
/// upward, then a right shift that rounds to nearest with ties away from zero.
/// A positive `shift` moves left before the multiplication; what would leave the
/// range of `i32` there is clamped to the largest magnitude that does not.
///
/// * `multiplier`: the mantissa of the real scale, 2³⁰ ..= 2³¹ − 1 for a
///   normalized one, 0 for a scale of zero; never negative.
/// * `shift`: −31 ..= 30; positive means left. What lies outside is clamped.
///
/// The result never decreases when `accumulator` increases, which lets max
/// pooling be done on accumulators.
#[inline(always)]
#[must_use]
pub fn requantize(accumulator: i32, multiplier: i32, shift: i32) -> i32 {
    let left = shift.clamp(0, 30);
    let right = -shift.clamp(-31, 0);
    let limit = i32::MAX >> left;
    let shifted = accumulator.clamp(!limit, limit) << left;
    // A logical shift, which vector units have for 64 bits: the quotient fits 32
    // bits, and those are the same as an arithmetic shift's.
    let product = i64::from(shifted) * i64::from(multiplier) + (1 << 30);
    let high = (product as u64 >> 31) as i32;
    let mask = ((1u32 << right) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(high < 0);
    (high >> right) + i32::from((high & mask) > threshold)
}

#[cfg(test)]
mod tests {
    use super::requantize;

    /// 0.5 as multiplier and shift.
    const HALF: (i32, i32) = (1 << 30, 0);

    #[test]
    fn halves_round_up_in_the_high_multiplication() {
        let (m, s) = HALF;
        assert_eq!([-3, -1, 1, 3].map(|v| requantize(v, m, s)), [-1, 0, 1, 2]);
    }

    #[test]
    fn the_right_shift_rounds_ties_away_from_zero() {
        // 0.25 as 0.5 · 2⁻¹: the first rounding sees even numbers and is exact.
        assert_eq!([-6, -2, 2, 6].map(|v| requantize(v, 1 << 30, -1)), [-2, -1, 1, 2]);
    }

    #[test]
    fn a_left_shift_saturates() {
        assert_eq!(requantize(1, 1 << 30, 30), 1 << 29);
        assert_eq!(requantize(2, 1 << 30, 30), 1 << 29);
        assert_eq!(requantize(i32::MIN, i32::MAX, 30), i32::MIN + 1);
    }

    #[test]
    fn extremes_of_the_shift_do_not_panic() {
        for shift in [i32::MIN + 1, -31, 0, 30, i32::MAX] {
            for v in [i32::MIN, -1, 0, 1, i32::MAX] {
                let _ = requantize(v, i32::MAX, shift);
            }
        }
    }
}
