//! Questions that the kernel answers from its memory, asked on the async thread: what would wait for the disk is left to the
//! threads that may. A pull asks two or three of them, and changing threads would cost more than the answers.

use std::fs::File;
use std::io::{self, IoSliceMut};

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::driver::with_version;
use super::{Disk, is_file};
use crate::storage::driver::AtOnce;
use crate::storage::{Error, Version};

/// Larger files are read elsewhere, in bytes.
const MOST: u64 = 64 << 10;

/// `None`: only a thread that may wait can tell.
type Now<T> = Option<io::Result<T>>;

impl AtOnce for Disk {
    fn size(&self, key: &str) -> Option<Option<u64>> {
        self.size_now(key)?.ok()
    }

    fn bytes(&self, key: &str, limit: u64) -> Option<Result<Option<Bytes>, Error>> {
        let found = self.read_now(key, limit)?.ok()?;
        Some(found.transpose().map_err(|_| Error::TooLarge(limit)))
    }

    fn get(&self, key: &str, limit: u64) -> Option<Result<Option<(Bytes, Version)>, Error>> {
        Some(self.bytes(key, limit)?.map(|bytes| bytes.map(with_version)))
    }

    fn file(&self, key: &str) -> Option<Option<(File, u64)>> {
        self.file_now(key)?.ok()
    }
}

impl Disk {
    /// See [`Disk::file`].
    fn file_now(&self, key: &str) -> Now<Option<(File, u64)>> {
        self.found_now(key, OFlags::RDONLY).map(|found| Ok(found.map(|(file, size)| (File::from(file), size))))
    }

    /// See [`Disk::size`].
    fn size_now(&self, key: &str) -> Now<Option<u64>> {
        self.found_now(key, OFlags::PATH).map(|found| Ok(found.map(|(_, size)| size)))
    }

    /// See [`Disk::read`].
    fn read_now(&self, key: &str, limit: u64) -> Now<Option<Result<Bytes, u64>>> {
        let Some((file, size)) = self.found_now(key, OFlags::RDONLY)? else { return Some(Ok(None)) };
        if size > limit {
            return Some(Ok(Some(Err(size))));
        }
        if size > MOST {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let read = rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT);
        // Short: not all of it is in memory, or the file has just been cut.
        (read == Ok(bytes.len())).then(|| Ok(Some(Ok(bytes.into()))))
    }

    /// The outer `None` as in [`Now`]: any failure but absence is told by the thread that tries again.
    fn found_now(&self, key: &str, flags: OFlags) -> Option<Option<(rustix::fd::OwnedFd, u64)>> {
        let file = match self.resolver.open_cached(key, flags)? {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Some(None),
            Err(_) => return None,
        };
        let stat = rustix::fs::fstat(&file).ok()?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Some(is_file(&stat).then_some((file, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether or not this file system answers at once, an answer is the same as the one that may wait.
    #[test]
    fn what_is_answered_at_once_is_true() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path()).expect("a disk");
        std::fs::create_dir(folder.path().join("a")).expect("a folder");
        std::fs::write(folder.path().join("a/small"), "small").expect("a file");
        std::fs::write(folder.path().join("a/large"), vec![1; 100 << 10]).expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a/out")).expect("a link");
        for _ in 0..2 {
            for key in ["a/small", "a/large", "a/none", "none/none", "a", "a/small/x"] {
                if let Some(size) = disk.size_now(key) {
                    assert_eq!(size.expect("a size"), disk.size(key).expect("a size"), "{key}");
                }
                for limit in [3, 5, 1 << 20] {
                    if let Some(read) = disk.read_now(key, limit) {
                        let slow = disk.read(key, limit).expect("bytes");
                        assert_eq!(read.expect("bytes"), slow, "{key} {limit}");
                    }
                }
                if let Some(file) = disk.file_now(key) {
                    let slow = disk.file(key).expect("a file").map(|(_, size)| size);
                    assert_eq!(file.expect("a file").map(|(_, size)| size), slow, "{key}");
                }
            }
        }
        assert!(disk.read_now("a/out", 1 << 20).is_none_or(|read| read.is_ok_and(|read| read.is_none())));
        assert!(disk.read("a/out", 1 << 20).is_err());
    }
}
