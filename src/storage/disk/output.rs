//! Where the bytes of an upload are written. What arrives fast goes past the page cache: it has to be on the disk before it is
//! acknowledged anyway, and filling the page cache costs more than hashing does. What arrives slowly goes through it, so that
//! nobody waits for the disk at each piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::Disk;

/// Disks write blocks whose size divides this. A file system that wants larger ones refuses, and gets all through the page
/// cache.
const BLOCK: usize = 4 << 10;
/// Bytes that are written at once, and the least that goes past the page cache.
const PIECE: usize = 1 << 20;
/// Memory of all uploads for this, in pieces. Whoever finds none left writes through the page cache.
const BUFFERS: usize = 16;

/// File systems over a network (NFS, CIFS, SMB2, FUSE, Ceph, 9P: `statfs(2)`). One write after the other would wait for it
/// each time; the page cache sends many at once.
const DISTANT: [u64; 6] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x00c3_6400, 0x0102_1997];

/// A file that grows.
pub(crate) struct Output {
    file: File,
    disk: Arc<Disk>,
    key: String,
    /// The same file, past the page cache; `None` where that is not to be had.
    direct: OnceLock<Option<File>>,
}

/// Buffers that begin where a block does.
#[derive(Default)]
pub(super) struct Buffers {
    kept: Mutex<Vec<Vec<u8>>>,
    lent: AtomicUsize,
    /// The file system refused, or is distant.
    refused: AtomicBool,
}

struct Lent<'a> {
    buffers: &'a Buffers,
    bytes: Vec<u8>,
    start: usize,
}

/// Pieces as one sequence of bytes.
struct Pieces<'a, I: Iterator<Item = &'a [u8]>> {
    rest: I,
    piece: &'a [u8],
}

impl Output {
    /// `key` must be the file's own name now.
    pub(crate) fn new(file: File, disk: &Arc<Disk>, key: String) -> Self {
        Output { file, disk: disk.clone(), key, direct: OnceLock::new() }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes `count` bytes at `at`; returns how many of them the page cache holds now. Blocks.
    pub(crate) fn write<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, count: usize, at: u64) -> io::Result<u64> {
        if count >= PIECE
            && let Some(direct) = self.direct()
            && let Some(buffer) = self.disk.buffers.lend()
        {
            return self.write_past(direct, buffer, Pieces { rest: pieces, piece: &[] }, count, at);
        }
        write_through(&self.file, pieces, at)
    }

    fn write_past<'a>(
        &self,
        direct: &File,
        mut buffer: Lent<'_>,
        mut pieces: Pieces<'a, impl Iterator<Item = &'a [u8]>>,
        count: usize,
        mut at: u64,
    ) -> io::Result<u64> {
        let (mut left, mut through) = (count, 0);
        while left > 0 {
            let beyond = (at % BLOCK as u64) as usize;
            let length = match beyond {
                0 if left >= BLOCK => (left - left % BLOCK).min(PIECE),
                0 => left,
                _ => left.min(BLOCK - beyond),
            };
            let bytes = buffer.filled(length, &mut pieces)?;
            let whole = beyond == 0 && length.is_multiple_of(BLOCK);
            let past = if whole { self.write_blocks(direct, bytes, at)? } else { 0 };
            if let Some(rest) = bytes.get(past..).filter(|rest| !rest.is_empty()) {
                self.file.write_all_at(rest, at + past as u64)?;
                through += rest.len() as u64;
            }
            at += length as u64;
            left -= length;
        }
        Ok(through)
    }

    /// How many bytes were written: fewer where the file system wants them in another way.
    fn write_blocks(&self, direct: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match direct.write_at(rest, at + written as u64) {
                Ok(count) if count > 0 && count.is_multiple_of(BLOCK) => written += count,
                // Cut within a block (the disk is full, say): the rest is told by writing it.
                Ok(count) => return Ok(written + count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.disk.buffers.refused.store(true, Ordering::Relaxed);
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn direct(&self) -> Option<&File> {
        if self.disk.buffers.refused.load(Ordering::Relaxed) {
            return None;
        }
        let open = || {
            if is_distant(&self.file) {
                self.disk.buffers.refused.store(true, Ordering::Relaxed);
                return None;
            }
            let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::NOFOLLOW;
            let direct = self.disk.resolver.open(&self.key, flags, Mode::empty()).ok()?;
            // Nobody renames it while its upload is locked; a stranger's file is not written to all the same.
            let (own, there) = (rustix::fs::fstat(&self.file).ok()?, rustix::fs::fstat(&direct).ok()?);
            ((own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)).then(|| File::from(direct))
        };
        self.direct.get_or_init(open).as_ref()
    }
}

#[cfg(target_os = "linux")]
fn is_distant(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| DISTANT.contains(&(system.f_type as u64 & 0xffff_ffff)))
}

#[cfg(not(target_os = "linux"))]
fn is_distant(_: &File) -> bool {
    true
}

/// Through the page cache; returns the number of bytes.
pub(crate) fn write_through<'a>(file: &File, pieces: impl Iterator<Item = &'a [u8]>, at: u64) -> io::Result<u64> {
    let mut end = at;
    for piece in pieces {
        file.write_all_at(piece, end)?;
        end += piece.len() as u64;
    }
    Ok(end - at)
}

impl Buffers {
    fn lend(&self) -> Option<Lent<'_>> {
        let more = |lent: usize| (lent < BUFFERS).then_some(lent + 1);
        self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let bytes = self.kept.lock().pop().unwrap_or_else(|| vec![0; PIECE + BLOCK]);
        let start = bytes.as_ptr().align_offset(BLOCK);
        Some(Lent { buffers: self, bytes, start })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.buffers.kept.lock().push(std::mem::take(&mut self.bytes));
        self.buffers.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lent<'_> {
    /// The next `length` bytes.
    fn filled<'a>(
        &mut self,
        length: usize,
        pieces: &mut Pieces<'a, impl Iterator<Item = &'a [u8]>>,
    ) -> io::Result<&[u8]> {
        let end = self.start.saturating_add(length);
        let bytes = self.bytes.get_mut(self.start..end).ok_or(io::ErrorKind::InvalidInput)?;
        pieces.fill(bytes)?;
        Ok(bytes)
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> Pieces<'a, I> {
    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.piece.is_empty() {
                self.piece = self.rest.next().ok_or(io::ErrorKind::UnexpectedEof)?;
            }
            let count = bytes.len().min(self.piece.len());
            let ((now, later), (space, rest)) = (self.piece.split_at(count), bytes.split_at_mut(count));
            space.copy_from_slice(now);
            (self.piece, bytes) = (later, rest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(disk: &Arc<Disk>) -> Output {
        disk.make_folder("uploads/1", false).expect("a folder");
        let file = disk.grow("uploads/1/data").expect("a file");
        Output::new(file, disk, "uploads/1/data".to_owned())
    }

    fn disk(folder: &tempfile::TempDir) -> Arc<Disk> {
        Arc::new(Disk::open(folder.path()).expect("a disk"))
    }

    fn content(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n * 31 % 251) as u8).collect()
    }

    #[test]
    fn whatever_the_sizes_the_file_holds_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(&folder);
        let output = output(&disk);
        let all = content(9 << 20);
        let mut at = 0;
        for (count, piece) in [
            (1, 1),
            (PIECE, 60_000),
            (PIECE + 1, 65_536),
            (100, 7),
            (4 * PIECE + 5000, 1 << 20),
            (PIECE - 1, 9),
            (3 * BLOCK, 99),
        ] {
            let part = &all[at..at + count];
            output.write(part.chunks(piece), count, at as u64).expect("written");
            at += count;
        }
        assert_eq!(std::fs::read(folder.path().join("uploads/1/data")).expect("a file"), all[..at]);
        assert_eq!(disk.buffers.lent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_buffers_all_goes_through_the_page_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(&folder);
        let output = output(&disk);
        let lent: Vec<_> = std::iter::from_fn(|| disk.buffers.lend()).collect();
        assert_eq!(lent.len(), BUFFERS);
        let all = content(2 * PIECE);
        assert_eq!(output.write(all.chunks(1 << 16), all.len(), 0).expect("written"), all.len() as u64);
        assert_eq!(std::fs::read(folder.path().join("uploads/1/data")).expect("a file"), all);
    }

    #[test]
    fn a_file_that_has_another_name_by_now_is_written_to_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(&folder);
        let output = output(&disk);
        let own = folder.path().join("uploads/1/data");
        std::fs::rename(&own, folder.path().join("moved")).expect("moved");
        std::fs::write(&own, "a stranger's").expect("a file");
        let all = content(2 * PIECE);
        assert_eq!(output.write(all.chunks(1 << 16), all.len(), 0).expect("written"), all.len() as u64);
        assert_eq!(std::fs::read(folder.path().join("moved")).expect("a file"), all);
        assert_eq!(std::fs::read(&own).expect("a file"), b"a stranger's");
    }
}
