//! Canonical bytes: little-endian, one representation for every value.
//!
//! The digest of a run is taken over these bytes, and checkpoints hold them. Genomes
//! and archives write their own; this is what they are read with.

use core::fmt;

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end too early.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// The bytes are not a genome of this encoding and image shape.
    Genome,
    /// A genome larger than [`limits`](crate::limits) allows.
    TooLarge,
    /// The archive has another number of classes, or a field out of range.
    Archive,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end too early",
            Self::Trailing => "there are bytes left over",
            Self::Genome => "not a genome of this encoding and image shape",
            Self::TooLarge => "the genome is larger than this program allows",
            Self::Archive => "not an archive for this model",
        })
    }
}

impl core::error::Error for DecodeError {}

/// Takes values off the front of bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there is none.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next four bytes as a float; may be any, also NaN.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn f32(&mut self) -> Result<f32, DecodeError> {
        self.array().map(f32::from_le_bytes)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if something is.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}
