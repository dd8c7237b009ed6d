//! Read buffers, kept and lent again: a fresh 1 MiB costs page faults and zeroing at every chunk.
//!
//! Also the bound on what slow readers may hold together: the more is lent, the smaller the next chunk gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::disk::trailer::BLOCK;

const KIB: usize = 1 << 10;
/// Reads that the buffers are for; each a multiple of a block, since only whole blocks can be verified.
const READS: [usize; 3] = [BLOCK, 256 * KIB, 1024 * KIB];
/// Sizes of buffers: the smallest takes a block and its file's trailer at once.
const CLASSES: [usize; 3] = [BLOCK_AND_TRAILER, 256 * KIB, 1024 * KIB];
/// A whole file of one block fits in this many bytes.
pub(super) const BLOCK_AND_TRAILER: usize = BLOCK + 4 * KIB;
/// Free buffers kept of each class: 14 MiB together.
const KEPT: [usize; 3] = [32, 16, 8];
/// While less than this is lent, a chunk may be as large as the class beside it.
const LENT: [usize; 3] = [128 << 20, 96 << 20, 48 << 20];
/// What a reader may keep of a block when even the smallest class is used up; the block's buffer goes back at once.
const COPIED: usize = 16 * KIB;

/// Files that clients' readers may have open, whatever the process may.
const MAX_FILES: usize = 16_384;
/// How long a reader waits for the right to open a file.
const FILE_WAIT: Duration = Duration::from_secs(2);

/// The pool. One per cache; those who read other files for clients borrow from it too, so that one bound holds them all.
pub struct Buffers {
    free: [Mutex<Vec<Vec<u8>>>; 3],
    lent: AtomicUsize,
    files: Arc<Semaphore>,
    most_files: usize,
}

/// The right to have one file open for a client; given back when dropped.
#[derive(Debug)]
pub struct FilePermit {
    _permit: OwnedSemaphorePermit,
}

impl Default for Buffers {
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(limit / 4).unwrap_or(MAX_FILES).clamp(8, MAX_FILES);
        Buffers {
            free: Default::default(),
            lent: AtomicUsize::new(0),
            files: Arc::new(Semaphore::new(files)),
            most_files: files,
        }
    }
}

/// How much the next chunk of a reader may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Bytes to read: a multiple of a block.
    pub read: usize,
    /// Bytes to hand on, when they must be copied out so that the buffer returns at once.
    pub copy: Option<usize>,
}

/// A lent buffer of exactly `len` initialised bytes; it returns when dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    class: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// The right to open one more file: readers hold a quarter of what the process may open at most, so that connections, logs and
    /// storage find theirs. `None` when none became free within two seconds.
    pub async fn file(&self) -> Option<FilePermit> {
        let permit = tokio::time::timeout(FILE_WAIT, self.files.clone().acquire_owned()).await.ok()?.ok()?;
        Some(FilePermit { _permit: permit })
    }

    /// More than half of the files that readers may have are open: who waits for a client lets go of its own.
    pub fn files_are_scarce(&self) -> bool {
        self.files.available_permits() * 2 < self.most_files
    }

    pub fn allowance(&self) -> Allowance {
        let lent = self.lent.load(Ordering::Relaxed);
        let class = (0..CLASSES.len()).rev().find(|&class| lent < LENT[class]);
        match class {
            Some(class) => Allowance { read: READS[class], copy: None },
            None => Allowance { read: BLOCK, copy: Some(COPIED) },
        }
    }

    /// Lends a buffer of `len` bytes, at most the largest class.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let class = CLASSES.iter().position(|size| len <= *size).unwrap_or(CLASSES.len() - 1);
        let bytes = self.free[class].lock().pop().unwrap_or_else(|| vec![0; CLASSES[class]]);
        self.lent.fetch_add(CLASSES[class], Ordering::Relaxed);
        Buffer { len: len.min(bytes.len()), bytes, class, home: self.clone() }
    }
}

impl Buffer {
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The bytes `range` of it, without a copy. The range is clipped to the buffer.
    pub fn freeze(self, range: std::ops::Range<usize>) -> Bytes {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        Bytes::from_owner(self).slice(start..end)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.lent.fetch_sub(CLASSES[self.class], Ordering::Relaxed);
        let mut free = self.home.free[self.class].lock();
        if free.len() < KEPT[self.class] {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_while_much_is_lent_and_grow_back() {
        let buffers = Arc::new(Buffers::default());
        let mut held = Vec::new();
        let mut seen = Vec::new();
        loop {
            let allowance = buffers.allowance();
            if seen.last() != Some(&allowance) {
                seen.push(allowance);
            }
            if allowance.copy.is_some() {
                break;
            }
            held.push(buffers.take(allowance.read));
        }
        assert_eq!(seen.iter().map(|a| a.read).collect::<Vec<_>>(), [READS[2], READS[1], READS[0], BLOCK]);
        assert!(buffers.lent.load(Ordering::Relaxed) <= LENT[0] + CLASSES[2]);
        held.clear();
        assert_eq!(buffers.allowance().read, CLASSES[2]);
        assert_eq!(buffers.lent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn frozen_bytes_outlive_the_lending_and_return_the_buffer() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(100);
        buffer.as_mut().fill(7);
        let bytes = buffer.freeze(10..1000);
        assert_eq!(bytes.len(), 90);
        assert_eq!(buffers.free[0].lock().len(), 0);
        drop(bytes);
        assert_eq!(buffers.free[0].lock().len(), 1);
    }
}
