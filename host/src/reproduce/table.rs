//! The table of the paper's figures: what is done for each, what the paper reports, and
//! what counts as reproduced. All of it is data, in `figures.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;
use toml::{Table, Value};

use super::Kind;
use super::verdict::{Criterion, Difference};

static FIGURES: LazyLock<Figures> = LazyLock::new(|| {
    toml::from_str(include_str!("figures.toml")).expect("figures.toml is checked by the tests")
});

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    figure: Vec<Figure>,
}

/// A figure or a result of the paper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What it is called on the command line.
    pub name: String,
    /// What it is about, as a heading.
    pub title: String,
    /// Where it is in the paper.
    pub source: String,
    /// What the paper reports, in a few words.
    pub paper: String,
    /// The same, shorter still, for the table.
    pub brief: String,
    /// The kind of the experiment and what it is given: the keys of a [`Kind`].
    pub experiment: Table,
    /// What is different for a quick look.
    #[serde(default)]
    pub quick: Table,
    /// What has to hold, all of it.
    #[serde(default)]
    pub reproduced: Vec<Criterion>,
    /// The paper's network, and those here that are of its kind. Numbers of others are not
    /// comparable.
    pub network: Option<Network>,
    /// Why nothing that comes out can be compared with the paper.
    pub incomparable: Option<String>,
}

/// A network of the paper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What the paper calls it.
    pub name: String,
    /// The models that are like it.
    pub like: Vec<String>,
}

/// What is asked for on the command line instead of what the table says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Values of keys: `seeds`, `generations`, `children`, `models` or `crops`.
    pub values: Table,
}

/// Why an experiment cannot be done as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TableError {
    /// No figure has this name.
    #[error("{name:?} is no figure; there are {}, or all", names().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// An experiment has nothing of this kind.
    #[error("--{option}: {figure} has no such setting; leave it out, or name other figures")]
    NoSetting {
        /// The option.
        option: String,
        /// The figure.
        figure: String,
    },
    /// The table is wrong, or a value is out of range.
    #[error("figure {figure}: {reason}")]
    Invalid {
        /// The figure.
        figure: String,
        /// What is wrong.
        reason: String,
    },
}

/// All figures, in the order of the paper.
#[must_use]
pub fn figures() -> &'static [Figure] {
    &FIGURES.figure
}

/// Their names.
#[must_use]
pub fn names() -> Vec<&'static str> {
    figures().iter().map(|figure| figure.name.as_str()).collect()
}

/// What an option of the command line is called whose key is this.
fn option(key: &str) -> &str {
    if key == "models" { "model" } else { key }
}

impl Figure {
    /// The figure of that name.
    ///
    /// # Errors
    /// [`TableError::Unknown`].
    pub fn named(name: &str) -> Result<&'static Self, TableError> {
        let found = figures().iter().find(|figure| figure.name == name);
        found.ok_or_else(|| TableError::Unknown { name: name.to_owned() })
    }

    /// The settings of the experiment: the table's, those for a quick look in their place if
    /// it is one, and what was asked for in theirs. Of what was asked for, `lenient` leaves
    /// out what the experiment has not.
    ///
    /// # Errors
    /// [`TableError::NoSetting`].
    pub fn settings(
        &self,
        quick: bool,
        overrides: &Overrides,
        lenient: bool,
    ) -> Result<Table, TableError> {
        let mut settings = self.experiment.clone();
        if quick {
            settings.extend(self.quick.clone());
        }
        for (key, value) in &overrides.values {
            if settings.contains_key(key) {
                settings.insert(key.clone(), value.clone());
            } else if !lenient {
                let (option, figure) = (option(key).to_owned(), self.name.clone());
                return Err(TableError::NoSetting { option, figure });
            }
        }
        Ok(settings)
    }

    /// Whether the figure is of this model, unless another is asked for.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        let models = self.experiment.get("models").and_then(Value::as_array);
        models.into_iter().flatten().any(|name| name.as_str() == Some(model))
    }

    /// The experiment with these settings.
    ///
    /// # Errors
    /// [`TableError::Invalid`].
    pub fn kind(&self, settings: &Table) -> Result<Kind, TableError> {
        Value::Table(settings.clone()).try_into().map_err(|error: toml::de::Error| {
            let (figure, reason) = (self.name.clone(), error.message().to_owned());
            TableError::Invalid { figure, reason }
        })
    }

    /// How an experiment with these settings, on this model, differs from the paper's.
    #[must_use]
    pub fn difference(&self, settings: &Table, model: &str) -> Difference {
        let network =
            self.network.as_ref().filter(|network| !network.like.iter().any(|like| like == model));
        let network =
            network.map(|network| format!("another network than the paper's {}", network.name));
        let other = self.incomparable.clone().or(network).or_else(|| self.easier(settings));
        Difference { other, less: self.less(settings) }
    }

    /// What makes the task another, perhaps an easier one.
    fn easier(&self, settings: &Table) -> Option<String> {
        let changed = |key: &&str| settings.get(*key) != self.experiment.get(*key);
        ["crops", "classes"]
            .iter()
            .find(|key| changed(key))
            .map(|key| format!("other {key} than in the paper"))
    }

    /// What is less than in the table.
    fn less(&self, settings: &Table) -> Option<String> {
        let less = |key: &&str| {
            let [here, full] = [settings, &self.experiment]
                .map(|table| table.get(*key).and_then(Value::as_integer));
            let (here, full) = (here?, full?);
            (here < full).then(|| format!("{here} of {full} {key}"))
        };
        let counts = ["iterations", "epochs", "generations", "children", "steps"];
        let found: Vec<String> = counts.iter().filter_map(less).collect();
        (!found.is_empty()).then(|| found.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mirage_core::evolve::{PRESETS, Preset};

    use super::*;
    use crate::model::{Classes, registry};

    /// Every key that an experiment may have.
    const KEYS: [&str; 17] = [
        "kind",
        "preset",
        "presets",
        "models",
        "onto",
        "relation",
        "seeds",
        "generations",
        "children",
        "crops",
        "steps",
        "iterations",
        "first",
        "more",
        "network",
        "epochs",
        "seed",
    ];

    fn texts(settings: &Table, key: &str) -> Vec<String> {
        let all = settings.get(key).and_then(Value::as_array).into_iter().flatten();
        all.map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_table_names_what_there_is() {
        let known: Vec<&str> = registry::names();
        for figure in figures() {
            for quick in [false, true] {
                let settings = figure.settings(quick, &Overrides::default(), false).unwrap();
                figure.kind(&settings).unwrap();
                for key in settings.keys().filter(|key| *key != "classes") {
                    assert!(KEYS.contains(&key.as_str()), "{}: {key}", figure.name);
                }
                let models = texts(&settings, "models");
                // Some train networks of their own.
                assert!(!models.is_empty() || settings.contains_key("network"), "{}", figure.name);
                for model in models.iter().chain(&texts(&settings, "onto")) {
                    assert!(known.contains(&model.as_str()), "{}: {model}", figure.name);
                }
                let preset = settings.get("preset").and_then(Value::as_str);
                let presets = texts(&settings, "presets");
                let evolves = settings.contains_key("generations");
                for preset in preset.into_iter().chain(presets.iter().map(String::as_str)) {
                    assert_eq!(Preset::named(preset).is_some(), evolves, "{preset}");
                }
                if let Some(classes) = settings.get("classes").and_then(Value::as_str) {
                    Classes::try_from(classes.to_owned()).unwrap();
                }
            }
            let like = figure.network.iter().flat_map(|network| &network.like);
            assert!(like.clone().all(|model| known.contains(&model.as_str())), "{}", figure.name);
            let all = [&figure.title, &figure.source, &figure.paper, &figure.brief];
            assert!(all.iter().all(|text| !text.is_empty()), "{}", figure.name);
            let bounds =
                |criterion: &Criterion| criterion.at_least.is_some() || criterion.at_most.is_some();
            assert!(figure.reproduced.iter().all(bounds), "{}", figure.name);
        }
        let unique: BTreeSet<&str> = names().into_iter().collect();
        assert_eq!(unique.len(), names().len());
    }

    #[test]
    fn the_full_protocol_is_the_presets() {
        for figure in figures() {
            let Some(preset) = figure.experiment.get("preset").and_then(Value::as_str) else {
                continue;
            };
            let preset = PRESETS.iter().find(|known| known.name == preset).unwrap();
            let number = |key: &str| figure.experiment[key].as_integer().unwrap();
            assert_eq!(number("children"), i64::from(preset.children), "{}", figure.name);
            assert_eq!(number("generations"), i64::from(preset.generations), "{}", figure.name);
        }
    }

    fn overrides(key: &str, value: impl Into<Value>) -> Overrides {
        Overrides { values: Table::from_iter([(key.to_owned(), value.into())]) }
    }

    #[test]
    fn what_was_asked_for_comes_before_the_table() {
        let figure = Figure::named("mnist-cppn").unwrap();
        let seeds = |quick, overrides: &Overrides| {
            figure.settings(quick, overrides, false).unwrap()["seeds"].as_integer().unwrap()
        };
        assert_eq!(seeds(false, &Overrides::default()), 30);
        assert_eq!(seeds(true, &Overrides::default()), 3);
        assert_eq!(seeds(true, &overrides("seeds", 7)), 7);
        let ascent = Figure::named("mnist-ascent").unwrap();
        let asked = overrides("generations", 7);
        let error = ascent.settings(false, &asked, false).unwrap_err().to_string();
        assert!(error.starts_with("--generations: mnist-ascent"), "{error}");
        assert_eq!(ascent.settings(false, &asked, true).unwrap(), ascent.experiment);
        let error = Figure::named("mnist").unwrap_err().to_string();
        assert!(error.contains("\"mnist\"") && error.contains("imagenet-cppn"), "{error}");
    }

    #[test]
    fn differences_to_the_paper_are_told() {
        let figure = Figure::named("imagenet-cppn").unwrap();
        let full = figure.difference(&figure.experiment, "caffenet");
        assert_eq!(full, Difference::default());
        let settings = figure.settings(false, &overrides("generations", 50), false).unwrap();
        let difference = figure.difference(&settings, "caffenet");
        assert_eq!(difference.less.as_deref(), Some("50 of 5000 generations"));
        let other = figure.difference(&settings, "squeezenet-v1.0").other.unwrap();
        assert!(other.contains("CaffeNet"), "{other}");
        let center = figure.settings(false, &overrides("crops", "center"), false).unwrap();
        let other = figure.difference(&center, "caffenet").other;
        assert_eq!(other.as_deref(), Some("other crops than in the paper"));
        let ascent = Figure::named("imagenet-ascent").unwrap();
        let quick = ascent.settings(true, &Overrides::default(), false).unwrap();
        let other = ascent.difference(&quick, "caffenet").other;
        assert_eq!(other.as_deref(), Some("other classes than in the paper"));
        // More is not less.
        let settings = figure.settings(false, &overrides("generations", 9000), false).unwrap();
        assert_eq!(figure.difference(&settings, "caffenet").less, None);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let figure = Figure::named("mnist-cppn").unwrap();
        let settings = figure.settings(false, &overrides("seeds", -1), false).unwrap();
        let error = figure.kind(&settings).unwrap_err().to_string();
        assert!(error.starts_with("figure mnist-cppn: "), "{error}");
    }
}
