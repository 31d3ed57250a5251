//! The memory that an application works in.

use heapless::Vec;
use mirage_core::archive::Cell;

use crate::Genome;

/// The cells of an archive.
pub(crate) type Cells<const PIXELS: usize, const CLASSES: usize> =
    Vec<Cell<Genome<PIXELS>>, CLASSES>;

/// All memory of an application, to be made a `static`: everything but the stack.
///
/// * `PIXELS`: bytes of an image.
/// * `CLASSES`: classes of the network, and cells of an archive.
/// * `ARENA`: words that drawing and the network share; see
///   [`model::ARENA`](crate::model::ARENA).
/// * `FRAME`: bytes of the longest request;
///   [`frame_len`](mirage_core::link::frame_len) of `PIXELS`.
#[derive(Debug)]
pub struct Memory<const PIXELS: usize, const CLASSES: usize, const ARENA: usize, const FRAME: usize>
{
    /// Cells of the archive that parents are drawn from, once a device has them.
    pub(crate) archive: Cells<PIXELS, CLASSES>,
    /// Cells of the archive that children enter.
    pub(crate) next: Cells<PIXELS, CLASSES>,
    pub(crate) image: [u8; PIXELS],
    pub(crate) arena: [u32; ARENA],
    pub(crate) frame: [u8; FRAME],
}

impl<const PIXELS: usize, const CLASSES: usize, const ARENA: usize, const FRAME: usize>
    Memory<PIXELS, CLASSES, ARENA, FRAME>
{
    /// Memory that is all zeros, and so costs no flash: it has no cells yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            archive: Vec::new(),
            next: Vec::new(),
            image: [0; PIXELS],
            arena: [0; ARENA],
            frame: [0; FRAME],
        }
    }
}

impl<const PIXELS: usize, const CLASSES: usize, const ARENA: usize, const FRAME: usize> Default
    for Memory<PIXELS, CLASSES, ARENA, FRAME>
{
    fn default() -> Self {
        Self::new()
    }
}
