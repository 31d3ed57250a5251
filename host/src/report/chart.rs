//! The chart of a report: confidence by generation, as SVG.
//!
//! The generations run by ratio (1, 10, 100), because most happens early, and the
//! confidence by the number of its nines, −log₁₀(1 − confidence), so that 99 % and
//! 99.99 % lie apart. Up to twelve classes have a curve each, in six colours that
//! colour-blind people can tell apart (Okabe and Ito 2008) and two kinds of line; more
//! classes are summed up by their quartiles. The median over classes is always there.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::{self, Steps};
use super::{ReportError, figures};
use crate::experiment::record::RunRecord;

/// The page's style sheet replaces these three where the page is dark.
const INK: RGBColor = RGBColor(0x1C, 0x1E, 0x21);
const FAINT_INK: RGBColor = RGBColor(0x6C, 0x70, 0x76);
const GRID: RGBColor = RGBColor(0xE3, 0xE5, 0xE8);

const HUES: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// Most classes that have a curve each: every hue with a solid and a dashed line.
const MAX_CURVES: usize = 2 * HUES.len();

/// The nines of a confidence of 1, which has infinitely many: one f32 step below it.
const MOST_NINES: f64 = 7.3;

/// Space for one label at the end of a curve, in pixels.
const LABEL_HEIGHT: i32 = 15;

/// A size that a chart is drawn for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For screens and paper.
    Wide,
    /// For phones.
    Narrow,
}

impl Format {
    fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (860, 430),
            Self::Narrow => (360, 380),
        }
    }

    /// Most letters of a label at the end of a curve.
    fn letters(self) -> usize {
        match self {
            Self::Wide => 18,
            Self::Narrow => 7,
        }
    }
}

/// A curve and how it is shown.
struct Line {
    steps: Steps,
    label: String,
    color: RGBColor,
    dashed: bool,
    width: u32,
}

/// An axis from 0 with ticks where they are wanted.
struct Axis {
    range: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(end: f64, ticks: Vec<f64>) -> Self {
        Self { range: (0.0..end).into(), ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between the ticks would only be noise.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// The chart as an `<svg>` element.
pub(super) fn svg(record: &RunRecord, format: Format) -> Result<String, ReportError> {
    let mut text = String::new();
    draw(record, format, &SVGBackend::with_string(&mut text, format.size()).into_drawing_area())
        .map_err(|error| ReportError::Compose(error.to_string()))?;
    Ok(text)
}

/// What the chart shows, in words, for those who cannot see it.
pub(super) fn description(record: &RunRecord) -> String {
    let what = match record.manifest.model.labels.len() {
        0..=MAX_CURVES => "each class and the median",
        _ => "the median class and the quartiles",
    };
    format!("Confidence in {what}, by generation")
}

fn draw(
    record: &RunRecord,
    format: Format,
    root: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let last = curves::last_generation(record);
    let lines = lines(record, last, format);
    let right = f64::from(last.max(2)).log10();
    let highest =
        lines.iter().flat_map(|line| &line.steps).map(|&(_, c)| nines(c)).fold(4.0, f64::max);
    let top = (highest + 0.4).min(MOST_NINES);

    let letters = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
    let mut chart = ChartBuilder::on(root)
        .margin_top(10)
        .margin_right(24 + 8 * letters as u32)
        .x_label_area_size(46)
        .y_label_area_size(if format == Format::Wide { 96 } else { 76 })
        .build_cartesian_2d(
            Axis::new(right, ticks(last, if format == Format::Wide { 16 } else { 8 })),
            Axis::new(top, (0..=top as u32).map(f64::from).collect()),
        )?;
    let small = |color: &RGBColor| ("sans-serif", 16).into_font().color(color);
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(small(&FAINT_INK))
        .axis_desc_style(small(&INK))
        .x_label_formatter(&|x| figures::count(10f64.powf(*x).round() as u64))
        .y_label_formatter(&|y| level(y.round() as u32))
        .x_desc("generation");
    if format == Format::Wide {
        mesh.y_desc("confidence");
    }
    mesh.draw()?;
    // The paper's 99.99 %.
    chart.draw_series([PathElement::new([(0.0, 4.0), (right, 4.0)], FAINT_INK)])?;

    for line in &lines {
        let points = corners(&line.steps, last);
        let style = line.color.stroke_width(line.width);
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 3, style))?;
        } else {
            chart.draw_series([PathElement::new(points, style)])?;
        }
    }
    let ends: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            let &(_, confidence) = line.steps.last()?;
            Some((line, chart.backend_coord(&(right, nines(confidence)))))
        })
        .collect();
    label_ends(root, ends, small(&INK))?;
    root.present()
}

/// The curves of a chart, the median last, so that it lies on top.
fn lines(record: &RunRecord, last: u32, format: Format) -> Vec<Line> {
    let labels = &record.manifest.model.labels;
    let curves = curves::per_class(record);
    let [lower, median, upper] = curves::quantiles(&curves, last, [0.25, 0.5, 0.75]);
    let mut lines = Vec::new();
    if labels.len() <= MAX_CURVES {
        for (class, (steps, label)) in curves.into_iter().zip(labels).enumerate() {
            lines.push(Line {
                steps,
                label: shortened(label, format.letters()),
                color: HUES[class % HUES.len()],
                dashed: class >= HUES.len(),
                width: 2,
            });
        }
    } else {
        for (steps, label) in [(upper, "¾"), (lower, "¼")] {
            let label = format!("{label} below");
            lines.push(Line {
                steps,
                label: shortened(&label, 7),
                color: HUES[0],
                dashed: false,
                width: 2,
            });
        }
    }
    if labels.len() > 1 {
        let label = "median".to_owned();
        lines.push(Line { steps: median, label, color: INK, dashed: false, width: 3 });
    }
    lines
}

/// Writes each label beside the end of its curve, moved up or down to keep them
/// apart, with a line that leads there.
fn label_ends(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    mut ends: Vec<(&Line, (i32, i32))>,
    style: TextStyle<'_>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    ends.sort_by_key(|&(_, (_, y))| y);
    let heights: Vec<i32> = ends.iter().map(|&(_, (_, y))| y).collect();
    for ((line, (x, y)), at) in ends.iter().zip(spread(&heights, LABEL_HEIGHT)) {
        let lead = vec![(x + 1, *y), (x + 12, at)];
        root.draw(&PathElement::new(lead, line.color))?;
        let style = style.pos(Pos::new(HPos::Left, VPos::Center)).color(&line.color);
        root.draw(&Text::new(line.label.as_str(), (x + 16, at), style))?;
    }
    Ok(())
}

/// Moves sorted positions apart until neighbours have at least `gap` between them,
/// each crowd around the middle of its members, none above `gap`/2.
fn spread(sorted: &[i32], gap: i32) -> Vec<i32> {
    // Crowds as (sum of wished positions, members); they merge while they overlap.
    let mut crowds: Vec<(i32, i32)> = Vec::new();
    let top = |&(sum, members): &(i32, i32)| (sum / members - (members - 1) * gap / 2).max(gap / 2);
    for &position in sorted {
        let mut crowd = (position, 1);
        while let Some(above) = crowds.pop_if(|above| top(above) + above.1 * gap > top(&crowd)) {
            crowd = (crowd.0 + above.0, crowd.1 + above.1);
        }
        crowds.push(crowd);
    }
    let members = |crowd: &(i32, i32)| {
        let first = top(crowd);
        (0..crowd.1).map(move |i| first + i * gap)
    };
    crowds.iter().flat_map(members).collect()
}

/// The corners of a step curve in chart coordinates, from its first point to `last`.
fn corners(steps: &Steps, last: u32) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(2 * steps.len() + 1);
    for &(generation, confidence) in steps {
        let x = f64::from(generation.max(1)).log10();
        points.extend(points.last().map(|&(_, y)| (x, y)));
        points.push((x, nines(confidence)));
    }
    points.extend(points.last().map(|&(_, y)| (f64::from(last).log10(), y)));
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

/// The first word of a label, or as many letters of it as there is room for.
fn shortened(label: &str, letters: usize) -> String {
    let label = label.split(',').next().unwrap_or_default().trim();
    if label.chars().count() <= letters {
        return label.to_owned();
    }
    label.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::experiment::record::HistoryRow;

    #[test]
    fn labels_keep_their_distance() {
        assert_eq!(spread(&[50, 200], 15), [50, 200]);
        assert_eq!(spread(&[100, 100, 100], 10), [90, 100, 110]);
        assert_eq!(spread(&[0, 0, 0], 10), [5, 15, 25]);
        let placed = spread(&[10, 11, 30, 31, 90, 91], 15);
        assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= 15), "{placed:?}");
    }

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
    }

    #[test]
    fn every_class_is_named_up_to_twelve() {
        let chart = svg(&sample::digits(), Format::Wide).unwrap();
        for label in ["generation", "confidence", "99.99 %", "median", "\n7\n", "200"] {
            assert!(chart.contains(label) || chart.contains(&label.replace('\n', "")), "{label}");
        }
        let many = svg(&sample::colour(30), Format::Narrow).unwrap();
        assert!(many.contains("median") && !many.contains("tench"));
        assert!(svg(&sample::colour(4), Format::Wide).unwrap().contains("&lt;b&gt;"));
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
                assert!(svg(&record, format).unwrap().trim_end().ends_with("</svg>"));
            }
        }
    }
}
