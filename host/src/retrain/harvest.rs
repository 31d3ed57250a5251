//! One run of evolution against one network of a retraining, and what is kept of it.

use std::io;
use std::path::Path;

use mirage_core::evolve::Encoding;
use mirage_core::genome::Genome;

use crate::data::idx::CLASSES;
use crate::experiment::engine::Engine;
use crate::experiment::plan::Plan;
use crate::experiment::run::{evolution, setup};
use crate::experiment::summary::CERTAIN;
use crate::files;
use crate::genome::{GreyCppn, HeapDirect};
use crate::interrupt::Interrupt;
use crate::model::{Model, ModelError};
use crate::npz;
use crate::train::evaluate::argmax;

/// What is kept of a run: two images of every digit, and how it fared.
///
/// Evolution has the ten digits as targets and no cell for fooling images. An image *of a
/// generation* is an elite of the archive after it, as in the paper, whose runs give 20
/// images: one that holds several digits counts for each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Harvest {
    /// Rows and columns of an image.
    pub sides: [usize; 2],
    /// The digits' elites after the first generation: ten images, one behind the other.
    pub first: Vec<u8>,
    /// Those after the last generation.
    pub last: Vec<u8>,
    /// The network's confidence in each digit for the last elites, 0 ..= 1.
    pub confidences: Vec<f32>,
    /// The first generation, counted from 1, after which it was at least [`CERTAIN`]; 0 if
    /// it never was.
    pub certain: Vec<u32>,
    /// The most probable class of each of the last elites; of equal ones the first.
    pub tops: Vec<u32>,
}

/// Evolves against a network that knows ten digits, and perhaps more; `None` if it was
/// interrupted.
///
/// # Errors
/// If the network fails.
pub fn harvest(
    plan: &Plan,
    model: &Model,
    threads: usize,
    interrupt: &Interrupt,
) -> Result<Option<Harvest>, ModelError> {
    match plan.encoding {
        Encoding::Cppn(settings) => {
            evolve::<GreyCppn>(plan, settings, model, threads, interrupt.clone())
        }
        Encoding::Direct(settings) => {
            evolve::<HeapDirect>(plan, settings, model, threads, interrupt.clone())
        }
    }
}

fn evolve<G>(
    plan: &Plan,
    settings: G::Settings,
    model: &Model,
    threads: usize,
    interrupt: Interrupt,
) -> Result<Option<Harvest>, ModelError>
where
    G: Genome + Send + Sync,
    G::Settings: Sync,
{
    let setup = setup(plan, threads, interrupt);
    let engine = Engine::<G>::new(evolution(plan, settings, model), model, setup)?;
    let mut engine = engine.with_targets(CLASSES);
    let mut certain = vec![0; CLASSES];
    let mut first = Vec::new();
    for generation in 0..plan.generations {
        let done = engine.generation(generation, |_, takeover| {
            let certain = &mut certain[takeover.class];
            if *certain == 0 && takeover.confidence >= CERTAIN {
                *certain = generation + 1;
            }
        })?;
        if done.is_none() {
            return Ok(None);
        }
        if generation == 0 {
            first = pictures(&engine);
        }
    }
    let last = pictures(&engine);
    let champions = engine.champions()?;
    if champions.len() < CLASSES || first.len() < last.len() {
        let reason = "it gives scores that are not numbers; train it with another --seed";
        return Err(ModelError::Run(reason.to_owned()));
    }
    Ok(Some(Harvest {
        sides: [model.shape().height, model.shape().width],
        first,
        last,
        confidences: champions.iter().map(|champion| champion.confidence).collect(),
        certain,
        tops: champions.iter().map(|champion| argmax(&champion.scores) as u32).collect(),
    }))
}

/// The elites' pictures, one behind the other.
fn pictures<G>(engine: &Engine<'_, G>) -> Vec<u8>
where
    G: Genome + Send + Sync,
    G::Settings: Sync,
{
    let elites = (0..CLASSES).filter_map(|class| engine.picture(class));
    elites.flat_map(|picture| picture.iter().copied()).collect()
}

impl Harvest {
    /// The images, one of the first generation and one of the last in turns: any beginning
    /// has as many of one as of the other, or one more.
    pub fn images(&self) -> impl Iterator<Item = &[u8]> {
        let [rows, columns] = self.sides;
        let each = |images| <[u8]>::chunks_exact(images, rows * columns);
        each(&self.first).zip(each(&self.last)).flat_map(|(first, last)| [first, last])
    }

    /// Writes a NumPy archive, whole or not at all.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let (one, images) = self.shapes();
        files::sweep(path)?;
        files::replace(path, None, |file| {
            npz::write(file.get_mut(), |archive| {
                archive.add("first", &images, self.first.iter().copied())?;
                archive.add("last", &images, self.last.iter().copied())?;
                archive.add("confidences", &one, self.confidences.iter().copied())?;
                archive.add("certain", &one, self.certain.iter().copied())?;
                archive.add("tops", &one, self.tops.iter().copied())
            })
        })
    }

    /// Reads what [`write`](Self::write) wrote, of images with these sides.
    ///
    /// # Errors
    /// If the file is not there, is another, or is damaged.
    pub fn read(path: &Path, sides: [usize; 2]) -> io::Result<Self> {
        let empty = Self {
            sides,
            first: Vec::new(),
            last: Vec::new(),
            confidences: Vec::new(),
            certain: Vec::new(),
            tops: Vec::new(),
        };
        let (one, images) = empty.shapes();
        let mut archive = npz::open(path)?;
        Ok(Self {
            sides,
            first: archive.get("first", &images)?,
            last: archive.get("last", &images)?,
            confidences: archive.get("confidences", &one)?,
            certain: archive.get("certain", &one)?,
            tops: archive.get("tops", &one)?,
        })
    }

    /// Shapes of an array with a value per digit, and of one with an image per digit.
    fn shapes(&self) -> ([u64; 1], [u64; 3]) {
        let [rows, columns] = self.sides.map(|side| side as u64);
        ([CLASSES as u64], [CLASSES as u64, rows, columns])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run against the built-in float LeNet.
    fn run(threads: usize) -> Harvest {
        let model = Model::load("lenet-float").unwrap();
        let mut plan = Plan::preset("mnist-cppn", 3).unwrap();
        (plan.generations, plan.children) = (12, 40);
        harvest(&plan, &model, threads, &Interrupt::default()).unwrap().unwrap()
    }

    #[test]
    fn what_is_kept_is_what_the_network_says() {
        let harvest = run(1);
        assert_eq!(harvest, run(3), "threads change nothing");
        let model = Model::load("lenet-float").unwrap();
        let simd = crate::simd::Simd::detect();
        let mut judge = model.classifier(simd, crate::model::Crops::Center).unwrap();
        let mut scores = vec![0.0; 2 * CLASSES * CLASSES];
        let images: Vec<u8> = harvest.images().flatten().copied().collect();
        judge.classify(&images, &mut scores).unwrap();
        for digit in 0..CLASSES {
            let [first, last] =
                [2 * digit, 2 * digit + 1].map(|image| &scores[image * CLASSES..][..CLASSES]);
            assert!(first[digit] <= last[digit]);
            assert_eq!(last[digit], harvest.confidences[digit]);
            assert_eq!(argmax(last), harvest.tops[digit] as usize);
            let is_certain = harvest.certain[digit] > 0;
            assert_eq!(is_certain, harvest.confidences[digit] >= CERTAIN, "{digit}");
        }
        assert!(harvest.certain.iter().any(|&generation| generation > 1), "{harvest:?}");
    }

    #[test]
    fn the_first_images_are_those_of_the_first_generation() {
        let model = Model::load("lenet-float").unwrap();
        let mut plan = Plan::preset("mnist-cppn", 3).unwrap();
        (plan.generations, plan.children) = (1, 40);
        let one = harvest(&plan, &model, 1, &Interrupt::default()).unwrap().unwrap();
        assert_eq!(one.first, one.last);
        let all = run(1);
        assert_eq!(all.first, one.last);
        assert_ne!(all.first, all.last);
    }

    #[test]
    fn it_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.npz");
        let harvest = run(2);
        harvest.write(&path).unwrap();
        assert_eq!(Harvest::read(&path, [28, 28]).unwrap(), harvest);
        assert!(Harvest::read(&path, [28, 27]).is_err());
        let bytes = std::fs::read(&path).unwrap();
        harvest.write(&path).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes, "equal runs give equal files");
    }

    #[test]
    fn a_wish_to_stop_is_heard() {
        let model = Model::load("lenet").unwrap();
        let interrupt = Interrupt::default();
        interrupt.set();
        let plan = Plan::preset("mnist-direct", 3).unwrap();
        assert_eq!(harvest(&plan, &model, 1, &interrupt).unwrap(), None);
    }
}
