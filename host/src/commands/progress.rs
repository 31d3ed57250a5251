//! How far a run is, on standard error, where that is a terminal: one line of at most 80
//! columns. Elsewhere, nothing: `run.json` tells at every checkpoint.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::ascent::run::Progress as Ascent;
use crate::experiment::summary::{News, Progress};
use crate::retrain::mnist::{Progress as Retraining, Step};
use crate::words::counted;

/// A line for a run, empty as yet.
pub(super) fn line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(200));
    line
}

/// Shows what a run tells; warnings above the line, and without a terminal too.
pub(super) fn show(line: &ProgressBar, news: News) {
    match news {
        News::Generation(now, _) => line.set_message(in_words(now)),
        News::History(_) => {}
        News::Warning(text) => line.suspend(|| complain!("warning: {text}")),
    }
}

/// The same of one of several runs, which `label` names.
pub(super) fn show_of(line: &ProgressBar, label: &str, news: News) {
    match news {
        News::Generation(now, _) => line.set_message(format!("{label}: {}", in_words(now))),
        other => show(line, other),
    }
}

/// At most 77 columns, as long as numbers are those of days and a thousand classes.
fn in_words(now: Progress) -> String {
    format!(
        "generation {}/{}, {}/{} ≥ 99 %, median {:.2} %, {}/s, {} left",
        now.generation,
        now.generations,
        now.sure,
        now.classes,
        f64::from(now.median) * 100.0,
        // What a slow network does in a second is less than ten.
        if now.rate < 10.0 { format!("{:.1}", now.rate) } else { format!("{:.0}", now.rate) },
        now.seconds_left.map_or_else(|| "?".to_owned(), duration)
    )
}

/// How far a run of gradient ascent is, in at most 77 columns.
pub(super) fn ascent_in_words(now: Ascent) -> String {
    format!(
        "{}/{} classes, {} ≥ 99.99 %, {:.0} % of all steps, {:.0}/s, {} left",
        now.classes_done,
        now.classes,
        now.certain,
        now.share * 100.0,
        now.rate,
        now.seconds_left.map_or_else(|| "?".to_owned(), duration)
    )
}

/// Shows how many images are done.
pub(super) fn show_images(line: &ProgressBar, done: usize) {
    line.set_message(counted(done as u64, "image"));
}

/// How far a retraining is, in at most 77 columns.
pub(super) fn retraining_in_words(now: Retraining) -> String {
    let step = match now.step {
        Step::Training { now, epochs } => format!(
            "epoch {}/{epochs}, {:.0} %, loss {:.4}",
            now.epoch,
            100.0 * now.step as f64 / now.steps.max(1) as f64,
            now.loss
        ),
        Step::Evolving { done, runs } => format!("{done}/{runs} runs of evolution against it"),
    };
    format!("DNN_{} of {}: {step}", now.iteration, now.iterations)
}

/// Its two largest units.
fn duration(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        s @ 3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        s @ 86_400..86_400_000 => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
        _ => "years".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_one_line() {
        let now = Progress {
            generation: 123,
            generations: 20_000,
            evaluations: 49_200,
            rate: 7.25,
            seconds_left: Some(1_100_000.0),
            median: 0.0123,
            sure: 12,
            certain: 3,
            classes: 1000,
        };
        assert_eq!(
            in_words(now),
            "generation 123/20000, 12/1000 ≥ 99 %, median 1.23 %, 7.2/s, 12d17h left"
        );
        let longest = Progress {
            generation: 20_000,
            rate: 999.0,
            seconds_left: Some(86_399.0),
            median: 1.0,
            sure: 1000,
            ..now
        };
        let text = in_words(longest);
        assert!(text.chars().count() <= 77, "{}: {text}", text.chars().count());
    }

    #[test]
    fn an_ascent_in_one_line() {
        let now = Ascent {
            classes_done: 999,
            classes: 1000,
            certain: 998,
            share: 0.9994,
            rate: 12_345.6,
            seconds_left: Some(86_399.0),
        };
        let text = ascent_in_words(now);
        assert_eq!(
            text,
            "999/1000 classes, 998 ≥ 99.99 %, 100 % of all steps, 12346/s, 23h59m left"
        );
        assert!(text.chars().count() <= 77);
    }

    #[test]
    fn durations() {
        let texts = [0.4, 59.9, 60.0, 3599.0, 3600.0, 86_399.0, 90_000.0, 1e18].map(duration);
        let expected = ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m"];
        assert_eq!(texts[..6], expected);
        assert_eq!(texts[6..], ["1d01h", "years"]);
    }
}
