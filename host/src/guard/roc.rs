//! How well a number tells natural images from fooling ones.
//!
//! Natural images are the positives. Values are [turned](super::Score::naturalness) so that
//! natural images have the higher ones; none is NaN.

/// The largest value from which on at least a share (0 ..= 1) of the values lies; +∞ if
/// there is none.
#[must_use]
pub fn threshold(natural: &[f32], share: f64) -> f32 {
    let mut sorted = natural.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let wanted = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(wanted.saturating_sub(1)).copied().unwrap_or(f32::INFINITY)
}

/// The area under the curve: the probability that a natural image has the higher value of
/// the two, if one of each is drawn; equal values count as half. 1 is perfect, ½ is chance,
/// 0 is perfectly wrong; `None` without images of either kind.
#[must_use]
pub fn auroc(natural: &[f32], fooling: &[f32]) -> Option<f64> {
    let mut sorted = natural.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let higher = |&value: &f32| {
        let [not_higher, lower] = [
            sorted.partition_point(|&natural| natural <= value),
            sorted.partition_point(|&natural| natural < value),
        ];
        (sorted.len() - not_higher) as f64 + (not_higher - lower) as f64 / 2.0
    };
    let pairs = natural.len() * fooling.len();
    (pairs > 0).then(|| fooling.iter().map(higher).sum::<f64>() / pairs as f64)
}

/// The curve: for every threshold, the share of fooling and of natural images from it on,
/// from (0, 0) to (1, 1). Empty without images of either kind.
#[must_use]
pub fn curve(natural: &[f32], fooling: &[f32]) -> Vec<(f64, f64)> {
    if natural.is_empty() || fooling.is_empty() {
        return Vec::new();
    }
    let label = |values: &[f32], natural| values.iter().map(|&v| (v, natural)).collect::<Vec<_>>();
    let mut all = [label(natural, true), label(fooling, false)].concat();
    all.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut counts = (0_usize, 0_usize);
    let mut points = vec![(0.0, 0.0)];
    for equal in all.chunk_by(|(a, _), (b, _)| a == b) {
        counts.1 += equal.iter().filter(|(_, natural)| *natural).count();
        counts.0 += equal.iter().filter(|(_, natural)| !natural).count();
        let share = |count: usize, of: &[f32]| count as f64 / of.len() as f64;
        points.push((share(counts.0, fooling), share(counts.1, natural)));
    }
    // Within a straight piece the corners alone count.
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if let [.., a, b] = corners[..]
            && ((a.0 == b.0 && b.0 == point.0) || (a.1 == b.1 && b.1 == point.1))
        {
            corners.pop();
        }
        corners.push(point);
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_that_are_known() {
        for (natural, fooling, area) in [
            (&[3.0, 4.0][..], &[1.0, 2.0][..], 1.0),
            (&[1.0, 2.0], &[3.0, 4.0], 0.0),
            (&[1.0, 1.0, 1.0], &[1.0, 1.0], 0.5),
            (&[1.0, 3.0], &[2.0, 2.0], 0.5),
            // Higher in 2 of 6 pairs, equal in 1.
            (&[2.0, 5.0], &[2.0, 4.0, 6.0], 2.5 / 6.0),
            (&[1.0], &[f32::NEG_INFINITY], 1.0),
            (&[f32::NEG_INFINITY], &[f32::NEG_INFINITY], 0.5),
        ] {
            let found = auroc(natural, fooling).unwrap();
            assert!((found - area).abs() < 1e-12, "{natural:?} {fooling:?}: {found}");
            // Under the curve lies the same area.
            let points = curve(natural, fooling);
            let under: f64 =
                points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
            assert!((under - area).abs() < 1e-12, "{points:?}");
            assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        }
        assert_eq!(auroc(&[], &[1.0]), None);
        assert_eq!(auroc(&[1.0], &[]), None);
        assert_eq!(curve(&[1.0], &[]), []);
    }

    #[test]
    fn a_curve_has_its_corners_only() {
        let points = curve(&[6.0, 5.0, 4.0, 1.0], &[3.0, 2.0]);
        assert_eq!(points, [(0.0, 0.0), (0.0, 0.75), (1.0, 0.75), (1.0, 1.0)]);
    }

    #[test]
    fn a_threshold_lets_through_at_least_the_share() {
        let values: Vec<f32> = (0..20).map(|value| value as f32).collect();
        assert_eq!(threshold(&values, 0.95), 1.0);
        assert_eq!(threshold(&values, 0.951), 0.0);
        assert_eq!(threshold(&values, 1.0), 0.0);
        assert_eq!(threshold(&values, 0.5), 10.0);
        assert_eq!(threshold(&[1.0, 1.0, 0.0], 0.5), 1.0);
        assert_eq!(threshold(&[], 0.95), f32::INFINITY);
    }
}
