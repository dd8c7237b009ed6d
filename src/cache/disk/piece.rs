//! Verified reading: whole blocks in, checked, the asked part out. The only way bytes leave a cache file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_64;

use super::trailer::BLOCK;
use crate::cache::buffers::{Buffer, Buffers};

/// Blocks of the largest chunk.
const MAX_BLOCKS: usize = (1 << 20) / BLOCK;

/// Read and checked at once, so that the check finds the bytes in the processor's cache.
const STEP: usize = 4 * BLOCK;

/// Why a block cannot be handed on. Either way the file is no longer to be trusted.
#[derive(Debug, thiserror::Error)]
pub(in crate::cache) enum Damaged {
    #[error("a block does not have its checksum")]
    Checksum,
    /// Also a file that ends too early.
    #[error("a block cannot be read: {0}")]
    Io(io::Error),
}

/// One read to be done, here or on another thread.
pub(in crate::cache) struct Piece {
    file: Arc<File>,
    buffers: Arc<Buffers>,
    /// First byte of the first block, and bytes to read.
    start: u64,
    len: usize,
    sums: [u64; MAX_BLOCKS],
    /// The part asked for, relative to `start`.
    from: usize,
    until: usize,
    copy: bool,
}

impl Piece {
    /// The read that begins at `at` and goes no further than `end`; `None` when nothing can be read there. `table` has the
    /// checksums of the file's first `data` bytes.
    pub(super) fn plan(
        file: &Arc<File>,
        buffers: &Arc<Buffers>,
        table: &[u64],
        data: u64,
        at: u64,
        end: u64,
    ) -> Option<Piece> {
        let end = end.min(data);
        if at >= end {
            return None;
        }
        let allowed = buffers.allowance();
        let block = BLOCK as u64;
        let start = at / block * block;
        let stop = (start + allowed.read as u64).min(end.div_ceil(block) * block).min(data);
        let len = (stop - start) as usize; // at most the allowance
        let first = usize::try_from(at / block).ok()?;
        let known = table.get(first..first + len.div_ceil(BLOCK))?;
        let mut sums = [0; MAX_BLOCKS];
        sums.get_mut(..known.len())?.copy_from_slice(known);
        let from = (at - start) as usize;
        let most = allowed.copy.map_or(usize::MAX, |copy| from + copy);
        let until = ((end - start).min(len as u64) as usize).min(most);
        let copy = allowed.copy.is_some();
        Some(Piece { file: file.clone(), buffers: buffers.clone(), start, len, sums, from, until, copy })
    }

    /// Reads without waiting for the disk: `None` when the page cache does not have all of it.
    pub(in crate::cache) fn now(&self) -> Result<Option<Bytes>, Damaged> {
        let mut buffer = self.buffers.take(self.len);
        let mut at = self.start;
        for (step, sums) in buffer.as_mut().chunks_mut(STEP).zip(self.sums.chunks(STEP / BLOCK)) {
            let read = rustix::io::preadv2(&*self.file, &mut [IoSliceMut::new(step)], at, ReadWriteFlags::NOWAIT);
            if read != Ok(step.len()) {
                // Not in memory, or a file system that cannot say (tmpfs): read where waiting is allowed.
                return Ok(None);
            }
            check(step, sums)?;
            at += step.len() as u64;
        }
        Ok(Some(self.hand_on(buffer)))
    }

    /// Reads, waiting for the disk: for threads that may block.
    pub(in crate::cache) fn wait(self) -> Result<Bytes, Damaged> {
        let mut buffer = self.buffers.take(self.len);
        self.file.read_exact_at(buffer.as_mut(), self.start).map_err(Damaged::Io)?;
        check(buffer.as_ref(), &self.sums)?;
        Ok(self.hand_on(buffer))
    }

    /// The part asked for, of a buffer that has been checked.
    fn hand_on(&self, buffer: Buffer) -> Bytes {
        let part = self.from..self.until;
        match self.copy {
            true => Bytes::copy_from_slice(buffer.as_ref().get(part).unwrap_or_default()),
            false => buffer.freeze(part),
        }
    }

    fn end(&self) -> u64 {
        self.start + self.until as u64
    }
}

/// Whether blocks have their checksums.
fn check(blocks: &[u8], sums: &[u64]) -> Result<(), Damaged> {
    let sound = blocks.chunks(BLOCK).zip(sums).all(|(block, sum)| xxh3_64(block) == *sum);
    if sound { Ok(()) } else { Err(Damaged::Checksum) }
}

/// Reads one piece after the other; while the disk is slow, one ahead. Holds at most the chunk handed out and one in flight.
#[derive(Default)]
pub(in crate::cache) struct Pieces {
    pending: Option<(u64, JoinHandle<Result<Bytes, Damaged>>)>,
}

impl Pieces {
    /// The bytes that begin at `at`; `plan` gives the piece for an offset. Dropping the future loses nothing.
    pub(in crate::cache) async fn read(
        &mut self,
        at: u64,
        plan: impl Fn(u64) -> Option<Piece>,
    ) -> Option<Result<Bytes, Damaged>> {
        self.pending = self.pending.take().filter(|(from, _)| *from == at);
        let handle = match &mut self.pending {
            Some((_, handle)) => handle,
            None => {
                let piece = plan(at)?;
                match piece.now() {
                    Ok(Some(bytes)) => return Some(Ok(bytes)),
                    Ok(None) => {}
                    Err(damaged) => return Some(Err(damaged)),
                }
                let handle = tokio::task::spawn_blocking(move || piece.wait());
                &mut self.pending.insert((at, handle)).1
            }
        };
        let result = handle.await.unwrap_or_else(|error| Err(Damaged::Io(io::Error::other(error))));
        self.pending = None;
        if let Ok(bytes) = &result {
            self.ahead(at + bytes.len() as u64, plan);
        }
        Some(result)
    }

    /// The disk was slow: it may work on the next piece while the client takes this one.
    fn ahead(&mut self, at: u64, plan: impl Fn(u64) -> Option<Piece>) {
        if let Some(piece) = plan(at).filter(|piece| !piece.copy && piece.end() > at) {
            self.pending = Some((at, tokio::task::spawn_blocking(move || piece.wait())));
        }
    }
}
