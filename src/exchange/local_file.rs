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
const SENT_AT_ONCE: usize = 2 << 20;

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
        LocalReader { from: self, at: range.start, end: range.end }
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
    pub fn in_file(&self) -> Option<FilePiece> {
        let left = self.end.saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(SENT_AT_ONCE);
        let file = self.from.open.open_now().filter(|_| count > 0)?;
        // Its last byte stands for all of it: what is read ahead comes in order.
        let last = self.at + count as u64 - 1;
        let mut byte = [0];
        let there = preadv2(&*file, &mut [IoSliceMut::new(&mut byte)], last, ReadWriteFlags::NOWAIT);
        (there == Ok(1)).then_some(FilePiece { file, offset: self.at, count })
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
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(content: &[u8], size: u64) -> LocalFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        LocalFile::new(file, size, &Arc::default(), None)
    }

    async fn read(file: &LocalFile, range: Range<u64>) -> io::Result<Vec<u8>> {
        let (mut reader, mut all) = (file.clone().read(range), Vec::new());
        while let Some(bytes) = reader.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn any_range_is_what_the_file_holds_there() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let file = file(&content, content.len() as u64);
        for range in [0..content.len(), 0..1, 7..7, 65_535..65_537, 1_000_000..2_999_999, 2_999_999..3_000_000] {
            assert_eq!(read(&file, range.start as u64..range.end as u64).await.unwrap(), content[range]);
        }
    }

    #[tokio::test]
    async fn a_reader_that_rests_holds_no_file_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        std::fs::write(&path, vec![7; 600_000]).unwrap();
        let file = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None);
        let mut reader = file.clone().read(0..600_000);
        let mut length = 0;
        while let Some(bytes) = reader.next().await {
            length += bytes.unwrap().len();
            reader.from.open.close();
            assert!(file.open.open_now().is_none());
        }
        assert_eq!(length, 600_000);
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_while_its_reader_rested_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        std::fs::write(&path, vec![7; 600_000]).unwrap();
        let unlinked = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None);
        let mut reader = LocalFile::new(File::open(&path).unwrap(), 600_000, &Arc::default(), None).read(0..600_000);
        reader.next().await.unwrap().unwrap();
        reader.from.open.close();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        std::fs::write(&path, vec![8; 600_000]).unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        // What has no name any more is kept open.
        std::fs::remove_file(folder.path().join("old")).unwrap();
        let mut reader = unlinked.read(0..600_000);
        reader.from.open.close();
        assert_eq!(reader.next().await.unwrap().unwrap()[0], 7);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_never_ends_cleanly() {
        let file = file(b"half", 8);
        assert_eq!(read(&file, 0..8).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn when_much_is_lent_pieces_are_small_and_whole_all_the_same() {
        let content = vec![7; 200_000];
        let file = file(&content, 200_000);
        let mut held = Vec::new();
        while file.buffers.allowance().copy.is_none() {
            held.push(file.buffers.take(1 << 20));
        }
        let mut reader = file.clone().read(0..200_000);
        assert!(reader.next().await.unwrap().unwrap().len() <= 16 << 10);
        assert_eq!(read(&file, 0..200_000).await.unwrap(), content);
    }
}
