//! The network on a board as a classifier.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mirage_core::image::Classifier;

use super::ModelError;
use crate::device::Connection;

/// A board that classifies: one image at a time, whoever asks.
#[derive(Debug)]
pub(super) struct OnBoard {
    name: String,
    pixels: usize,
    classes: usize,
    connection: Mutex<Connection>,
}

impl OnBoard {
    pub(super) fn new(connection: Connection) -> Self {
        let info = connection.info();
        let (name, pixels, classes) = (info.board.clone(), info.shape().len(), info.classes);
        Self { name, pixels, classes, connection: Mutex::new(connection) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn classifier(&self) -> BoardClassifier<'_> {
        BoardClassifier { board: self }
    }

    /// The connection. A panic in another thread leaves a request unanswered at worst,
    /// whose late answer is not taken for another's.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An [`OnBoard`] in use by one thread.
pub(super) struct BoardClassifier<'a> {
    board: &'a OnBoard,
}

impl Classifier for BoardClassifier<'_> {
    type Error = ModelError;

    fn classes(&self) -> usize {
        self.board.classes
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ModelError> {
        let OnBoard { pixels, classes, .. } = *self.board;
        super::check_lengths(images, pixels, scores, classes)?;
        let mut connection = self.board.connection();
        let images = images.chunks_exact(pixels);
        for (image, scores) in images.zip(scores.chunks_exact_mut(classes)) {
            connection.classify(image, scores)?;
        }
        Ok(())
    }
}
