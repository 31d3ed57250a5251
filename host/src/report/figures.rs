//! The numbers of a report and how they are written.

use crate::experiment::record::RunRecord;
use crate::words::quoted;

/// Shown where there is no number.
pub(super) const NONE: &str = "–";

/// The confidence of each class's champion, by class index; 0 for a class without one.
pub(crate) fn confidences(record: &RunRecord) -> Vec<f32> {
    let mut all = vec![0.0; record.manifest.model.labels.len()];
    for champion in &record.champions {
        if let Some(slot) = all.get_mut(champion.class) {
            // A confidence that is not a number counts for nothing.
            *slot = champion.confidence.max(0.0);
        }
    }
    all
}

/// A confidence in per cent: `99.998 %`. More digits are shown near
/// certainty and near nothing, and they are cut, not rounded: only 1 itself reads `100 %`.
pub(crate) fn percent(confidence: f32) -> String {
    if confidence.is_nan() {
        return NONE.to_owned();
    }
    let digits = match confidence {
        ..=0.0 | 0.01..0.99 => 1,
        ..0.01 => 3,
        ..0.99999 => 3,
        1.0.. => 0,
        _ => 5,
    };
    // The shortest decimal that means this f32: 0.9999 is 99.99 %, not 99.98999.
    let exact: f64 = confidence.to_string().parse().unwrap_or(f64::from(confidence));
    let scale = 10f64.powi(digits);
    let cut = (exact * 100.0 * scale + 1e-6).floor() / scale;
    format!("{cut:.*} %", digits as usize)
}

/// A probability as a confidence to be shown: of less than 1 nothing becomes 1.
pub(crate) fn confidence(probability: f64) -> f32 {
    let nearest = probability as f32;
    if nearest >= 1.0 && probability < 1.0 { 1.0_f32.next_down() } else { nearest }
}

/// The first of the names that a label lists: `tench` of `tench, Tinca tinca`.
pub(crate) fn first_synonym(label: &str) -> &str {
    label.split(',').next().unwrap_or_default().trim()
}

/// A count with a thin space before every third digit: `40 000`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A time for people: `0.42 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NONE.to_owned();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// Evaluations per second, `None` where no time has passed.
pub(super) fn rate(evaluations: u64, seconds: f64) -> Option<u64> {
    (seconds > 0.0 && seconds.is_finite()).then(|| (evaluations as f64 / seconds).round() as u64)
}

/// The command that makes the run again.
pub(super) fn command(record: &RunRecord) -> String {
    let manifest = &record.manifest;
    let mut command = format!(
        "mirage evolve --preset {} --model {} --generations {} --children {} --seed {}",
        quoted(&manifest.preset),
        quoted(&manifest.model.name),
        manifest.generations,
        manifest.children,
        manifest.seed
    );
    // The settings that have an option of their own may differ from the preset's.
    for (name, value) in &manifest.settings {
        if ["coordinates", "math", "colour", "crops"].contains(&name.as_str()) {
            command += &format!(" --{name} {}", quoted(value));
        }
    }
    if manifest.settings.iter().any(|(name, _)| name == "guard") {
        // The same run without the guard comes first.
        command += " --out RUN\nmirage guard RUN --evolve --out FOLDER";
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_never_promises_more_than_there_is() {
        for (confidence, text) in [
            (0.0, "0.0 %"),
            (0.000_347_9, "0.034 %"),
            (0.01, "1.0 %"),
            (0.876_9, "87.6 %"),
            (0.99, "99.000 %"),
            (0.9999, "99.990 %"),
            (0.999_98, "99.998 %"),
            (0.999_989_9, "99.998 %"),
            (0.999_999_4, "99.99994 %"),
            (1.0, "100 %"),
            (f32::NAN, "–"),
        ] {
            assert_eq!(percent(confidence), text);
        }
    }

    #[test]
    fn next_to_certain_is_not_certain() {
        assert_eq!(percent(confidence(1.0 - 1e-12)), "99.99999 %");
        assert_eq!([confidence(1.0), confidence(0.5)], [1.0, 0.5]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(duration(1.734), "1.73 s");
        assert_eq!(duration(61.0), "1 min 1 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
        assert_eq!(duration(f64::NAN), "–");
        assert_eq!(rate(100, 0.0), None);
        assert_eq!(rate(100, 0.5), Some(200));
    }
}
