//! The part of a picture that the network looks at: all of it, or its centre crop.
//!
//! What lies around it has no gradient and stays as it was. Climbing inside alone keeps
//! percentiles over pixels, and blurs, from depending on it.

use mirage_core::image::Shape;

use super::climb::Differentiable;
use crate::model::{Crops, Evaluation, GradientSession, Model, ModelError};

/// Where the part lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    picture: Shape,
    /// Shape of the part.
    pub(super) shape: Shape,
    top: usize,
    left: usize,
}

impl Window {
    /// What a network sees of its pictures.
    pub(super) fn of(model: &Model) -> Self {
        let (picture, shape) = (model.shape(), model.input());
        let (top, left) = Crops::middle(picture, shape);
        Self { picture, shape, top, left }
    }

    /// The places of its rows in a picture.
    fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let Self { picture, shape, top, left } = *self;
        (top..top + shape.height).map(move |y| {
            let start = (y * picture.width + left) * picture.channels;
            start..start + shape.width * shape.channels
        })
    }

    /// What of a picture lies inside.
    pub(super) fn cut<T: Copy>(&self, picture: &[T]) -> Vec<T> {
        self.rows().flat_map(|row| &picture[row]).copied().collect()
    }

    /// Lays `part` into a picture.
    pub(super) fn paste<T: Copy>(&self, part: &[T], picture: &mut [T]) {
        for (row, part) in
            self.rows().zip(part.chunks_exact(self.shape.width * self.shape.channels))
        {
            picture[row].copy_from_slice(part);
        }
    }
}

/// A network as it is seen through its window.
pub(super) struct Windowed<'a> {
    window: Window,
    session: GradientSession<'a>,
    picture: Vec<f32>,
    gradient: Vec<f32>,
}

impl<'a> Windowed<'a> {
    pub(super) fn new(window: Window, session: GradientSession<'a>) -> Self {
        let [picture, gradient] = [(); 2].map(|()| vec![0.0; window.picture.len()]);
        Self { window, session, picture, gradient }
    }
}

impl Differentiable for Windowed<'_> {
    type Error = ModelError;

    fn evaluate(
        &mut self,
        picture: &[f32],
        class: usize,
        gradient: &mut [f32],
    ) -> Result<Evaluation, ModelError> {
        self.window.paste(picture, &mut self.picture);
        let found = self.session.evaluate(&self.picture, class, &mut self.gradient)?;
        gradient.copy_from_slice(&self.window.cut(&self.gradient));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_out_fits_in_again() {
        let window = Window {
            picture: Shape { height: 4, width: 5, channels: 2 },
            shape: Shape { height: 2, width: 3, channels: 2 },
            top: 1,
            left: 1,
        };
        let picture: Vec<usize> = (0..40).collect();
        let part = window.cut(&picture);
        assert_eq!(part, [12, 13, 14, 15, 16, 17, 22, 23, 24, 25, 26, 27]);
        let mut pasted = vec![99; 40];
        window.paste(&part, &mut pasted);
        assert_eq!(window.cut(&pasted), part);
        assert_eq!(pasted.iter().filter(|&&value| value == 99).count(), 28);
    }
}
