//! A run: the climbs of many classes, on as many threads as wanted, to a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mirage_core::image::Shape;
use thiserror::Error;

use super::climb::{Climb, Milestone, Row, climb};
use super::record::{AscentRecord, ClassRecord, Manifest, Mark};
use super::settings::Settings;
use super::window::{Window, Windowed};
use crate::experiment::log::{Table, TableError};
use crate::experiment::record::MachineRecord;
use crate::files;
use crate::image::Image;
use crate::interrupt::Interrupt;
use crate::model::{Crops, GradientModel, Model, ModelError, Objective, ThreadClassifier};
use crate::npz;
use crate::simd::Simd;

/// The header of `history.csv`: one row per class and picture that was evaluated, classes
/// in the order of their indices.
pub const HISTORY_HEADER: &str = "class,step,confidence,objective,gradient_norm,step_size\n";

/// Most points of a class's curve in a report.
const MOST_POINTS: usize = 250;

/// How often `ascent.json` is written, and whoever watches is told.
const SAVE_EVERY: Duration = Duration::from_secs(5);
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Why a run stopped.
#[derive(Debug, Error)]
pub enum AscentError {
    /// The folder has something in it.
    #[error("--out {}: the folder is not empty; choose another", .0.display())]
    NotEmpty(PathBuf),
    /// The path is a file.
    #[error("--out {}: this is a file, not a folder; choose another", .0.display())]
    NotAFolder(PathBuf),
    /// Another process has the folder.
    #[error("--out {}: another mirage is at work in this folder; choose another", .0.display())]
    Busy(PathBuf),
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; check permissions and free space, then begin again with another --out", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A network fails.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The system gives no threads.
    #[error("cannot start {threads} threads: {reason}; ask for fewer with --threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

/// What is to be climbed.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The model to fool.
    pub model: &'a Model,
    /// The float network that stands in for it, if it is an int8 one: of the same pictures
    /// and classes.
    pub twin: Option<&'a Model>,
    /// The gradient of the model, or of its twin.
    pub gradient: &'a GradientModel,
    /// How to climb.
    pub settings: Settings,
    /// The classes, by index and in order.
    pub classes: Vec<usize>,
    /// How they were asked for.
    pub asked: String,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Classes that are done.
    pub classes_done: usize,
    /// Classes that were asked for.
    pub classes: usize,
    /// Of those that are done, how many reached 0.9999.
    pub certain: usize,
    /// The share of all steps that is done, 0 ..= 1.
    pub share: f64,
    /// Steps per second of wall-clock time.
    pub rate: f64,
    /// Seconds until all are done at that rate; `None` before the first.
    pub seconds_left: Option<f64>,
}

/// The folder of pictures in that of the run.
const PICTURES: &str = "pictures";

/// The folder of a run, which this process alone writes to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    history: Table,
}

impl Folder {
    /// Makes the folder for a new run, with its parents; an empty one will do.
    ///
    /// # Errors
    /// If there is something in it already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, AscentError> {
        let write = |source| AscentError::Write { path: path.to_owned(), source };
        if path.exists() {
            if !path.is_dir() {
                return Err(AscentError::NotAFolder(path.to_owned()));
            }
            if fs::read_dir(path).map_err(write)?.next().is_some() {
                return Err(AscentError::NotEmpty(path.to_owned()));
            }
        }
        fs::create_dir_all(path.join(PICTURES)).map_err(write)?;
        let history = path.join("history.csv");
        let begun = Table::open(&history).and_then(|mut table| {
            table.begin(HISTORY_HEADER, 0)?;
            Ok(table)
        });
        match begun {
            Ok(history) => Ok(Self { path: path.to_owned(), history }),
            Err(TableError::Busy) => Err(AscentError::Busy(path.to_owned())),
            Err(error) => {
                Err(AscentError::Write { path: history, source: io::Error::other(error) })
            }
        }
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), AscentError> {
        let path = self.path.join("ascent.json");
        let json = serde_json::to_string_pretty(manifest).map_err(io::Error::from);
        json.and_then(|json| files::write(&path, (json + "\n").as_bytes()))
            .map_err(|source| AscentError::Write { path, source })
    }

    fn write_history(&mut self, class: usize, rows: &[Row]) -> Result<(), AscentError> {
        for Row { step, confidence, objective, gradient_norm, rate } in rows {
            let row = format!("{class},{step},{confidence},{objective},{gradient_norm},{rate}");
            self.history.push(&row);
        }
        self.history
            .flush()
            .map_err(|source| AscentError::Write { path: self.path.join("history.csv"), source })
    }
}

/// A class that is done.
struct Finished {
    record: ClassRecord,
    rows: Vec<Row>,
}

/// Climbs towards every class of the plan.
///
/// A class's result depends on the plan, its index and nothing else. Its pictures are
/// written as soon as it is done, so that memory does not grow with the number of classes.
/// `observe` is told how far the run is, several times a second. After an interrupt the
/// classes that are done stand, and the record says that it is not complete.
///
/// # Errors
/// [`AscentError`]; what was written stays.
pub fn run(
    plan: &Plan,
    folder: &mut Folder,
    threads: usize,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Progress),
) -> Result<AscentRecord, AscentError> {
    let path = folder.path.clone();
    let mut ledger = Ledger::open(folder, plan.manifest(threads))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| AscentError::Threads { threads, reason: error.to_string() })?;
    let best = tempfile::tempfile_in(&path)
        .map_err(|source| AscentError::Write { path: path.clone(), source })?;
    let work = Work {
        plan,
        folder: &path,
        mean: plan.gradient.mean_picture(),
        window: Window::of(plan.network()),
        next: AtomicUsize::new(0),
        steps: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        interrupt,
        best: Mutex::new(best),
    };
    let (sender, receiver) = mpsc::channel();
    let mut result = Ok(());
    pool.in_place_scope(|scope| {
        for _ in 0..threads.min(plan.classes.len()) {
            let (work, sender) = (&work, sender.clone());
            scope.spawn(move |_| work.climb_classes(&sender));
        }
        drop(sender);
        loop {
            let entered = match receiver.recv_timeout(TELL_EVERY) {
                Ok(finished) => finished.and_then(|(index, class)| ledger.enter(index, class)),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if entered.is_err() {
                work.stop.store(true, Ordering::Relaxed);
            }
            result = std::mem::replace(&mut result, Ok(())).and(entered);
            observe(work.progress(&ledger));
        }
    });
    result?;
    ledger.close(|manifest| work.write_arrays(manifest))
}

/// Writes down what is done, in class order.
struct Ledger<'a> {
    folder: &'a mut Folder,
    started: Instant,
    manifest: Manifest,
    /// When it was last written.
    saved: Instant,
    curves: Vec<Vec<(u32, f32)>>,
    /// Classes that are done before one with a lower index, by their places in the plan.
    early: BTreeMap<usize, Finished>,
}

impl<'a> Ledger<'a> {
    fn open(folder: &'a mut Folder, manifest: Manifest) -> Result<Self, AscentError> {
        folder.write_manifest(&manifest)?;
        let (started, curves, early) = (Instant::now(), Vec::new(), BTreeMap::new());
        Ok(Self { folder, started, manifest, saved: started, curves, early })
    }

    /// Takes in the class with this place in the plan.
    fn enter(&mut self, index: usize, finished: Finished) -> Result<(), AscentError> {
        self.early.insert(index, finished);
        while let Some(finished) = self.early.remove(&self.manifest.classes.len()) {
            self.write(finished)?;
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save()?;
        }
        Ok(())
    }

    fn write(&mut self, Finished { record, rows }: Finished) -> Result<(), AscentError> {
        self.folder.write_history(record.class, &rows)?;
        self.curves.push(curve(&rows));
        self.manifest.classes.push(record);
        Ok(())
    }

    fn save(&mut self) -> Result<(), AscentError> {
        self.manifest.seconds = self.started.elapsed().as_secs_f64();
        self.folder.write_manifest(&self.manifest)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// All classes that are done: how many, and how many of them reached 0.9999.
    fn count(&self) -> (usize, usize) {
        let early = self.early.values().map(|finished| &finished.record);
        let all = || self.manifest.classes.iter().chain(early.clone());
        let is_certain = |class: &&ClassRecord| class.mark(Milestone::At9999).is_some();
        (all().count(), all().filter(is_certain).count())
    }

    /// Writes what is left. After an interrupt classes in between may be missing.
    fn close(
        mut self,
        write_arrays: impl FnOnce(&Manifest) -> Result<(), AscentError>,
    ) -> Result<AscentRecord, AscentError> {
        for finished in std::mem::take(&mut self.early).into_values() {
            self.write(finished)?;
        }
        write_arrays(&self.manifest)?;
        self.manifest.complete = self.manifest.classes.len() == self.manifest.classes_asked;
        self.save()?;
        Ok(AscentRecord { manifest: self.manifest, curves: self.curves })
    }
}

/// Step and confidence at some of the rows, the first and the last among them.
fn curve(rows: &[Row]) -> Vec<(u32, f32)> {
    let stride = rows.len().div_ceil(MOST_POINTS).max(1);
    let last = rows.len().saturating_sub(1);
    let is_wanted = |index: &usize| index.is_multiple_of(stride) || *index == last;
    let wanted = (0..rows.len()).filter(is_wanted).map(|index| &rows[index]);
    wanted.map(|row| (row.step, row.confidence as f32)).collect()
}

impl Plan<'_> {
    /// The network that is ascended on.
    fn network(&self) -> &Model {
        self.twin.unwrap_or(self.model)
    }

    /// The manifest before the first class.
    fn manifest(&self, threads: usize) -> Manifest {
        let Settings { preset, objective, start, seed } = &self.settings;
        Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            complete: false,
            model: self.model.record(),
            twin: self.twin.map(Model::record),
            preset: *preset,
            objective: match objective {
                Objective::Probability => "prob",
                Objective::Logit => "logit",
            },
            start: start.to_string(),
            seed: *seed,
            asked: self.asked.clone(),
            classes_asked: self.classes.len(),
            machine: MachineRecord::here(Simd::detect().name(), threads, None),
            seconds: 0.0,
            classes: Vec::new(),
        }
    }
}

/// What the threads of a run share.
struct Work<'a> {
    plan: &'a Plan<'a>,
    folder: &'a Path,
    /// The mean picture.
    mean: Vec<f32>,
    window: Window,
    /// Place in the plan of the next class.
    next: AtomicUsize,
    /// Steps done; of a class that ended early also those that it did not need.
    steps: AtomicU64,
    /// Set when another thread has failed.
    stop: AtomicBool,
    interrupt: &'a Interrupt,
    /// The best pictures, one behind the other in the order of the plan.
    best: Mutex<File>,
}

impl<'a> Work<'a> {
    /// Climbs towards one class after the other, until none is left.
    fn climb_classes(&self, sender: &Sender<Result<(usize, Finished), AscentError>>) {
        let told = self.judges().map(|(mut network, mut judges)| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                let finished = match self.plan.classes.get(index) {
                    Some(&class) if self.goes_on() => {
                        self.finish(index, class, &mut network, &mut judges).transpose()
                    }
                    _ => None,
                };
                let Some(finished) = finished else { break };
                // The receiver is there as long as there are threads.
                let _ = sender.send(finished.map(|finished| (index, finished)));
            }
        });
        if let Err(error) = told {
            let _ = sender.send(Err(error.into()));
        }
    }

    fn goes_on(&self) -> bool {
        !(self.interrupt.is_set() || self.stop.load(Ordering::Relaxed))
    }

    /// The gradient for one thread; and who classifies what is saved: the network that is
    /// ascended on, and the model, if that is another.
    fn judges(&self) -> Result<(Windowed<'a>, Vec<ThreadClassifier<'a>>), ModelError> {
        let Plan { model, twin, gradient, .. } = *self.plan;
        let judges = twin.into_iter().chain([model]);
        let judges = judges.map(|judge| judge.classifier(Simd::detect(), Crops::Center));
        Ok((Windowed::new(self.window, gradient.session()), judges.collect::<Result<_, _>>()?))
    }

    /// Climbs towards a class and writes its pictures; `None` if it was stopped.
    fn finish(
        &self,
        index: usize,
        class: usize,
        network: &mut Windowed,
        judges: &mut [ThreadClassifier],
    ) -> Result<Option<Finished>, AscentError> {
        let settings = &self.plan.settings;
        let mut picture = settings.start.picture(&self.mean, settings.seed, class);
        picture.iter_mut().for_each(|value| *value = value.clamp(0.0, 255.0));
        let [start, mean] = [&picture, &self.mean].map(|picture| self.window.cut(picture));
        let mut steps = 0;
        let go_on = || {
            steps += 1;
            self.steps.fetch_add(1, Ordering::Relaxed);
            self.goes_on()
        };
        let climbed = climb(network, class, &start, &mean, self.window.shape, settings, go_on)?;
        let Some(Climb { ending, reached, rows }) = climbed else { return Ok(None) };
        self.steps.fetch_add(u64::from(settings.preset.steps - steps), Ordering::Relaxed);
        let mut marks = BTreeMap::new();
        for (milestone, reached) in reached {
            self.window.paste(&reached.picture, &mut picture);
            let pixels: Vec<u8> = picture.iter().map(|value| value.round() as u8).collect();
            let confidences = self.judge(judges, &pixels, class)?;
            let name = format!("{PICTURES}/{class}-{}.png", milestone.name());
            self.write_picture(&name, pixels)?;
            if milestone == Milestone::Best {
                self.keep(index, &picture)?;
            }
            let mark = Mark {
                step: reached.step,
                confidence: reached.confidence,
                as_saved: confidences[0],
                int8: confidences.get(1).copied(),
                picture: name,
            };
            marks.insert(milestone, mark);
        }
        let label = self.plan.model.labels()[class].clone();
        let record = ClassRecord { class, label, ending, reached: marks };
        Ok(Some(Finished { record, rows }))
    }

    /// How sure each of the judges is that a picture shows the class.
    fn judge(
        &self,
        judges: &mut [ThreadClassifier],
        pixels: &[u8],
        class: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let confidence = |judge: &mut ThreadClassifier| {
            let mut scores = vec![0.0; judge.classes()];
            judge.classify(pixels, &mut scores)?;
            Ok(scores[class])
        };
        judges.iter_mut().map(confidence).collect()
    }

    fn write_picture(&self, name: &str, pixels: Vec<u8>) -> Result<(), AscentError> {
        let Shape { height, width, channels } = self.plan.model.shape();
        let path = self.folder.join(name);
        let png = Image { width, height, channels, pixels }.to_png();
        png.and_then(|png| files::remake(&path, |file| file.write_all(&png)))
            .map_err(|source| AscentError::Write { path, source })
    }

    /// Keeps the best picture of a class for the archive.
    fn keep(&self, index: usize, picture: &[f32]) -> Result<(), AscentError> {
        let bytes: Vec<u8> = picture.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut file = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((index * bytes.len()) as u64))
            .and_then(|_| file.write_all(&bytes))
            .map_err(|source| AscentError::Write { path: self.folder.to_owned(), source })
    }

    /// Writes `ascent.npz`: for K classes with a best picture, in class order, `images`
    /// (f32, K × H × W × C, grey levels as they were before they were rounded), `classes`
    /// (i64, K) and `confidences` (f64, K).
    fn write_arrays(&self, manifest: &Manifest) -> Result<(), AscentError> {
        let path = self.folder.join("ascent.npz");
        let best = |class: &ClassRecord| {
            let best = class.mark(Milestone::Best)?;
            Some((class.class, best.confidence))
        };
        let best: Vec<(usize, f64)> = manifest.classes.iter().filter_map(best).collect();
        let shape = self.plan.model.shape();
        let [count, height, width, channels] =
            [best.len(), shape.height, shape.width, shape.channels].map(|n| n as u64);
        let mut file = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = None;
        let pictures = best.iter().flat_map(|(class, _)| {
            let mut bytes = vec![0; 4 * shape.len()];
            let index = self.plan.classes.partition_point(|before| before < class);
            let place = SeekFrom::Start((index * bytes.len()) as u64);
            unread =
                file.seek(place).and_then(|_| file.read_exact(&mut bytes)).err().or(unread.take());
            bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect::<Vec<_>>()
        });
        let written = files::remake(&path, |file| {
            npz::write(file, |archive| {
                archive.add("images", &[count, height, width, channels], pictures)?;
                archive.add("classes", &[count], best.iter().map(|&(class, _)| class as i64))?;
                archive.add("confidences", &[count], best.iter().map(|&(_, confidence)| confidence))
            })
        });
        unread.map_or(written, Err).map_err(|source| AscentError::Write { path, source })
    }

    fn progress(&self, ledger: &Ledger) -> Progress {
        let (classes_done, certain) = ledger.count();
        let classes = self.plan.classes.len();
        let steps = self.steps.load(Ordering::Relaxed) as f64;
        let all = classes as f64 * f64::from(self.plan.settings.preset.steps);
        let rate = steps / ledger.started.elapsed().as_secs_f64().max(1e-9);
        let seconds_left = (steps > 0.0).then(|| (all - steps) / rate);
        Progress { classes_done, classes, certain, share: steps / all, rate, seconds_left }
    }
}
