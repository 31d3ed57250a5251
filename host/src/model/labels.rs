//! What classes are called, and sets of them that have a name.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::files;

/// Largest file of labels that is read, bytes.
const MAX_FILE: u64 = 1 << 24;

/// Reads the names of `classes` classes, one per line, in the order of the network's
/// outputs. A WordNet id in front, `n` and 8 digits, is dropped, and so are empty lines at
/// the end.
///
/// # Errors
/// If the file cannot be read or holds another number of names.
pub(super) fn read(path: &Path, classes: usize) -> Result<Vec<String>, ModelError> {
    let unfit = |reason| ModelError::Labels { path: path.to_owned(), reason };
    let bytes = files::read(path, MAX_FILE).map_err(|error| unfit(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unfit("not UTF-8 text".to_owned()))?;
    let labels: Vec<String> = text.trim_end().lines().map(|line| name(line).to_owned()).collect();
    if labels.len() == classes {
        return Ok(labels);
    }
    Err(unfit(format!("{} labels, and the network has {classes} classes", labels.len())))
}

/// A line without its WordNet id.
fn name(line: &str) -> &str {
    let line = line.trim();
    let is_id = |id: &str| {
        let digits = id.strip_prefix('n').unwrap_or_default();
        digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    match line.split_once(char::is_whitespace) {
        Some((id, name)) if is_id(id) => name.trim_start(),
        _ => line,
    }
}

/// A set of classes, by index, written as `151-268, 281-285`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Classes(Vec<RangeInclusive<usize>>);

impl Classes {
    /// Whether a class is in the set.
    #[must_use]
    pub fn contains(&self, class: usize) -> bool {
        self.0.iter().any(|range| range.contains(&class))
    }

    /// The largest index in the set.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.0.iter().map(|range| *range.end()).max().unwrap_or(0)
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl From<Classes> for String {
    fn from(classes: Classes) -> Self {
        classes.to_string()
    }
}

impl TryFrom<String> for Classes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
            (!range.is_empty()).then_some(range)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| {
            format!("{text:?} is no set of classes: write indices, such as \"151-268, 281\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_wordnet_are_dropped() {
        assert_eq!(name("n01440764 tench, Tinca tinca"), "tench, Tinca tinca");
        assert_eq!(name("n0144076 tench"), "n0144076 tench");
        assert_eq!(name("tench \r"), "tench");
        assert_eq!(name("n01440764"), "n01440764");
    }

    #[test]
    fn the_count_must_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "zero\n\ntwo\n\n").unwrap();
        assert_eq!(read(&path, 3).unwrap(), ["zero", "", "two"]);
        let message = read(&path, 2).unwrap_err().to_string();
        assert!(message.contains("labels.txt: 3 labels") && message.contains("2 classes"));
        std::fs::write(&path, b"\xff\n").unwrap();
        assert!(read(&path, 1).unwrap_err().to_string().contains("UTF-8"));
        assert!(read(folder.path(), 1).is_err());
    }

    #[test]
    fn sets_of_classes_are_read_and_written() {
        let classes = Classes::try_from("151-268,281 - 285, 7".to_owned()).unwrap();
        assert_eq!(classes.to_string(), "151-268, 281-285, 7");
        assert_eq!(classes.largest(), 285);
        let held: Vec<_> = (0..300).filter(|&class| classes.contains(class)).collect();
        assert_eq!(held.len(), 118 + 5 + 1);
        assert!(held.contains(&7) && held.contains(&151) && held.contains(&285));
        for text in ["", "1,", "a", "3-1", "-1", "1-2-3", "1.5"] {
            assert!(Classes::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
