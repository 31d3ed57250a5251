//! The widest vector instructions that the processor has, chosen at run time.
//!
//! The generic code of `core` is compiled here a second time with AVX2 allowed, and
//! the int8 network gets an AVX2 kernel. Neither changes a result: float
//! operations keep their order, and integers are integers.

#[cfg(target_arch = "x86_64")]
mod avx2;

use mirage_core::colour::Colour;
use mirage_core::genome::Genome;
use mirage_core::image::Shape;
use mirage_core::nn::{ForwardError, Network, Portable, Requirements, Scratch};

/// A set of vector instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    /// Only ever made by [`Simd::detect`], on a processor that has AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// What the compiler may assume on every processor of this architecture.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The widest that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self(Level::Avx2);
        }
        Self::PORTABLE
    }

    /// Name for people and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
        }
    }

    /// [`Network::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn forward(
        self,
        network: &Network<'_>,
        images: &[u8],
        scratch: &mut Scratch<'_>,
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        match self.0 {
            Level::Portable => network.forward(&Portable, images, scratch, logits),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only where AVX2 was detected.
            Level::Avx2 => unsafe { avx2::forward(network, images, scratch, logits) },
        }
    }

    /// [`Network::run_layer`].
    ///
    /// # Errors
    /// As there.
    pub fn run_layer(
        self,
        network: &Network<'_>,
        index: usize,
        input: &[i8],
        scratch: &mut Scratch<'_>,
        output: &mut [i8],
    ) -> Result<(), ForwardError> {
        match self.0 {
            Level::Portable => network.run_layer(index, &Portable, input, scratch, output),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only where AVX2 was detected.
            Level::Avx2 => unsafe { avx2::run_layer(network, index, input, scratch, output) },
        }
    }

    /// [`Genome::render`].
    pub fn render<G: Genome>(
        self,
        genome: &G,
        settings: &G::Settings,
        shape: Shape,
        scratch: &mut [f32],
        image: &mut [u8],
    ) {
        match self.0 {
            Level::Portable => genome.render(settings, shape, scratch, image),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only where AVX2 was detected.
            Level::Avx2 => unsafe { avx2::render(genome, settings, shape, scratch, image) },
        }
    }

    /// [`Colour::to_rgb`].
    pub fn to_rgb(self, colour: Colour, pixels: &mut [u8]) {
        match self.0 {
            Level::Portable => colour.to_rgb(pixels),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only where AVX2 was detected.
            Level::Avx2 => unsafe { avx2::to_rgb(colour, pixels) },
        }
    }
}

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Memory for forward passes over some images at a time.
#[derive(Debug)]
pub struct ForwardMemory {
    front: Vec<i16>,
    back: Vec<i16>,
    patches: Vec<i16>,
    sums: Vec<i32>,
}

impl ForwardMemory {
    /// Enough for `images` images at a time through `network`, and for the kernel to
    /// see a first-level cache's worth of patches at a time.
    #[must_use]
    pub fn new(network: &Network<'_>, images: usize) -> Self {
        Self::with(network.requirements(images))
    }

    /// Enough to run one layer by itself.
    #[must_use]
    pub fn for_layer(network: &Network<'_>, index: usize) -> Self {
        Self::with(network.layer_requirements(index))
    }

    fn with(needed: Requirements) -> Self {
        const PATCHES: usize = 16 * 1024;
        const SUMS: usize = 8 * 1024;
        Self {
            front: vec![0; needed.front],
            back: vec![0; needed.back],
            patches: vec![0; needed.patches.max(PATCHES) + CACHE_LINE],
            sums: vec![0; needed.sums.max(SUMS)],
        }
    }

    /// The memory as a forward pass takes it.
    pub fn scratch(&mut self) -> Scratch<'_> {
        // Vectors that straddle cache lines load at half the speed.
        let start = self.patches.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
        Scratch {
            front: &mut self.front,
            back: &mut self.back,
            patches: &mut self.patches[start..],
            sums: &mut self.sums,
        }
    }
}
