//! Files that grow until they are blobs, and what is beside them: for uploads. By handles below the root, as everything.

use std::fs::File;
use std::io::{self, Write as _};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::change::{Draft, Occupant, remove_tree};
use super::{Disk, is_absent, split};

/// A garbage collector may remove a folder that was just made; so often it is made again.
const TRIES: usize = 3;

impl Disk {
    /// Makes a folder where it is missing; `durable`: with the way to it.
    pub(crate) fn make_folder(&self, path: &str, durable: bool) -> io::Result<()> {
        let folder = self.folder(path)?;
        if durable { self.settle_folder(&folder) } else { Ok(()) }
    }

    /// Opens a file for writing, made if it is missing; its folder must be there.
    pub(crate) fn grow(&self, key: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        Ok(self.resolver.open(key, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Whether the file is still the one of this name.
    pub(crate) fn is_at(&self, file: &File, key: &str) -> io::Result<bool> {
        let own = rustix::fs::fstat(file)?;
        let there = self.stat(key, OFlags::PATH | OFlags::NOFOLLOW)?;
        Ok(there.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
    }

    /// Replaces a small file as a whole, in a folder that must be there: NotFound if somebody removed it meanwhile.
    /// `durable`: with the folder's own name.
    pub(crate) fn write_beside(&self, key: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        let (path, name) = split(key);
        let folder = self.open_folder(path)?;
        let mut draft = Draft::new(folder.try_clone()?, name)?;
        draft.file.write_all(bytes)?;
        if durable {
            draft.file.sync_data()?;
        }
        draft.put(name, Occupant::Any)?;
        if durable { self.settle_open(path, &folder) } else { Ok(()) }
    }

    /// Gives a file the name `to`, whatever is there, durably: also its bytes. NotFound if it is not there (any more).
    pub(crate) fn install(&self, file: &File, from: &str, to: &str) -> io::Result<()> {
        file.sync_data()?;
        let ((from_path, from_name), (to_path, to_name)) = (split(from), split(to));
        let source = self.open_folder(from_path)?;
        let mut tries = TRIES;
        loop {
            let folder = self.folder(to_path)?;
            match rustix::fs::renameat(&source, from_name, &folder.handle, to_name) {
                Ok(()) => return self.settle_folder(&folder),
                // Which of the two is not there?
                Err(Errno::NOENT) if tries > 1 && self.is_at(file, from)? => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes a folder with all that is in it, `first` before the rest. Not durable: after a power failure it may be there
    /// again. False if it was not there.
    pub(crate) fn discard(&self, path: &str, first: &str) -> io::Result<bool> {
        let (parent_path, name) = split(path);
        let (parent, folder) = match self.open_folder(parent_path).and_then(|p| Ok((p, self.open_folder(path)?))) {
            Ok(both) => both,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let _ = rustix::fs::unlinkat(&folder, first, AtFlags::empty()); // what matters is told by the rest
        self.durable.forget(path);
        remove_tree(&parent, name, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(&folder.path().join("root")).expect("a disk");
        (folder, disk)
    }

    #[test]
    fn a_file_replaces_what_has_its_name() {
        let (folder, disk) = disk();
        disk.make_folder("uploads/1", false).expect("a folder");
        std::fs::create_dir_all(folder.path().join("root/blobs/x")).expect("a folder");
        std::fs::write(folder.path().join("root/blobs/x/data"), "bad").expect("a file");
        let mut file = disk.grow("uploads/1/data").expect("a file");
        file.write_all(b"new").expect("bytes");
        assert!(disk.is_at(&file, "uploads/1/data").expect("a stat"));
        disk.install(&file, "uploads/1/data", "blobs/x/data").expect("a new name");
        assert!(!disk.is_at(&file, "uploads/1/data").expect("a stat"));
        assert_eq!(std::fs::read(folder.path().join("root/blobs/x/data")).expect("a file"), b"new");
        let again = disk.install(&file, "uploads/1/data", "blobs/x/data").expect_err("it has moved");
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
        disk.write_beside("uploads/1/state", b"s", true).expect("a state");
        assert!(disk.discard("uploads/1", "state").expect("removed"));
        assert!(!disk.discard("uploads/1", "state").expect("gone already"));
        assert_eq!(disk.write_beside("uploads/1/state", b"s", true).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_symlink_leads_out() {
        let (folder, disk) = disk();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).expect("a folder");
        std::os::unix::fs::symlink(&outside, folder.path().join("root/uploads")).expect("a link");
        std::os::unix::fs::symlink(&outside, folder.path().join("root/blobs")).expect("a link");
        assert!(disk.make_folder("uploads/1", false).is_err());
        assert!(disk.grow("uploads/data").is_err());
        disk.make_folder("mine", false).expect("a folder");
        let file = disk.grow("mine/data").expect("a file");
        assert!(disk.install(&file, "mine/data", "blobs/data").is_err());
        assert_eq!(std::fs::read_dir(&outside).expect("a folder").count(), 0);
    }
}
