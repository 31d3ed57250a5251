//! What genomes are drawn on and networks look at: the only thing that the two
//! know of each other.

/// Height, width and channels of an activation, in elements; stored row by row,
/// channels innermost (HWC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per position.
    pub channels: usize,
}

impl Shape {
    /// A flat vector of `channels` values.
    #[must_use]
    pub const fn flat(channels: usize) -> Self {
        Self { height: 1, width: 1, channels }
    }

    /// Number of positions, height × width; saturating.
    #[must_use]
    pub const fn positions(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// Number of elements; saturating.
    #[must_use]
    pub const fn len(self) -> usize {
        self.positions().saturating_mul(self.channels)
    }

    /// Whether there are no elements.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Something that tells how sure it is of each class.
pub trait Classifier {
    /// Why an image could not be classified.
    type Error;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Computes the confidence of images in every class.
    ///
    /// * `images`: `n` images of pixel bytes, one behind the other.
    /// * `scores`: `n` × [`classes`](Self::classes) confidences, 0 ..= 1. An image's
    ///   scores depend on that image alone.
    ///
    /// # Errors
    /// If the classifier does not answer or a length is wrong.
    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), Self::Error>;
}
