//! Writes and removes files. A reader sees the old content or the new, never a part.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Disk, TEMPORARY, is_absent, split};

/// Tries when a folder is removed between our opening it and our writing into it.
const TRIES: usize = 16;
/// Folders within folders that are removed with one call: ours are three deep.
const DEPTH: usize = 32;

/// What may be at the place that is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupant {
    Any,
    /// Nothing: otherwise the error is AlreadyExists.
    Empty,
}

impl Disk {
    pub(super) fn write(&self, key: &str, bytes: &[u8], place: Occupant) -> io::Result<()> {
        self.publish(key, place, |file| file.write_all(bytes))
    }

    /// Copies a file by the kernel's own means.
    pub(super) fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let Some((source, _)) = self.file(from)? else { return Err(io::ErrorKind::NotFound.into()) };
        self.publish(to, Occupant::Any, |file| io::copy(&mut &source, file).map(drop))
    }

    /// Makes sure that a file that is there stays there, whoever wrote it.
    pub(crate) fn settle(&self, key: &str) -> io::Result<()> {
        let (path, name) = split(key);
        let folder = self.folder(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::fsync(rustix::fs::openat(&folder.handle, name, flags, Mode::empty())?)?;
        self.settle_folder(&folder)
    }

    /// Removes a file, and its folder if that is empty then. False if it was not there.
    pub(super) fn remove(&self, key: &str) -> io::Result<bool> {
        let (path, name) = split(key);
        let folder = match self.open_folder(path) {
            Ok(folder) => folder,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => rustix::fs::fsync(&folder)?,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // distribution removes the folder of a digest or a tag with its link; higher ones stay, also `_manifests`,
        // without which the repository would be gone.
        self.remove_empty(path)?;
        Ok(true)
    }

    /// Removes a file if it was written then, and not since. Nobody who writes it anew has more than a moment between the two.
    pub(in crate::storage) fn remove_unchanged(&self, key: &str, changed: SystemTime) -> io::Result<bool> {
        let (path, name) = split(key);
        let found = self.list_entries(path)?.files.into_iter().find(|file| file.name == name);
        if found.is_some_and(|file| file.changed == changed) { self.remove(key) } else { Ok(false) }
    }

    /// Removes a folder with all that is in it.
    pub(super) fn remove_all(&self, path: &str) -> io::Result<bool> {
        let (parent_path, name) = split(path);
        if name.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into()); // not the root itself
        }
        let parent = match self.open_folder(parent_path) {
            Ok(parent) => parent,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.durable.forget(path);
        let removed = remove_tree(&parent, name, DEPTH)?;
        rustix::fs::fsync(parent)?;
        Ok(removed)
    }

    /// Removes a folder if nothing but empty folders is in it.
    pub(in crate::storage) fn remove_hollow(&self, path: &str) -> io::Result<()> {
        self.remove_hollow_to(path, DEPTH)
    }

    fn remove_hollow_to(&self, path: &str, depth: usize) -> io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for folder in self.list(path)?.folders {
            self.remove_hollow_to(&format!("{path}/{folder}"), depth)?;
        }
        self.remove_empty(path)
    }

    /// Removes a folder if nothing is in it.
    pub(in crate::storage) fn remove_empty(&self, path: &str) -> io::Result<()> {
        let (parent_path, name) = split(path);
        if name.is_empty() {
            return Ok(());
        }
        let parent = match self.open_folder(parent_path) {
            Ok(parent) => parent,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.durable.forget(path), // need not be durable: an empty folder means nothing
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::BUSY) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Writes a temporary file beside its place, fsyncs it, puts it there, fsyncs the folder.
    fn publish(&self, key: &str, place: Occupant, mut fill: impl FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (path, name) = split(key);
        let (folder, mut draft) = again(|| {
            let folder = self.folder(path)?;
            let draft = Draft::new(folder.handle.try_clone()?, name)?;
            Ok((folder, draft))
        })?;
        fill(&mut draft.file)?;
        draft.file.sync_all()?;
        draft.put(name, place)?;
        self.settle_folder(&folder)
    }
}

/// A temporary file, removed unless it is put to its place. While it is there its folder is not empty, so that nobody
/// removes that.
pub(super) struct Draft {
    folder: OwnedFd,
    pub(super) file: File,
    /// `None` when it is no longer there.
    name: Option<String>,
}

impl Draft {
    pub(super) fn new(folder: OwnedFd, name: &str) -> io::Result<Self> {
        let name = format!("{name}.{}{TEMPORARY}", uuid::Uuid::new_v4());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name.as_str(), flags, Mode::from_raw_mode(0o666))?;
        Ok(Draft { folder, file: file.into(), name: Some(name) })
    }

    pub(super) fn put(mut self, name: &str, place: Occupant) -> io::Result<()> {
        let Some(own) = &self.name else { return Ok(()) };
        match place {
            Occupant::Any => {
                rustix::fs::renameat(&self.folder, own.as_str(), &self.folder, name)?;
                self.name = None;
            }
            // Fails if the place is taken; the temporary name goes when we are dropped.
            Occupant::Empty => rustix::fs::linkat(&self.folder, own.as_str(), &self.folder, name, AtFlags::empty())?,
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()); // else it is litter, which lists pass over
        }
    }
}

/// Once more while folders vanish under us.
pub(super) fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
    }
    call()
}

/// By handles, so that a symlink is removed and not followed.
pub(super) fn remove_tree(parent: impl AsFd, name: &str, depth: usize) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other("folders are nested too deeply"));
    };
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name != "." && name != ".." {
            remove_tree(&folder, name, depth)?;
        }
    }
    match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        // Not empty: somebody has written something new meanwhile, which is not ours to remove.
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
