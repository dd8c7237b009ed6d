//! The hash of bytes that are in storage already: where a session's running hash is unknown, or of another algorithm.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures::StreamExt;

use super::budget::Budget;
use super::inner::Inner;
use super::state::Piece;
use super::{UploadError, UploadId};
use crate::oci::{Algorithm, Hasher};
use crate::storage::{Error, blocking, io_error};

const BUFFER: usize = 1 << 20;
/// Hashing less than this on an async thread is cheaper than changing threads.
const INLINE: usize = 64 << 10;

/// Of a file's first `size` bytes. Blocks.
pub(super) fn hash_file(file: &File, size: u64, mut hasher: Hasher) -> Result<Hasher, Error> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < size {
        let most = usize::try_from(size - at).unwrap_or(BUFFER).min(BUFFER);
        let wanted = buffer.get_mut(..most).unwrap_or_default();
        let read = file.read_at(wanted, at).map_err(io_error)?;
        let got = wanted.get(..read).filter(|got| !got.is_empty());
        hasher.update(got.ok_or_else(|| Error::Damaged("an upload's file is short".to_owned()))?);
        at += read as u64;
    }
    Ok(hasher)
}

impl Inner {
    /// Of pieces in an object store, in order. One that is not there: `Gone`.
    pub(super) async fn hash_pieces(
        &self,
        id: &UploadId,
        pieces: &[Piece],
        algorithm: Algorithm,
        budget: &Budget,
    ) -> Result<Hasher, UploadError> {
        let _share = budget.take(BUFFER as u64).await?;
        let mut hasher = Hasher::new(algorithm);
        for piece in pieces {
            let key = self.piece_key(id, piece)?;
            let opened = self.store().open(&key, 0, None).await?;
            let (total, mut body) = opened.ok_or(UploadError::Gone)?;
            let mut read = 0;
            while let Some(bytes) = body.next().await {
                let bytes = bytes?;
                read += bytes.len() as u64;
                hasher = update(hasher, bytes).await?;
            }
            if read != piece.size || total != piece.size {
                return Err(Error::Damaged("a piece of an upload has another size".to_owned()).into());
            }
        }
        Ok(hasher)
    }
}

async fn update(mut hasher: Hasher, bytes: Bytes) -> Result<Hasher, Error> {
    if bytes.len() <= INLINE {
        hasher.update(&bytes);
        return Ok(hasher);
    }
    blocking(move || {
        hasher.update(&bytes);
        Ok(hasher)
    })
    .await
}
