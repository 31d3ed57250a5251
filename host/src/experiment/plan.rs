//! What a run computes: a preset, and what was changed in it.

use mirage_core::evolve::{Encoding, PRESETS, Preset};
use mirage_core::genome::cppn::{Coordinates, Math};
use mirage_core::image::Shape;
use mirage_core::limits;
use thiserror::Error;

use super::record::Manifest;

/// Shape of the images that the direct encoding of the MNIST presets draws.
pub const MNIST: Shape = Shape { height: 28, width: 28, channels: 1 };

/// Largest number of children per generation.
pub const MAX_CHILDREN: u32 = 1_000_000;

/// Everything that determines a run, apart from the model's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the preset.
    pub preset: String,
    /// The encoding with its settings.
    pub encoding: Encoding,
    /// Children per generation, at least 1.
    pub children: u32,
    /// Generations, at least 1.
    pub generations: u32,
    /// Key of every random stream.
    pub seed: u64,
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
    /// The model's input cannot be drawn.
    #[error(
        "preset {preset} draws {wanted} images, and the model wants {height}×{width} with {channels} channels; use another preset or model"
    )]
    Shape {
        /// The preset.
        preset: String,
        /// What it draws.
        wanted: &'static str,
        /// Rows of the model's input.
        height: usize,
        /// Columns of the model's input.
        width: usize,
        /// Channels of the model's input.
        channels: usize,
    },
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
            children: preset.children,
            generations: preset.generations,
            seed,
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

    /// Checks that the plan can draw images of `shape`.
    ///
    /// # Errors
    /// [`PlanError::Shape`].
    pub fn check_shape(&self, shape: Shape) -> Result<(), PlanError> {
        let wanted = match self.encoding {
            Encoding::Cppn(_) if shape.channels == 1 => return Ok(()),
            Encoding::Cppn(_) => "grey",
            Encoding::Direct(_) if shape == MNIST => return Ok(()),
            Encoding::Direct(_) => "grey 28×28",
        };
        let Shape { height, width, channels } = shape;
        Err(PlanError::Shape { preset: self.preset.clone(), wanted, height, width, channels })
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
        let list: Vec<(&str, String)> = match self.encoding {
            Encoding::Direct(settings) => vec![
                ("mutation rate", settings.mutation_rate.to_string()),
                ("mutation eta", settings.mutation_eta.to_string()),
                ("mutation rate halves every generations", settings.halving.to_string()),
                ("crossover rate", settings.crossover_rate.to_string()),
                ("crossover eta", settings.crossover_eta.to_string()),
            ],
            Encoding::Cppn(settings) => vec![
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
                ("node capacity", limits::CPPN_NODES.to_string()),
                ("connection capacity", limits::CPPN_CONNECTIONS.to_string()),
            ],
        };
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
    fn direct_presets_have_no_coordinates() {
        let mut plan = Plan::preset("mnist-direct", 1).unwrap();
        assert!(plan.set_coordinates(Coordinates::Pixels).is_err());
        assert!(plan.set_math(Math::Micromath).is_err());
    }

    #[test]
    fn colour_is_refused() {
        let colour = Shape { channels: 3, ..MNIST };
        for preset in ["mnist-cppn", "mnist-direct"] {
            let plan = Plan::preset(preset, 1).unwrap();
            assert_eq!(plan.check_shape(MNIST), Ok(()));
            assert!(plan.check_shape(colour).is_err());
        }
    }
}
