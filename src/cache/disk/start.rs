//! Opening the folder, remembering the order over restarts, closing. Every call may block.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::Disk;
use super::index::Saved;
use super::scan::{self, Seen};
use super::snapshot;
use crate::cache::error::Error;

/// How often the eviction order is saved while contents come in.
const SAVE_EVERY: Duration = Duration::from_secs(300);

impl Disk {
    /// Takes the folder and finds what it holds. Contents admitted meanwhile stay.
    pub(in crate::cache) fn load(&self) -> Result<(), Error> {
        let begun = Instant::now();
        self.prepare(|_| false)?;
        let saved = snapshot::read(&self.layout.index());
        let seen = scan::scan(&self.layout.blobs(), &snapshot::sizes(&saved));
        let count = seen.len();
        self.restore(saved, seen);
        self.shrink();
        tracing::info!(entries = count, bytes = self.bytes(), elapsed = ?begun.elapsed(), "cache folder read");
        Ok(())
    }

    /// Creates the folders, takes the lock, removes what interrupted fills left, but files of such names as `stays` says.
    pub(super) fn prepare(&self, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
        let folder = |source| Error::Folder { path: self.layout.root().to_owned(), source };
        for path in [self.layout.blobs(), self.layout.fills()] {
            match std::fs::create_dir_all(path) {
                // A disk that is full or worn out must not keep us from serving; what can be read is.
                Err(error) if disk_is_unwell(&error) => {
                    tracing::warn!(%error, path = %self.layout.root().display(), "the cache folder cannot be written");
                    return Ok(());
                }
                other => other.map_err(folder)?,
            }
        }
        match File::create(self.layout.lock()) {
            Ok(file) => self.take_lock(file)?,
            Err(error) if disk_is_unwell(&error) => self.pause(&error),
            Err(error) => return Err(folder(error)),
        }
        for entry in std::fs::read_dir(self.layout.fills()).map_err(folder)?.flatten() {
            let stays = entry.file_name().to_str().is_some_and(&stays);
            if entry.path() != self.layout.lock() && !stays {
                _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn take_lock(&self, file: File) -> Result<(), Error> {
        let mut held = self.lock.lock();
        if held.is_some() {
            return Ok(()); // ours already: the tier is switched on again by a reload
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(Error::InUse(self.layout.root().to_owned())),
            // A file system without locks: nothing to be done, and two processes would only lose work.
            _ => {
                *held = Some(file);
                Ok(())
            }
        }
    }

    /// Order: what the snapshot lists, as it lists it, then what came later, by its time.
    pub(super) fn restore(&self, saved: Vec<Saved>, seen: Vec<Seen>) {
        let (listed, mut later): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.modified.is_none());
        later.sort_by_key(|seen| seen.modified);
        let exists: std::collections::HashSet<_> = listed.into_iter().map(|seen| seen.digest).collect();
        let mut state = self.state.lock();
        for entry in saved.into_iter().filter(|entry| exists.contains(&entry.digest)) {
            state.index.restore(entry);
        }
        for Seen { digest, size, .. } in later {
            state.index.restore(Saved { digest, size, frequency: 0, in_main: false });
        }
        self.show(&state);
    }

    pub(super) fn save_if_due(&self) {
        let mut last = self.saved_at.lock();
        if last.elapsed() >= SAVE_EVERY {
            *last = Instant::now();
            drop(last);
            self.save();
        }
    }

    /// Saves the eviction order. Failing costs only a slower start.
    pub(in crate::cache) fn save(&self) {
        let _one_at_a_time = self.saving.lock();
        if *self.guest.read_recursive() {
            return;
        }
        let entries = self.state.lock().index.saved();
        if let Err(error) = snapshot::write(&self.layout.index(), &entries) {
            tracing::warn!(%error, "the cache index could not be saved");
        }
    }

    /// Gives the folder free for another process.
    pub(in crate::cache) fn close(&self) {
        self.lock.lock().take();
    }
}

/// Errors of a disk, as against those of a wrong path or missing rights, which the operator should hear of at start.
fn disk_is_unwell(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let input_output = Some(rustix::io::Errno::IO.raw_os_error());
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull) || error.raw_os_error() == input_output
}
