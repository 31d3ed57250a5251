//! How far a run is, on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::experiment::plan::Plan;
use crate::experiment::summary::Progress;

/// A bar that is full when the plan's generations are done.
pub(super) fn bar(plan: &Plan) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(plan.generations));
    let template = "generation {pos}/{len} {wide_bar} {msg}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Shows how far the run is.
pub(super) fn show(bar: &ProgressBar, now: Progress) {
    bar.set_position(u64::from(now.generation));
    bar.set_message(format!(
        "{:.0} images/s, median {:.3} %, {} of {} classes ≥ 99.99 %",
        now.rate,
        f64::from(now.median) * 100.0,
        now.certain,
        now.classes
    ));
}
