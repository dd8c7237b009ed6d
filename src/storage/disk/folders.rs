//! Folders that are there and stay there: each is fsynced into its parent once, whoever made it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::change::again;
use super::{Disk, is_absent, split};

/// Folders whose place in their parents is known to be on the disk: hash of the path → inode, since another program may
/// have made a new one of the same name.
pub(super) struct Durable(moka::sync::Cache<u128, u64>);

/// Folders remembered; beyond, some are fsynced once more than needed. About 6 MiB when full.
const REMEMBERED: u64 = 65_536;

impl Default for Durable {
    fn default() -> Self {
        Durable(moka::sync::Cache::new(REMEMBERED))
    }
}

impl Durable {
    fn knows(&self, path: &str, inode: u64) -> bool {
        self.0.get(&key(path)) == Some(inode)
    }

    fn insert(&self, path: &str, inode: u64) {
        self.0.insert(key(path), inode);
    }

    pub(super) fn forget(&self, path: &str) {
        self.0.invalidate(&key(path));
    }
}

fn key(path: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(path.as_bytes())
}

/// An open folder, made if it was missing.
pub(super) struct Folder {
    pub handle: OwnedFd,
    /// Folders on the way whose place in their parents is not known to be durable.
    unsettled: Vec<Unsettled>,
}

struct Unsettled {
    parent: OwnedFd,
    path: String,
    inode: u64,
}

impl Disk {
    /// Opens a folder, making it and its parents where they are missing; they are durable after [`Self::settle_folder`].
    /// NotFound only if somebody removes one again and again.
    pub(super) fn folder(&self, path: &str) -> io::Result<Folder> {
        again(|| self.folder_once(path))
    }

    /// NotFound if somebody removes one at the same moment: then it is worth another try.
    fn folder_once(&self, path: &str) -> io::Result<Folder> {
        match self.open_folder(path) {
            // The root's place is the business of whoever made it.
            Ok(handle) if path.is_empty() || self.durable.knows(path, inode(&handle)?) => {
                return Ok(Folder { handle, unsettled: Vec::new() });
            }
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
        let (parent_path, name) = split(path);
        let Folder { handle: parent, mut unsettled } = self.folder_once(parent_path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let handle = self.open_folder(path)?;
        unsettled.push(Unsettled { parent, path: path.to_owned(), inode: inode(&handle)? });
        Ok(Folder { handle, unsettled })
    }

    /// Makes a folder durable, with what is in it and the way to it. Last of all, since a journal that was committed for
    /// the folder has the folders above in it too: their fsyncs cost little then.
    pub(super) fn settle_folder(&self, folder: &Folder) -> io::Result<()> {
        rustix::fs::fsync(&folder.handle)?;
        for Unsettled { parent, path, inode } in folder.unsettled.iter().rev() {
            rustix::fs::fsync(parent)?;
            self.durable.insert(path, *inode);
        }
        Ok(())
    }

    /// The same for a folder that is there, by its handle.
    pub(super) fn settle_open(&self, path: &str, handle: &OwnedFd) -> io::Result<()> {
        rustix::fs::fsync(handle)?;
        let inode = inode(handle)?;
        if !self.durable.knows(path, inode) {
            rustix::fs::fsync(self.open_folder(split(path).0)?)?;
            self.durable.insert(path, inode);
        }
        Ok(())
    }

    pub(super) fn open_folder(&self, path: &str) -> io::Result<OwnedFd> {
        self.resolver.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }
}

fn inode(folder: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(folder)?.st_ino)
}
