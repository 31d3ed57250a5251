//! The parts of a picture that a network looks at.

use mirage_core::image::Shape;
use serde::Deserialize;

/// Which crops of a picture are classified; its scores are their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crops {
    /// The middle.
    #[default]
    Center,
    /// The four corners and the middle, then the mirror image of each.
    ///
    /// Krizhevsky, Sutskever & Hinton 2012, *ImageNet classification with deep
    /// convolutional neural networks*, section 4.1.
    Ten,
}

/// A part of a picture that has the size of a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crop {
    /// Rows above it.
    pub(super) top: usize,
    /// Columns left of it.
    pub(super) left: usize,
    /// Whether it is turned, left for right.
    pub(super) mirrored: bool,
}

impl Crops {
    /// The name: `center` or `ten`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Ten => "ten",
        }
    }

    /// How many there are of a picture.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Center => 1,
            Self::Ten => 10,
        }
    }

    /// Rows above the middle of the size of `input`, which fits into `picture`, and columns
    /// left of it. Where the margin is odd, it is nearer to the top left.
    pub(crate) fn middle(picture: Shape, input: Shape) -> (usize, usize) {
        ((picture.height - input.height) / 2, (picture.width - input.width) / 2)
    }

    /// The crops of the size of `input`, which fits into `picture`.
    pub(super) fn of(self, picture: Shape, input: Shape) -> Vec<Crop> {
        let (below, right) = (picture.height - input.height, picture.width - input.width);
        let crop = |(top, left)| Crop { top, left, mirrored: false };
        let middle = crop(Self::middle(picture, input));
        match self {
            Self::Center => vec![middle],
            Self::Ten => {
                let corners = [(0, 0), (0, right), (below, 0), (below, right)].map(crop);
                let upright: Vec<Crop> = corners.into_iter().chain([middle]).collect();
                let mirrored = upright.iter().map(|crop| Crop { mirrored: true, ..*crop });
                upright.iter().copied().chain(mirrored).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_lie_at_the_corners_and_in_the_middle() {
        let picture = Shape { height: 256, width: 256, channels: 3 };
        let input = Shape { height: 227, width: 224, channels: 3 };
        let places = |crops: Crops| {
            let crops = crops.of(picture, input).into_iter();
            crops.map(|crop| (crop.top, crop.left, crop.mirrored)).collect::<Vec<_>>()
        };
        assert_eq!(places(Crops::Center), [(14, 16, false)]);
        let ten = places(Crops::Ten);
        let corners = [(0, 0, false), (0, 32, false), (29, 0, false), (29, 32, false)];
        assert_eq!(ten[..4], corners);
        assert_eq!(ten[4], (14, 16, false));
        for (upright, mirrored) in ten[..5].iter().zip(&ten[5..]) {
            assert_eq!((upright.0, upright.1, true), *mirrored);
        }
        assert_eq!(ten.len(), 10);
    }
}
