//! What is known of a session, as it lies in storage.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::clock;
use crate::oci::{Algorithm, Digest, Hasher, RepositoryName, STATE_FORMAT};
use crate::storage::Error;
use crate::storage::format::{self, Format};

/// Pieces of one upload. S3 joins so many parts, and the state stays below [`LIMIT`].
pub(super) const MOST_PIECES: usize = 10_000;
/// Of the state's file, in bytes.
pub(super) const LIMIT: u64 = 4 << 20;

/// Invariant: on object stores the pieces' sizes add up to `offset`; on a filesystem there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct UploadState {
    pub(super) repository: String,
    /// Milliseconds since 1970.
    pub(super) began: u64,
    /// When bytes came last, milliseconds since 1970; 0 if none have, or before there was this field.
    #[serde(default)]
    touched: u64,
    /// Bytes that are durable.
    pub(super) offset: u64,
    algorithm: String,
    #[serde(default)]
    hash: Option<HashState>,
    #[serde(default)]
    pub(super) pieces: Vec<Piece>,
    /// Random with each write: tells our own write from another's.
    #[serde(default)]
    pub(super) nonce: u64,
    /// Who began it; none where nobody was asked, and before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

/// A running hash after `offset` bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HashState {
    format: String,
    bytes: String,
    /// Over everything that it depends on.
    check: String,
}

/// Some of the bytes, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) at: PieceAt,
    pub(super) size: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PieceAt {
    /// An object in the session's folder.
    Segment(String),
    /// A blob of the tree, under its true digest.
    Blob(String),
}

impl Format for UploadState {
    const WHAT: &'static str = "an upload's state";
    const VERSION: u32 = 1;
}

impl UploadState {
    pub(super) fn new(name: &RepositoryName, began: u64, algorithm: Algorithm, owner: Option<String>) -> Self {
        let mut state = UploadState {
            repository: name.as_str().to_owned(),
            began,
            touched: 0,
            offset: 0,
            algorithm: algorithm.name().to_owned(),
            hash: None,
            pieces: Vec::new(),
            nonce: rand::random(),
            owner,
        };
        state.set_hash(Some(&Hasher::new(algorithm)));
        state
    }

    /// What follows it: more bytes, another nonce.
    pub(super) fn advanced(&self, offset: u64, hasher: Option<&Hasher>, pieces: Vec<Piece>) -> Self {
        let touched = self.touched.max(clock::to_millis(std::time::SystemTime::now()));
        let mut next = UploadState { offset, pieces, touched, nonce: rand::random(), ..self.clone() };
        next.set_hash(hasher);
        next
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        format::write(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Damaged(format!("an upload's state: {what}"));
        let state: UploadState = format::read(bytes)?;
        let held = state.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.size));
        if !state.pieces.is_empty() && held != Some(state.offset) {
            return Err(damaged("its pieces do not add up"));
        }
        if !state.pieces.iter().all(|piece| piece.at.is_well_formed()) {
            return Err(damaged("a piece is nowhere"));
        }
        Ok(state)
    }

    /// What the bytes are hashed with as they come.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm.parse().unwrap_or(Algorithm::Sha256)
    }

    /// The hash of the first `offset` bytes; `None` if it is not known here: then they must be read again.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        if self.offset == 0 {
            return Some(Hasher::new(self.algorithm()));
        }
        let hash = self.hash.as_ref().filter(|hash| hash.format == STATE_FORMAT)?;
        let bytes = hex::decode(&hash.bytes).ok()?;
        let right = hash.check == self.check(&bytes);
        right.then(|| Hasher::restore(self.algorithm(), &bytes)).flatten()
    }

    fn set_hash(&mut self, hasher: Option<&Hasher>) {
        self.hash = hasher.filter(|hasher| hasher.algorithm() == self.algorithm()).map(|hasher| {
            let bytes = hasher.state();
            HashState { format: STATE_FORMAT.to_owned(), check: self.check(&bytes), bytes: hex::encode(bytes) }
        });
    }

    fn check(&self, bytes: &[u8]) -> String {
        let mut all = format!("{STATE_FORMAT} {} {} ", self.algorithm, self.offset).into_bytes();
        all.extend_from_slice(bytes);
        format!("{:016x}", xxh3_64(&all))
    }

    pub(super) fn began(&self) -> std::time::SystemTime {
        clock::from_millis(self.began)
    }

    /// When it began, or bytes came last.
    pub(super) fn touched(&self) -> std::time::SystemTime {
        clock::from_millis(self.touched.max(self.began))
    }

    #[cfg(test)]
    pub(super) fn touch_earlier(&mut self, by: std::time::Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        (self.began, self.touched) = (self.began - by, self.touched.saturating_sub(by));
    }

    #[cfg(test)]
    pub(super) fn damage_hash(&mut self, format: bool) {
        if let Some(hash) = &mut self.hash {
            match format {
                true => hash.format = "sha2-9".to_owned(),
                false => hash.bytes = hash.bytes.replace(['0', '1'], "2"),
            }
        }
    }
}

impl PieceAt {
    /// Names that we make; a state that says otherwise must not lead us to other keys.
    fn is_well_formed(&self) -> bool {
        match self {
            PieceAt::Segment(name) => super::keys::segment_began(name).is_some(),
            PieceAt::Blob(digest) => digest.parse::<Digest>().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> UploadState {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(&[1; 100]);
        let pieces = vec![Piece { at: PieceAt::Segment(crate::uploads::keys::segment_name(5)), size: 100 }];
        UploadState::new(&"a/b".parse().unwrap(), 5, Algorithm::Sha512, None).advanced(100, Some(&hasher), pieces)
    }

    #[test]
    fn it_round_trips_with_its_hash() {
        let state = state();
        let read = UploadState::decode(&state.encode().unwrap()).unwrap();
        assert_eq!(read, state);
        let mut hasher = read.hasher().unwrap();
        hasher.update(&[2; 3]);
        let mut all = vec![1; 100];
        all.extend([2; 3]);
        assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha512, &all));
    }

    #[test]
    fn a_hash_that_is_not_of_these_bytes_is_not_used() {
        let mut moved = state();
        moved.offset = 101;
        assert!(moved.hasher().is_none());
        for format in [true, false] {
            let mut damaged = state();
            damaged.damage_hash(format);
            assert!(damaged.hasher().is_none());
        }
    }

    /// As all versions so far have written it.
    #[test]
    fn the_version_is_where_it_has_always_been() {
        let text = state().encode().unwrap();
        assert!(text.starts_with(br#"{"version":1,"repository":"a/b","began":5,"#));
        let newer = String::from_utf8(text).unwrap().replacen("1", "2", 1);
        assert!(matches!(UploadState::decode(newer.as_bytes()), Err(Error::Newer { found: 2, .. })));
    }

    #[test]
    fn a_state_that_lies_is_damaged() {
        let mut wrong = state();
        wrong.pieces[0].size = 99;
        assert!(UploadState::decode(&wrong.encode().unwrap()).is_err());
        let mut elsewhere = state();
        elsewhere.pieces[0].at = PieceAt::Segment("../../x".into());
        assert!(UploadState::decode(&elsewhere.encode().unwrap()).is_err());
        assert!(UploadState::decode(b"{").is_err());
    }
}
