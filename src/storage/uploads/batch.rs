//! Some pieces of a body, hashed and written together on threads that may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::budget::Share;
use crate::oci::Hasher;

/// Fewer bytes are hashed and written on one thread.
const SMALL: usize = 128 << 10;

/// Pieces in order, with their shares of memory.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<(Bytes, Share)>,
    bytes: usize,
}

pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) hasher: Option<Hasher>,
    pub(super) result: io::Result<()>,
    /// After a failure: the batch.
    pub(super) unwritten: Option<Batch>,
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

    /// `None` for the batch: its thread panicked, and the bytes are lost.
    pub(super) async fn hashed(self, hasher: Option<Hasher>) -> (Option<Batch>, Option<Hasher>) {
        let task = tokio::task::spawn_blocking(move || {
            let hasher = self.hash(hasher);
            (Some(self), hasher)
        });
        task.await.unwrap_or_default()
    }

    fn hash(&self, mut hasher: Option<Hasher>) -> Option<Hasher> {
        if let Some(hasher) = &mut hasher {
            self.pieces.iter().for_each(|(piece, _)| hasher.update(piece));
        }
        hasher
    }

    fn write(&self, file: Option<&File>, mut at: u64) -> io::Result<()> {
        let Some(file) = file else { return Ok(()) };
        for (piece, _) in &self.pieces {
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

/// Hashes and writes a batch, side by side where it is worth it.
pub(super) async fn write(file: Option<Arc<File>>, at: u64, hasher: Option<Hasher>, batch: Batch) -> Written {
    let batch = Arc::new(batch);
    let (hashed, result) = if batch.bytes > SMALL && file.is_some() && hasher.is_some() {
        let (mine, yours) = (batch.clone(), batch.clone());
        tokio::join!(
            tokio::task::spawn_blocking(move || mine.hash(hasher)),
            tokio::task::spawn_blocking(move || yours.write(file.as_deref(), at))
        )
    } else {
        let mine = batch.clone();
        let both = move || (mine.hash(hasher), mine.write(file.as_deref(), at));
        match tokio::task::spawn_blocking(both).await {
            Ok((hasher, result)) => (Ok(hasher), Ok(result)),
            Err(error) => (Ok(None), Err(error)),
        }
    };
    let result = joined(result).and_then(|result| result);
    let bytes = batch.bytes as u64;
    let unwritten = result.is_err().then(|| Arc::into_inner(batch)).flatten();
    // A thread that panicked: then the hash is unknown, and the bytes are read again.
    Written { bytes, hasher: hashed.unwrap_or_default(), result, unwritten }
}

pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> io::Result<T> {
    result.map_err(io::Error::other)
}
