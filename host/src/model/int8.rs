//! The int8 network as a classifier.

use mirage_core::image::Classifier;
use mirage_core::math::softmax;
use mirage_core::nn::Network;

use super::ModelError;
use crate::simd::{ForwardMemory, Simd};

/// Images that pass through the network together: they share the loads of the dense
/// layers' weights.
pub(super) const BATCH: usize = 20;

pub(super) struct Int8Classifier<'a> {
    network: Network<'a>,
    simd: Simd,
    memory: ForwardMemory,
}

impl<'a> Int8Classifier<'a> {
    pub(super) fn new(network: Network<'a>, simd: Simd) -> Self {
        let memory = ForwardMemory::new(&network, BATCH);
        Self { network, simd, memory }
    }
}

impl Classifier for Int8Classifier<'_> {
    type Error = ModelError;

    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ModelError> {
        let (pixels, classes) = (self.network.input().len(), self.network.classes());
        super::check_lengths(images, pixels, scores, classes)?;
        let batches = images.chunks(BATCH * pixels).zip(scores.chunks_mut(BATCH * classes));
        for (images, scores) in batches {
            self.simd
                .forward(&self.network, images, &mut self.memory.scratch(), scores)
                .map_err(|error| ModelError::Run(error.to_string()))?;
            scores.chunks_exact_mut(classes).for_each(softmax);
        }
        Ok(())
    }
}
