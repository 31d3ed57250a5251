//! The charts of a report.
//!
//! Up to twelve classes have a curve each. Their confidence is shown by the number of its
//! nines, −log₁₀(1 − confidence), so that 99 % and 99.99 % lie apart. More classes are
//! summed up, in per cent. Generations run by ratio (1, 10, 100): most happens early.

use super::chart::{Axis, Chart, Curve, Format, MAX_CURVES};
use super::curves::{self, Steps};
use super::exhibit::{Across, Line, Panel, Point, Up};
use super::figures;
use crate::experiment::ablation::{Ablated, Level};
use crate::experiment::record::RunRecord;
use crate::experiment::summary::{SURE, count_at, quantile};
use crate::retrain::record::Iteration;

/// The nines of a confidence of 1, which has infinitely many: one f32 step below it.
const MOST_NINES: f64 = 7.3;

/// The nines of the paper's 99.99 %.
const CERTAIN_NINES: f64 = 4.0;

/// Whether the classes of a run are too many for a curve each.
pub(super) fn sums_up(record: &RunRecord) -> bool {
    are_too_many(record.manifest.model.labels.len())
}

/// Whether so many classes are.
pub(super) fn are_too_many(classes: usize) -> bool {
    classes > MAX_CURVES
}

/// What a chart has across: generations or steps.
struct Along {
    axis: Axis,
    /// The last one.
    last: u32,
    /// Where one of them lies on the axis.
    place: fn(u32) -> f64,
}

/// Confidence by generation.
pub(super) fn rise(record: &RunRecord, format: Format) -> Chart {
    let last = curves::last_generation(record);
    let place = |generation: u32| f64::from(generation.max(1)).log10();
    let count = |x: f64| figures::count(10f64.powf(x).round() as u64);
    let axis = Axis::new("generation", place(last.max(2)), ticks(last, format.ticks()), count);
    let (curves, across) = (curves::per_class(record), Along { axis, last, place });
    let labels: Vec<&str> = record.manifest.model.labels.iter().map(String::as_str).collect();
    if sums_up(record) { summed_up(&curves, across) } else { each(&labels, &curves, across) }
}

/// Confidence by step of gradient ascent; `last` is the last step.
pub(super) fn ascent(labels: &[&str], curves: &[Steps], last: u32, format: Format) -> Chart {
    let end = f64::from(last.max(1));
    let count = |x: f64| figures::count(x.round() as u64);
    let axis = Axis::new("step", end, even_ticks(last, format.ticks() / 2), count);
    let across = Along { axis, last, place: f64::from };
    if are_too_many(labels.len()) {
        summed_up(curves, across)
    } else {
        each(labels, curves, across)
    }
}

/// A curve for each class, and the median.
fn each(labels: &[&str], classes: &[Steps], across: Along) -> Chart {
    let points = |steps: &Steps| corners(steps, &across, nines);
    let mut curves: Vec<Curve> = classes
        .iter()
        .zip(labels)
        .enumerate()
        .map(|(class, (steps, label))| Curve::nth(class, label, points(steps)))
        .collect();
    if labels.len() > 1 {
        let [median] = curves::over_classes(classes, across.last, |all| [quantile(all, 0.5)]);
        curves.push(Curve::chief("median", points(&median)));
    }
    let y = axis_of_nines(highest(&curves));
    Chart { x: across.axis, y, mark: Some(CERTAIN_NINES), curves }
}

/// The quartiles over all classes, and how many classes are sure.
fn summed_up(classes: &[Steps], across: Along) -> Chart {
    let [lower, median, upper, sure] = curves::over_classes(classes, across.last, |all| {
        [
            quantile(all, 0.25),
            quantile(all, 0.5),
            quantile(all, 0.75),
            (!all.is_empty()).then(|| count_at(all, SURE) as f32 / all.len() as f32),
        ]
    });
    let points = |steps: &Steps| corners(steps, &across, f64::from);
    let quartile = |label: &str, steps| Curve::nth(0, label, points(steps));
    let curves = vec![
        Curve { dashed: true, ..Curve::nth(1, "≥ 99 %", points(&sure)) },
        quartile("upper ¼", &upper),
        quartile("lower ¼", &lower),
        Curve::chief("median", points(&median)),
    ];
    let y = Axis::percent("confidence; share of classes", highest(&curves));
    Chart { x: across.axis, y, mark: None, curves }
}

/// The classes from the least to the most confident, all of them and each group.
pub(super) fn distribution(record: &RunRecord) -> Chart {
    let confidences = figures::confidences(record);
    let sorted = |mut values: Vec<f32>| -> Vec<(f64, f64)> {
        values.sort_unstable_by(f32::total_cmp);
        let most = values.len().saturating_sub(1).max(1) as f64;
        values.iter().enumerate().map(|(i, &c)| (i as f64 / most, f64::from(c))).collect()
    };
    let mut curves: Vec<Curve> = record
        .manifest
        .model
        .groups
        .iter()
        .take(MAX_CURVES - 1)
        .enumerate()
        .map(|(number, (name, members))| {
            let all = confidences.iter().enumerate();
            let inside = all.filter(|(class, _)| members.contains(*class)).map(|(_, &c)| c);
            Curve::nth(number + 1, name, sorted(inside.collect()))
        })
        .collect();
    curves.push(Curve::chief("all", sorted(confidences)));
    let x = Axis::percent("share of classes, from the least confident", 1.0);
    let y = Axis::percent("confidence", highest(&curves));
    Chart { x, y, mark: None, curves }
}

/// What guards accept of natural images, by what they accept of fooling ones.
pub(super) fn roc(guards: &[(&str, Vec<(f64, f64)>)]) -> Chart {
    let curve = |(number, (name, points)): (usize, &(&str, Vec<_>))| {
        Curve::nth(number, name, points.clone())
    };
    let x = Axis::percent("fooling images accepted", 1.0);
    let y = Axis::percent("natural images accepted", 1.0);
    Chart { x, y, mark: Some(0.95), curves: guards.iter().enumerate().map(curve).collect() }
}

/// Mean confidence by the share of copies that are removed from images, and that of the
/// control. Between two numbers of copies it lies on a straight line.
pub(super) fn ablation(images: &[Ablated]) -> Chart {
    const STEPS: usize = 60;
    let mean = |confidence: fn(&Level) -> f64| -> Vec<(f64, f64)> {
        let after = |image: &Ablated, share: f64| {
            let removed = share * image.copies as f64;
            let [before, after] = [removed.floor(), removed.ceil()]
                .map(|removed| image.levels.get(removed as usize).map_or(0.0, confidence));
            before + (after - before) * removed.fract()
        };
        let point = |step: usize| {
            let share = step as f64 / STEPS as f64;
            let sum: f64 = images.iter().map(|image| after(image, share)).sum();
            (share, sum / images.len().max(1) as f64)
        };
        (0..=STEPS).map(point).collect()
    };
    let control = Curve::nth(1, "at random", mean(|level| level.control));
    let curves = vec![
        Curve { dashed: true, ..control },
        Curve::chief("copies", mean(|level| level.confidence)),
    ];
    let x = Axis::percent("share of the copies removed", 1.0);
    let y = Axis::percent("mean confidence", highest(&curves));
    Chart { x, y, mark: None, curves }
}

/// How networks and evolution fared, by iteration of a retraining.
pub(super) fn retraining(iterations: &[Iteration], format: Format) -> Chart {
    let curve = |number, label, share: fn(&Iteration) -> Option<f64>| {
        Curve::nth(number, label, by_iteration(iterations, share))
    };
    let median = by_iteration(iterations, |iteration| Some(iteration.median_confidence));
    let curves = vec![
        curve(0, "share fooled", |iteration| Some(iteration.fooled_share)),
        curve(1, "called fooling", |iteration| iteration.called_fooling_share),
        curve(2, "test error", |iteration| Some(iteration.test_error)),
        Curve::chief("median", median),
    ];
    let y = Axis::percent("share; confidence", highest(&curves));
    Chart { x: iteration_axis(iterations, format), y, mark: None, curves }
}

/// Generations until 99.99 %, by iteration of a retraining that has `generations`.
pub(super) fn until_certain(iterations: &[Iteration], generations: u32, format: Format) -> Chart {
    let generation = |iteration: &Iteration| iteration.median_generation_9999.map(f64::from);
    let curves = vec![Curve::chief("median", by_iteration(iterations, generation))];
    let count = |y: f64| figures::count(y.round() as u64);
    let y = Axis::new("generations", generations.into(), even_ticks(generations, 6), count);
    Chart { x: iteration_axis(iterations, format), y, mark: None, curves }
}

fn iteration_axis(iterations: &[Iteration], format: Format) -> Axis {
    let last = iterations.last().map_or(1, |iteration| iteration.iteration);
    let count = |x: f64| figures::count(x.round() as u64);
    Axis::new("iteration", last.into(), even_ticks(last, format.ticks()), count)
}

/// What is known of the iterations.
fn by_iteration(
    iterations: &[Iteration],
    value: impl Fn(&Iteration) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let point = |iteration: &Iteration| Some((iteration.iteration.into(), value(iteration)?));
    iterations.iter().filter_map(point).collect()
}

/// The curves of an experiment, with their intervals as bands.
pub(super) fn panel(panel: &Panel, format: Format) -> Chart {
    let places = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.at);
    let last = places.max().unwrap_or(0);
    let by_ratio = |at: u32| f64::from(at.max(1)).log10();
    let (x, place): (Axis, fn(u32) -> f64) = match panel.across {
        Across::ByRatio(title) => {
            let count = |x: f64| figures::count(10f64.powf(x).round() as u64);
            (Axis::new(title, by_ratio(last.max(2)), ticks(last, format.ticks()), count), by_ratio)
        }
        Across::Even(title) => {
            let count = |x: f64| figures::count(x.round() as u64);
            let ticks = even_ticks(last.max(1), format.ticks() / 2);
            (Axis::new(title, f64::from(last.max(1)), ticks, count), f64::from)
        }
    };
    let height: fn(f32) -> f64 = match panel.up {
        Up::Nines => nines,
        Up::Percent(_) => |share| f64::from(share.max(0.0)),
    };
    let curve = |(number, line): (usize, &Line)| {
        let point = |point: &Point| (place(point.at), height(point.value));
        let points = line.points.iter().map(point).collect();
        let interval = |point: &Point| {
            let [low, high] = point.interval?.map(height);
            Some((place(point.at), low, high))
        };
        let band = line.points.iter().filter_map(interval).collect();
        let drawn = match line.is_chief {
            true => Curve::chief(&line.label, points),
            false => Curve::nth(number, &line.label, points),
        };
        Curve { band, ..drawn }
    };
    let curves: Vec<Curve> = panel.lines.iter().enumerate().map(curve).collect();
    let bands = curves.iter().flat_map(|curve| &curve.band).map(|&(_, _, high)| high);
    let top = bands.fold(highest(&curves), f64::max);
    let (y, mark) = match panel.up {
        Up::Nines => (axis_of_nines(top), Some(CERTAIN_NINES)),
        Up::Percent(title) => (Axis::percent(title, top), None),
    };
    Chart { x, y, mark, curves }
}

/// The axis of [`nines`] for curves up to `highest`.
fn axis_of_nines(highest: f64) -> Axis {
    let top = (highest.max(CERTAIN_NINES) + 0.4).min(MOST_NINES);
    let ticks = (0..=top as u32).map(f64::from).collect();
    Axis::new("confidence", top, ticks, |y| level(y.round() as u32))
}

/// The height of the highest point, at least 0.
fn highest(curves: &[Curve]) -> f64 {
    curves.iter().flat_map(|curve| &curve.points).map(|&(_, y)| y).fold(0.0, f64::max)
}

/// The corners of a step curve in chart coordinates, from its first point to the last place.
fn corners(steps: &Steps, across: &Along, height: fn(f32) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(2 * steps.len() + 1);
    for &(at, confidence) in steps {
        let x = (across.place)(at);
        points.extend(points.last().map(|&(_, y)| (x, y)));
        points.push((x, height(confidence)));
    }
    points.extend(points.last().map(|&(_, y)| ((across.place)(across.last), y)));
    points
}

/// −log₁₀(1 − confidence), at most [`MOST_NINES`]; 0 for what is not a number.
fn nines(confidence: f32) -> f64 {
    // Of NaN and a number, `max` gives the number.
    let doubt = 1.0 - f64::from(confidence.max(0.0));
    if doubt > 0.0 { (-doubt.log10()).min(MOST_NINES) } else { MOST_NINES }
}

/// The confidence of a whole number of nines: `99.9 %` for 3.
fn level(nines: u32) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        n => format!("99.{} %", "9".repeat(n as usize - 2)),
    }
}

/// Positions of 1, 2, 5, 10, 20, 50 … up to `last`; only 1, 10, 100 … if those are
/// more than `most`.
fn ticks(last: u32, most: usize) -> Vec<f64> {
    let up_to = |digits: &[u64]| -> Vec<f64> {
        (0..10)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10u64.pow(power)))
            .filter(|&tick| tick <= u64::from(last.max(2)))
            .map(|tick| (tick as f64).log10())
            .collect()
    };
    let fine = up_to(&[1, 2, 5]);
    if fine.len() <= most { fine } else { up_to(&[1]) }
}

/// At most `most` round numbers at even distances, from 0 to `last`.
fn even_ticks(last: u32, most: usize) -> Vec<f64> {
    let distances = (0..10).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)));
    let fits = |distance: &u64| u64::from(last) / distance < most as u64;
    let distance = distances.into_iter().find(fits).unwrap_or(u64::MAX);
    (0..=u64::from(last) / distance).map(|n| (n * distance) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::experiment::record::HistoryRow;

    #[test]
    fn nines_have_a_floor_and_a_ceiling() {
        assert!((nines(0.9) - 1.0).abs() < 1e-6);
        assert!((nines(0.9999) - 4.0).abs() < 1e-3);
        assert_eq!([nines(0.0), nines(f32::NAN), nines(-1.0)], [0.0; 3]);
        assert_eq!([nines(1.0), nines(2.0)], [MOST_NINES; 2]);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let numbers: Vec<f64> = ticks(200, 8).iter().map(|t| 10f64.powf(*t).round()).collect();
        assert_eq!(numbers, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        assert_eq!(ticks(5000, 8), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(ticks(0, 8).len(), 2);
        assert_eq!(ticks(u32::MAX, 100).len(), 29);
        assert_eq!(even_ticks(500, 8), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!(even_ticks(1499, 4), [0.0, 500.0, 1000.0]);
        assert_eq!(even_ticks(1, 8), [0.0, 1.0]);
        assert!(even_ticks(u32::MAX, 8).len() <= 8);
    }

    #[test]
    fn every_class_is_named_up_to_twelve() {
        let svg = |record: &RunRecord, format| rise(record, format).svg(format).unwrap();
        let chart = svg(&sample::digits(), Format::Wide);
        for label in ["generation", "confidence", "99.99 %", "median", "\n7\n", "200"] {
            assert!(chart.contains(label), "{label}");
        }
        let many = svg(&sample::colour(30), Format::Narrow);
        assert!(many.contains("median") && many.contains("≥ 99 %") && !many.contains("tench"));
        assert!(svg(&sample::colour(4), Format::Wide).contains("&lt;b&gt;"));
    }

    #[test]
    fn the_distribution_is_sorted_and_groups_span_it_too() {
        let mut record = sample::digits();
        for (champion, confidence) in record.champions.iter_mut().zip([0.9, 0.1, 0.5, 0.3]) {
            champion.confidence = confidence;
        }
        record.champions.truncate(4);
        let members = "1-3".to_owned().try_into().unwrap();
        record.manifest.model.groups.insert("few".to_owned(), members);
        let chart = distribution(&record);
        let rounded = |curve: &Curve| -> Vec<(u32, u32)> {
            let percent = |share: f64| (share * 100.0).round() as u32;
            curve.points.iter().map(|&(x, y)| (percent(x), percent(y))).collect()
        };
        assert_eq!(rounded(&chart.curves[0]), [(0, 10), (50, 30), (100, 50)]);
        let all = rounded(&chart.curves[1]);
        assert_eq!((all.len(), all[5], all[9]), (10, (56, 0), (100, 90)));
        assert!(chart.svg(Format::Narrow).unwrap().contains("few"));
    }

    #[test]
    fn copies_go_by_their_share() {
        let image = |confidences: &[f64]| {
            let copies = confidences.len() - 1;
            let level = |(removed, &confidence)| {
                let left = copies - removed;
                Level { left, confidence, control: confidence / 2.0 }
            };
            let levels = confidences.iter().enumerate().map(level).collect();
            Ablated { class: 0, copies, area: 0.5, levels }
        };
        let chart = ablation(&[image(&[1.0, 0.5, 0.0]), image(&[1.0, 1.0, 1.0, 0.25])]);
        let at = |curve: usize, place: usize| chart.curves[curve].points[place];
        assert_eq!((at(1, 0), at(1, 60)), ((0.0, 1.0), (1.0, 0.125)));
        // Half of two copies is one, and half of three lies between one and two.
        assert!((at(1, 30).1 - 0.75).abs() < 1e-9 && (at(0, 30).1 - 0.375).abs() < 1e-9);
    }

    #[test]
    fn odd_histories_are_drawn() {
        let mut record = sample::digits();
        record.manifest.generations_done = 0;
        for rows in [
            vec![],
            vec![HistoryRow { generation: 0, evaluations: 0, class: 3, confidence: 1.0 }],
            vec![HistoryRow {
                generation: u32::MAX,
                evaluations: 0,
                class: 3,
                confidence: f32::NAN,
            }],
        ] {
            record.history = rows;
            for format in [Format::Wide, Format::Narrow] {
                let svg = rise(&record, format).svg(format).unwrap();
                assert!(svg.trim_end().ends_with("</svg>"));
            }
        }
    }
}
