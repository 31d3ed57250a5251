//! The experiment: guards made from natural images, and how many fooling images each of
//! them accepts.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::gaussian::{Fit, Gaussian, GaussianError};
use super::natural::{Natural, Sample};
use super::rule::Rule;
use super::score::Score;
use super::{Guard, roc};
use crate::experiment::plan::Plan;
use crate::experiment::record::RunRecord;
use crate::experiment::summary::{CERTAIN, median};
use crate::model::{FeatureModel, Model, ModelError};
use crate::simd::Simd;

/// The share of natural images that a guard is made to accept, as is usual where guards are
/// compared.
pub const SHARE: f64 = 0.95;

/// Why there are no guards, or they cannot judge.
#[derive(Debug, Error)]
pub enum StudyError {
    /// The network does not tell what guards go by, or fails.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The natural images make no Gaussian.
    #[error("--natural: {0}")]
    Gaussian(#[from] GaussianError),
}

/// The score of every guard, in the order of [`Score::ALL`].
pub type Values = [f32; Score::ALL.len()];

/// One guard for each score, made for a model from natural images.
#[derive(Debug)]
pub struct Guards {
    model: String,
    model_sha256: String,
    features: Arc<FeatureModel>,
    gaussian: Arc<Gaussian>,
    /// In the order of [`Score::ALL`].
    rules: Vec<Rule>,
    natural: NaturalRecord,
    /// Of the natural images that fooling ones are held against.
    tested: Vec<Values>,
}

/// How a model's guards do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    /// Name of the model.
    pub model: String,
    /// Its SHA-256, hexadecimal.
    pub model_sha256: String,
    /// The natural images.
    pub natural: NaturalRecord,
    /// The Gaussian of their features.
    pub gaussian: Fit,
    /// Each guard, in the order of [`Score::ALL`].
    pub guards: Vec<GuardRecord>,
    /// Fooling images of the same preset, evolved under the same guard or none.
    pub groups: Vec<Group>,
    /// The scores of the natural images that fooling ones are held against.
    #[serde(skip)]
    pub tested: Vec<Values>,
    /// Every fooling image.
    #[serde(skip)]
    pub images: Vec<Judged>,
}

/// The natural images of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NaturalRecord {
    /// Where they come from.
    pub source: String,
    /// Images that the Gaussian was fitted to.
    pub fitted: usize,
    /// Images that thresholds were found with.
    pub threshold: usize,
    /// Images that fooling ones are held against.
    pub tested: usize,
}

/// A guard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuardRecord {
    /// What it goes by.
    pub score: Score,
    /// `at least` or `at most`: the side of the threshold that it accepts.
    pub accepts: &'static str,
    /// The last value that it accepts.
    pub threshold: f32,
    /// The share that it accepts of the natural images that it was not made with: about
    /// [`SHARE`].
    pub natural_accepted: f64,
}

/// Fooling images, and how each guard does on them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// The preset of the runs.
    pub preset: String,
    /// The guard that they were evolved under.
    pub guard: Option<Score>,
    /// Their folders.
    pub runs: Vec<String>,
    /// Different images.
    pub images: usize,
    /// Median of the network's confidence in an image's class, 0 ..= 1.
    pub median_confidence: f32,
    /// Images of whose class the network is at least 99.99 % sure.
    pub certain: usize,
    /// Each guard, in the order of [`Score::ALL`].
    pub detections: Vec<Detection>,
}

/// How a guard does on a group. Natural images are the positives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// What the guard goes by.
    pub score: Score,
    /// The probability that a natural image scores as more natural than a fooling one; see
    /// [`roc::auroc`].
    pub auroc: f64,
    /// The share of fooling images that is accepted along with 95 % of natural images.
    pub fpr_at_95: f64,
    /// How many that is.
    pub accepted: usize,
    /// How many of these the network is at least 99.99 % sure of: what fools both.
    pub certain_accepted: usize,
}

/// A fooling image.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its run's folder.
    pub run: String,
    /// Index of its [`Group`].
    pub group: usize,
    /// The class that it was evolved for: of an image that holds several, the one that it
    /// is surest of.
    pub class: usize,
    /// The network's confidence in it, 0 ..= 1.
    pub confidence: f32,
    /// Its scores.
    pub values: Values,
}

impl Guards {
    /// Makes the guards of a model.
    ///
    /// # Errors
    /// [`StudyError`].
    pub fn new(model: &Model, natural: &Natural) -> Result<Self, StudyError> {
        let features = FeatureModel::of(model)?;
        let simd = Simd::detect();
        let fitted = features.run(simd, &natural.fit.pictures)?;
        let classes = natural.fit.classes.as_deref().map(|of| (of, model.classes()));
        let gaussian = Gaussian::fit(&fitted.features, fitted.width, classes)?;
        let values = |sample: &Sample| values(&features, &gaussian, &sample.pictures);
        let (threshold, tested) = (values(&natural.threshold)?, values(&natural.test)?);
        let digest = gaussian.fit_record().digest;
        let rule = |score: Score| {
            let natural = column(&threshold, score);
            Rule::letting_through(SHARE, score, &natural, &digest)
        };
        Ok(Self {
            model: model.name().to_owned(),
            model_sha256: model.sha256().to_owned(),
            rules: Score::ALL.map(rule).to_vec(),
            natural: NaturalRecord {
                source: natural.source.clone(),
                fitted: fitted.rows().len(),
                threshold: threshold.len(),
                tested: tested.len(),
            },
            tested,
            features: Arc::new(features),
            gaussian: Arc::new(gaussian),
        })
    }

    /// What the guard that goes by a score accepts.
    #[must_use]
    pub fn rule(&self, score: Score) -> &Rule {
        &self.rules[score.index()]
    }

    /// The model, which the guards were made for, behind one of them.
    #[must_use]
    pub fn before(&self, model: &Model, score: Score) -> Model {
        let (rule, gaussian) = (self.rule(score).clone(), self.gaussian.clone());
        model.guarded(Guard { rule, gaussian }, self.features.clone())
    }

    /// How the guards do on the images of runs against the model, each with the name of its
    /// folder. An image that holds several classes counts once.
    ///
    /// # Errors
    /// If the network fails.
    pub fn judge(&self, runs: &[(String, RunRecord)]) -> Result<Study, StudyError> {
        let mut groups: Vec<(String, Option<Score>, Vec<String>)> = Vec::new();
        let mut images = Vec::new();
        for (run, record) in runs {
            let plan = Plan::of(&record.manifest).ok();
            let guard = plan.and_then(|plan| plan.guard).map(|rule| rule.score);
            let preset = &record.manifest.preset;
            let known =
                groups.iter().position(|(name, other, _)| (name, *other) == (preset, guard));
            let group = known.unwrap_or_else(|| {
                groups.push((preset.clone(), guard, Vec::new()));
                groups.len() - 1
            });
            groups[group].2.push(run.clone());
            images.extend(self.images(run, group, record)?);
        }
        let groups = groups.into_iter().enumerate().map(|(index, (preset, guard, runs))| {
            let images: Vec<&Judged> = images.iter().filter(|image| image.group == index).collect();
            self.group(preset, guard, runs, &images)
        });
        Ok(Study {
            model: self.model.clone(),
            model_sha256: self.model_sha256.clone(),
            natural: self.natural.clone(),
            gaussian: self.gaussian.fit_record(),
            guards: self.rules.iter().map(|rule| self.record(rule)).collect(),
            groups: groups.collect(),
            tested: self.tested.clone(),
            images,
        })
    }

    /// The different images of a run.
    fn images(
        &self,
        run: &str,
        group: usize,
        record: &RunRecord,
    ) -> Result<Vec<Judged>, StudyError> {
        // The network's own confidence: that of a champion is a guard's too.
        let confidence = |index: usize| {
            let champion = &record.champions[index];
            champion.scores.get(champion.class).copied().unwrap_or(f32::NAN).max(0.0)
        };
        let mut surest: Vec<usize> = (0..record.champions.len()).collect();
        surest.sort_by(|&a, &b| {
            let id = |index: usize| record.champions[index].id;
            id(a).cmp(&id(b)).then(confidence(b).total_cmp(&confidence(a))).then(a.cmp(&b))
        });
        surest.dedup_by_key(|index| record.champions[*index].id);
        surest.sort_unstable();
        let pictures: Vec<u8> =
            surest.iter().flat_map(|&index| &*record.champions[index].picture).copied().collect();
        let values = values(&self.features, &self.gaussian, &pictures)?;
        let judged = surest.iter().zip(values).map(|(&index, values)| Judged {
            run: run.to_owned(),
            group,
            class: record.champions[index].class,
            confidence: confidence(index),
            values,
        });
        Ok(judged.collect())
    }

    fn record(&self, rule: &Rule) -> GuardRecord {
        let values = self.tested.iter().map(|values| values[rule.score.index()]);
        let accepted = values.filter(|&value| rule.accepts(value)).count();
        GuardRecord {
            score: rule.score,
            accepts: if rule.score.is_high_for_natural() { "at least" } else { "at most" },
            threshold: rule.threshold,
            natural_accepted: share(accepted, self.tested.len()),
        }
    }

    fn group(
        &self,
        preset: String,
        guard: Option<Score>,
        runs: Vec<String>,
        images: &[&Judged],
    ) -> Group {
        let is_certain = |image: &&&Judged| image.confidence >= CERTAIN;
        let detection = |rule: &Rule| {
            let score = rule.score;
            let accepted: Vec<&&Judged> =
                images.iter().filter(|image| rule.accepts(image.values[score.index()])).collect();
            let [natural, fooling] = [
                naturalness(&self.tested, score),
                images.iter().map(|i| score.naturalness(i.values[score.index()])).collect(),
            ];
            Detection {
                score,
                auroc: roc::auroc(&natural, &fooling).unwrap_or(0.5),
                fpr_at_95: share(accepted.len(), images.len()),
                accepted: accepted.len(),
                certain_accepted: accepted.into_iter().filter(is_certain).count(),
            }
        };
        let confidences: Vec<f32> = images.iter().map(|image| image.confidence).collect();
        Group {
            preset,
            guard,
            runs,
            images: images.len(),
            median_confidence: median(&confidences),
            certain: images.iter().filter(is_certain).count(),
            detections: self.rules.iter().map(detection).collect(),
        }
    }
}

impl Group {
    /// What its images were evolved against: `mnist-cppn`, `mnist-cppn under energy`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.guard {
            None => self.preset.clone(),
            Some(score) => format!("{} under {}", self.preset, score.name()),
        }
    }
}

/// A row of the table of scores.
#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    run: Option<&'a str>,
    preset: Option<&'a str>,
    guard: Option<&'a str>,
    class: Option<usize>,
    confidence: Option<f32>,
    max_softmax: f32,
    max_logit: f32,
    energy: f32,
    gaussian: f32,
}

impl Study {
    /// The scores of every image that was tested, natural ones first, as CSV.
    ///
    /// # Errors
    /// If they cannot be written down.
    pub fn csv(&self) -> io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut row = |values: &Values, image: Option<&Judged>| {
            let [max_softmax, max_logit, energy, gaussian] = *values;
            let group = image.map(|image| &self.groups[image.group]);
            writer.serialize(Row {
                kind: if image.is_some() { "fooling" } else { "natural" },
                run: image.map(|image| image.run.as_str()),
                preset: group.map(|group| group.preset.as_str()),
                guard: group.and_then(|group| group.guard).map(Score::name),
                class: image.map(|image| image.class),
                confidence: image.map(|image| image.confidence),
                max_softmax,
                max_logit,
                energy,
                gaussian,
            })
        };
        let natural = self.tested.iter().map(|values| (values, None));
        let fooling = self.images.iter().map(|image| (&image.values, Some(image)));
        natural.chain(fooling).try_for_each(|(values, image)| row(values, image))?;
        writer.into_inner().map_err(|error| error.into_error())
    }

    /// For every threshold, the shares of the fooling images of a group and of the natural
    /// ones that a guard accepts; see [`roc::curve`].
    #[must_use]
    pub fn curve(&self, group: usize, score: Score) -> Vec<(f64, f64)> {
        let fooling = self.images.iter().filter(|image| image.group == group);
        let fooling: Vec<f32> =
            fooling.map(|image| score.naturalness(image.values[score.index()])).collect();
        roc::curve(&naturalness(&self.tested, score), &fooling)
    }
}

/// The scores of pictures.
fn values(
    features: &FeatureModel,
    gaussian: &Gaussian,
    pictures: &[u8],
) -> Result<Vec<Values>, ModelError> {
    let found = features.run(Simd::detect(), pictures)?;
    let of = |(logits, features)| Score::ALL.map(|score| score.value(logits, features, gaussian));
    Ok(found.rows().map(of).collect())
}

fn column(values: &[Values], score: Score) -> Vec<f32> {
    values.iter().map(|values| values[score.index()]).collect()
}

fn naturalness(values: &[Values], score: Score) -> Vec<f32> {
    column(values, score).into_iter().map(|value| score.naturalness(value)).collect()
}

fn share(count: usize, all: usize) -> f64 {
    count as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use mirage_core::rng::Stream;

    use super::*;
    use crate::experiment::checkpoint::Pace;
    use crate::experiment::folder::Folder;
    use crate::experiment::run::{self, Work};
    use crate::interrupt::Interrupt;

    /// Bars of random place and width.
    fn bars(images: usize, seed: u64) -> Sample {
        let mut random = Stream::new(seed, 0, 0);
        let mut pictures = vec![0; images * 784];
        for picture in pictures.chunks_mut(784) {
            let (left, width) = (random.below(20) as usize, 2 + random.below(4) as usize);
            let (top, height) = (random.below(8) as usize, 8 + random.below(12) as usize);
            for y in top..top + height {
                picture[y * 28 + left..][..width].fill(255);
            }
        }
        Sample { pictures, classes: None }
    }

    fn natural() -> Natural {
        let [fit, threshold, test] = [1, 2, 3].map(|seed| bars(120, seed));
        Natural { source: "bars".to_owned(), fit, threshold, test }
    }

    fn work(resume: bool) -> Work {
        Work { threads: 2, resume, pace: Pace::default(), interrupt: Interrupt::default() }
    }

    fn plan(generations: u32) -> Plan {
        let mut plan = Plan::preset("mnist-cppn", 3).unwrap();
        (plan.generations, plan.children) = (generations, 40);
        plan
    }

    #[test]
    fn images_that_are_the_natural_ones_cannot_be_told_from_them() {
        let model = Model::load("lenet").unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("run"));
        run::run(&plan(5), &model, &folder, &work(false), &mut |_| {}).unwrap();
        let record = run::record(&model, &folder, 1).unwrap();
        let all = |record: &RunRecord| Sample {
            pictures: record.champions.iter().flat_map(|c| c.picture.to_vec()).collect(),
            classes: None,
        };
        let mut distinct = record.clone();
        // An image that holds several classes counts once.
        distinct.champions.sort_by_key(|champion| champion.id);
        distinct.champions.dedup_by_key(|champion| champion.id);
        let natural = Natural { test: all(&distinct), threshold: all(&distinct), ..natural() };
        let guards = Guards::new(&model, &natural).unwrap();
        let study = guards.judge(&[("run".to_owned(), record)]).unwrap();
        let [group] = &study.groups[..] else { panic!("{:?}", study.groups) };
        assert_eq!((group.images, group.guard), (distinct.champions.len(), None));
        for (detection, guard) in group.detections.iter().zip(&study.guards) {
            assert!((detection.auroc - 0.5).abs() < 1e-12, "{detection:?}");
            assert_eq!(detection.fpr_at_95, guard.natural_accepted);
        }
        let table = String::from_utf8(study.csv().unwrap()).unwrap();
        assert_eq!(table.lines().count(), 1 + 2 * group.images, "{table}");
        assert!(table.lines().nth(1).unwrap().starts_with("natural,,,,,,"), "{table}");
        assert!(table.contains("\nfooling,run,mnist-cppn,,"), "{table}");
        assert_eq!(study.curve(0, Score::Energy).last(), Some(&(1.0, 1.0)));
    }

    #[test]
    fn evolution_finds_its_way_past_a_guard() {
        let model = Model::load("lenet").unwrap();
        let guards = Guards::new(&model, &natural()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = |name: &str| Folder::new(place.path().join(name));
        let evolve = |plan: &Plan, model: &Model, name: &str, resume| {
            let (summary, _) =
                run::run(plan, model, &folder(name), &work(resume), &mut |_| {}).unwrap();
            summary.digest
        };
        let mut runs = Vec::new();
        let unguarded = evolve(&plan(20), &model, "plain", false);
        for score in Score::ALL {
            let guarded = guards.before(&model, score);
            let with = |generations| {
                let guard = Some(guards.rule(score).clone());
                Plan { guard, ..plan(generations) }
            };
            let whole = evolve(&with(20), &guarded, score.name(), false);
            evolve(&with(8), &guarded, "half", false);
            assert_eq!(evolve(&with(20), &guarded, "half", true), whole, "{score:?}");
            std::fs::remove_dir_all(folder("half").path()).unwrap();
            // Images that hardly resemble digits pass all but the strictest.
            assert!(score != Score::Gaussian || whole != unguarded);
            // Neither goes on as the other.
            let refused = |plan: &Plan, model: &Model, name: &str| {
                run::run(plan, model, &folder(name), &work(true), &mut |_| {}).is_err()
            };
            assert!(refused(&with(20), &model, score.name()));
            assert!(refused(&plan(20), &guarded, "plain"));
            assert!(refused(&with(20), &guarded, "plain"));

            // The network alone reads the run, and says of what is accepted what the run does.
            let record = run::record(&model, &folder(score.name()), 1).unwrap();
            assert_eq!(Plan::of(&record.manifest).unwrap(), with(20));
            runs.push((score.name().to_owned(), record));
        }
        runs.push(("plain".to_owned(), run::record(&model, &folder("plain"), 1).unwrap()));
        let study = guards.judge(&runs).unwrap();
        let (plain, guarded) = study.groups.split_last().unwrap();
        assert_eq!((plain.guard, guarded.len()), (None, 4));
        for (index, group) in guarded.iter().enumerate() {
            let rule = guards.rule(Score::ALL[index]);
            assert_eq!(group.guard, Some(rule.score));
            let record = &runs[index].1;
            for image in study.images.iter().filter(|image| image.group == index) {
                let champion = record.champions.iter().find(|c| c.class == image.class).unwrap();
                let factor = rule.factor(image.values[index]);
                assert!((champion.confidence - factor * image.confidence).abs() < 1e-6);
            }
            // No easier to tell from natural images than those that know no guard.
            let [own, other] = [group, plain].map(|group| &group.detections[index]);
            assert!(own.auroc <= other.auroc, "{own:?} {other:?}");
            assert!(rule.score != Score::Gaussian || own.accepted > other.accepted, "{own:?}");
        }
    }
}
