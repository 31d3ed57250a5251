//! AVX2: generic code compiled again, and the int8 kernel.

mod across_rows;
mod along_depth;

use mirage_core::colour::Colour;
use mirage_core::genome::Genome;
use mirage_core::image::Shape;
use mirage_core::nn::{ForwardError, Kernel, Network, Scratch};

#[target_feature(enable = "avx2")]
pub(super) fn forward(
    network: &Network<'_>,
    images: &[u8],
    scratch: &mut Scratch<'_>,
    logits: &mut [f32],
) -> Result<(), ForwardError> {
    network.forward(&Avx2, images, scratch, logits)
}

#[target_feature(enable = "avx2")]
pub(super) fn run_layer(
    network: &Network<'_>,
    index: usize,
    input: &[i8],
    scratch: &mut Scratch<'_>,
    output: &mut [i8],
) -> Result<(), ForwardError> {
    network.run_layer(index, &Avx2, input, scratch, output)
}

#[target_feature(enable = "avx2")]
pub(super) fn render<G: Genome>(
    genome: &G,
    settings: &G::Settings,
    shape: Shape,
    scratch: &mut [f32],
    image: &mut [u8],
) {
    genome.render(settings, shape, scratch, image);
}

/// Sixteen products per instruction (`vpmaddwd`), which compilers do not find in
/// plain loops. Private to this module, whose entry points require AVX2.
struct Avx2;

/// Deeper rows than this are multiplied [along their depth](along_depth), others
/// [across rows](across_rows).
///
/// Along the depth, sixteen products per instruction end in a horizontal sum, which
/// costs as much as some 64 products per row; across rows there is none, but rows
/// have to be rearranged and filled up to a multiple of eight.
const SHALLOW: usize = 64;

impl Kernel for Avx2 {
    #[inline(always)]
    fn multiply(&self, weights: &[u8], patches: &[i16], depth: usize, sums: &mut [i32]) {
        // SAFETY: `Avx2` is private, and used only by the functions above, which run
        // where AVX2 was detected.
        unsafe {
            if depth <= SHALLOW {
                across_rows::multiply(weights, patches, depth, sums);
            } else {
                along_depth::multiply(weights, patches, depth, sums);
            }
        }
    }
}

/// [`Colour::to_rgb`].
#[target_feature(enable = "avx2")]
pub(super) fn to_rgb(colour: Colour, pixels: &mut [u8]) {
    colour.to_rgb(pixels);
}
