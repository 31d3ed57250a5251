//! What a measurement says of what the paper reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::Estimate;

/// The numbers of an experiment, by name.
pub type Measures = BTreeMap<String, Estimate>;

/// What a measure has to be for the paper's result to count as reproduced.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Name of the measure.
    pub measure: String,
    /// The least value that will do; an equal one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The largest value that will do; an equal one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl Criterion {
    /// Whether it holds; not so if there is no such measure, or it is no number.
    #[must_use]
    pub fn holds(&self, measures: &Measures) -> bool {
        let Some(value) = measures.get(&self.measure).map(|estimate| estimate.value) else {
            return false;
        };
        !value.is_nan()
            && self.at_least.is_none_or(|least| value >= least)
            && self.at_most.is_none_or(|most| value <= most)
    }
}

/// What came out, beside the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that counts holds.
    Reproduced,
    /// It was done as in the paper, and does not hold.
    NotReproduced,
    /// It was not done as in the paper, or the paper does not say what comes out.
    NotComparable,
    /// Something that it needs is not here.
    NotRun,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::NotComparable => "not comparable",
            Self::NotRun => "not run",
        }
    }

    /// A sign that does not need a colour.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Reproduced => "✓",
            Self::NotReproduced => "✗",
            Self::NotComparable => "≈",
            Self::NotRun => "–",
        }
    }
}

/// How an experiment differs from the paper's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What makes the numbers those of something else, such as another network. What comes
    /// out is never comparable then.
    pub other: Option<String>,
    /// What makes the task harder, such as fewer generations. What holds all the same is
    /// reproduced; what does not is not comparable.
    pub less: Option<String>,
}

/// The verdict on some measures, and why, if that does not go without saying.
///
/// Without a criterion there is nothing to be reproduced.
#[must_use]
pub fn judge(
    criteria: &[Criterion],
    measures: &Measures,
    difference: &Difference,
) -> (Verdict, Option<String>) {
    if let Some(other) = &difference.other {
        return (Verdict::NotComparable, Some(other.clone()));
    }
    if criteria.is_empty() {
        let why = "the paper tells no number to compare with".to_owned();
        return (Verdict::NotComparable, Some(why));
    }
    let failed = criteria.iter().find(|criterion| !criterion.holds(measures));
    match (failed, &difference.less) {
        (None, _) => (Verdict::Reproduced, None),
        (Some(_), Some(less)) => (Verdict::NotComparable, Some(less.clone())),
        (Some(failed), None) => (Verdict::NotReproduced, Some(failed.in_words())),
    }
}

impl Criterion {
    /// What was asked for, in words.
    fn in_words(&self) -> String {
        let name = self.measure.replace('_', " ");
        let least = self.at_least.map(|least| format!("at least {least}"));
        let most = self.at_most.map(|most| format!("at most {most}"));
        let bounds: Vec<String> = least.into_iter().chain(most).collect();
        format!("{name} is not {}", bounds.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(value: f64) -> Measures {
        Measures::from([("median_confidence".to_owned(), Estimate::exact(value))])
    }

    fn at_least(least: f64) -> Criterion {
        Criterion { measure: "median_confidence".to_owned(), at_least: Some(least), at_most: None }
    }

    #[test]
    fn a_criterion_holds_from_its_bound_on() {
        let criterion = at_least(0.9999);
        assert!(criterion.holds(&measures(0.9999)) && criterion.holds(&measures(1.0)));
        assert!(!criterion.holds(&measures(0.9998)) && !criterion.holds(&measures(f64::NAN)));
        assert!(!criterion.holds(&Measures::new()), "nothing was measured");
        let most = Criterion { at_least: None, at_most: Some(0.12), ..criterion };
        assert!(most.holds(&measures(0.12)) && !most.holds(&measures(0.13)));
        assert!(!most.holds(&measures(f64::NAN)));
    }

    #[test]
    fn verdicts_follow_from_criteria_and_differences() {
        let of = |value: f64, other: Option<&str>, less: Option<&str>| {
            let [other, less] = [other, less].map(|why| why.map(str::to_owned));
            judge(&[at_least(0.9999)], &measures(value), &Difference { other, less })
        };
        let because = |why: &str| Some(why.to_owned());
        assert_eq!(of(1.0, None, None), (Verdict::Reproduced, None));
        let why = because("median confidence is not at least 0.9999");
        assert_eq!(of(0.5, None, None), (Verdict::NotReproduced, why));
        // Fewer generations, and certain all the same.
        assert_eq!(of(1.0, None, Some("fewer")), (Verdict::Reproduced, None));
        assert_eq!(of(0.5, None, Some("fewer")), (Verdict::NotComparable, because("fewer")));
        assert_eq!(of(1.0, Some("other"), None), (Verdict::NotComparable, because("other")));
        let (verdict, why) = judge(&[], &measures(1.0), &Difference::default());
        assert!(verdict == Verdict::NotComparable && why.is_some());
        let two = [at_least(0.5), at_least(2.0)];
        let (verdict, _) = judge(&two, &measures(1.0), &Difference::default());
        assert_eq!(verdict, Verdict::NotReproduced, "all have to hold");
    }
}
