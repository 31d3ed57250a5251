//! Any bytes as checkpoints: decoding never panics, and what is accepted encodes to the
//! same bytes.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz checkpoint`
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::genome::{Cppn, Decode, Direct};
use mirage_core::image::Shape;

// The few files, not package mirage: its hundreds of dependencies would have to be built
// for fuzzing.
#[allow(dead_code)]
#[path = "../../../host/src/experiment"]
mod experiment {
    pub mod checkpoint;
    pub mod log;
    pub mod plan;
    pub mod record;
    pub mod engine {
        use mirage_core::archive::{Archive, Cell};

        pub type HeapArchive<G> = Archive<G, Vec<Cell<G>>>;
    }
}

#[allow(dead_code)]
#[path = "../../../host/src/model"]
mod model {
    mod crops;

    pub use crops::Crops;

    /// Stands for the sets of classes of a manifest, which a checkpoint does not have.
    #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    pub struct Classes;
}

const IDENTITY: &str = "run";
const CLASSES: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let tiny = Shape { height: 2, width: 3, channels: 1 };
    let sealed = sealed(bytes);
    for bytes in [bytes, &sealed] {
        check::<Cppn<16, 32>>(bytes, tiny);
        check::<Direct<[u8; 6]>>(bytes, tiny);
    }
});

fn check<G: Decode + PartialEq>(bytes: &[u8], shape: Shape) {
    use experiment::checkpoint::{decode, encode, max_len};

    if let Ok((state, archive)) = decode::<G>(bytes, IDENTITY, CLASSES, shape) {
        let mut copy = Vec::new();
        let digest = encode(&mut copy, IDENTITY, &state, &archive).unwrap();
        assert_eq!(copy, bytes, "one representation");
        assert_eq!(digest, archive.digest());
        assert!(bytes.len() as u64 <= max_len::<G>(IDENTITY, CLASSES, shape));
        let origins = archive.elites().map(|(_, elite)| elite.origin);
        let lineage = experiment::log::Lineage::restore(&state.living, origins);
        assert!(lineage.survivors().count() <= CLASSES);
    }
}

/// The bytes behind the right beginning and before the right checksum: what lies behind
/// those is reached.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = b"MIRAGECP\x02\0\x03\0\0\0run".to_vec();
    sealed.extend_from_slice(bytes);
    let checksum = crc32fast::hash(&sealed);
    sealed.extend(checksum.to_le_bytes());
    sealed
}
