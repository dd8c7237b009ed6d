//! One opened cache file whose trailer was verified. Readers keep it: eviction unlinks the name, not what they read.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use xxhash_rust::xxh3::xxh3_64;

use super::piece::{Damaged, Piece};
use super::trailer::{BLOCK, FOOTER, Trailer};
use crate::cache::buffers::{BLOCK_AND_TRAILER, Buffer, Buffers, FilePermit};
use crate::oci::Digest;

pub(in crate::cache) struct BlobFile {
    file: Arc<File>,
    buffers: Arc<Buffers>,
    trailer: Trailer,
    /// Which file of this digest it is (see `Index`); 0 for one that was never admitted.
    seq: u64,
    /// Of one that was opened to be read; a fill's own file has none.
    _permit: Option<FilePermit>,
}

/// Why a file that the index lists cannot be used.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Somebody removed it.
    Gone,
    Damaged,
    /// Perhaps only for now: too many open files, no memory.
    Io(io::Error),
    /// Only for `How::Now`: it may be anything else, or nothing.
    MustWait,
}

/// Whether the disk may be waited for.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// Only what is in the kernel's memory, for async threads.
    Now,
    Wait,
}

/// A file, and its data when that came in with the trailer.
pub(super) struct Opened {
    pub(super) file: BlobFile,
    pub(super) whole: Option<Bytes>,
}

impl BlobFile {
    pub(super) fn new(file: Arc<File>, buffers: Arc<Buffers>, trailer: Trailer, seq: u64) -> Self {
        BlobFile { file, buffers, trailer, seq, _permit: None }
    }

    /// Opens the file and verifies its trailer; of a small file, all of it.
    pub(super) fn open(
        path: &Path,
        digest: &Digest,
        seq: u64,
        buffers: &Arc<Buffers>,
        how: How,
    ) -> Result<Opened, OpenError> {
        let file = how.open(path)?;
        let size = file.metadata().map_err(OpenError::Io)?.len();
        if size < FOOTER as u64 {
            return Err(OpenError::Damaged);
        }
        let tail_len = size.min(BLOCK_AND_TRAILER as u64);
        let mut tail = buffers.take(tail_len as usize);
        how.read(&file, tail.as_mut(), size - tail_len)?;
        let len = Trailer::measure(tail.as_ref(), size).ok_or(OpenError::Damaged)?;
        let trailer = match tail.as_ref().len().checked_sub(usize::try_from(len).unwrap_or(usize::MAX)) {
            Some(start) => Trailer::decode(tail.as_ref().get(start..).unwrap_or_default(), digest),
            None => Trailer::decode(&read_end(&file, size, len, how)?, digest),
        };
        // A size other than the index has is no harm: a snapshot may know an earlier file of this digest.
        let trailer = trailer.ok_or(OpenError::Damaged)?;
        let whole = (tail_len == size).then(|| whole(tail, &trailer, buffers)).transpose()?;
        Ok(Opened {
            file: BlobFile { file: Arc::new(file), buffers: buffers.clone(), trailer, seq, _permit: None },
            whole,
        })
    }

    /// The same, as one of the files that clients' readers have open.
    pub(super) fn with_permit(mut self, permit: Option<FilePermit>) -> Self {
        self._permit = permit;
        self
    }

    pub(in crate::cache) fn len(&self) -> u64 {
        self.trailer.length
    }

    pub(in crate::cache) fn media_type(&self) -> Option<&str> {
        self.trailer.media_type.as_deref()
    }

    pub(in crate::cache) fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of memory that it takes while open.
    pub(super) fn weight(&self) -> u64 {
        self.trailer.table.len() as u64 * 8
    }

    /// The next verified read from `at`, going no further than `end`; `None` only at or after the end of the data.
    pub(in crate::cache) fn piece(&self, at: u64, end: u64) -> Option<Piece> {
        Piece::plan(&self.file, &self.buffers, &self.trailer.table, self.trailer.length, at, end)
    }

    /// All of it, verified; blocks the thread. For contents that are small by another rule.
    pub(in crate::cache) fn read_all(&self) -> Result<Vec<u8>, Damaged> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        while let Some(piece) = self.piece(bytes.len() as u64, self.len()) {
            bytes.extend_from_slice(&piece.wait()?);
        }
        Ok(bytes)
    }
}

/// The data of a file that was read whole, verified.
fn whole(file: Buffer, trailer: &Trailer, buffers: &Buffers) -> Result<Bytes, OpenError> {
    let length = usize::try_from(trailer.length).map_err(|_| OpenError::Damaged)?;
    let data = file.as_ref().get(..length).ok_or(OpenError::Damaged)?;
    if !data.chunks(BLOCK).zip(&trailer.table).all(|(block, sum)| xxh3_64(block) == *sum) {
        return Err(OpenError::Damaged);
    }
    Ok(match buffers.allowance().copy {
        Some(_) => Bytes::copy_from_slice(data),
        None => file.freeze(0..length),
    })
}

/// The last `len` bytes, in steps so that a lying footer cannot make us reserve memory that no file fills.
fn read_end(file: &File, size: u64, len: u64, how: How) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::new();
    let start = size.saturating_sub(len);
    while (bytes.len() as u64) < len {
        let at = bytes.len();
        let step = (len - at as u64).min(BLOCK as u64 * 16) as usize;
        bytes.resize(at + step, 0);
        how.read(file, &mut bytes[at..], start + at as u64)?;
    }
    Ok(bytes)
}

impl How {
    fn open(self, path: &Path) -> Result<File, OpenError> {
        match self {
            How::Now => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
                opened.map(File::from).map_err(|_| OpenError::MustWait)
            }
            How::Wait => File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => OpenError::Gone,
                _ => OpenError::Io(error),
            }),
        }
    }

    fn read(self, file: &File, bytes: &mut [u8], at: u64) -> Result<(), OpenError> {
        match self {
            How::Now => {
                let len = bytes.len();
                match preadv2(file, &mut [IoSliceMut::new(bytes)], at, ReadWriteFlags::NOWAIT) {
                    Ok(count) if count == len => Ok(()),
                    _ => Err(OpenError::MustWait),
                }
            }
            How::Wait => file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
                io::ErrorKind::OutOfMemory => OpenError::Io(error),
                _ => OpenError::Damaged,
            }),
        }
    }
}
