//! The climb of one class.

use std::collections::BTreeMap;

use mirage_core::image::Shape;
use serde::Serialize;

use super::regularise::{Blur, drop_idle, drop_small};
use super::settings::Settings;
use crate::model::Evaluation;

/// A network that tells how an objective changes with every pixel.
pub trait Differentiable {
    /// Why it does not.
    type Error;

    /// Evaluates the objective of a class.
    ///
    /// * `picture`: grey levels, 0 ..= 255, not rounded; height × width × channels.
    /// * `gradient`: of the same shape; times [`Evaluation::scale`] it is
    ///   d objective / d `picture`.
    ///
    /// # Errors
    /// If the network fails.
    fn evaluate(
        &mut self,
        picture: &[f32],
        class: usize,
        gradient: &mut [f32],
    ) -> Result<Evaluation, Self::Error>;
}

/// Something that a climb reaches, and whose picture is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Milestone {
    /// The class is the most probable one.
    #[serde(rename = "win")]
    Win,
    /// It has a probability of at least .99.
    #[serde(rename = "99")]
    At99,
    /// At least .999.
    #[serde(rename = "999")]
    At999,
    /// At least .9999.
    #[serde(rename = "9999")]
    At9999,
    /// The largest probability; of equal ones the first.
    #[serde(rename = "best")]
    Best,
}

impl Milestone {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Win, Self::At99, Self::At999, Self::At9999, Self::Best];

    /// The name, as in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Win => "win",
            Self::At99 => "99",
            Self::At999 => "999",
            Self::At9999 => "9999",
            Self::Best => "best",
        }
    }

    /// Whether a picture reaches it, after others of which the best had this probability.
    fn is_reached(self, class: usize, now: &Evaluation, best: Option<f64>) -> bool {
        match self {
            Self::Win => now.top == class,
            Self::At99 => now.probability >= 0.99,
            Self::At999 => now.probability >= 0.999,
            Self::At9999 => now.probability >= CERTAIN,
            Self::Best => best.is_none_or(|best| now.probability > best),
        }
    }
}

/// From this probability on there is nothing to be blamed for where no gradient is left.
const CERTAIN: f64 = 0.9999;

/// A step shorter than this, in grey levels over the whole picture, leads nowhere: a
/// million of them would not change what is seen.
const SHORTEST: f64 = 1e-9;

/// The picture that reached a milestone.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// After how many steps; 0 is the start.
    pub step: u32,
    /// The class's probability.
    pub confidence: f64,
    /// Grey levels, 0 ..= 255, not rounded.
    pub picture: Vec<f32>,
}

/// A row of `history.csv`: what was found before a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Steps before; 0 at the start.
    pub step: u32,
    /// The class's probability.
    pub confidence: f64,
    /// Its probability or logit.
    pub objective: f64,
    /// Euclidean norm of d objective / d picture.
    pub gradient_norm: f64,
    /// Grey levels per unit of the gradient that a step goes.
    pub rate: f64,
}

/// How a climb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Ending {
    /// All steps were done.
    Done,
    /// The class is certain, at least .9999, and no gradient is left.
    Certain {
        /// Steps before.
        step: u32,
    },
    /// There is no gradient, or one that is too small to lead anywhere.
    NoGradient {
        /// Steps before.
        step: u32,
    },
    /// The network answered with something that is no number.
    NotANumber {
        /// Steps before.
        step: u32,
    },
}

/// What became of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Climb {
    /// How it ended.
    pub ending: Ending,
    /// What was reached.
    pub reached: BTreeMap<Milestone, Reached>,
    /// One per picture that was evaluated.
    pub rows: Vec<Row>,
}

/// Climbs from `start` towards a class.
///
/// `start` and `mean`, the mean picture, have the shape `shape`. Every picture is clipped
/// to 0 ..= 255 and evaluated; then X, what it differs by from the mean picture, moves
/// along the gradient, shrinks, is blurred, and loses the pixels that are small and then
/// those that are idle. `go_on` is asked after each step; without it there is no climb.
///
/// # Errors
/// If the network fails.
pub fn climb<D: Differentiable>(
    network: &mut D,
    class: usize,
    start: &[f32],
    mean: &[f32],
    shape: Shape,
    settings: &Settings,
    mut go_on: impl FnMut() -> bool,
) -> Result<Option<Climb>, D::Error> {
    let preset = &settings.preset;
    let mut blur = (preset.blur_radius > 0.0).then(|| Blur::new(preset.blur_radius));
    let mean: Vec<f64> = mean.iter().copied().map(f64::from).collect();
    let mut x: Vec<f64> = start.iter().zip(&mean).map(|(&v, mean)| f64::from(v) - mean).collect();
    let (mut picture, mut gradient) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut climb = Climb { ending: Ending::Done, reached: BTreeMap::new(), rows: Vec::new() };
    for step in 0..=preset.steps {
        for ((picture, x), mean) in picture.iter_mut().zip(&mut x).zip(&mean) {
            *x = x.max(-mean).min(255.0 - mean);
            *picture = (*x + mean) as f32;
        }
        let now = network.evaluate(&picture, class, &mut gradient)?;
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let rate = preset.rate(settings.objective, now.probability, norm, now.scale);
        let Evaluation { objective, probability: confidence, scale, .. } = now;
        climb.rows.push(Row { step, confidence, objective, gradient_norm: norm * scale, rate });
        if !(confidence.is_finite() && objective.is_finite() && norm.is_finite()) {
            climb.ending = Ending::NotANumber { step };
            break;
        }
        climb.note(class, step, &now, &picture);
        if step == preset.steps {
            break;
        }
        if rate * scale * norm < SHORTEST {
            let is_certain = confidence >= CERTAIN;
            climb.ending =
                if is_certain { Ending::Certain { step } } else { Ending::NoGradient { step } };
            break;
        }
        for (x, &gradient) in x.iter_mut().zip(&gradient) {
            *x = (*x + rate * scale * f64::from(gradient)) * (1.0 - preset.decay);
        }
        if let Some(blur) = &mut blur
            && step.is_multiple_of(preset.blur_every)
        {
            blur.apply(&mut x, shape);
        }
        if preset.norm_percent > 0.0 {
            drop_small(&mut x, shape.channels, preset.norm_percent);
        }
        if preset.contribution_percent > 0.0 {
            drop_idle(&mut x, &gradient, shape.channels, preset.contribution_percent);
        }
        if !go_on() {
            return Ok(None);
        }
    }
    Ok(Some(climb))
}

impl Climb {
    /// Keeps a picture for all that it is the first, or the best, to reach.
    fn note(&mut self, class: usize, step: u32, now: &Evaluation, picture: &[f32]) {
        let best = self.reached.get(&Milestone::Best).map(|best| best.confidence);
        for milestone in Milestone::ALL {
            let is_open = milestone == Milestone::Best || !self.reached.contains_key(&milestone);
            if is_open && milestone.is_reached(class, now, best) {
                let reached =
                    Reached { step, confidence: now.probability, picture: picture.to_vec() };
                self.reached.insert(milestone, reached);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::settings::{BLUR, BLUR_SPARSE, L2, PLAIN, Preset};
    use super::super::start::Start;
    use super::*;
    use crate::model::Objective;

    /// A softmax of logits that are linear in the pixels, on which every answer is known.
    struct Linear {
        /// Per class, one per value of the picture.
        weights: Vec<Vec<f64>>,
        objective: Objective,
        seen: Vec<Vec<f32>>,
    }

    impl Linear {
        fn new(weights: &[&[f64]], objective: Objective) -> Self {
            let weights = weights.iter().map(|row| row.to_vec()).collect();
            Self { weights, objective, seen: Vec::new() }
        }

        fn logits(&self, picture: &[f32]) -> Vec<f64> {
            let dot =
                |row: &Vec<f64>| row.iter().zip(picture).map(|(w, &x)| w * f64::from(x)).sum();
            self.weights.iter().map(dot).collect()
        }
    }

    impl Differentiable for Linear {
        type Error = Infallible;

        fn evaluate(
            &mut self,
            picture: &[f32],
            class: usize,
            gradient: &mut [f32],
        ) -> Result<Evaluation, Infallible> {
            self.seen.push(picture.to_vec());
            let logits = self.logits(picture);
            let shares: Vec<f64> = logits.iter().map(|z| (z - logits[class]).exp()).collect();
            let sum: f64 = shares.iter().sum();
            let probability = 1.0 / sum;
            let top = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            for (i, gradient) in gradient.iter_mut().enumerate() {
                let mean = |share: &[f64]| {
                    let rows = self.weights.iter().zip(share);
                    rows.map(|(row, share)| row[i] * share / sum).sum::<f64>()
                };
                *gradient = match self.objective {
                    Objective::Logit => self.weights[class][i],
                    Objective::Probability => self.weights[class][i] - mean(&shares),
                } as f32;
            }
            let (objective, scale) = match self.objective {
                Objective::Logit => (logits[class], 1.0),
                Objective::Probability => (probability, probability),
            };
            Ok(Evaluation { objective, probability, top: top.unwrap_or(0), scale })
        }
    }

    const PIXELS: Shape = Shape { height: 1, width: 3, channels: 1 };

    fn settings(preset: Preset, objective: Objective) -> Settings {
        Settings { preset, objective, start: Start::Zero, seed: 1 }
    }

    fn climbed(network: &mut Linear, class: usize, start: &[f32], preset: Preset) -> Climb {
        let settings = settings(preset, network.objective);
        let mean = vec![0.0; start.len()];
        let shape = Shape { width: start.len(), ..PIXELS };
        climb(network, class, start, &mean, shape, &settings, || true).unwrap().unwrap()
    }

    #[test]
    fn a_step_is_as_long_as_the_preset_says() {
        let weights: [&[f64]; 2] = [&[0.01, 0.0, -0.02], &[0.0, 0.0, 0.0]];
        let mut network = Linear::new(&weights, Objective::Probability);
        let climb = climbed(&mut network, 0, &[100.0, 100.0, 100.0], PLAIN);
        // z = 1 − 2 = −1; p = 1 / (1 + e); dp/dx = p (1 − p) w; |w|² = .0005.
        let p = 1.0 / (1.0 + 1.0_f64.exp());
        let slope = p * (1.0 - p);
        let row = climb.rows[0];
        assert!((row.confidence - p).abs() < 1e-12 && row.objective == row.confidence);
        assert!((row.gradient_norm / (slope * 0.0005_f64.sqrt()) - 1.0).abs() < 1e-7);
        assert!((row.rate / (0.02 / (slope * slope * 0.0005)) - 1.0).abs() < 1e-6);
        // Along w by .02 / (slope · |w|²) · w; the middle pixel stays.
        let step = 0.02 / (slope * 0.0005);
        for (x, w) in network.seen[1].iter().zip([0.01, 0.0, -0.02]) {
            assert!((f64::from(*x) - (100.0 + step * w)).abs() < 1e-4, "{x}");
        }
        let rise = climb.rows[1].confidence - p;
        assert!((rise - 0.02).abs() < 5e-4, "nearly linear: {rise}");
    }

    #[test]
    fn what_is_reached_first_and_best_is_kept() {
        let weights: [&[f64]; 3] = [&[0.2, 0.0, 0.0], &[0.0, 0.2, 0.0], &[0.0, 0.0, 0.2]];
        let mut network = Linear::new(&weights, Objective::Probability);
        let climb = climbed(&mut network, 1, &[100.0, 90.0, 95.0], PLAIN);
        assert_eq!((climb.ending, climb.rows.len()), (Ending::Done, 501));
        let marks: Vec<_> = climb.reached.iter().map(|(m, r)| (*m, r.step, r.confidence)).collect();
        assert_eq!(marks.iter().map(|mark| mark.0).collect::<Vec<_>>(), Milestone::ALL);
        for (pair, floor) in marks.windows(2).zip([0.0, 0.99, 0.999, 0.9999]) {
            assert!(pair[0].1 <= pair[1].1 && pair[0].2 >= floor, "{marks:?}");
        }
        for (milestone, reached) in &climb.reached {
            let row = &climb.rows[reached.step as usize];
            assert_eq!(row.confidence, reached.confidence);
            assert_eq!(network.seen[reached.step as usize], reached.picture);
            let logits = network.logits(&reached.picture);
            let before = &climb.rows[..reached.step as usize];
            match milestone {
                Milestone::Win => assert!(logits[1] > logits[0] && logits[1] > logits[2]),
                Milestone::At99 => assert!(before.iter().all(|row| row.confidence < 0.99)),
                Milestone::At999 => assert!(before.iter().all(|row| row.confidence < 0.999)),
                Milestone::At9999 => assert!(before.iter().all(|row| row.confidence < 0.9999)),
                Milestone::Best => {
                    assert!(climb.rows.iter().all(|row| row.confidence <= reached.confidence));
                }
            }
        }
        assert!(network.seen.iter().flatten().all(|x| (0.0..=255.0).contains(x)));
    }

    #[test]
    fn regularisation_happens_in_the_published_order() {
        let weights: [&[f64]; 2] = [&[0.01, 0.01, 0.03, -0.01], &[0.0; 4]];
        let start = [1.0, 80.0, 60.0, 40.0];
        let second = |preset| {
            let mut network = Linear::new(&weights, Objective::Logit);
            climbed(&mut network, 0, &start, Preset { steps: 1, ..preset });
            network.seen[1].clone()
        };
        // A rise of 2 along w: 2 / |w|² · w = 2 / .0012 · w.
        let moved: Vec<f64> = start
            .iter()
            .zip(weights[0])
            .map(|(&x, w)| (f64::from(x) + 2.0 / 0.0012 * f64::from(*w as f32)) * 0.99)
            .collect();
        let near = |found: Vec<f32>, expected: &[f64]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} {expected}");
            }
        };
        near(second(L2), &moved);
        let mut blurred = moved.clone();
        let shape = Shape { width: 4, ..PIXELS };
        Blur::new(0.4).apply(&mut blurred, shape);
        let blur = Preset { blur_radius: 0.4, ..L2 };
        near(second(blur), &blurred);
        drop_small(&mut blurred, 1, 30.0);
        near(second(Preset { norm_percent: 30.0, ..blur }), &blurred);
        assert_eq!(blurred[0], 0.0);
        let gradient: Vec<f32> = weights[0].iter().map(|&w| w as f32).collect();
        drop_idle(&mut blurred, &gradient, 1, 60.0);
        let sparse = Preset { norm_percent: 30.0, contribution_percent: 60.0, ..blur };
        near(second(sparse), &blurred);
        assert_eq!(blurred.iter().filter(|&&x| x == 0.0).count(), 2);
    }

    #[test]
    fn every_other_step_blurs() {
        let mut network = Linear::new(&[&[0.0, 0.01, 0.0], &[0.0; 3]], Objective::Probability);
        climbed(&mut network, 0, &[0.0, 200.0, 0.0], Preset { steps: 3, early: 1e-6, ..BLUR });
        let side: Vec<f32> = network.seen.iter().map(|picture| picture[0]).collect();
        assert!(side[0] == 0.0 && side[1] > 5.0, "{side:?}");
        assert!((side[2] / side[1] - 0.999).abs() < 1e-6, "{side:?}");
        assert!(side[3] > 1.5 * side[2], "{side:?}");
    }

    #[test]
    fn nothing_to_follow_is_an_ending() {
        let flat = &[0.0, 0.0, 0.0];
        let mut network = Linear::new(&[flat, flat], Objective::Probability);
        let climb = climbed(&mut network, 0, &[1.0, 2.0, 3.0], BLUR_SPARSE);
        assert_eq!((climb.ending, climb.rows.len()), (Ending::NoGradient { step: 0 }, 1));
        assert_eq!(climb.reached[&Milestone::Best].confidence, 0.5);
        // A probability of 1e-60: the gradient is there, and no step that is allowed helps.
        let mut network = Linear::new(&[&[0.0; 3], &[138.155, 0.0, 0.0]], Objective::Probability);
        let climb = climbed(&mut network, 0, &[1.0, 2.0, 3.0], PLAIN);
        assert!(climb.rows[0].confidence > 1e-61 && climb.rows[0].confidence < 1e-59);
        assert!(climb.rows[0].gradient_norm > 1e-59);
        assert_eq!(climb.ending, Ending::NoGradient { step: 0 });
        // Its logit rises all the same.
        let mut network = Linear::new(&[&[0.5, 0.0, 0.0], &[0.0, 60.0, 0.0]], Objective::Logit);
        let climb = climbed(&mut network, 0, &[1.0, 2.0, 3.0], PLAIN);
        assert_eq!((climb.ending, climb.rows.len()), (Ending::Done, 501));
        assert!((climb.rows[1].objective - climb.rows[0].objective - 2.0).abs() < 1e-5);
    }

    #[test]
    fn certainty_is_a_good_ending() {
        let mut network = Linear::new(&[&[1.0, 0.0, 0.0], &[0.0; 3]], Objective::Probability);
        let climb = climbed(&mut network, 0, &[100.0, 0.0, 0.0], PLAIN);
        assert_eq!(climb.ending, Ending::Certain { step: 0 });
        assert_eq!(climb.reached.len(), Milestone::ALL.len());
    }

    #[test]
    fn what_is_no_number_is_an_ending() {
        struct Broken(Linear);
        impl Differentiable for Broken {
            type Error = Infallible;

            fn evaluate(
                &mut self,
                picture: &[f32],
                class: usize,
                gradient: &mut [f32],
            ) -> Result<Evaluation, Infallible> {
                let found = self.0.evaluate(picture, class, gradient)?;
                if self.0.seen.len() > 2 {
                    gradient[1] = f32::NAN;
                }
                Ok(found)
            }
        }
        let linear = Linear::new(&[&[0.01, 0.0, 0.0], &[0.0; 3]], Objective::Probability);
        let settings = settings(PLAIN, Objective::Probability);
        let (start, mean) = ([9.0; 3], [0.0; 3]);
        let climb =
            climb(&mut Broken(linear), 0, &start, &mean, PIXELS, &settings, || true).unwrap();
        let climb = climb.unwrap();
        assert_eq!((climb.ending, climb.rows.len()), (Ending::NotANumber { step: 2 }, 3));
        assert!(climb.reached[&Milestone::Best].step < 2);
    }

    #[test]
    fn a_climb_can_be_stopped() {
        let mut network = Linear::new(&[&[0.01, 0.0, 0.0], &[0.0; 3]], Objective::Probability);
        let settings = settings(PLAIN, Objective::Probability);
        let mut steps = 0;
        let go_on = || {
            steps += 1;
            steps < 3
        };
        let (start, mean) = ([9.0; 3], [0.0; 3]);
        let climb = climb(&mut network, 0, &start, &mean, PIXELS, &settings, go_on).unwrap();
        assert!(climb.is_none() && network.seen.len() == 3);
    }
}
