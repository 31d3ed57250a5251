//! A network and a guard as one classifier: what fools both has the highest scores.

use std::sync::Arc;

use mirage_core::image::{Classifier, Shape};
use mirage_core::math::softmax;

use super::features::{FeatureModel, FeatureSession};
use super::{Kind, Model, ModelError};
use crate::experiment::record::ModelRecord;
use crate::guard::{Guard, Rule};
use crate::simd::Simd;

/// A network behind a guard.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Guard,
    features: Arc<FeatureModel>,
    /// What is said of the network.
    pub(super) record: ModelRecord,
    /// Shape of the network's input.
    pub(super) input: Shape,
}

impl Model {
    /// The model behind a guard, which `features`, of the same model, are for: its
    /// scores are the softmax of the logits times the [factor](Rule::factor) of the guard.
    ///
    /// It looks at the middle of a picture alone.
    #[must_use]
    pub fn guarded(&self, guard: Guard, features: Arc<FeatureModel>) -> Self {
        let (record, input) = (self.record(), self.input());
        Self {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            shape: self.shape,
            labels: self.labels.clone(),
            description: self.description.clone(),
            kind: Kind::Guarded(Box::new(Guarded { guard, features, record, input })),
        }
    }

    /// The rule of the guard that it is behind, if it is.
    #[must_use]
    pub fn guard(&self) -> Option<&Rule> {
        match &self.kind {
            Kind::Guarded(guarded) => Some(guarded.guard.rule()),
            Kind::Int8(_) | Kind::Onnx(_) | Kind::Board(_) => None,
        }
    }
}

impl Guarded {
    pub(super) fn classifier(&self, simd: Simd) -> Result<GuardedClassifier<'_>, ModelError> {
        Ok(GuardedClassifier { guard: &self.guard, session: self.features.session(simd)? })
    }
}

/// A [`Guarded`] in use by one thread.
pub(super) struct GuardedClassifier<'a> {
    guard: &'a Guard,
    session: FeatureSession<'a>,
}

impl Classifier for GuardedClassifier<'_> {
    type Error = ModelError;

    fn classes(&self) -> usize {
        self.session.sizes().1
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ModelError> {
        let (shape, classes, width) = self.session.sizes();
        let width = if self.guard.needs_features() { width } else { 0 };
        let mut features = vec![0.0; images.len() / shape.len() * width];
        let wanted = self.guard.needs_features().then_some(features.as_mut_slice());
        self.session.run(images, scores, wanted)?;
        for (index, row) in scores.chunks_exact_mut(classes).enumerate() {
            let factor = self.guard.factor(row, &features[index * width..][..width]);
            softmax(row);
            row.iter_mut().for_each(|score| *score *= factor);
        }
        Ok(())
    }
}
