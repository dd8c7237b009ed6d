//! Where the bytes of an answer come from.

use std::ops::Range;

use bytes::Bytes;

use crate::cache::{self, Content};
use crate::exchange::local_file::{FilePiece, LocalFile, LocalReader};

/// What a digest names, wherever it is. Cheap to clone.
#[derive(Clone)]
pub enum Stored {
    /// In the cache, or on its way into it.
    Cached(Content),
    /// All in memory.
    Whole(Bytes),
    /// A file of the registry's own storage.
    File(LocalFile),
    /// So many bytes that this answer does not need: a HEAD's, a 304's, a 416's.
    Absent(u64),
}

/// Pieces of a content, in order.
pub enum Reader {
    Cached(Box<cache::Reader>),
    Whole(Option<Bytes>),
    File(LocalReader),
}

impl Stored {
    /// Size in bytes; `None` while only the end of a peer's stream will tell.
    pub fn total(&self) -> Option<u64> {
        match self {
            Stored::Cached(content) => content.total(),
            Stored::Whole(bytes) => Some(bytes.len() as u64),
            Stored::File(file) => Some(file.size()),
            Stored::Absent(size) => Some(*size),
        }
    }

    /// False while a download may still prove that it is not what its digest says.
    pub fn proven(&self) -> bool {
        match self {
            Stored::Cached(content) => content.proven(),
            Stored::Whole(_) | Stored::File(_) | Stored::Absent(_) => true,
        }
    }

    /// All of it, if it is in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Stored::Cached(content) => content.bytes(),
            Stored::Whole(bytes) => Some(bytes),
            Stored::File(_) | Stored::Absent(_) => None,
        }
    }

    /// The bytes of a range; `None` as its end: to the end of the content.
    pub fn read(self, start: u64, end: Option<u64>) -> Reader {
        match self {
            Stored::Cached(content) => Reader::Cached(Box::new(content.read(start, end))),
            Stored::Whole(bytes) => Reader::Whole(slice(&bytes, start..end.unwrap_or(u64::MAX))),
            Stored::File(file) => {
                let end = end.unwrap_or(u64::MAX).min(file.size());
                Reader::File(file.read(start..end))
            }
            // An answer that does need them breaks off: its length was promised.
            Stored::Absent(_) => Reader::Whole(None),
        }
    }
}

impl Reader {
    /// Its client takes nothing for now: what can be found again is let go of.
    pub fn rest(&mut self) {
        match self {
            Reader::Cached(reader) => reader.rest(),
            Reader::Whole(_) => {}
            Reader::File(reader) => reader.rest(),
        }
    }

    /// The next bytes where they are a piece of an open file that needs no check and is in the kernel's memory.
    pub fn in_file(&mut self) -> Option<FilePiece> {
        match self {
            Reader::File(reader) => reader.in_file(),
            Reader::Cached(_) | Reader::Whole(_) => None,
        }
    }

    /// So many bytes of that piece were sent.
    pub fn skip(&mut self, count: usize) {
        if let Reader::File(reader) = self {
            reader.skip(count);
        }
    }

    /// The next bytes; `None` is a clean end.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self {
            Reader::Cached(reader) => reader.next().await.map(|bytes| bytes.map_err(|error| error.to_string())),
            Reader::Whole(bytes) => bytes.take().map(Ok),
            Reader::File(reader) => reader.next().await.map(|bytes| bytes.map_err(|error| error.to_string())),
        }
    }
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    (start < end).then(|| bytes.slice(start..end))
}
