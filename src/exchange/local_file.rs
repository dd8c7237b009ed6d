//! A file of this machine, read for a client: what the page cache holds is read at once, the rest by threads that may
//! wait. Buffers are borrowed from the blob cache, so that its bound on slow readers holds these too.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};

use crate::cache::Buffers;

/// Bytes that are read at once from the page cache: they stay in the processor's own cache until they are sent, and so does the
/// buffer for the next connection.
const PIECE: usize = 256 << 10;

/// An open file whose size is known. Cheap to clone.
#[derive(Clone)]
pub struct LocalFile {
    file: Arc<File>,
    size: u64,
    buffers: Arc<Buffers>,
}

/// Pieces of a file, in order.
pub struct LocalReader {
    from: LocalFile,
    at: u64,
    end: u64,
}

impl LocalFile {
    pub fn new(file: File, size: u64, buffers: &Arc<Buffers>) -> Self {
        LocalFile { file: Arc::new(file), size, buffers: buffers.clone() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read(self, range: Range<u64>) -> LocalReader {
        LocalReader { from: self, at: range.start, end: range.end }
    }

    /// Between 1 and `most` bytes from `at`; `None` when the kernel would have to wait for the disk.
    fn now(&self, at: u64, most: usize) -> Option<Bytes> {
        self.piece(most, |buffer| {
            // A file system that cannot say (tmpfs) is read where waiting is allowed.
            Ok(preadv2(&*self.file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT)?)
        })
        .ok()
    }

    fn wait(&self, at: u64, most: usize) -> io::Result<Bytes> {
        self.piece(most, |buffer| self.file.read_at(buffer, at))
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
                let waited = tokio::task::spawn_blocking(move || file.wait(at, most)).await;
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
        LocalFile::new(file, size, &Arc::default())
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
