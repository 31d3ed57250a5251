//! Generations on many threads.
//!
//! The children of a generation are made, drawn and classified in any order, and
//! told to the archive in index order: the result does not depend on the threads.
//!
//! Memory does not grow with generations. Apart from the network, a run of C classes and N
//! children with pictures of P bytes needs at most
//!
//! * C · (G + P + 4·C) bytes for the elites: their genomes of G bytes (G = P for direct
//!   ones, 4.4 KB for CPPNs in colour), pictures and scores, those of an individual with
//!   many classes once;
//! * N · (G + P + 4·C) bytes for the children of a generation;
//! * when a run goes on, before its first children, C · G bytes for the checkpoint.
//!
//! With 1000 classes, 200 children and pictures of 256×256×3 bytes that is 240 MB for
//! CPPNs and 480 MB for direct genomes, if no two classes share an elite.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mirage_core::archive::{Archive, Cell, Elite, Takeover};
use mirage_core::colour::Colour;
use mirage_core::evolve::{Child, Evolution};
use mirage_core::genome::Genome;
use mirage_core::image::Shape;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::record::Champion;
use super::summary::Change;
use crate::interrupt::Interrupt;
use crate::model::{Crops, Model, ModelError, ThreadClassifier};
use crate::simd::Simd;

/// An archive on the heap, one cell per class.
pub type HeapArchive<G> = Archive<G, Vec<Cell<G>>>;

/// Values of scratch memory to draw in: what fits the nearest caches, and makes loops that
/// are long enough for wide vectors.
const SCRATCH: usize = 16 * 1024;

/// Pixels at a time that a genome of the largest size is drawn in at least.
const CHUNK: usize = 64;

fn scratch<G: Genome>() -> Vec<f32> {
    vec![0.0; SCRATCH.max(G::scratch_len(CHUNK))]
}

/// What a thread works with.
struct Worker<'a> {
    classifier: ThreadClassifier<'a>,
    scratch: Vec<f32>,
}

/// A child that is a new picture, with what the model sees in it.
struct Trial<G> {
    child: Child<G>,
    picture: Arc<[u8]>,
    scores: Arc<[f32]>,
}

/// An elite as a picture.
#[derive(Clone)]
struct Portrait {
    picture: Arc<[u8]>,
    /// Confidence in every class; `None` if it was not classified in this session.
    scores: Option<Arc<[f32]>>,
}

/// How pictures are made and judged, apart from the algorithm.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the values of a pixel mean.
    pub colour: Colour,
    /// The parts of a picture that a network looks at.
    pub crops: Crops,
    /// The processor's vectors.
    pub simd: Simd,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Ends a generation early.
    pub interrupt: Interrupt,
}

/// Evolves one archive against one model.
pub struct Engine<'a, G: Genome> {
    evolution: Evolution<G::Settings>,
    archive: HeapArchive<G>,
    /// The picture of each class's elite.
    portraits: Vec<Option<Portrait>>,
    classes: usize,
    setup: Setup,
    /// Children that one task makes and classifies.
    task: u32,
    pool: ThreadPool,
    workers: Vec<Mutex<Worker<'a>>>,
}

/// What a generation did, apart from the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Children that were made.
    pub children: u64,
    /// Children whose picture equalled their parent's, and which were therefore not
    /// classified: their scores are their parent's, which cannot take a cell again.
    pub skipped: u64,
    /// Children with a score that is not a number, which takes no cell.
    pub undefined: u64,
}

impl<'a, G> Engine<'a, G>
where
    G: Genome + Send + Sync,
    G::Settings: Sync,
{
    /// An engine with an empty archive and its own threads.
    ///
    /// # Errors
    /// If the model cannot be set up or the system gives no threads.
    pub fn new(
        evolution: Evolution<G::Settings>,
        model: &'a Model,
        setup: Setup,
    ) -> Result<Self, ModelError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(setup.threads)
            .build()
            .map_err(|error| ModelError::Run(format!("no threads: {error}")))?;
        let worker = |_| -> Result<Mutex<Worker<'a>>, ModelError> {
            let classifier = model.classifier(setup.simd, setup.crops)?;
            Ok(Mutex::new(Worker { classifier, scratch: scratch::<G>() }))
        };
        let workers = (0..pool.current_num_threads()).map(worker).collect::<Result<_, _>>()?;
        let classes = model.classes();
        let archive = Archive::new((0..classes).map(|_| None).collect());
        let task = u32::try_from(model.pictures_at_once(setup.crops)).unwrap_or(u32::MAX).max(1);
        let portraits = vec![None; classes];
        Ok(Self { evolution, archive, portraits, classes, setup, task, pool, workers })
    }

    /// Evolves for the first `targets` classes alone: a class behind them is judged and has
    /// no cell. The archive is empty again.
    #[must_use]
    pub fn with_targets(mut self, targets: usize) -> Self {
        let targets = targets.min(self.classes);
        self.archive = Archive::new((0..targets).map(|_| None).collect());
        self.portraits = vec![None; targets];
        self
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &HeapArchive<G> {
        &self.archive
    }

    /// Shape of the pictures.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.evolution.shape
    }

    /// Goes on from another archive.
    ///
    /// # Panics
    /// If it does not have as many cells as the present one.
    pub fn restore(&mut self, archive: HeapArchive<G>) {
        assert_eq!(archive.cells().len(), self.portraits.len(), "an archive for this model");
        self.archive = archive;
        let draw = |cell: &Cell<G>| {
            let elite = cell.as_ref()?;
            let picture = self.draw(&elite.genome, &mut self.worker().scratch);
            Some(Portrait { picture, scores: None })
        };
        let cells = self.archive.cells().par_iter();
        let mut portraits: Vec<Option<Portrait>> = self.pool.install(|| cells.map(draw).collect());
        // An elite of many classes is kept once.
        let mut known: HashMap<u64, Arc<[u8]>> = HashMap::new();
        for (class, elite) in self.archive.elites() {
            let Some(portrait) = &mut portraits[class] else { continue };
            let picture = known.entry(elite.origin.id).or_insert_with(|| portrait.picture.clone());
            if portrait.picture == *picture {
                portrait.picture = picture.clone();
            }
        }
        self.portraits = portraits;
    }

    /// The picture of a class's elite; `None` if there is none.
    #[must_use]
    pub fn picture(&self, class: usize) -> Option<&Arc<[u8]>> {
        Some(&self.portraits.get(class)?.as_ref()?.picture)
    }

    fn draw(&self, genome: &G, scratch: &mut [f32]) -> Arc<[u8]> {
        let mut picture: Arc<[u8]> = std::iter::repeat_n(0, self.shape().len()).collect();
        if let Some(picture) = Arc::get_mut(&mut picture) {
            let settings = &self.evolution.settings;
            self.setup.simd.render(genome, settings, self.shape(), scratch, picture);
            self.setup.simd.to_rgb(self.setup.colour, picture);
        }
        picture
    }

    /// A class's elite as a picture; `None` if there is none.
    #[must_use]
    pub fn elite(&self, class: usize) -> Option<Change> {
        let elite = self.archive.cells().get(class)?.as_ref()?;
        let (confidence, generation) = (elite.confidence, elite.origin.generation + 1);
        Some(Change { class, confidence, generation, picture: self.picture(class)?.clone() })
    }

    /// The elites as pictures, in class order.
    ///
    /// # Errors
    /// If the model fails.
    pub fn champions(&self) -> Result<Vec<Champion>, ModelError> {
        let scores = self.scores()?;
        let champion = |(class, elite): (usize, &Elite<G>)| Champion {
            class,
            confidence: elite.confidence,
            generation: elite.origin.generation + 1,
            id: elite.origin.id,
            picture: self.picture(class).cloned().unwrap_or_default(),
            scores: scores.get(&elite.origin.id).cloned().unwrap_or_default(),
        };
        Ok(self.archive.elites().map(champion).collect())
    }

    /// The scores of every individual that holds a cell, by its id: those that are known,
    /// and the others found out, each once.
    fn scores(&self) -> Result<BTreeMap<u64, Arc<[f32]>>, ModelError> {
        let mut known = BTreeMap::new();
        let mut unknown = BTreeMap::new();
        for (class, elite) in self.archive.elites() {
            match &self.portraits[class] {
                Some(Portrait { scores: Some(scores), .. }) => {
                    known.insert(elite.origin.id, scores.clone());
                }
                Some(Portrait { picture, scores: None }) => {
                    unknown.insert(elite.origin.id, picture.clone());
                }
                None => {}
            }
        }
        let unknown: Vec<_> =
            unknown.into_iter().filter(|(id, _)| !known.contains_key(id)).collect();
        let classify = |some: &[(u64, Arc<[u8]>)]| {
            let pictures: Vec<u8> =
                some.iter().flat_map(|(_, picture)| &**picture).copied().collect();
            let scores = self.classify(&mut self.worker(), &pictures)?;
            let rows = scores.chunks_exact(self.classes.max(1)).map(Arc::from);
            Ok(some.iter().map(|(id, _)| *id).zip(rows).collect::<Vec<_>>())
        };
        let tasks = unknown.par_chunks(self.task as usize);
        let found: Vec<_> =
            self.pool.install(|| tasks.map(classify).collect::<Result<_, ModelError>>())?;
        known.extend(found.into_iter().flatten());
        Ok(known)
    }

    /// The scores of some pictures, one row behind the other.
    fn classify(&self, worker: &mut Worker<'a>, pictures: &[u8]) -> Result<Vec<f32>, ModelError> {
        let count = pictures.len() / self.shape().len();
        let mut scores = vec![0.0; count * self.classes];
        worker.classifier.classify(pictures, &mut scores)?;
        Ok(scores)
    }

    /// The worker of this thread. A panic in one never leaves it half done: its memory is
    /// written before it is read.
    fn worker(&self) -> MutexGuard<'_, Worker<'a>> {
        let thread = rayon::current_thread_index().unwrap_or(0);
        self.workers[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes one generation, counted from 0; `report` is called for each cell that
    /// changes hands, with the child that takes it. `None` if it was interrupted.
    ///
    /// # Errors
    /// If the model fails; then, and after an interrupt, the archive is as it was.
    pub fn generation(
        &mut self,
        generation: u32,
        mut report: impl FnMut(&Child<G>, Takeover),
    ) -> Result<Option<Generation>, ModelError> {
        let children = self.evolution.children;
        // Tasks that were not begun because of an interrupt.
        let left_out = AtomicUsize::new(0);
        let trials: Vec<Vec<Trial<G>>> = self.pool.install(|| {
            (0..children.div_ceil(self.task))
                .into_par_iter()
                .map(|task| {
                    if self.setup.interrupt.is_set() {
                        left_out.fetch_add(1, Ordering::Relaxed);
                        return Ok(Vec::new());
                    }
                    let first = task * self.task;
                    self.trials(generation, first..children.min(first.saturating_add(self.task)))
                })
                .collect::<Result<_, _>>()
        })?;
        if left_out.into_inner() > 0 {
            return Ok(None);
        }
        let children = u64::from(children);
        let mut done = Generation { children, skipped: children, undefined: 0 };
        for Trial { child, picture, scores } in trials.into_iter().flatten() {
            let portraits = &mut self.portraits;
            self.evolution.tell(&mut self.archive, &child, &scores, |takeover| {
                let portrait = Portrait { picture: picture.clone(), scores: Some(scores.clone()) };
                portraits[takeover.class] = Some(portrait);
                report(&child, takeover);
            });
            done.skipped -= 1;
            done.undefined += u64::from(scores.iter().any(|score| score.is_nan()));
        }
        Ok(Some(done))
    }

    /// Makes and draws some children, and classifies those that are new pictures.
    fn trials(&self, generation: u32, children: Range<u32>) -> Result<Vec<Trial<G>>, ModelError> {
        let mut worker = self.worker();
        let mut novel = Vec::with_capacity(children.len());
        let mut pictures = Vec::with_capacity(children.len() * self.shape().len());
        for index in children {
            let child = self.evolution.ask(&self.archive, generation, index);
            let picture = self.draw(&child.genome, &mut worker.scratch);
            if child.parent_class.and_then(|class| self.picture(class)) != Some(&picture) {
                pictures.extend_from_slice(&picture);
                novel.push((child, picture));
            }
        }
        let scores = self.classify(&mut worker, &pictures)?;
        let rows = scores.chunks_exact(self.classes.max(1));
        let trial = |((child, picture), scores): (_, &[f32])| Trial {
            child,
            picture,
            scores: scores.into(),
        };
        Ok(novel.into_iter().zip(rows).map(trial).collect())
    }
}
