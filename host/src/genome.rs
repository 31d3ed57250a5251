//! Genomes with a host's memory.

use std::sync::Arc;

use mirage_core::genome::{Cppn, Direct, Pixels};
use mirage_core::limits::{
    COLOUR_CPPN_CONNECTIONS, COLOUR_CPPN_NODES, CPPN_CONNECTIONS, CPPN_NODES,
};

/// A CPPN that draws grey: what a device evolves.
pub type GreyCppn = Cppn<CPPN_NODES, CPPN_CONNECTIONS>;

/// A CPPN that draws colour.
pub type ColourCppn = Cppn<COLOUR_CPPN_NODES, COLOUR_CPPN_CONNECTIONS>;

/// A direct genome of any size.
pub type HeapDirect = Direct<SharedPixels>;

/// Pixels on the heap, as many as the picture has. Clones share them until one is
/// changed: an elite of hundreds of classes is kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPixels(Arc<[u8]>);

impl Pixels for SharedPixels {
    fn black() -> Self {
        Self(Arc::default())
    }

    fn resize(&mut self, len: usize) -> bool {
        if self.0.len() != len {
            self.0 = Arc::from(vec![0; len]);
        }
        true
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::evolve::DIRECT;
    use mirage_core::genome::Genome;
    use mirage_core::image::Shape;
    use mirage_core::rng::Stream;

    #[test]
    fn a_genome_is_the_devices_and_a_clone_of_it_can_change() {
        let shape = Shape { height: 8, width: 8, channels: 1 };
        let mut device = Direct::<[u8; 64]>::random(&DIRECT, shape, &mut Stream::new(1, 0, 0));
        let mut host = HeapDirect::random(&DIRECT, shape, &mut Stream::new(1, 0, 0));
        assert_eq!(host.pixels().bytes(), device.pixels().bytes());
        let parent = host.clone();
        host.vary(&parent, &DIRECT, 0, &mut Stream::new(1, 1, 0));
        device.vary(&device.clone(), &DIRECT, 0, &mut Stream::new(1, 1, 0));
        assert_eq!(host.pixels().bytes(), device.pixels().bytes());
        assert_ne!(host.pixels(), parent.pixels());
    }
}
