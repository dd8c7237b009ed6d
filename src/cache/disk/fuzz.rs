//! What must hold for what is read from this room's files, whatever they hold.

use super::trailer::{FOOTER, Trailer};
use crate::oci::{Algorithm, Digest};

/// A trailer that is believed is one that we write, to the byte.
pub fn trailer(bytes: &[u8]) {
    let digest = Digest::of(Algorithm::Sha256, b"entrepot");
    if let Some(trailer) = Trailer::decode(bytes, &digest) {
        assert_eq!(trailer.encode(&digest), bytes);
        assert_eq!(trailer.table.len() as u64, super::trailer::blocks(trailer.length));
    }
    if let Some(footer) = bytes.last_chunk::<FOOTER>() {
        for size in [bytes.len() as u64, 0, u64::MAX] {
            let measured = Trailer::measure(footer, size);
            assert!(measured.is_none_or(|measured| measured <= size));
        }
    }
}

/// A trailer that is whole, for a beginning.
pub fn trailer_seed() -> Vec<u8> {
    Trailer::new(65_537, Some("application/json"), Box::new([1, 2])).encode(&Digest::of(Algorithm::Sha256, b"entrepot"))
}
