//! An evolution at work, one child at a time.

use core::fmt;

use bytemuck::cast_slice_mut;
use mirage_core::archive::{Archive, Cell, Takeover};
use mirage_core::evolve::{Child, Encoding, Evolution};
use mirage_core::genome::{Cppn, Genome as _};
use mirage_core::image::{Classifier, Shape};
use mirage_core::limits::{CPPN_CONNECTIONS, CPPN_NODES};
use mirage_core::math::softmax;
use mirage_core::nn::{BlobError, ForwardError, Kernel, Network, Requirements, Scratch};

use crate::memory::Cells;
use crate::{Genome, Memory};

/// The archive of a device.
pub type DeviceArchive<'m, const PIXELS: usize> =
    Archive<Genome<PIXELS>, &'m mut [Cell<Genome<PIXELS>>]>;

/// Why a device cannot work with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The model's bytes are not a network.
    Model(BlobError),
    /// The network has another number of classes than the archive has cells.
    Classes {
        /// Classes of the network.
        network: usize,
        /// Cells of the archive.
        archive: usize,
    },
    /// The network's images have another number of pixel bytes than the memory's.
    Pixels {
        /// Bytes of the network's images.
        network: usize,
        /// Bytes of the memory's.
        memory: usize,
    },
    /// The arena is too small for the network, for a genome, or to draw one pixel.
    Arena {
        /// Words that are needed.
        needed: usize,
        /// Words that there are.
        found: usize,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Classes { network, archive } => {
                write!(f, "the network has {network} classes and the archive {archive} cells")
            }
            Self::Pixels { network, memory } => {
                write!(f, "the network's images have {network} bytes and the memory's {memory}")
            }
            Self::Arena { needed, found } => {
                write!(f, "the arena has {found} words and {needed} are needed")
            }
        }
    }
}

impl core::error::Error for DeviceError {}

/// Ticks of a clock that making, drawing and classifying children took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// For making them from their parents.
    pub vary: u64,
    /// For drawing them.
    pub render: u64,
    /// For classifying them.
    pub classify: u64,
}

/// A network that is fooled, and the archives of the run that fools it.
#[derive(Debug)]
pub struct Device<'m, K, const PIXELS: usize, const CLASSES: usize> {
    network: Network<'m>,
    requirements: Requirements,
    kernel: K,
    /// As of the end of the last generation: what parents are drawn from.
    archive: DeviceArchive<'m, PIXELS>,
    /// What children enter.
    next: DeviceArchive<'m, PIXELS>,
    /// Generations that `archive` is of.
    generations: u32,
    image: &'m mut [u8; PIXELS],
    arena: &'m mut [u32],
}

impl<'m, K: Kernel, const PIXELS: usize, const CLASSES: usize> Device<'m, K, PIXELS, CLASSES> {
    /// A device that works in `memory`; also returns the part of it for frames.
    ///
    /// # Errors
    /// If the network does not fit the memory.
    pub fn new<const ARENA: usize, const FRAME: usize>(
        network: Network<'m>,
        kernel: K,
        memory: &'m mut Memory<PIXELS, CLASSES, ARENA, FRAME>,
    ) -> Result<(Self, &'m mut [u8]), DeviceError> {
        if network.classes() != CLASSES {
            return Err(DeviceError::Classes { network: network.classes(), archive: CLASSES });
        }
        if network.input().len() != PIXELS {
            return Err(DeviceError::Pixels { network: network.input().len(), memory: PIXELS });
        }
        let requirements = network.requirements(1);
        let genome = PIXELS.max(Cppn::<CPPN_NODES, CPPN_CONNECTIONS>::MAX_BYTES).div_ceil(4);
        let needed = words(&requirements).max(Genome::<PIXELS>::scratch_len(1)).max(genome);
        if ARENA < needed {
            return Err(DeviceError::Arena { needed, found: ARENA });
        }
        let Memory { archive, next, image, arena, frame } = memory;
        let (archive, next) = (empty(archive), empty(next));
        Ok((
            Self { network, requirements, kernel, archive, next, generations: 0, image, arena },
            frame,
        ))
    }

    /// Shape of the images.
    pub fn shape(&self) -> Shape {
        self.network.input()
    }

    /// Forgets all elites, before a run.
    pub fn clear(&mut self) {
        self.archive.clear();
        self.next.clear();
        self.generations = 0;
    }

    /// Makes, draws and classifies child `index` of the present generation, and tests it
    /// against every cell. `report` is called for each that it takes.
    ///
    /// * `now`: a clock that wraps around at 2³².
    ///
    /// Returns the child's scores, and how long it took.
    ///
    /// # Errors
    /// If the evolution draws images of another shape.
    pub fn child(
        &mut self,
        evolution: &Evolution<Encoding>,
        index: u32,
        now: &mut impl FnMut() -> u32,
        report: impl FnMut(Takeover),
    ) -> Result<([f32; CLASSES], Ticks), ForwardError> {
        let begun = now();
        let mut child = Child::default();
        evolution.ask_into(&self.archive, self.generations, index, &mut child);
        let made = now();
        let drawing = cast_slice_mut(self.arena);
        child.genome.render(&evolution.settings, evolution.shape, drawing, self.image);
        let drawn = now();
        let mut scores = [0.0; CLASSES];
        let Self { network, requirements, kernel, image, arena, .. } = self;
        confidences(network, requirements, kernel, *image, arena, &mut scores)?;
        let classified = now();
        evolution.tell(&mut self.next, &child, &scores, report);
        let between = |from: u32, to: u32| u64::from(to.wrapping_sub(from));
        let ticks = Ticks {
            vary: between(begun, made),
            render: between(made, drawn),
            classify: between(drawn, classified),
        };
        Ok((scores, ticks))
    }

    /// Ends a generation: from here on, parents are drawn from the archive as it is.
    pub fn end_generation(&mut self) {
        self.archive.catch_up(&self.next);
        self.generations = self.generations.saturating_add(1);
    }

    /// Generations that have ended since [`clear`](Self::clear).
    pub fn generations(&self) -> u32 {
        self.generations
    }

    /// The archive as of the end of the last generation.
    pub fn archive(&self) -> &DeviceArchive<'m, PIXELS> {
        &self.archive
    }

    /// The canonical bytes of the genome of a class's elite, in the working memory;
    /// `None` without an elite.
    pub fn genome(&mut self, class: usize) -> Option<&[u8]> {
        let elite = self.archive.cells().get(class)?.as_ref()?;
        let buffer: &mut [u8] = cast_slice_mut(self.arena);
        let mut len = 0;
        elite.genome.encode(&mut |bytes| {
            let rest = buffer.get_mut(len..).unwrap_or_default();
            for (target, &byte) in rest.iter_mut().zip(bytes) {
                *target = byte;
            }
            len += bytes.len();
        });
        buffer.get(..len)
    }
}

impl<K: Kernel, const PIXELS: usize, const CLASSES: usize> Classifier
    for Device<'_, K, PIXELS, CLASSES>
{
    type Error = ForwardError;

    fn classes(&self) -> usize {
        CLASSES
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ForwardError> {
        if images.len() / PIXELS.max(1) != scores.len() / CLASSES.max(1) {
            return Err(ForwardError::WrongLength);
        }
        for (image, scores) in images.chunks(PIXELS.max(1)).zip(scores.chunks_mut(CLASSES.max(1))) {
            let Self { network, requirements, kernel, arena, .. } = self;
            confidences(network, requirements, kernel, image, arena, scores)?;
        }
        Ok(())
    }
}

/// The network's confidence in every class.
#[inline(never)]
fn confidences(
    network: &Network<'_>,
    requirements: &Requirements,
    kernel: &impl Kernel,
    image: &[u8],
    arena: &mut [u32],
    scores: &mut [f32],
) -> Result<(), ForwardError> {
    network.forward(kernel, image, &mut scratch(arena, requirements), scores)?;
    softmax(scores);
    Ok(())
}

/// An empty archive in `cells`.
fn empty<const PIXELS: usize, const CLASSES: usize>(
    cells: &mut Cells<PIXELS, CLASSES>,
) -> DeviceArchive<'_, PIXELS> {
    cells.clear();
    while cells.push(None).is_ok() {}
    Archive::new(cells)
}

/// Words of the arena that a network needs.
const fn words(needs: &Requirements) -> usize {
    let halves = needs.front + needs.back + needs.patches;
    needs.sums + halves.div_ceil(2)
}

/// The arena as the network's scratch memory; `patches` gets what is over.
fn scratch<'a>(arena: &'a mut [u32], needs: &Requirements) -> Scratch<'a> {
    let (sums, rest) = arena.split_at_mut_checked(needs.sums).unwrap_or_default();
    let rest: &mut [i16] = cast_slice_mut(rest);
    let (front, rest) = rest.split_at_mut_checked(needs.front).unwrap_or_default();
    let (back, patches) = rest.split_at_mut_checked(needs.back).unwrap_or_default();
    Scratch { front, back, patches, sums: cast_slice_mut(sums) }
}
