//! Which images a guard accepts.

use std::fmt;
use std::str::FromStr;

use super::roc;
use super::score::Score;

/// The largest share of its confidence that an image keeps which a guard refuses.
pub const REFUSED: f32 = 0.5;

/// Which images a guard accepts. A run that was evolved under a guard is another run than
/// one without: this is a setting of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it goes by.
    pub score: Score,
    /// The last value that is accepted: the least where natural images score high, else
    /// the largest.
    pub threshold: f32,
    /// From the median of natural images to the threshold, positive: what the distance of
    /// a refused image is measured by.
    pub spread: f32,
    /// Digest of the [`Gaussian`](super::Gaussian), if the score is made with it.
    pub gaussian: Option<String>,
}

impl Rule {
    /// The rule that accepts a share of natural images with these values.
    #[must_use]
    pub fn letting_through(share: f64, score: Score, natural: &[f32], gaussian: &str) -> Self {
        let natural: Vec<f32> = natural.iter().map(|&value| score.naturalness(value)).collect();
        let least = roc::threshold(&natural, share);
        let spread = roc::threshold(&natural, 0.5) - least;
        Self {
            score,
            threshold: if score.is_high_for_natural() { least } else { -least },
            spread: if spread > 0.0 && spread.is_finite() { spread } else { 1.0 },
            gaussian: (score == Score::Gaussian).then(|| gaussian.to_owned()),
        }
    }

    /// How much less natural a value is than the threshold: negative or 0 if it is accepted.
    fn excess(&self, value: f32) -> f32 {
        let [least, found] = [self.threshold, value].map(|v| self.score.naturalness(v));
        if found >= least { 0.0 } else { least - found }
    }

    /// Whether an image with this score is accepted; one with NaN is not.
    #[must_use]
    pub fn accepts(&self, value: f32) -> bool {
        !value.is_nan() && self.excess(value) <= 0.0
    }

    /// What the confidences of an image with this score are multiplied with: 1 if it is
    /// accepted, else ½ / (1 + e), with e the excess over the threshold in
    /// [spreads](Self::spread). So the confidence of what is accepted is the network's own;
    /// an image as sure that is refused ranks below, and the nearer it comes the higher.
    #[must_use]
    pub fn factor(&self, value: f32) -> f32 {
        if self.accepts(value) {
            return 1.0;
        }
        let factor = REFUSED / (1.0 + self.excess(value) / self.spread);
        if factor.is_nan() { 0.0 } else { factor }
    }

    /// In words, as one reads it: `energy at most -9.8`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let bound = if self.score.is_high_for_natural() { "at least" } else { "at most" };
        format!("{} {bound} {}", self.score.name(), self.threshold)
    }
}

/// `energy, threshold -9.8, spread 3.25`, and `, gaussian 0123456789abcdef`. Numbers are
/// those of `f32`, to the last bit.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { score, threshold, spread, gaussian } = self;
        write!(f, "{}, threshold {threshold}, spread {spread}", score.name())?;
        gaussian.iter().try_for_each(|digest| write!(f, ", gaussian {digest}"))
    }
}

/// A text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRule;

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        let parts: Vec<&str> = text.split(", ").collect();
        let (&[name, threshold, spread], gaussian) = parts.split_first_chunk().ok_or(NoRule)?;
        let number = |text: &str, what| -> Option<f32> { text.strip_prefix(what)?.parse().ok() };
        let rule = Self {
            score: Score::ALL.into_iter().find(|score| score.name() == name).ok_or(NoRule)?,
            threshold: number(threshold, "threshold ").ok_or(NoRule)?,
            spread: number(spread, "spread ").ok_or(NoRule)?,
            gaussian: gaussian
                .first()
                .and_then(|text| text.strip_prefix("gaussian "))
                .map(str::to_owned),
        };
        if rule.to_string() == text { Ok(rule) } else { Err(NoRule) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(score: Score) -> Rule {
        // Naturalness 1 to 100: 95 of them lie from 6 on, half from 51 on.
        let sign = if score.is_high_for_natural() { 1.0 } else { -1.0 };
        let natural: Vec<f32> = (1..=100).map(|value| sign * value as f32).collect();
        Rule::letting_through(0.95, score, &natural, "0123456789abcdef")
    }

    #[test]
    fn ninety_five_of_a_hundred_are_let_through() {
        for score in Score::ALL {
            let rule = rule(score);
            let sign = if score.is_high_for_natural() { 1.0 } else { -1.0 };
            assert_eq!((rule.threshold, rule.spread), (sign * 6.0, 45.0));
            let accepted = (1..=100).filter(|&value| rule.accepts(sign * value as f32)).count();
            assert_eq!(accepted, 95);
            assert!(!rule.accepts(f32::NAN));
        }
        let same = Rule::letting_through(0.95, Score::MaxSoftmax, &[1.0; 10], "");
        assert_eq!((same.threshold, same.spread), (1.0, 1.0));
    }

    #[test]
    fn what_is_refused_ranks_below_and_rises_on_its_way() {
        let rule = rule(Score::Energy);
        assert_eq!([-6.0, -7.0, f32::NEG_INFINITY].map(|v| rule.factor(v)), [1.0; 3]);
        let refused = [-5.9, 0.0, 39.0, 1e6, f32::INFINITY, f32::NAN].map(|v| rule.factor(v));
        assert!(refused.is_sorted_by(|a, b| a >= b) && refused[0] < REFUSED, "{refused:?}");
        // 45 above the threshold, which is one spread.
        assert_eq!((refused[2], refused[4], refused[5]), (0.25, 0.0, 0.0));
        assert!(refused[3] > 0.0);
    }

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        for score in Score::ALL {
            let mut rule = rule(score);
            rule.threshold = 0.1 + 0.2;
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!(rule(Score::Energy).to_string(), "energy, threshold -6, spread 45");
        assert_eq!(rule(Score::MaxLogit).in_words(), "max-logit at least 6");
        for text in [
            "",
            "energy",
            "energy, threshold x, spread 1",
            "energy, threshold 1, spread 1, more",
            "heat, threshold 1, spread 1",
        ] {
            assert_eq!(text.parse::<Rule>(), Err(NoRule), "{text}");
        }
    }
}
