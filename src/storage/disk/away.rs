//! Files that are moved out of the way and brought back, whoever else does so at the same time.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{Disk, is_absent, split};

/// Tries when a folder is removed between our opening it and our writing into it.
const TRIES: usize = 16;

impl Disk {
    /// Gives a file another name, durably, whatever is there. False if it was not there.
    pub(in crate::storage) fn move_away(&self, from: &str, to: &str) -> io::Result<bool> {
        let ((from_path, from_name), (to_path, to_name)) = (split(from), split(to));
        for _ in 0..TRIES {
            let source = match self.open_folder(from_path) {
                Ok(source) => source,
                Err(error) if is_absent(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            let Some(own) = self.identity(from)? else { return Ok(false) };
            let target = self.folder(to_path)?;
            let outcome = if self.identity(to)? == Some(own) {
                // It was brought back by a second name, and a file that has both is not renamed: it loses one.
                self.settle_folder(&target)?;
                rustix::fs::unlinkat(&source, from_name, AtFlags::empty())
            } else {
                rustix::fs::renameat(&source, from_name, &target.handle, to_name)
            };
            match outcome {
                // First that it is there, then that it is gone.
                Ok(()) => self.settle_folder(&target)?,
                // The file, or the folder that it was to go to.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            }
            rustix::fs::fsync(&source)?;
            self.remove_empty(from_path)?;
            return Ok(true);
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Makes `place` a second name of the file `away`, durably, unless something is there. The size of what is in `place`.
    pub(in crate::storage) fn bring_back(&self, away: &str, place: &str) -> io::Result<Option<u64>> {
        let ((away_path, away_name), (path, name)) = (split(away), split(place));
        let source = match self.open_folder(away_path) {
            Ok(source) => source,
            Err(error) if is_absent(&error) => return self.size(place),
            Err(error) => return Err(error),
        };
        for _ in 0..TRIES {
            // No folder is made for what is not there.
            if self.size(place)?.is_none() && self.size(away)?.is_none() {
                return self.size(place);
            }
            let folder = self.folder(path)?;
            match second_name(&source, away_name, &folder.handle, name) {
                // Also if somebody else has just done it: he may not have made it durable yet.
                Ok(()) | Err(Errno::EXIST) => {
                    self.settle_folder(&folder)?;
                    if let Some(size) = self.size(place)? {
                        return Ok(Some(size));
                    }
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.size(place)
    }

    /// Which file it is, of all of the volume.
    fn identity(&self, key: &str) -> io::Result<Option<(u64, u64)>> {
        let stat = self.stat(key, OFlags::PATH | OFlags::NOFOLLOW)?;
        #[allow(clippy::unnecessary_cast)] // the widths differ between systems
        Ok(stat.map(|stat| (stat.st_dev as u64, stat.st_ino as u64)))
    }
}

/// Where files cannot have two names, or not files of another user, it loses the one that it has: nothing is lost but that
/// another who brings it back finds it there already.
fn second_name(source: &OwnedFd, from: &str, folder: &OwnedFd, to: &str) -> rustix::io::Result<()> {
    match rustix::fs::linkat(source, from, folder, to, AtFlags::empty()) {
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            rustix::fs::renameat(source, from, folder, to)
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Occupant;

    const PLACE: &str = "blobs/aa/x/data";
    const AWAY: &str = "trash/aa/x/data";

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(&folder.path().join("root")).expect("a disk");
        (folder, disk)
    }

    fn text(disk: &Disk, key: &str) -> Option<String> {
        let bytes = disk.read(key, 100).expect("a file").map(|bytes| bytes.expect("small"));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn a_file_goes_and_comes_back_and_goes_again() {
        let (folder, disk) = disk();
        assert!(!disk.move_away(PLACE, AWAY).expect("nothing"));
        assert_eq!(disk.bring_back(AWAY, PLACE).expect("nothing"), None);
        assert!(!folder.path().join("root/blobs").exists(), "nothing is made for what is not there");
        disk.write(PLACE, b"bytes", Occupant::Any).expect("written");
        for _ in 0..3 {
            assert!(disk.move_away(PLACE, AWAY).expect("moved"));
            assert!(!disk.move_away(PLACE, AWAY).expect("it has gone already"));
            assert_eq!((text(&disk, PLACE), text(&disk, AWAY)), (None, Some("bytes".into())));
            assert!(!folder.path().join("root/blobs/aa/x").exists() && folder.path().join("root/blobs/aa").exists());
            for _ in 0..2 {
                assert_eq!(disk.bring_back(AWAY, PLACE).expect("brought back"), Some(5));
                assert_eq!((text(&disk, PLACE), text(&disk, AWAY)), (Some("bytes".into()), Some("bytes".into())));
            }
        }
        assert!(disk.remove(AWAY).expect("removed"));
        assert_eq!(disk.bring_back(AWAY, PLACE).expect("an answer"), Some(5), "it keeps its other name");
    }

    #[test]
    fn what_is_in_place_is_left_as_it_is() {
        let (_folder, disk) = disk();
        disk.write(AWAY, b"old", Occupant::Any).expect("written");
        disk.write(PLACE, b"new ones", Occupant::Any).expect("written");
        assert_eq!(disk.bring_back(AWAY, PLACE).expect("an answer"), Some(8));
        assert_eq!((text(&disk, PLACE), text(&disk, AWAY)), (Some("new ones".into()), Some("old".into())));
        assert!(disk.move_away(PLACE, AWAY).expect("moved"));
        assert_eq!((text(&disk, PLACE), text(&disk, AWAY)), (None, Some("new ones".into())));
    }

    /// Whoever comes in between: the bytes are in one of the two, always.
    #[test]
    fn bytes_are_never_in_neither_place() {
        let (_folder, disk) = disk();
        disk.write(PLACE, b"bytes", Occupant::Any).expect("written");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        disk.move_away(PLACE, AWAY).expect("moved");
                    }
                });
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        disk.bring_back(AWAY, PLACE).expect("brought back");
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..500 {
                    // In this order: who brings back leaves them in the trash.
                    let found = disk.size(PLACE).expect("a stat").or_else(|| disk.size(AWAY).expect("a stat"));
                    assert_eq!(found, Some(5));
                }
                over.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        });
        assert_eq!(disk.bring_back(AWAY, PLACE).expect("brought back"), Some(5));
    }

    #[test]
    fn no_symlink_leads_out() {
        let (folder, disk) = disk();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).expect("a folder");
        std::os::unix::fs::symlink(&outside, folder.path().join("root/trash")).expect("a link");
        disk.write(PLACE, b"bytes", Occupant::Any).expect("written");
        assert!(disk.move_away(PLACE, AWAY).is_err());
        assert_eq!(text(&disk, PLACE), Some("bytes".into()));
        assert_eq!(std::fs::read_dir(&outside).expect("a folder").count(), 0);
    }
}
