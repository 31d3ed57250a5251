//! Colour: golden digests of what the ImageNet presets evolve against a classifier that is
//! plain arithmetic, and so gives the same bits everywhere.
//!
//! A changed digest is a changed behaviour: the commit says why.

use mirage::genome::{ColourCppn, HeapDirect};
use mirage::simd::Simd;
use mirage_core::archive::{Archive, Cell};
use mirage_core::colour::Colour;
use mirage_core::digest::Digest;
use mirage_core::evolve::{Encoding, Evolution, PRESETS, Preset};
use mirage_core::genome::Genome;
use mirage_core::image::Shape;

const SHAPE: Shape = Shape { height: 20, width: 24, channels: 3 };
const CHILDREN: u32 = 30;
const GENERATIONS: u32 = 12;

/// The digest of the archive, and that of the elites' pictures.
static GOLDEN: [(&str, &str, &str); 4] = [
    ("imagenet-cppn", "87117a85bcfd7535", "3abf19b996173123"),
    ("imagenet-direct", "6d43e84c6f2c18e8", "c3929e23ac66820b"),
    ("imagenet-cppn-released", "98a739647fcce0be", "638690d9c9a6a334"),
    ("imagenet-direct-released", "a4f43332021f120e", "33e2a02e5f1c5516"),
];

/// How sure one is of six classes: one for red, green and blue on the left and right half
/// each, the surer the more of it there is beside the other colours.
fn scores(picture: &[u8]) -> [f32; 6] {
    let mut sums = [0u32; 6];
    for (index, pixel) in picture.chunks_exact(3).enumerate() {
        let half = usize::from(index % SHAPE.width >= SHAPE.width / 2);
        for (channel, &byte) in pixel.iter().enumerate() {
            sums[half * 3 + channel] += u32::from(byte);
        }
    }
    std::array::from_fn(|class| {
        let half = &sums[class / 3 * 3..class / 3 * 3 + 3];
        sums[class] as f32 / (1 + half.iter().sum::<u32>()) as f32
    })
}

fn digests<G: Genome>(settings: G::Settings, colour: Colour, simd: Simd) -> (String, String) {
    let evolution = Evolution { seed: 1, children: CHILDREN, shape: SHAPE, settings };
    let mut scratch = vec![0.0; G::scratch_len(64)];
    let mut draw = |genome: &G| {
        let mut picture = vec![0; SHAPE.len()];
        simd.render(genome, &evolution.settings, SHAPE, &mut scratch, &mut picture);
        simd.to_rgb(colour, &mut picture);
        picture
    };
    let mut archive: Archive<G, Vec<Cell<G>>> = Archive::new(vec![None; 6]);
    for generation in 0..GENERATIONS {
        let parents = archive.clone();
        for index in 0..CHILDREN {
            let child = evolution.ask(&parents, generation, index);
            evolution.tell(&mut archive, &child, &scores(&draw(&child.genome)), |_| {});
        }
    }
    let mut pictures = Digest::new();
    archive.elites().for_each(|(_, elite)| pictures.update(&draw(&elite.genome)));
    (archive.digest().to_string(), pictures.to_string())
}

fn of_preset(preset: &Preset, simd: Simd) -> (String, String) {
    match preset.encoding {
        Encoding::Cppn(settings) => digests::<ColourCppn>(settings, preset.colour, simd),
        Encoding::Direct(settings) => digests::<HeapDirect>(settings, preset.colour, simd),
    }
}

#[test]
fn colour_evolves_as_it_did() {
    let colour = PRESETS.iter().filter(|preset| preset.colour != Colour::Grey);
    assert!(colour.clone().map(|preset| preset.name).eq(GOLDEN.map(|(name, ..)| name)));
    for (preset, (name, archive, pictures)) in colour.zip(GOLDEN) {
        for simd in [Simd::PORTABLE, Simd::detect()] {
            let found = of_preset(preset, simd);
            assert_eq!(found, (archive.to_owned(), pictures.to_owned()), "{name}, {}", simd.name());
        }
    }
}
