//! Named settings from the paper and from its released code.
//!
//! Where the released code differs from the paper, the preset without a suffix
//! follows the paper and `…-released` follows the code:
//!
//! | | paper | released code |
//! |---|---|---|
//! | generations shown for MNIST | 200 | 1010 direct, 1001 CPPN |
//! | direct mutation rate | halves every 1000 generations | never halves |
//! | direct crossover | not mentioned | SBX, p = 0.5, η = 10 |
//! | CPPN coordinates | as in Picbreeder, −1 ..= 1 | raw pixel indices |
//! | generations, ImageNet direct | 20 000 | 5010 |
//! | colour | hue, saturation, value | hue, lightness, saturation |

use crate::colour::Colour;
use crate::genome::cppn::{Coordinates, Math};
use crate::genome::{CppnSettings, DirectSettings};

/// Probability that a gene mutates (paper, section 2.2; halved as in its footnote).
pub const MUTATION_RATE: f32 = 0.1;
/// Exponent η of the polynomial mutation (paper, section 2.2).
pub const MUTATION_ETA: f32 = 15.0;
/// Generations after which the paper halves the direct mutation rate (section 2.2).
pub const HALVING: u32 = 1000;
/// Probability of crossover in the released direct encoding.
pub const CROSSOVER_RATE: f32 = 0.5;
/// Exponent η of SBX in the released direct encoding.
pub const CROSSOVER_ETA: f32 = 10.0;
/// Children per generation for MNIST, in the paper and the released code.
pub const MNIST_CHILDREN: u32 = 200;
/// Generations of the paper's MNIST figures (sections “Evolving irregular images to match
/// MNIST” and “Evolving regular images to match MNIST”).
pub const MNIST_GENERATIONS: u32 = 200;
/// Children per generation of the direct encoding for ImageNet (released code:
/// the size of the population).
pub const IMAGENET_DIRECT_CHILDREN: u32 = 200;
/// Generations of the direct encoding for ImageNet (paper, section “Evolving irregular images
/// to match ImageNet”).
pub const IMAGENET_DIRECT_GENERATIONS: u32 = 20_000;
/// Children per generation of the CPPN encoding for ImageNet (released code,
/// `dl_map_elites_images.cpp`: the size of the population).
pub const IMAGENET_CPPN_CHILDREN: u32 = 400;
/// Generations of the CPPN encoding for ImageNet (paper, section “Evolving regular images to
/// match ImageNet”).
pub const IMAGENET_CPPN_GENERATIONS: u32 = 5000;

/// The direct encoding of the paper.
pub const DIRECT: DirectSettings = DirectSettings {
    mutation_rate: MUTATION_RATE,
    mutation_eta: MUTATION_ETA,
    halving: HALVING,
    crossover_rate: 0.0,
    crossover_eta: CROSSOVER_ETA,
};

/// The direct encoding of the released code.
pub const DIRECT_RELEASED: DirectSettings =
    DirectSettings { halving: 0, crossover_rate: CROSSOVER_RATE, ..DIRECT };

/// The CPPN encoding of the paper; structural rates from the released code, which
/// is the only place that states them.
pub const CPPN: CppnSettings = CppnSettings {
    weight_rate: MUTATION_RATE,
    weight_eta: MUTATION_ETA,
    activation_rate: 0.1,
    add_connection: 0.5,
    delete_connection: 0.3,
    add_node: 0.5,
    delete_node: 0.2,
    coordinates: Coordinates::Centred,
    math: Math::Polynomial,
};

/// The CPPN encoding of the released code.
pub const CPPN_RELEASED: CppnSettings = CppnSettings { coordinates: Coordinates::Pixels, ..CPPN };

/// An encoding with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    /// One gene per pixel.
    Direct(DirectSettings),
    /// A pattern-producing network.
    Cppn(CppnSettings),
}

/// A named experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Children per generation.
    pub children: u32,
    /// Generations.
    pub generations: u32,
    /// How images are encoded.
    pub encoding: Encoding,
    /// What the values of a pixel mean.
    pub colour: Colour,
}

/// Every preset.
pub const PRESETS: [Preset; 8] = [
    Preset {
        name: "mnist-cppn",
        children: MNIST_CHILDREN,
        generations: MNIST_GENERATIONS,
        encoding: Encoding::Cppn(CPPN),
        colour: Colour::Grey,
    },
    Preset {
        name: "mnist-direct",
        children: MNIST_CHILDREN,
        generations: MNIST_GENERATIONS,
        encoding: Encoding::Direct(DIRECT),
        colour: Colour::Grey,
    },
    Preset {
        name: "mnist-cppn-released",
        children: MNIST_CHILDREN,
        generations: 1001,
        encoding: Encoding::Cppn(CPPN_RELEASED),
        colour: Colour::Grey,
    },
    Preset {
        name: "mnist-direct-released",
        children: MNIST_CHILDREN,
        generations: 1010,
        encoding: Encoding::Direct(DIRECT_RELEASED),
        colour: Colour::Grey,
    },
    Preset {
        name: "imagenet-cppn",
        children: IMAGENET_CPPN_CHILDREN,
        generations: IMAGENET_CPPN_GENERATIONS,
        encoding: Encoding::Cppn(CPPN),
        colour: Colour::Hsv,
    },
    Preset {
        name: "imagenet-direct",
        children: IMAGENET_DIRECT_CHILDREN,
        generations: IMAGENET_DIRECT_GENERATIONS,
        encoding: Encoding::Direct(DIRECT),
        colour: Colour::Hsv,
    },
    Preset {
        name: "imagenet-cppn-released",
        children: IMAGENET_CPPN_CHILDREN,
        generations: IMAGENET_CPPN_GENERATIONS,
        encoding: Encoding::Cppn(CPPN_RELEASED),
        colour: Colour::Hls,
    },
    Preset {
        name: "imagenet-direct-released",
        children: IMAGENET_DIRECT_CHILDREN,
        generations: 5010,
        encoding: Encoding::Direct(DIRECT_RELEASED),
        colour: Colour::Hls,
    },
];

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }
}
