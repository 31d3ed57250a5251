//! Sets of classes beside the rest: are dogs and cats hard to find, as in the paper?

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::summary::{SURE, count_at, median};
use crate::model::Classes;

/// A set of classes, and the classes that are not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// What the set is called.
    pub name: String,
    /// Its indices, such as `151-268, 281-285`.
    pub members: String,
    /// The classes in the set.
    pub inside: Share,
    /// All other classes.
    pub outside: Share,
}

/// How far some of the classes are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many there are.
    pub classes: usize,
    /// Median of their confidence; `None` if there is no class.
    pub median_confidence: Option<f32>,
    /// How many have a confidence of at least 0.99.
    pub classes_at_99: usize,
}

impl Share {
    fn of(confidences: &[f32]) -> Self {
        Self {
            classes: confidences.len(),
            median_confidence: (!confidences.is_empty()).then(|| median(confidences)),
            classes_at_99: count_at(confidences, SURE),
        }
    }
}

/// Each set beside the rest, in the order of their names. `confidences` has one per class;
/// indices beyond it count for nothing.
#[must_use]
pub fn compare(groups: &BTreeMap<String, Classes>, confidences: &[f32]) -> Vec<Group> {
    let compared = |(name, members): (&String, &Classes)| {
        let of = |wanted: bool| -> Vec<f32> {
            let all = confidences.iter().enumerate();
            all.filter(|(class, _)| members.contains(*class) == wanted).map(|(_, &c)| c).collect()
        };
        let (inside, outside) = (Share::of(&of(true)), Share::of(&of(false)));
        Group { name: name.clone(), members: members.to_string(), inside, outside }
    };
    groups.iter().map(compared).collect()
}

/// Two lines per set for a person; empty if there is none.
#[must_use]
pub fn in_words(groups: &[Group]) -> String {
    let mut text = String::new();
    for Group { name, inside, outside, .. } in groups {
        for (what, share) in [(name.as_str(), inside), ("all others", outside)] {
            if let Some(median) = share.median_confidence {
                let _ = writeln!(
                    text,
                    "  {what}: median confidence {:.4} %, {} of {} classes at 99 % or more",
                    f64::from(median) * 100.0,
                    share.classes_at_99,
                    share.classes
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(list: &[(&str, &str)]) -> BTreeMap<String, Classes> {
        let classes = |text: &str| Classes::try_from(text.to_owned()).unwrap();
        list.iter().map(|&(name, text)| (name.to_owned(), classes(text))).collect()
    }

    #[test]
    fn a_set_stands_beside_the_rest() {
        let confidences = [0.1, 0.99, 0.3, 1.0, 0.5, 0.989];
        let compared = compare(&groups(&[("pets", "1-2, 4")]), &confidences);
        assert_eq!(compared[0].members, "1-2, 4");
        // 0.3, 0.5 and 0.99; 0.1, 0.989 and 1.
        let share = |median, at_99| Share {
            classes: 3,
            median_confidence: Some(median),
            classes_at_99: at_99,
        };
        assert_eq!((&compared[0].inside, &compared[0].outside), (&share(0.5, 1), &share(0.989, 1)));
        assert_eq!(
            in_words(&compared),
            "  pets: median confidence 50.0000 %, 1 of 3 classes at 99 % or more\n  \
             all others: median confidence 98.9000 %, 1 of 3 classes at 99 % or more\n"
        );
    }

    #[test]
    fn sets_may_be_empty_or_everything() {
        let none = Share { classes: 0, median_confidence: None, classes_at_99: 0 };
        let compared = compare(&groups(&[("all", "0-9"), ("beyond", "2-9")]), &[0.5, 0.7]);
        assert_eq!(compared[0].outside, none);
        assert_eq!(compared[0].inside.classes, 2);
        assert_eq!(compared[1].inside, none);
        assert_eq!(in_words(&compared).lines().count(), 2);
        assert_eq!(in_words(&compare(&BTreeMap::new(), &[0.5])), "");
    }
}
