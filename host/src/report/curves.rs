//! How confidence rose over the generations, from the sparse rows of a run's history.

use crate::experiment::record::RunRecord;

/// Most points of a summary over classes; a long run is sampled, evenly by ratio.
const MAX_POINTS: usize = 400;

/// A curve that keeps each value until the next point: generation and confidence.
pub(crate) type Steps = Vec<(u32, f32)>;

/// The curve of every class, by class index; empty for a class without rows. Rows
/// that do not raise the confidence are left out.
pub(crate) fn per_class(record: &RunRecord) -> Vec<Steps> {
    let mut curves = vec![Steps::new(); record.manifest.model.labels.len()];
    let mut rows: Vec<_> = record.history.iter().collect();
    rows.sort_by_key(|row| row.generation);
    for row in rows {
        if let Some(curve) = curves.get_mut(row.class as usize) {
            let best = curve.last().map_or(0.0, |&(_, best)| best);
            if row.confidence > best {
                // Of several rises in a generation the highest counts.
                curve.pop_if(|&mut (generation, _)| generation == row.generation);
                curve.push((row.generation, row.confidence));
            }
        }
    }
    curves
}

/// The last generation that a chart has to show, at least 1.
pub(crate) fn last_generation(record: &RunRecord) -> u32 {
    let rows = record.history.iter().map(|row| row.generation);
    rows.max().unwrap_or(0).max(record.manifest.generations_done).max(1)
}

/// Figures over all classes as curves, up to generation `last`. `sum_up` is given the
/// confidence of every class, in any order; a class counts as 0 before its first row.
pub(super) fn over_classes<const N: usize>(
    curves: &[Steps],
    last: u32,
    sum_up: impl Fn(&mut [f32]) -> [Option<f32>; N],
) -> [Steps; N] {
    let mut generations: Vec<u32> =
        curves.iter().flatten().map(|&(generation, _)| generation).collect();
    generations.push(last);
    generations.sort_unstable();
    generations.dedup();
    if generations.len() > MAX_POINTS {
        generations = by_ratio(last, MAX_POINTS);
    }
    let mut next = vec![0; curves.len()];
    let mut values = vec![0.0; curves.len()];
    let mut result = [const { Steps::new() }; N];
    for generation in generations {
        for ((curve, next), value) in curves.iter().zip(&mut next).zip(&mut values) {
            while let Some(&(_, confidence)) =
                curve.get(*next).filter(|point| point.0 <= generation)
            {
                *value = confidence;
                *next += 1;
            }
        }
        for (steps, figure) in result.iter_mut().zip(sum_up(&mut values.clone())) {
            steps.extend(figure.map(|figure| (generation, figure)));
        }
    }
    result
}

/// At most `most` generations from 1 to `last`, at even ratios.
pub(crate) fn by_ratio(last: u32, most: usize) -> Vec<u32> {
    let steps = most.saturating_sub(1).max(1);
    let ratio = |i: usize| f64::from(last.max(1)).powf(i as f64 / steps as f64);
    let mut generations: Vec<u32> = (0..=steps).map(|i| ratio(i).round() as u32).collect();
    generations.dedup();
    generations
}

/// The value of a curve at each of some generations, which rise; 0 before its first point.
pub(crate) fn at(curve: &Steps, generations: &[u32]) -> Vec<f32> {
    let reached = |&generation: &u32| curve.partition_point(|point| point.0 <= generation);
    let value = |known: usize| known.checked_sub(1).map_or(0.0, |index| curve[index].1);
    generations.iter().map(|generation| value(reached(generation))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::experiment::record::HistoryRow;
    use crate::experiment::summary::quantile;

    fn row(generation: u32, class: u32, confidence: f32) -> HistoryRow {
        HistoryRow { generation, evaluations: 0, class, confidence }
    }

    #[test]
    fn curves_only_rise() {
        let mut record = sample::digits();
        record.history = vec![
            row(5, 1, 0.8),
            row(1, 1, 0.5),
            row(5, 1, 0.9),
            row(7, 1, 0.4),
            row(8, 1, f32::NAN),
            row(8, 99, 0.9),
        ];
        let curves = per_class(&record);
        assert_eq!(curves[1], [(1, 0.5), (5, 0.9)]);
        assert!(curves[0].is_empty());
        assert_eq!(last_generation(&record), 200);
    }

    #[test]
    fn the_median_counts_missing_classes_as_zero() {
        let curves = vec![vec![(1, 0.5), (4, 0.9)], vec![(2, 0.7)], vec![]];
        let [median, best] =
            over_classes(&curves, 10, |all| [quantile(all, 0.5), quantile(all, 1.0)]);
        assert_eq!(median, [(1, 0.0), (2, 0.5), (4, 0.7), (10, 0.7)]);
        assert_eq!(best, [(1, 0.5), (2, 0.7), (4, 0.9), (10, 0.9)]);
        assert_eq!(over_classes(&[], 10, |all| [quantile(all, 0.5)]), [vec![]]);
    }

    #[test]
    fn a_curve_keeps_its_value_until_the_next_point() {
        let curve = vec![(2, 0.5), (5, 0.9)];
        assert_eq!(at(&curve, &[1, 2, 4, 5, 9]), [0.0, 0.5, 0.5, 0.9, 0.9]);
        assert_eq!(at(&Steps::new(), &[1]), [0.0]);
        assert_eq!(by_ratio(100, 3), [1, 10, 100]);
        assert_eq!(by_ratio(1, 50), [1]);
    }

    #[test]
    fn long_runs_are_sampled() {
        let curve: Steps = (1..=5000).map(|g| (g, g as f32 / 5000.0)).collect();
        let [median] = over_classes(&[curve], 5000, |all| [quantile(all, 0.5)]);
        assert!(median.len() <= MAX_POINTS);
        assert_eq!(median.last(), Some(&(5000, 1.0)));
    }
}
