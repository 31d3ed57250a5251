//! The model in flash: the blob that `MIRAGE_MODEL` named when the firmware was built,
//! or else the int8 LeNet, and what memory follows from it.

use mirage_core::link::frame_len;

/// A model that an application carries.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Its name: that of its file.
    pub name: &'a str,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Its bytes, a [blob](mirage_core::nn::blob).
    pub blob: &'a [u8],
}

/// Bytes on a boundary of the blob's sections, so that its arrays are aligned.
#[repr(align(16))]
struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/model.rs"));

/// The memory for [`MODEL`].
pub type Memory = crate::Memory<PIXELS, CLASSES, ARENA, { frame_len(PIXELS) }>;
