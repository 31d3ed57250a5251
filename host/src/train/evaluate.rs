//! How well networks classify.

use mirage_core::nn::{ForwardError, Network, Scratch};
use rayon::prelude::*;

use super::network::FloatNetwork;
use super::pass::Pass;
use super::preprocessing::Preprocessing;
use crate::data::idx::Images;
use crate::simd::Simd;

/// Images that one task classifies with the same memory.
const TASK: usize = 256;
/// Images of one float pass.
const MICRO_BATCH: usize = 8;

/// The index of the largest value, the first among equals; 0 without values.
#[must_use]
pub fn argmax(values: &[f32]) -> usize {
    let better =
        |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).fold(0, better)
}

/// Number of predictions that are wrong.
#[must_use]
pub fn errors(predictions: &[usize], labels: &[u8]) -> usize {
    predictions.iter().zip(labels).filter(|(p, l)| **p != usize::from(**l)).count()
}

/// The class of every image according to a float network; on the threads of the rayon
/// pool that it is called in.
///
/// # Panics
/// If the images do not have the size of the network's input.
#[must_use]
pub fn classify_float(
    network: &FloatNetwork,
    preprocessing: Preprocessing,
    images: &Images,
) -> Vec<usize> {
    let table = preprocessing.table();
    let classify = |pixels: &[u8]| {
        let mut pass = Pass::new(network, MICRO_BATCH);
        let mut classes = Vec::with_capacity(TASK);
        for pixels in pixels.chunks(MICRO_BATCH * images.image_len()) {
            let inputs: Vec<f32> = pixels.iter().map(|&pixel| table[usize::from(pixel)]).collect();
            let logits = pass.forward(network, &inputs);
            classes.extend(logits.chunks_exact(network.classes()).map(argmax));
        }
        classes
    };
    images.pixels.par_chunks(TASK * images.image_len()).flat_map_iter(classify).collect()
}

/// The logits, count × classes, of every image according to an int8 network; on the
/// threads of the rayon pool that it is called in.
///
/// # Errors
/// If the images do not have the size of the network's input.
pub fn logits(
    network: &Network<'_>,
    simd: Simd,
    images: &Images,
) -> Result<Vec<f32>, ForwardError> {
    let (pixels, classes) = (network.input().len(), network.classes());
    if pixels != images.image_len() {
        return Err(ForwardError::WrongLength);
    }
    let mut logits = vec![0.0; images.count * classes];
    let tasks = images.pixels.par_chunks(TASK * pixels).zip(logits.par_chunks_mut(TASK * classes));
    tasks.try_for_each(|(images, logits)| {
        let needed = network.requirements(1);
        let (mut front, mut back) = (vec![0; needed.front], vec![0; needed.back]);
        let (mut patches, mut sums) = (vec![0; needed.patches], vec![0; needed.sums]);
        let mut scratch =
            Scratch { front: &mut front, back: &mut back, patches: &mut patches, sums: &mut sums };
        images
            .chunks_exact(pixels)
            .zip(logits.chunks_exact_mut(classes))
            .try_for_each(|(image, logits)| simd.forward(network, image, &mut scratch, logits))
    })?;
    Ok(logits)
}

/// The class of every image according to an int8 network.
///
/// # Errors
/// As [`logits`].
pub fn classify(
    network: &Network<'_>,
    simd: Simd,
    images: &Images,
) -> Result<Vec<usize>, ForwardError> {
    let logits = logits(network, simd, images)?;
    Ok(logits.chunks_exact(network.classes()).map(argmax).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 1.0]), 0);
        assert_eq!(argmax(&[]), 0);
    }

    #[test]
    fn errors_are_counted() {
        assert_eq!(errors(&[1, 2, 3, 4], &[1, 2, 0, 4]), 1);
        assert_eq!(errors(&[], &[]), 0);
    }
}
