//! Registers of peripherals.

use core::ops::BitAnd;
use core::ptr;

/// A register of type `T` at a fixed address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register<T>(*mut T);

impl<T: Copy + Default + PartialEq + BitAnd<Output = T>> Register<T> {
    /// The register at `address`.
    ///
    /// # Safety
    /// There is a register of this size, which may be read and written at any time
    /// without harm to memory.
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(ptr::without_provenance_mut(address))
    }

    pub(super) fn read(self) -> T {
        // SAFETY: `at` was promised that this is a register.
        unsafe { self.0.read_volatile() }
    }

    pub(super) fn write(self, value: T) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(value) }
    }

    /// Whether a bit of `mask` is set.
    pub(super) fn has(self, mask: T) -> bool {
        self.read() & mask != T::default()
    }
}

/// Names registers by their addresses, `unsafe`: each must be a register of the board as
/// [`Register::at`] asks for.
macro_rules! registers {
    (unsafe $type:ty: $($name:ident = $address:literal)*) => {$(
        // SAFETY: the macro's caller vouches for the address, and says `unsafe`.
        const $name: Register<$type> = unsafe { Register::at($address) };
    )*};
}

pub(super) use registers;
