//! Charts as SVG: curves over two axes, each with its label at its end.
//!
//! Curves have six colours that colour-blind people can tell apart (Okabe and Ito 2008)
//! and two kinds of line. Around a curve there may be a band: an interval at each place.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{ReportError, figures};

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

/// How much of a curve's colour its band has.
const BAND: f64 = 0.22;

/// Most curves of a chart: every hue with a solid and a dashed line.
pub(super) const MAX_CURVES: usize = 2 * HUES.len();

/// Space for one label at the end of a curve, in pixels.
const LABEL_HEIGHT: i32 = 15;

/// Height of what is written beneath the axis across, in pixels.
const ACROSS: u32 = 46;

/// A size that a chart is drawn for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For screens and paper.
    Wide,
    /// For phones.
    Narrow,
    /// For one of many side by side, whose curve needs no label.
    Small,
}

impl Format {
    fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (860, 430),
            Self::Narrow => (360, 380),
            Self::Small => (320, 240),
        }
    }

    /// Most letters of a label at the end of a curve.
    fn letters(self) -> usize {
        match self {
            Self::Wide => 18,
            Self::Narrow => 7,
            Self::Small => 0,
        }
    }

    /// Most ticks that have room beneath a chart.
    pub(super) fn ticks(self) -> usize {
        match self {
            Self::Wide => 16,
            Self::Narrow | Self::Small => 8,
        }
    }
}

/// Curves over two axes.
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// A height that is marked by a line across.
    pub(super) mark: Option<f64>,
    /// The last lies on top.
    pub(super) curves: Vec<Curve>,
}

/// A curve and how it is shown.
pub(super) struct Curve {
    /// From left to right; nothing is drawn if there are none.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) label: String,
    pub(super) color: RGBColor,
    pub(super) dashed: bool,
    pub(super) width: u32,
    /// A place, and the least and the largest height there, from left to right; may be
    /// empty.
    pub(super) band: Vec<(f64, f64, f64)>,
}

impl Curve {
    /// The `number`-th of up to [`MAX_CURVES`] curves that are told apart.
    pub(super) fn nth(number: usize, label: &str, points: Vec<(f64, f64)>) -> Self {
        let (color, dashed) = (HUES[number % HUES.len()], number >= HUES.len());
        Self { points, label: label.to_owned(), color, dashed, width: 2, band: Vec::new() }
    }

    /// The curve that sums the others up.
    pub(super) fn chief(label: &str, points: Vec<(f64, f64)>) -> Self {
        let (label, band) = (label.to_owned(), Vec::new());
        Self { points, label, color: INK, dashed: false, width: 3, band }
    }
}

/// An axis from 0 with ticks where they are wanted.
#[derive(Clone)]
pub(super) struct Axis {
    title: &'static str,
    range: RangedCoordf64,
    ticks: Vec<f64>,
    text: fn(f64) -> String,
}

impl Axis {
    /// `text` is what is written at a tick.
    pub(super) fn new(
        title: &'static str,
        end: f64,
        ticks: Vec<f64>,
        text: fn(f64) -> String,
    ) -> Self {
        Self { title, range: (0.0..end).into(), ticks, text }
    }

    /// Shares of 1, as per cent: up to all or, where `highest` is less than a tenth, to the
    /// next round number, so that small shares are told apart.
    pub(super) fn percent(title: &'static str, highest: f64) -> Self {
        let (end, steps) = if highest < 0.1 { round_above(highest) } else { (1.0, 5) };
        let ticks = (0..=steps).map(|n| end * f64::from(n) / f64::from(steps)).collect();
        // Without the last digits of a product such as 0.07 · 100.
        Self::new(title, end, ticks, |share| format!("{} %", (share * 1e8).round() / 1e6))
    }
}

/// The next of 1, 2 or 5 of a power of ten, at least 0.001 %, and the steps of an axis up
/// to there.
fn round_above(share: f64) -> (f64, u32) {
    let share = share.max(1e-5);
    let power = 10f64.powf(share.log10().floor());
    let ends = [(1.0, 5), (2.0, 4), (5.0, 5)].map(|(end, steps)| (end * power, steps));
    ends.into_iter().find(|&(end, _)| end >= share).unwrap_or((10.0 * power, 5))
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

impl Chart {
    /// Where an axis of per cent ends, if that is before 100 %.
    pub(super) fn ends_early(&self) -> Option<String> {
        let end = self.y.range().end;
        (end < 1.0).then(|| (self.y.text)(end))
    }

    /// The chart as an `<svg>` element.
    pub(super) fn svg(&self, format: Format) -> Result<String, ReportError> {
        let mut text = String::new();
        self.draw(format, &SVGBackend::with_string(&mut text, format.size()).into_drawing_area())
            .map_err(|error| ReportError::Compose(error.to_string()))?;
        Ok(text)
    }

    fn draw(
        &self,
        format: Format,
        root: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let labels: Vec<String> =
            self.curves.iter().map(|curve| shortened(&curve.label, format.letters())).collect();
        let letters = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(root)
            .margin_top(if format == Format::Wide { 10 } else { 34 })
            .margin_right(24 + 8 * letters as u32)
            .x_label_area_size(ACROSS)
            .y_label_area_size(match format {
                Format::Wide => 96,
                Format::Narrow | Format::Small => 88,
            })
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let small = |color: &RGBColor| ("sans-serif", 16).into_font().color(color);
        let (x_text, y_text) = (|x: &f64| (self.x.text)(*x), |y: &f64| (self.y.text)(*y));
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(small(&FAINT_INK))
            .axis_desc_style(small(&INK))
            .x_label_formatter(&x_text)
            .y_label_formatter(&y_text)
            .x_desc(self.x.title);
        if format == Format::Wide {
            mesh.y_desc(self.y.title);
        }
        mesh.draw()?;
        if format != Format::Wide {
            // Beside the axis there is no room.
            root.draw(&Text::new(self.y.title, (4, 4), small(&INK)))?;
        }
        let right = self.x.range().end;
        if let Some(mark) = self.mark {
            chart.draw_series([PathElement::new([(0.0, mark), (right, mark)], FAINT_INK)])?;
        }
        for Curve { band, color, .. } in self.curves.iter().filter(|curve| !curve.band.is_empty()) {
            let upper = band.iter().map(|&(x, _, high)| (x, high));
            let lower = band.iter().rev().map(|&(x, low, _)| (x, low));
            let outline: Vec<_> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, color.mix(BAND))])?;
        }
        for Curve { points, color, dashed, width, .. } in &self.curves {
            let style = color.stroke_width(*width);
            if *dashed {
                chart.draw_series(DashedLineSeries::new(points.iter().copied(), 6, 3, style))?;
            } else {
                chart.draw_series([PathElement::new(points.clone(), style)])?;
            }
        }
        let ends: Vec<_> = self
            .curves
            .iter()
            .zip(&labels)
            .filter(|(_, label)| !label.is_empty())
            .filter_map(|(curve, label)| {
                let &(_, height) = curve.points.last()?;
                Some((label.as_str(), curve.color, chart.backend_coord(&(right, height))))
            })
            .collect();
        label_ends(root, ends, small(&INK))?;
        root.present()
    }
}

/// Writes each label beside the end of its curve, moved up or down to keep them
/// apart, with a line that leads there.
fn label_ends(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    mut ends: Vec<(&str, RGBColor, (i32, i32))>,
    style: TextStyle<'_>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    ends.sort_by_key(|&(_, _, (_, y))| y);
    // No label beside those of the axis across.
    let bottom = root.dim_in_pixel().1 as i32 - ACROSS as i32 + LABEL_HEIGHT / 2;
    let heights: Vec<i32> = ends.iter().map(|&(_, _, (_, y))| y).collect();
    for ((label, color, (x, y)), at) in ends.iter().zip(spread(&heights, LABEL_HEIGHT, bottom)) {
        let lead = vec![(x + 1, *y), (x + 12, at)];
        root.draw(&PathElement::new(lead, color))?;
        let style = style.pos(Pos::new(HPos::Left, VPos::Center)).color(color);
        root.draw(&Text::new(*label, (x + 16, at), style))?;
    }
    Ok(())
}

/// Moves sorted positions apart until neighbours have at least `gap` between them,
/// each crowd around the middle of its members, none above `gap`/2, nor below `gap`/2 from
/// `bottom` if there is room.
fn spread(sorted: &[i32], gap: i32, bottom: i32) -> Vec<i32> {
    // Crowds as (sum of wished positions, members); they merge while they overlap.
    let mut crowds: Vec<(i32, i32)> = Vec::new();
    let top = |&(sum, members): &(i32, i32)| {
        let lowest = bottom - gap / 2 - (members - 1) * gap;
        (sum / members - (members - 1) * gap / 2).min(lowest).max(gap / 2)
    };
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

/// The first word of a label, or as many letters of it as there is room for.
fn shortened(label: &str, letters: usize) -> String {
    let label = figures::first_synonym(label);
    if label.chars().count() <= letters {
        return label.to_owned();
    }
    if letters == 0 {
        return String::new();
    }
    label.chars().take(letters - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance() {
        assert_eq!(spread(&[50, 200], 15, 300), [50, 200]);
        assert_eq!(spread(&[100, 100, 100], 10, 300), [90, 100, 110]);
        assert_eq!(spread(&[0, 0, 0], 10, 300), [5, 15, 25]);
        assert_eq!(spread(&[270, 300, 300, 300], 10, 300), [265, 275, 285, 295]);
        let placed = spread(&[10, 11, 30, 31, 90, 91], 15, 300);
        assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= 15), "{placed:?}");
    }

    #[test]
    fn small_shares_have_an_axis_of_their_own() {
        let texts = |highest| -> Vec<String> {
            let axis = Axis::percent("", highest);
            axis.ticks.iter().map(|&tick| (axis.text)(tick)).collect()
        };
        let all = ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"];
        assert_eq!([texts(1.0), texts(0.1)], [all, all]);
        assert_eq!(texts(0.07), ["0 %", "2 %", "4 %", "6 %", "8 %", "10 %"]);
        assert_eq!(texts(0.000_12), ["0 %", "0.005 %", "0.01 %", "0.015 %", "0.02 %"]);
        assert_eq!(texts(0.0), texts(1e-5));
        assert_eq!(texts(0.0)[5], "0.001 %");
    }

    #[test]
    fn labels_are_the_first_synonym() {
        assert_eq!(shortened("tench, Tinca tinca", 18), "tench");
        assert_eq!(shortened("great white shark", 7), "great …");
    }
}
