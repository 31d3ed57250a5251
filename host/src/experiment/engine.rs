//! Generations on many threads.
//!
//! The children of a generation are made, drawn and classified in any order, and
//! told to the archive in index order: the result does not depend on the threads.

use std::sync::Mutex;

use mirage_core::archive::{Archive, Cell, Elite, Takeover};
use mirage_core::evolve::{Child, Evolution};
use mirage_core::genome::Genome;
use mirage_core::image::Shape;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::record::Champion;
use crate::model::{Crops, Model, ModelError, ThreadClassifier};
use crate::simd::Simd;

/// An archive on the heap, one cell per class.
pub type HeapArchive<G> = Archive<G, Vec<Cell<G>>>;

/// Pixels that a CPPN is drawn in at a time: its slots stay in the nearest caches, and
/// loops are long enough for wide vectors. Half of a 28 × 28 image.
const CHUNK: usize = 392;

/// Children that one task makes and classifies: enough to share the loads of a dense
/// layer's weights, few enough to keep two or five threads evenly busy with 200.
const TASK: u32 = 20;

/// What a thread works with.
struct Worker<'a> {
    classifier: ThreadClassifier<'a>,
    scratch: Vec<f32>,
}

/// Some children of a generation, with what became of them.
struct Batch<G> {
    children: Vec<Child<G>>,
    /// The images of the children, one behind the other.
    images: Vec<u8>,
    /// The children that are new pictures.
    novel: Vec<usize>,
    /// The scores of those, one row behind the other.
    scores: Vec<f32>,
}

/// Evolves one archive against one model.
pub struct Engine<'a, G: Genome> {
    evolution: Evolution<G::Settings>,
    archive: HeapArchive<G>,
    /// The picture of each class's elite.
    pictures: Vec<Option<Vec<u8>>>,
    classes: usize,
    simd: Simd,
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
        simd: Simd,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| ModelError::Run(format!("no threads: {error}")))?;
        let worker = |_| -> Result<Mutex<Worker<'a>>, ModelError> {
            let scratch = vec![0.0; G::scratch_len(CHUNK)];
            Ok(Mutex::new(Worker { classifier: model.classifier(simd, Crops::Center)?, scratch }))
        };
        let workers = (0..pool.current_num_threads()).map(worker).collect::<Result<_, _>>()?;
        let classes = model.classes();
        let cells = (0..classes).map(|_| None).collect();
        let pictures = vec![None; classes];
        Ok(Self { evolution, archive: Archive::new(cells), pictures, classes, simd, pool, workers })
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &HeapArchive<G> {
        &self.archive
    }

    /// Shape of the images.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.evolution.shape
    }

    /// Goes on from another archive.
    ///
    /// # Panics
    /// If it does not have the model's number of cells.
    pub fn restore(&mut self, archive: HeapArchive<G>) {
        assert_eq!(archive.cells().len(), self.classes, "an archive for this model");
        self.archive = archive;
        self.pictures = (0..self.classes).map(|class| self.draw(class)).collect();
    }

    /// The picture of a class's elite; `None` if there is none.
    #[must_use]
    pub fn picture(&self, class: usize) -> Option<&[u8]> {
        self.pictures.get(class)?.as_deref()
    }

    fn draw(&self, class: usize) -> Option<Vec<u8>> {
        let elite = self.archive.cells().get(class)?.as_ref()?;
        let mut scratch = vec![0.0; G::scratch_len(CHUNK)];
        let mut image = vec![0; self.shape().len()];
        let settings = &self.evolution.settings;
        self.simd.render(&elite.genome, settings, self.shape(), &mut scratch, &mut image);
        Some(image)
    }

    /// The scores of some images, one row behind the other.
    ///
    /// # Errors
    /// If the model fails.
    pub fn classify(&self, images: &[u8]) -> Result<Vec<f32>, ModelError> {
        let count = images.len() / self.shape().len();
        let mut scores = vec![0.0; count * self.classes];
        self.worker(0).classifier.classify(images, &mut scores)?;
        Ok(scores)
    }

    /// The elites as pictures, in class order.
    ///
    /// # Errors
    /// If the model fails.
    pub fn champions(&self) -> Result<Vec<Champion>, ModelError> {
        let champion = |(class, elite): (usize, &Elite<G>)| {
            let image = self.picture(class).unwrap_or_default().to_vec();
            let scores = self.classify(&image)?;
            Ok(Champion {
                class,
                confidence: elite.confidence,
                generation: elite.origin.generation + 1,
                id: elite.origin.id,
                image,
                scores,
            })
        };
        self.archive.elites().map(champion).collect()
    }

    /// The worker of a thread. A panic in one never leaves it half done: its memory is
    /// written before it is read.
    fn worker(&self, thread: usize) -> std::sync::MutexGuard<'_, Worker<'a>> {
        self.workers[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Computes one generation, counted from 0; `report` is called for each cell that
    /// changes hands, with the child that takes it.
    ///
    /// # Errors
    /// If the model fails; the archive is then as it was.
    pub fn generation(
        &mut self,
        generation: u32,
        mut report: impl FnMut(&Child<G>, Takeover),
    ) -> Result<Generation, ModelError> {
        let children = self.evolution.children;
        let batches: Vec<Batch<G>> = self.pool.install(|| {
            (0..children.div_ceil(TASK))
                .into_par_iter()
                .map(|task| self.batch(generation, task * TASK, children.min((task + 1) * TASK)))
                .collect::<Result<_, _>>()
        })?;
        let pixels = self.shape().len();
        let mut done = Generation { children: u64::from(children), skipped: u64::from(children) };
        for batch in batches {
            for (&index, scores) in batch.novel.iter().zip(batch.scores.chunks_exact(self.classes))
            {
                let child = &batch.children[index];
                let image = &batch.images[index * pixels..(index + 1) * pixels];
                let pictures = &mut self.pictures;
                self.evolution.tell(&mut self.archive, child, scores, |takeover| {
                    pictures[takeover.class] = Some(image.to_vec());
                    report(child, takeover);
                });
                done.skipped -= 1;
            }
        }
        Ok(done)
    }

    /// Makes, draws and classifies children `first..end`.
    fn batch(&self, generation: u32, first: u32, end: u32) -> Result<Batch<G>, ModelError> {
        let thread = rayon::current_thread_index().unwrap_or(0);
        let mut worker = self.worker(thread);
        let worker = &mut *worker;
        let (shape, pixels) = (self.shape(), self.shape().len());
        let children: Vec<Child<G>> = (first..end)
            .map(|index| self.evolution.ask(&self.archive, generation, index))
            .collect();
        let mut images = vec![0; children.len() * pixels];
        let mut novel = Vec::with_capacity(children.len());
        let mut candidates = Vec::with_capacity(images.len());
        for (index, (child, image)) in
            children.iter().zip(images.chunks_exact_mut(pixels)).enumerate()
        {
            let settings = &self.evolution.settings;
            self.simd.render(&child.genome, settings, shape, &mut worker.scratch, image);
            if child.parent_class.and_then(|class| self.picture(class)) != Some(image) {
                novel.push(index);
                candidates.extend_from_slice(image);
            }
        }
        let mut scores = vec![0.0; novel.len() * self.classes];
        worker.classifier.classify(&candidates, &mut scores)?;
        Ok(Batch { children, images, novel, scores })
    }
}
