//! A folder of this machine as a store. Everything here but `now` blocks; `driver` calls it off the async threads.
//!
//! `object_store` has a filesystem too; ours is there because that one follows symlinks out of its root, cannot replace
//! a file conditionally, leaves temporary files that distribution's walk stumbles over, and trusts a folder that
//! another writer has made and not yet fsynced.
//!
//! - All paths are opened below the root's handle: no symlink leads out of it.
//! - What is written is complete when it becomes visible, and durable when the call returns: file and folders are fsynced.
//! - Temporary files are `<name>.<uuid>.tmp` beside their place, as distribution's are; lists pass over them.

mod away;
mod below;
mod change;
mod driver;
mod folders;
mod growing;
mod list;
mod lock;
mod now;
mod output;
mod read;
mod resolve;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use folders::Durable;
use resolve::Resolver;

pub(super) use below::Below;
use change::Occupant;
use list::Names;
use read::Chunks;

pub(super) use driver::{Files, on_disk, walk};
pub(crate) use output::{Output, write_through};

use super::error::io_error;
use super::{Error, layout};

/// All that we write below the root.
const TREES: [&str; 2] = [layout::TREE, layout::OWN];
/// Ends the name of a file that is being written.
const TEMPORARY: &str = ".tmp";

/// The store.
pub(crate) struct Disk {
    #[cfg(test)]
    root: PathBuf,
    resolver: Resolver,
    /// Folders whose place in their parents is known to be on the disk.
    durable: Durable,
    /// Taken before the file that locks other processes out.
    lock: parking_lot::Mutex<()>,
    buffers: output::Buffers,
}

/// Of the volume, in bytes.
pub(super) struct Space {
    pub used: u64,
    pub total: u64,
    /// Of `used`: free, but for the system's administrator only.
    pub reserved: u64,
}

impl Disk {
    /// Makes the folder, with its parents, if it is not there.
    fn open(root: &Path) -> Result<Self, Error> {
        let named = |error: io::Error| match io_error(error) {
            Error::Failed(text) => Error::Failed(format!("{}: {text}", root.display())),
            Error::Refused(text) => Error::Refused(format!("{}: {text}", root.display())),
            other => other,
        };
        if std::fs::metadata(root).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::Refused(format!("storage.root {} is a file: name a folder", root.display())));
        }
        std::fs::create_dir_all(root).map_err(named)?;
        let root = root.canonicalize().map_err(named)?;
        let handle: OwnedFd = File::open(&root).map_err(named)?.into();
        Ok(Disk {
            resolver: Resolver::new(handle),
            #[cfg(test)]
            root,
            durable: Durable::default(),
            lock: parking_lot::Mutex::default(),
            buffers: output::Buffers::default(),
        })
    }

    /// For tests that change files behind our back.
    #[cfg(test)]
    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Whether the root can be read.
    fn check(&self) -> io::Result<()> {
        rustix::fs::accessat(self.resolver.root(), ".", rustix::fs::Access::READ_OK, AtFlags::empty())?;
        Ok(())
    }

    /// Whether files can be made in it: fails on a read-only mount, whoever we are.
    fn check_writes(&self) -> io::Result<()> {
        let may =
            |folder| rustix::fs::accessat(self.resolver.root(), folder, rustix::fs::Access::WRITE_OK, AtFlags::empty());
        // The root itself is needed only until both trees are there.
        may(".").or_else(|error| TREES.into_iter().try_for_each(may).map_err(|_| error))?;
        Ok(())
    }

    /// Device and number of the root: no other folder of this machine has both.
    pub(super) fn root_identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(self.resolver.root())?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn space(&self) -> io::Result<Space> {
        let volume = rustix::fs::fstatvfs(self.resolver.root())?;
        let unit = volume.f_frsize.max(1);
        let total = volume.f_blocks.saturating_mul(unit);
        // What only root may use counts as used: it is not there for us.
        Ok(Space {
            used: total.saturating_sub(volume.f_bavail.saturating_mul(unit)),
            total,
            reserved: volume.f_bfree.saturating_sub(volume.f_bavail).saturating_mul(unit),
        })
    }

    /// A file's size; `None` if there is none, or if it is no regular file.
    pub(crate) fn size(&self, key: &str) -> io::Result<Option<u64>> {
        Ok(self.stat(key, OFlags::PATH)?.filter(is_file).and_then(|stat| u64::try_from(stat.st_size).ok()))
    }

    /// When something was put into this folder or taken out; `None` if there is none.
    pub(crate) fn folder_changed(&self, folder: &str) -> io::Result<Option<(i64, i64)>> {
        let stat = self.stat(folder, OFlags::PATH | OFlags::DIRECTORY)?;
        #[allow(clippy::useless_conversion)] // the width differs between architectures
        Ok(stat.map(|stat| (i64::from(stat.st_mtime), i64::try_from(stat.st_mtime_nsec).unwrap_or(0))))
    }

    /// Marks a folder as changed now. Not durable: it matters to programs that run, not to those that start.
    pub(super) fn touch_folder(&self, folder: &str) -> io::Result<()> {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        match self.resolver.open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(folder) => Ok(rustix::fs::futimens(folder, &times)?),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn stat(&self, key: &str, flags: OFlags) -> io::Result<Option<rustix::fs::Stat>> {
        match self.resolver.open(key, flags, Mode::empty()) {
            Ok(file) => Ok(Some(rustix::fs::fstat(file)?)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_file(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Nothing of this name, or a file where a folder would have to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Folder and name of a key.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}
