//! Local disk for bytes on their way to an object store, bounded in bytes over all uploads.
//!
//! A spool file loses its name as soon as it is open: the kernel frees it when its last user is gone, however that went.
//! What a crash can leave are empty files, from between two system calls; they are swept at start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SUFFIX: &str = ".spool";

pub(super) struct Spool {
    folder: PathBuf,
    size: u64,
    used: Arc<AtomicU64>,
}

/// A nameless file and the room that it takes.
pub(super) struct SpoolFile {
    pub(super) file: Arc<File>,
    pub(super) room: Room,
}

/// Bytes promised to one file; given back when dropped.
pub(super) struct Room {
    used: Arc<AtomicU64>,
    size: u64,
    taken: u64,
}

impl Spool {
    /// `used` is shared with the spool that this one replaces, if any.
    pub(super) fn new(folder: PathBuf, size: u64, used: Arc<AtomicU64>) -> Self {
        Spool { folder, size, used }
    }

    /// Sweeps the folder if it is there: at start. Blocks.
    pub(super) fn sweep(&self) {
        if self.size > 0 {
            sweep(&self.folder);
        }
    }

    pub(super) fn used(&self) -> Arc<AtomicU64> {
        self.used.clone()
    }

    /// Whether a file of so many bytes would fit now. Unknown: whether any would.
    pub(super) fn fits(&self, length: Option<u64>) -> bool {
        let free = self.size.saturating_sub(self.used.load(Ordering::Relaxed));
        length.unwrap_or(1) <= free && free > 0
    }

    /// Makes the folder on first use. Blocks.
    pub(super) fn create(&self) -> io::Result<SpoolFile> {
        let name = format!("{}-{:016x}{SUFFIX}", std::process::id(), rand::random::<u64>());
        let path = self.folder.join(name);
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.folder)?;
                open()?
            }
            other => other?,
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let room = Room { used: self.used.clone(), size: self.size, taken: 0 };
        Ok(SpoolFile { file: Arc::new(file), room })
    }
}

impl Room {
    /// So many bytes more; false when the spool has not got them.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.size);
        let granted = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if granted {
            self.taken += bytes;
        }
        granted
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// A file that a living process is just making loses its name a moment early: that does no harm.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
            _ = std::fs::remove_file(entry.path()); // at worst an empty file stays
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("made/on/first/use"), 100, Arc::default());
        let mut one = spool.create().unwrap();
        let mut two = spool.create().unwrap();
        assert!(one.room.grow(60) && !two.room.grow(41) && two.room.grow(40));
        assert!(!spool.fits(Some(1)) && !spool.fits(None));
        drop(one);
        assert!(spool.fits(Some(60)) && !spool.fits(Some(61)));
        drop(two);
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nothing_has_a_name_and_leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1-00.spool"), b"").unwrap();
        std::fs::write(folder.path().join("other"), b"").unwrap();
        let spool = Spool::new(folder.path().to_owned(), 100, Arc::default());
        spool.sweep();
        let _file = spool.create().unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["other"]);
    }
}
