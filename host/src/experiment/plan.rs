//! What a run computes: a preset, and what was changed in it.

use mirage_core::colour::Colour;
use mirage_core::evolve::{Encoding, PRESETS, Preset};
use mirage_core::genome::cppn::{Coordinates, Math};
use mirage_core::image::Shape;
use mirage_core::limits;
use thiserror::Error;

use super::record::Manifest;
use crate::guard::Rule;
use crate::model::{Crops, Model};

/// Largest number of children per generation.
pub const MAX_CHILDREN: u32 = 1_000_000;

/// Everything that determines a run, apart from the model's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the preset.
    pub preset: String,
    /// The encoding with its settings.
    pub encoding: Encoding,
    /// What the values of a pixel mean.
    pub colour: Colour,
    /// The parts of a picture that the network looks at: the paper's ten for colour, unless
    /// changed.
    pub crops: Crops,
    /// Children per generation, at least 1.
    pub children: u32,
    /// Generations, at least 1.
    pub generations: u32,
    /// Key of every random stream.
    pub seed: u64,
    /// The guard that images are to pass too, if there is one.
    pub guard: Option<Rule>,
}

/// Why a plan cannot be made or does not suit a model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// There is no preset of that name.
    #[error("--preset {0:?}: no such preset; there are {names}", names = names())]
    UnknownPreset(String),
    /// The CPPN options go with CPPN presets only.
    #[error("{option}: only for CPPN presets, and {preset} is a direct one; leave it out")]
    NotCppn {
        /// The option.
        option: &'static str,
        /// The preset.
        preset: String,
    },
    /// The colour options go with colour presets only.
    #[error("{option}: only for presets that draw colour, and {preset} draws grey; leave it out")]
    NotColour {
        /// The option.
        option: &'static str,
        /// The preset.
        preset: String,
    },
    /// The preset's pictures are not the model's.
    #[error(
        "preset {preset} draws {}, and the model takes {} of {width}×{height} pixels; use {}",
        if *draws_grey { "grey" } else { "colour" },
        if *draws_grey { "colour pictures" } else { "grey pictures" },
        if *draws_grey { "an imagenet preset" } else { "an mnist preset, or another model" }
    )]
    Channels {
        /// The preset.
        preset: String,
        /// Whether it draws grey, and the model takes colour.
        draws_grey: bool,
        /// Columns of the model's pictures.
        width: usize,
        /// Rows of the model's pictures.
        height: usize,
    },
    /// There is nothing to cut crops from.
    #[error(
        "--crops ten: the model takes its whole picture of {width}×{height} pixels; use --crops center, or state a larger picture in the model's TOML file"
    )]
    NoMargin {
        /// Columns of the model's pictures.
        width: usize,
        /// Rows of the model's pictures.
        height: usize,
    },
    /// The model is not behind the guard of the plan.
    #[error(
        "this run evolves images against a guard too ({0}), which is made anew from natural images: go on with the `mirage guard --evolve` that began it"
    )]
    Guarded(String),
    /// The model is behind a guard, and the plan knows of none.
    #[error("this run has no guard, and the model is behind one ({0}); choose another folder")]
    Unguarded(String),
    /// A setting in a manifest is not one of this version.
    #[error(
        "run.json: setting {0:?} is not known to this version of mirage; use the version that made the run"
    )]
    UnknownSetting(String),
    /// A number in a manifest is out of range.
    #[error("run.json: {name} {value} is not within 1 to {most}; restore the file")]
    Range {
        /// What the number counts.
        name: &'static str,
        /// The number.
        value: u32,
        /// The largest there may be.
        most: u32,
    },
}

fn names() -> String {
    PRESETS.map(|preset| preset.name).join(", ")
}

impl Plan {
    /// The plan of a preset.
    ///
    /// # Errors
    /// [`PlanError::UnknownPreset`].
    pub fn preset(name: &str, seed: u64) -> Result<Self, PlanError> {
        let unknown = || PlanError::UnknownPreset(name.to_owned());
        let preset = Preset::named(name).ok_or_else(unknown)?;
        Ok(Self {
            preset: preset.name.to_owned(),
            encoding: preset.encoding,
            colour: preset.colour,
            crops: if preset.colour == Colour::Grey { Crops::Center } else { Crops::Ten },
            children: preset.children,
            generations: preset.generations,
            seed,
            guard: None,
        })
    }

    /// The plan that a manifest was written for.
    ///
    /// # Errors
    /// If this version does not know the preset or a setting, or a number is out of range.
    pub fn of(manifest: &Manifest) -> Result<Self, PlanError> {
        let mut plan = Self::preset(&manifest.preset, manifest.seed)
            .map_err(|_| PlanError::UnknownSetting(format!("preset {}", manifest.preset)))?;
        for (name, value, most) in [
            ("children", manifest.children, MAX_CHILDREN),
            ("generations", manifest.generations, u32::MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(PlanError::Range { name, value, most });
            }
        }
        plan.children = manifest.children;
        plan.generations = manifest.generations;
        for (name, value) in &manifest.settings {
            match (name.as_str(), value.as_str()) {
                ("coordinates", "centred") => plan.set_coordinates(Coordinates::Centred)?,
                ("coordinates", "pixels") => plan.set_coordinates(Coordinates::Pixels)?,
                ("math", "polynomial") => plan.set_math(Math::Polynomial)?,
                ("math", "micromath") => plan.set_math(Math::Micromath)?,
                ("colour", "rgb") => plan.set_colour(Colour::Rgb)?,
                ("colour", "hsv") => plan.set_colour(Colour::Hsv)?,
                ("colour", "hls") => plan.set_colour(Colour::Hls)?,
                ("crops", "center") => plan.crops = Crops::Center,
                ("crops", "ten") => plan.crops = Crops::Ten,
                ("guard", rule) => plan.guard = rule.parse().ok(),
                _ => {}
            }
        }
        if plan.settings() == manifest.settings {
            Ok(plan)
        } else {
            let differs = |(ours, theirs): (_, &(String, String))| {
                (ours != *theirs).then(|| theirs.0.clone())
            };
            let name = plan.settings().into_iter().zip(&manifest.settings).find_map(differs);
            Err(PlanError::UnknownSetting(name.unwrap_or_else(|| "settings".to_owned())))
        }
    }

    /// Chooses what a CPPN's x and y are.
    ///
    /// # Errors
    /// [`PlanError::NotCppn`] for direct presets.
    pub fn set_coordinates(&mut self, coordinates: Coordinates) -> Result<(), PlanError> {
        match &mut self.encoding {
            Encoding::Cppn(settings) => settings.coordinates = coordinates,
            Encoding::Direct(_) => return Err(self.not_cppn("--coordinates")),
        }
        Ok(())
    }

    /// Chooses what a CPPN's sine and exponential are made of.
    ///
    /// # Errors
    /// [`PlanError::NotCppn`] for direct presets.
    pub fn set_math(&mut self, math: Math) -> Result<(), PlanError> {
        match &mut self.encoding {
            Encoding::Cppn(settings) => settings.math = math,
            Encoding::Direct(_) => return Err(self.not_cppn("--math")),
        }
        Ok(())
    }

    fn not_cppn(&self, option: &'static str) -> PlanError {
        PlanError::NotCppn { option, preset: self.preset.clone() }
    }

    /// Chooses what the values of a pixel mean.
    ///
    /// # Errors
    /// [`PlanError::NotColour`] if that is grey, or the preset's is.
    pub fn set_colour(&mut self, colour: Colour) -> Result<(), PlanError> {
        if self.colour.channels() != colour.channels() {
            let (option, preset) = ("--colour", self.preset.clone());
            return Err(PlanError::NotColour { option, preset });
        }
        self.colour = colour;
        Ok(())
    }

    /// Checks that a model takes what the plan draws: pictures of `shape`, from which
    /// crops can be cut if there `has_margin`.
    ///
    /// # Errors
    /// [`PlanError::Channels`], [`PlanError::NoMargin`].
    pub fn check_pictures(&self, shape: Shape, has_margin: bool) -> Result<(), PlanError> {
        let Shape { height, width, channels } = shape;
        if channels != self.colour.channels() {
            let (preset, draws_grey) = (self.preset.clone(), self.colour == Colour::Grey);
            return Err(PlanError::Channels { preset, draws_grey, width, height });
        }
        if self.crops == Crops::Ten && !has_margin {
            return Err(PlanError::NoMargin { width, height });
        }
        Ok(())
    }

    /// Checks that a model is behind the guard of the plan, and behind none without.
    ///
    /// # Errors
    /// [`PlanError::Guarded`], [`PlanError::Unguarded`].
    pub fn check_guard(&self, model: &Model) -> Result<(), PlanError> {
        match (&self.guard, model.guard()) {
            (None, Some(found)) => Err(PlanError::Unguarded(found.in_words())),
            (Some(rule), found) if found != Some(rule) => Err(PlanError::Guarded(rule.in_words())),
            _ => Ok(()),
        }
    }

    /// `cppn` or `direct`.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self.encoding {
            Encoding::Cppn(_) => "cppn",
            Encoding::Direct(_) => "direct",
        }
    }

    /// The settings of the encoding, each with its name.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut list: Vec<(&str, String)> = match self.encoding {
            Encoding::Direct(settings) => vec![
                ("mutation rate", settings.mutation_rate.to_string()),
                ("mutation eta", settings.mutation_eta.to_string()),
                ("mutation rate halves every generations", settings.halving.to_string()),
                ("crossover rate", settings.crossover_rate.to_string()),
                ("crossover eta", settings.crossover_eta.to_string()),
            ],
            Encoding::Cppn(settings) => {
                let (nodes, connections) = match self.colour {
                    Colour::Grey => (limits::CPPN_NODES, limits::CPPN_CONNECTIONS),
                    _ => (limits::COLOUR_CPPN_NODES, limits::COLOUR_CPPN_CONNECTIONS),
                };
                vec![
                    ("weight mutation rate", settings.weight_rate.to_string()),
                    ("weight mutation eta", settings.weight_eta.to_string()),
                    ("activation mutation rate", settings.activation_rate.to_string()),
                    ("add connection", settings.add_connection.to_string()),
                    ("delete connection", settings.delete_connection.to_string()),
                    ("add node", settings.add_node.to_string()),
                    ("delete node", settings.delete_node.to_string()),
                    (
                        "coordinates",
                        match settings.coordinates {
                            Coordinates::Centred => "centred".to_owned(),
                            Coordinates::Pixels => "pixels".to_owned(),
                        },
                    ),
                    (
                        "math",
                        match settings.math {
                            Math::Polynomial => "polynomial".to_owned(),
                            Math::Micromath => "micromath".to_owned(),
                        },
                    ),
                    ("node capacity", nodes.to_string()),
                    ("connection capacity", connections.to_string()),
                ]
            }
        };
        let colour = match self.colour {
            Colour::Grey => None,
            Colour::Rgb => Some("rgb"),
            Colour::Hsv => Some("hsv"),
            Colour::Hls => Some("hls"),
        };
        list.extend(colour.map(|colour| ("colour", colour.to_owned())));
        if colour.is_some() || self.crops != Crops::Center {
            list.push(("crops", self.crops.name().to_owned()));
        }
        list.extend(self.guard.as_ref().map(|rule| ("guard", rule.to_string())));
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name() {
        for preset in PRESETS {
            assert_eq!(Plan::preset(preset.name, 1).unwrap().encoding, preset.encoding);
        }
        let error = Plan::preset("mnist", 1).unwrap_err().to_string();
        assert!(error.contains("\"mnist\"") && error.contains("mnist-cppn"), "{error}");
    }

    #[test]
    fn a_guard_is_a_setting_of_its_run() {
        use crate::guard::Score;

        let natural = [1.5, 2.5, 3.5];
        let plain = Plan::preset("mnist-cppn", 1).unwrap();
        let rule = Rule::letting_through(0.95, Score::Energy, &natural, "");
        let guarded = Plan { guard: Some(rule), ..plain.clone() };
        let [without, with] = [&plain, &guarded].map(Plan::settings);
        assert_eq!(with[..without.len()], without);
        let text = "energy, threshold 3.5, spread 1".to_owned();
        assert_eq!(with[without.len()..], [("guard".to_owned(), text)]);
        let model = Model::load("lenet").unwrap();
        assert_eq!(plain.check_guard(&model), Ok(()));
        let error = guarded.check_guard(&model).unwrap_err().to_string();
        assert!(error.contains("energy at most 3.5"), "{error}");
    }

    #[test]
    fn direct_presets_have_no_coordinates() {
        let mut plan = Plan::preset("mnist-direct", 1).unwrap();
        assert!(plan.set_coordinates(Coordinates::Pixels).is_err());
        assert!(plan.set_math(Math::Micromath).is_err());
    }

    #[test]
    fn grey_and_colour_do_not_mix() {
        let grey = Shape { height: 28, width: 28, channels: 1 };
        let colour = Shape { channels: 3, ..grey };
        for preset in PRESETS {
            let mut plan = Plan::preset(preset.name, 1).unwrap();
            let (fits, other) = match preset.colour {
                Colour::Grey => (grey, colour),
                _ => (colour, grey),
            };
            assert_eq!(plan.check_pictures(fits, true), Ok(()));
            assert!(plan.check_pictures(other, true).is_err());
            assert_eq!(plan.set_colour(Colour::Hls).is_ok(), fits == colour);
            plan.crops = Crops::Ten;
            assert!(plan.check_pictures(fits, false).is_err(), "nothing to cut from");
        }
    }
}
