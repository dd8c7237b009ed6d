//! A file of this machine, read for a client: what the page cache holds is read at once, the rest by threads that may
//! wait. Buffers are borrowed from the blob cache, so that its bound on slow readers holds these too.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::{ReadWriteFlags, preadv2};

use crate::cache::{Buffers, FilePermit};

/// Bytes that are read at once from the page cache: they stay in the processor's own cache until they are sent, and so does the
/// buffer for the next connection.
const PIECE: usize = 256 << 10;
/// Bytes that one piece without a copy has at most.
const SENT_AT_ONCE: u64 = 2 << 20;

/// A file whose size is known. Cheap to clone; open while it is read, and closed while its reader waits: see [`LocalReader::rest`].
#[derive(Clone)]
pub struct LocalFile {
    open: Arc<Resting>,
    size: u64,
    buffers: Arc<Buffers>,
}

/// A file that may be closed and found again.
struct Resting {
    file: Mutex<Option<Opened>>,
    home: OnceLock<Home>,
}

struct Opened {
    file: Arc<File>,
    _permit: Option<FilePermit>,
}

/// Where a file is, and which it is: another one under its name is not it.
struct Home {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Bytes of an open file.
pub struct FilePiece {
    pub file: Arc<File>,
    pub offset: u64,
    pub count: usize,
}

/// Pieces of a file, in order.
pub struct LocalReader {
    from: LocalFile,
    at: u64,
    end: u64,
    /// Up to where the kernel was seen to have it in memory.
    there: u64,
}

impl Resting {
    /// The file, if it is open.
    fn open_now(&self) -> Option<Arc<File>> {
        self.file.lock().as_ref().map(|opened| opened.file.clone())
    }

    /// The file, opened again if need be; may wait for the disk.
    fn open(&self, permit: Option<FilePermit>) -> io::Result<Arc<File>> {
        if let Some(file) = self.open_now() {
            return Ok(file);
        }
        let home = self.home.get().ok_or(io::ErrorKind::NotFound)?;
        let file = Arc::new(File::open(&home.path)?);
        let found = file.metadata()?;
        if (found.dev(), found.ino()) != (home.device, home.inode) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced meanwhile"));
        }
        *self.file.lock() = Some(Opened { file: file.clone(), _permit: permit });
        Ok(file)
    }

    /// Closes the file if it can be found again. One that was unlinked stays open: it has no other name.
    fn close(&self) {
        let Some(file) = self.open_now() else { return };
        if self.home.get().is_none() {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let (Ok(path), Ok(found)) = (link, file.metadata()) else { return };
            _ = self.home.set(Home { path, device: found.dev(), inode: found.ino() });
        }
        let Some(home) = self.home.get() else { return };
        let there =
            std::fs::metadata(&home.path).is_ok_and(|found| (found.dev(), found.ino()) == (home.device, home.inode));
        if there {
            *self.file.lock() = None;
        }
    }
}

impl LocalFile {
    /// `permit`: see [`Buffers::file`].
    pub fn new(file: File, size: u64, buffers: &Arc<Buffers>, permit: Option<FilePermit>) -> Self {
        let opened = Opened { file: Arc::new(file), _permit: permit };
        let open = Resting { file: Mutex::new(Some(opened)), home: OnceLock::new() };
        LocalFile { open: Arc::new(open), size, buffers: buffers.clone() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read(self, range: Range<u64>) -> LocalReader {
        LocalReader { from: self, at: range.start, end: range.end, there: range.start }
    }

    /// Between 1 and `most` bytes from `at`; `None` when the kernel would have to wait for the disk.
    fn now(&self, at: u64, most: usize) -> Option<Bytes> {
        let file = self.open.open_now()?;
        self.piece(most, |buffer| {
            // A file system that cannot say (tmpfs) is read where waiting is allowed.
            Ok(preadv2(&*file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT)?)
        })
        .ok()
    }

    fn wait(&self, at: u64, most: usize, permit: Option<FilePermit>) -> io::Result<Bytes> {
        let file = self.open.open(permit)?;
        self.piece(most, |buffer| file.read_at(buffer, at))
    }

    fn piece(&self, most: usize, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
        let allowed = self.buffers.allowance();
        let (bytes, count) = match allowed.copy {
            Some(copy) => {
                let mut bytes = vec![0; copy.min(most)];
                let count = read(&mut bytes)?;
                (bytes.into(), count)
            }
            None => {
                let mut buffer = self.buffers.take(allowed.read.min(most));
                let count = read(buffer.as_mut())?;
                (buffer.freeze(0..count), count)
            }
        };
        match count {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(bytes.slice(..count.min(bytes.len()))),
        }
    }
}

impl LocalReader {
    /// Its client takes nothing for now: where files are scarce, this one is closed, and opened again when more of it is wanted. Does not wait for the
    /// disk: the file's entry is in the kernel's memory while it is open.
    pub fn rest(&self) {
        if self.from.buffers.files_are_scarce() {
            self.from.open.close();
        }
    }

    /// The next bytes as a piece of the open file, up to 2 MiB, if the kernel has them in memory: to be sent without a copy, and
    /// then passed by [`Self::skip`]. `None`: read them by [`Self::next`].
    pub fn in_file(&mut self) -> Option<FilePiece> {
        let file = self.from.open.open_now().filter(|_| self.at < self.end)?;
        // A client mostly takes less than the piece at once: for its rest the kernel need not be asked again.
        if self.at >= self.there {
            let until = self.end.min(self.at.saturating_add(SENT_AT_ONCE));
            // Its last byte stands for all of it: what is read ahead comes in order.
            let mut byte = [0];
            let seen = preadv2(&*file, &mut [IoSliceMut::new(&mut byte)], until - 1, ReadWriteFlags::NOWAIT);
            if seen != Ok(1) {
                return None;
            }
            self.there = until;
        }
        let count = usize::try_from(self.there - self.at).ok()?;
        Some(FilePiece { file, offset: self.at, count })
    }

    /// So many bytes were taken from the file.
    pub fn skip(&mut self, count: usize) {
        self.at += count as u64;
    }

    /// The next bytes, up to 256 KiB; `None` at the end of the range. A file that is shorter than it was is an error.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let (at, left) = (self.at, self.end.saturating_sub(self.at));
        if left == 0 {
            return None;
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let bytes = match self.from.now(at, most) {
            Some(bytes) => Ok(bytes),
            None => {
                let file = self.from.clone();
                let permit = match file.open.open_now() {
                    Some(_) => None,
                    None => file.buffers.file().await,
                };
                let waited = tokio::task::spawn_blocking(move || file.wait(at, most, permit)).await;
                waited.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        if let Ok(bytes) = &bytes {
            self.at += bytes.len() as u64;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests;
