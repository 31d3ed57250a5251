//! *mirage* on a microcontroller: the application, without a board.
//!
//! A [`Device`] evolves images against the int8 network in its flash, one child at a
//! time, and ends with the archive that a workstation ends with. It owns two archives
//! (the one that changes and its state when the generation began) and borrows all
//! other memory; nothing allocates. Boards, a link to a host, and emulators are not
//! here yet: see the README's "What does not work yet".

#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "dsp")]
pub mod dsp;

use core::fmt;

use mirage_core::archive::{Archive, Cell};
use mirage_core::evolve::Evolution;
use mirage_core::genome::Genome;
use mirage_core::math::softmax;
use mirage_core::nn::{ForwardError, Kernel, Network, Scratch};

/// Memory that a [`Device`] works in.
#[derive(Debug)]
pub struct Memory<'a> {
    /// For the network: at least its requirements for one image.
    pub scratch: Scratch<'a>,
    /// For drawing: [`Genome::scratch_len`] of the pixels to draw at a time.
    pub drawing: &'a mut [f32],
    /// One image.
    pub image: &'a mut [u8],
}

/// Why a device cannot evolve against a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The network has another number of classes than the archive has cells.
    Classes {
        /// Classes of the network.
        network: usize,
        /// Cells of the archive.
        archive: usize,
    },
    /// The evolution draws images of another shape than the network takes.
    Shape,
    /// The image buffer does not have the image's length, or there is too little memory
    /// to draw a single pixel.
    Memory,
    /// The network's scratch memory is too small.
    Network(ForwardError),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classes { network, archive } => {
                write!(f, "the network has {network} classes and the archive {archive} cells")
            }
            Self::Shape => f.write_str("the network takes images of another shape"),
            Self::Memory => f.write_str("the drawing memory does not fit the image"),
            Self::Network(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DeviceError {}

/// An evolution at work: `CLASSES` cells, one child at a time.
#[derive(Debug)]
pub struct Device<'a, G: Genome, K, const CLASSES: usize> {
    network: Network<'a>,
    kernel: K,
    evolution: Evolution<G::Settings>,
    archive: Archive<G, [Cell<G>; CLASSES]>,
    parents: Archive<G, [Cell<G>; CLASSES]>,
    memory: Memory<'a>,
    generations: u32,
}

impl<'a, G: Genome, K: Kernel, const CLASSES: usize> Device<'a, G, K, CLASSES> {
    /// A device with an empty archive.
    ///
    /// # Errors
    /// If the network, the evolution and the memory do not fit each other.
    pub fn new(
        network: Network<'a>,
        kernel: K,
        evolution: Evolution<G::Settings>,
        memory: Memory<'a>,
    ) -> Result<Self, DeviceError> {
        if network.classes() != CLASSES {
            return Err(DeviceError::Classes { network: network.classes(), archive: CLASSES });
        }
        if network.input() != evolution.shape {
            return Err(DeviceError::Shape);
        }
        if memory.image.len() != evolution.shape.len() || memory.drawing.len() < G::scratch_len(1) {
            return Err(DeviceError::Memory);
        }
        let needed = network.requirements(1);
        let scratch = &memory.scratch;
        if scratch.front.len() < needed.front
            || scratch.back.len() < needed.back
            || scratch.patches.len() < needed.patches
            || scratch.sums.len() < needed.sums
        {
            return Err(DeviceError::Network(ForwardError::ScratchTooSmall));
        }
        Ok(Self {
            network,
            kernel,
            evolution,
            archive: Archive::new([const { None }; CLASSES]),
            parents: Archive::new([const { None }; CLASSES]),
            memory,
            generations: 0,
        })
    }

    /// The archive.
    pub fn archive(&self) -> &Archive<G, [Cell<G>; CLASSES]> {
        &self.archive
    }

    /// Generations done.
    pub fn generations(&self) -> u32 {
        self.generations
    }

    /// Computes the next generation.
    ///
    /// # Errors
    /// If the network does not run; [`new`](Self::new) has seen to it that it does.
    pub fn generation(&mut self) -> Result<(), DeviceError> {
        self.parents.clone_from(&self.archive);
        for index in 0..self.evolution.children {
            let child = self.evolution.ask(&self.parents, self.generations, index);
            let Memory { scratch, drawing, image } = &mut self.memory;
            let settings = &self.evolution.settings;
            child.genome.render(settings, self.evolution.shape, drawing, image);
            let mut scores = [0.0; CLASSES];
            self.network
                .forward(&self.kernel, image, scratch, &mut scores)
                .map_err(DeviceError::Network)?;
            softmax(&mut scores);
            self.evolution.tell(&mut self.archive, &child, &scores, |_| {});
        }
        self.generations = self.generations.saturating_add(1);
        Ok(())
    }
}
