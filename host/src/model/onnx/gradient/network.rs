//! An ONNX network that tells what every value of its input does to a class's score.

use std::sync::Arc;

use mirage_core::image::Shape;
use mirage_core::rng::Stream;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, OutletId, Tensor, TractError, TypedFact, TypedModel, TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::internal::{SpecialOps, TDim};
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::math::Ln;
use tract_onnx::tract_hir::tract_core::ops::nn;

use super::super::network::{guard, one_line, open, refused, runnable, typed};
use super::super::operators::softmax::Softmax;
use super::super::output::Output;
use super::reverse;
use super::seed::Seed;

/// What of a class is to rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// Its probability.
    #[default]
    Probability,
    /// What its probability is made of: its value before the softmax or the sigmoid.
    Logit,
}

/// A network with one image as input, a value per class as output, and the way back.
pub struct GradientNetwork {
    input: Shape,
    scores: Vec<usize>,
    meaning: Meaning,
    objective: Objective,
    plan: Arc<TypedRunnableModel>,
}

/// What a network's scores mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A softmax makes probabilities of them.
    Logits,
    /// A sigmoid makes a probability of each.
    Independent,
    /// They are probabilities, and were made in another way.
    Probabilities,
}

impl std::fmt::Debug for GradientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GradientNetwork")
            .field("input", &self.input)
            .field("scores", &self.scores)
            .field("meaning", &self.meaning)
            .field("objective", &self.objective)
            .finish_non_exhaustive()
    }
}

/// What a network says of an image, and of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The class's probability or logit, as [`Objective`] says.
    pub objective: f64,
    /// The class's probability. It is no `f32`, so that one of 1e-200 is not 0.
    pub probability: f64,
    /// The most probable class, of equal ones the first.
    pub top: usize,
    /// What the gradient that was written is to be multiplied with.
    ///
    /// Of a probability p, what is written is the gradient of log p, and this is p: the
    /// gradient of a p that is nearly 0 would be lost on its way through the network.
    pub scale: f64,
}

impl GradientNetwork {
    /// Checks a network, appends the way back and optimises both.
    ///
    /// # Errors
    /// In one line, what is wrong with it: what
    /// [`OnnxNetwork`](super::super::network::OnnxNetwork) refuses; an operator whose
    /// derivative is not known here, by its name and its node's; for [`Objective::Logit`],
    /// probabilities that come from neither a softmax nor a sigmoid.
    pub fn from_proto(proto: ModelProto, objective: Objective) -> Result<Self, String> {
        guard(|| Self::build(proto, objective))?
    }

    fn build(mut proto: ModelProto, objective: Objective) -> Result<Self, String> {
        let (framework, input) = open(&mut proto)?;
        let image = [1, input.channels, input.height, input.width];
        let model = typed(&framework, proto, &image).map_err(|error| refused(&error))?;
        let failed = |error: TractError| one_line(&error);
        if let Some(found) = known_scores(&model).map_err(failed)? {
            return Self::with_scores(model, input, found, objective).map_err(failed);
        }
        // Only running it tells what the output is.
        let outlet = model.outputs[0];
        let network = Self::with_scores(model.clone(), input, (outlet, Meaning::Logits), objective);
        let network = network.map_err(failed)?;
        match (network.look_at_output()?, objective) {
            (Output::Logits, _) | (Output::LogProbabilities, Objective::Probability) => Ok(network),
            (Output::Probabilities, Objective::Probability) => {
                drop(network);
                let found = (outlet, Meaning::Probabilities);
                Self::with_scores(model, input, found, objective).map_err(failed)
            }
            (meaning, _) => {
                let name = &model.node(outlet.node).name;
                Err(format!(
                    "its {meaning} come from node {name:?}, and from no softmax, so that there are no logits"
                ))
            }
        }
    }

    /// The network whose scores are at `outlet`.
    fn with_scores(
        mut model: TypedModel,
        input: Shape,
        (outlet, meaning): (OutletId, Meaning),
        objective: Objective,
    ) -> Result<Self, TractError> {
        let fact = model.outlet_fact(outlet)?;
        let shape: Vec<usize> = fact.shape.as_concrete().unwrap_or_default().to_vec();
        let (classes, kind) = (shape.iter().product::<usize>(), fact.datum_type);
        if classes < 2 || kind != f32::datum_type() {
            let fact = format!("its output is {fact:?} instead of float [N, classes]");
            return Err(TractError::msg(fact));
        }
        let seed = match (objective, meaning) {
            (Objective::Logit, _) | (_, Meaning::Probabilities) => Seed::Score,
            (Objective::Probability, Meaning::Logits) => Seed::LogSoftmax,
            (Objective::Probability, Meaning::Independent) => Seed::LogSigmoid,
        };
        let source = model.inputs[0];
        let class = model.add_source("class", TypedFact::dt_shape(kind, &*shape))?;
        let seed = model.wire_node("seed", seed, &[outlet, class])?[0];
        let gradient = reverse::append(&mut model, source, outlet, seed)?;
        model.select_output_outlets(&[outlet, gradient])?;
        let plan = runnable(model)?;
        Ok(Self { input, scores: shape, meaning, objective, plan })
    }

    /// What the network's scores mean, by a run over two images.
    fn look_at_output(&self) -> Result<Output, String> {
        let mut noise = Stream::new(0, 0, 0);
        let mut rows = Vec::new();
        for scale in [0.0, 1.0 / 256.0] {
            let image = (0..self.input.len()).map(|_| noise.below(256) as f32 * scale).collect();
            let [scores, _] = self.evaluate(image, 0)?;
            rows.extend(scores);
        }
        Ok(Output::find(&rows, self.classes(), Output::Logits))
    }

    /// Shape of one input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Values that one input becomes.
    pub fn classes(&self) -> usize {
        self.scores.iter().product()
    }

    /// What an image, [C, H, W], makes of a class, which there must be.
    ///
    /// Writes d objective / d value / [`Evaluation::scale`], which has the image's shape.
    /// What depends on an image that is not finite need not be a number.
    ///
    /// # Errors
    /// If the lengths are not those of the network's input, or tract fails.
    pub fn run(
        &self,
        image: &[f32],
        class: usize,
        gradient: &mut [f32],
    ) -> Result<Evaluation, String> {
        let lengths = [image.len(), gradient.len()];
        if lengths != [self.input.len(); 2] || class >= self.classes() {
            return Err(format!("class {class}, and lengths {lengths:?}, do not match it"));
        }
        let [scores, derivative] = self.evaluate(image.to_vec(), class)?;
        gradient.copy_from_slice(&derivative);
        Ok(self.judge(&scores, class))
    }

    /// The scores and the derivative.
    fn evaluate(&self, image: Vec<f32>, class: usize) -> Result<[Vec<f32>; 2], String> {
        let Shape { height, width, channels } = self.input;
        let run = || -> Result<[Vec<f32>; 2], TractError> {
            let image = Tensor::from_shape(&[1, channels, height, width], &image)?;
            let mut ones = vec![0.0_f32; self.classes()];
            ones[class] = 1.0;
            let ones = Tensor::from_shape(&self.scores, &ones)?;
            let outputs = self.plan.run(tvec!(image.into(), ones.into()))?;
            let values = |index: usize| -> Result<Vec<f32>, TractError> {
                Ok(outputs[index].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
            };
            Ok([values(0)?, values(1)?])
        };
        guard(run)?.map_err(|error| one_line(&error))
    }

    /// What scores say of a class.
    fn judge(&self, scores: &[f32], class: usize) -> Evaluation {
        let larger =
            |best: usize, index: usize| if scores[index] > scores[best] { index } else { best };
        let top = (1..scores.len()).fold(0, larger);
        let score = f64::from(scores[class]);
        let log_probability = match self.meaning {
            Meaning::Probabilities => score.ln(),
            Meaning::Independent => -(-score).exp().ln_1p(),
            Meaning::Logits => {
                let shares = scores.iter().map(|&other| (f64::from(other) - score).exp());
                -shares.sum::<f64>().ln()
            }
        };
        let probability = log_probability.exp();
        let (objective, scale) = match (self.objective, self.meaning) {
            (Objective::Logit, _) => (score, 1.0),
            (Objective::Probability, Meaning::Probabilities) => (score, 1.0),
            (Objective::Probability, _) => (probability, probability),
        };
        Evaluation { objective, probability, top, scale }
    }
}

/// Where a network's scores are before the softmax or the sigmoid that ends it, if one does:
/// behind it at most the axes change, or behind a softmax the logarithm is taken.
fn known_scores(model: &TypedModel) -> Result<Option<(OutletId, Meaning)>, TractError> {
    let mut outlet = model.outputs[0];
    let mut is_logarithm = false;
    loop {
        let node = model.node(outlet.node);
        let Some(&input) = node.inputs.first() else { return Ok(None) };
        let function = node.op_as::<ElementWiseOp>().map(|op| &op.0);
        let shape = &model.outlet_fact(input)?.shape;
        let axes = match (node.op_as::<Softmax>(), node.op_as::<nn::Softmax>()) {
            (Some(op), _) => op.axis..shape.rank(),
            (_, Some(op)) if op.axes.len() == 1 => op.axes[0]..op.axes[0] + 1,
            _ if function.is_some_and(|op| op.is::<nn::Sigmoid>()) && !is_logarithm => {
                return Ok(Some((input, Meaning::Independent)));
            }
            _ if function.is_some_and(|op| op.is::<Ln>()) || node.op_is::<AxisOp>() => {
                is_logarithm |= function.is_some();
                outlet = input;
                continue;
            }
            _ => return Ok(None),
        };
        let row: TDim = shape[axes].iter().product();
        return Ok((shape.volume() == row).then_some((input, Meaning::Logits)));
    }
}
