//! What is kept, as a body that the registry takes.

use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;

use super::KeptBlob;
use crate::cache::{Content, Reader};
use crate::registry::{Body, BodyError};
use crate::storage::LocalBlob;

/// Read of a file at once, in bytes.
const PIECE: usize = 256 << 10;

/// The whole of a blob. What is in an object store is not read: its repository adopts it.
pub(super) fn body(kept: KeptBlob) -> Box<dyn Body> {
    match kept {
        KeptBlob::Whole(bytes) => Box::new(Whole(Some(bytes))),
        KeptBlob::Local(blob) => Box::new(File { left: blob.size, blob: Some(blob) }),
        KeptBlob::Cached(content, _) => Box::new(cached(content)),
        KeptBlob::Stored(_) => Box::new(Whole(None)),
    }
}

/// Of the cache, or on its way there.
pub(super) fn cached(content: Content) -> Cached {
    Cached { length: content.total(), reader: content.read(0, None) }
}

struct Whole(Option<Bytes>);

#[async_trait]
impl Body for Whole {
    fn length(&self) -> Option<u64> {
        self.0.as_ref().map(|bytes| bytes.len() as u64)
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.0.take().filter(|bytes| !bytes.is_empty()).map(Ok)
    }
}

pub(super) struct Cached {
    length: Option<u64>,
    reader: Reader,
}

#[async_trait]
impl Body for Cached {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        Some(self.reader.next().await?.map_err(|error| BodyError(error.to_string())))
    }
}

struct File {
    /// Bytes that have not been read.
    left: u64,
    /// `None` after an error, and while it is being read.
    blob: Option<LocalBlob>,
}

#[async_trait]
impl Body for File {
    fn length(&self) -> Option<u64> {
        Some(self.left)
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.left == 0 {
            return None;
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        let Some(mut blob) = self.blob.take() else { return Some(Err(BodyError("the file was given up".into()))) };
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            blob.file.read_exact(&mut piece).map(|()| (blob, Bytes::from(piece)))
        });
        match read.await.map_err(std::io::Error::other).and_then(|read| read) {
            Ok((blob, piece)) => {
                self.left -= piece.len() as u64;
                self.blob = Some(blob);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(BodyError(error.to_string()))),
        }
    }
}
