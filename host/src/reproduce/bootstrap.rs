//! How well a number is known that comes from few seeds: the percentile bootstrap.
//!
//! B. Efron and R. Tibshirani 1993, *An Introduction to the Bootstrap*, section 13.3. The
//! interval is that of the statistic over samples that are drawn, with replacement, from
//! what was measured.

use mirage_core::rng::Stream;
use serde::Serialize;

use crate::experiment::summary;

/// Samples that are drawn.
pub const RESAMPLES: usize = 2000;

/// The share of them whose statistic is in the interval.
pub const LEVEL: f64 = 0.95;

/// Seed of the draws: the same measurements give the same interval.
const SEED: u64 = 0;

/// A statistic, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Of what was measured; `null` in JSON if it is infinite, or no number.
    pub value: f64,
    /// Where [`LEVEL`] of the resampled statistics lie; `None` for fewer than two
    /// measurements, which say nothing of it.
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// A number that is known as it is: counted, not sampled.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, interval: None }
    }
}

/// The median of measurements, one per seed: of an even number, the mean of the two in the
/// middle. `None` if there are none.
#[must_use]
pub fn median(values: &[f32]) -> Option<Estimate> {
    estimate(values, |sample| summary::quantile(sample, 0.5).unwrap_or(0.0))
}

/// The median of counts that may be infinite, of what was never reached: of an even number,
/// the larger of the two in the middle. `None` if there are none.
#[must_use]
pub fn median_count(values: &[f32]) -> Option<Estimate> {
    estimate(values, |sample| {
        sample.sort_unstable_by(f32::total_cmp);
        sample[sample.len() / 2]
    })
}

/// A statistic, which is given at least one value and may reorder them. The ends of the
/// interval are values that the statistic took.
#[must_use]
pub fn estimate(values: &[f32], statistic: impl Fn(&mut [f32]) -> f32) -> Option<Estimate> {
    let mut sample = values.to_vec();
    let value = match values {
        [] => return None,
        _ => statistic(&mut sample),
    };
    let interval = (values.len() > 1).then(|| {
        let mut random = Stream::new(SEED, 0, 0);
        let mut resampled: Vec<f32> = (0..RESAMPLES)
            .map(|_| {
                let any = || values[random.below(values.len() as u32) as usize];
                sample.fill_with(any);
                statistic(&mut sample)
            })
            .collect();
        resampled.sort_unstable_by(f32::total_cmp);
        let outside = ((1.0 - LEVEL) / 2.0 * RESAMPLES as f64).round() as usize;
        [resampled[outside], resampled[RESAMPLES - 1 - outside]].map(decimal)
    });
    Some(Estimate { value: decimal(value), interval })
}

/// The shortest decimal that means this f32: 0.9999, not 0.9998999834.
#[must_use]
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_vary_is_known_exactly() {
        assert_eq!(
            median(&[0.9999; 7]),
            Some(Estimate { value: 0.9999, interval: Some([0.9999; 2]) })
        );
        assert_eq!(median(&[0.25]), Some(Estimate { value: 0.25, interval: None }));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_was_never_reached_is_infinitely_late() {
        let never = f32::INFINITY;
        let estimate = median_count(&[3.0, never, 5.0]).unwrap();
        assert_eq!(estimate.value, 5.0);
        assert_eq!(estimate.interval, Some([3.0, f64::INFINITY]));
        assert_eq!(median_count(&[3.0, never]).unwrap().value, f64::INFINITY);
        assert_eq!(median_count(&[never; 4]).unwrap().interval, Some([f64::INFINITY; 2]));
        assert_eq!(
            serde_json::json!(Estimate::exact(f64::INFINITY))["value"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn the_same_measurements_give_the_same_interval() {
        let values: Vec<f32> = (0..20).map(|n| (n * 7 % 20) as f32).collect();
        let estimate = median(&values).unwrap();
        assert_eq!(Some(estimate), median(&values));
        let [low, high] = estimate.interval.unwrap();
        assert!(low < estimate.value && estimate.value < high, "{estimate:?}");
    }

    /// Of measurements from a known distribution the interval holds the true median about
    /// as often as it says.
    #[test]
    fn intervals_cover_what_they_say() {
        const TRIALS: u32 = 300;
        let covers = |trial: u32| {
            let mut random = Stream::new(1, 0, trial);
            let values: Vec<f32> = (0..25).map(|_| random.unit()).collect();
            let [low, high] = median(&values).unwrap().interval.unwrap();
            (low..=high).contains(&0.5)
        };
        let covered = (0..TRIALS).filter(|&trial| covers(trial)).count();
        // 95 % of 300 are 285; four standard deviations are 15.
        assert!((270..=299).contains(&covered), "{covered} of {TRIALS}");
    }
}
