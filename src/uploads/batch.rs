//! Some pieces of a body, hashed and written together.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::budget::Share;
use crate::oci::Hasher;
use crate::storage::disk::{Output, write_through};

/// Pieces in order, with their shares of memory.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<(Bytes, Share)>,
    bytes: usize,
}

/// Where the bytes go.
#[derive(Clone)]
pub(super) enum Target {
    /// Read again soon, and never synced.
    Spool(Arc<File>),
    Upload(Arc<Output>),
}

impl Batch {
    pub(super) fn push(&mut self, piece: Bytes, share: Share) {
        self.bytes += piece.len();
        self.pieces.push((piece, share));
    }

    pub(super) fn append(&mut self, mut other: Batch) {
        self.bytes += other.bytes;
        self.pieces.append(&mut other.pieces);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Joined, each piece freed as it is copied; and the shares.
    pub(super) fn into_bytes(self) -> (Bytes, Vec<Share>) {
        let mut whole = BytesMut::with_capacity(self.bytes);
        let shares = self
            .pieces
            .into_iter()
            .map(|(piece, share)| {
                whole.extend_from_slice(&piece);
                share
            })
            .collect();
        (whole.freeze(), shares)
    }

    /// Blocks.
    pub(super) fn hash(&self, mut hasher: Option<Hasher>) -> Option<Hasher> {
        if let Some(hasher) = &mut hasher {
            self.pieces.iter().for_each(|(piece, _)| hasher.update(piece));
        }
        hasher
    }

    /// Returns how many bytes the page cache holds now. Blocks.
    pub(super) fn write(&self, target: Option<&Target>, at: u64) -> io::Result<u64> {
        let pieces = self.pieces.iter().map(|(piece, _)| piece.as_ref());
        match target {
            None => Ok(0),
            Some(Target::Spool(file)) => write_through(file, pieces, at),
            Some(Target::Upload(output)) => output.write(pieces, self.bytes, at),
        }
    }
}
