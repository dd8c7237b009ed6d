//! Reads files: whole small ones, and large ones by pieces.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};

use super::{Disk, is_absent, is_file};

/// Bytes of a file read at once.
const PIECE: u64 = 256 << 10;

/// What of an open file is still to be read.
pub(super) struct Chunks {
    file: File,
    offset: u64,
    end: u64,
}

impl Disk {
    /// An open regular file and its size in bytes.
    pub(crate) fn file(&self, key: &str) -> io::Result<Option<(File, u64)>> {
        let file = match self.resolver.open(key, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(is_file(&stat).then(|| (File::from(file), size)))
    }

    /// All of a file; the inner error is its size if that is more than `limit` bytes.
    pub(crate) fn read(&self, key: &str, limit: u64) -> io::Result<Option<Result<Bytes, u64>>> {
        let Some((file, size)) = self.file(key)? else { return Ok(None) };
        if size > limit {
            return Ok(Some(Err(size)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        // It may have grown since; never more than the limit is read.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        let read = bytes.len() as u64;
        Ok(Some(if read > limit { Err(read) } else { Ok(bytes.into()) }))
    }

    /// A file's size, and its bytes from `offset` to `end` or to its own end.
    pub(super) fn chunks(&self, key: &str, offset: u64, end: Option<u64>) -> io::Result<Option<(u64, Chunks)>> {
        let Some((file, size)) = self.file(key)? else { return Ok(None) };
        let end = end.map_or(size, |end| end.min(size));
        Ok(Some((size, Chunks { file, offset, end })))
    }
}

impl Chunks {
    /// The next bytes; `None` at the end. A file that is shorter than it said is an error.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let want = self.end.saturating_sub(self.offset).min(PIECE);
        if want == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(want).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        self.offset += want;
        Ok(Some(bytes.into()))
    }
}
