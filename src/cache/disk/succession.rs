//! One folder for two processes, while one takes the other's place: both read, one writes. Every call may block.
//!
//! Who may not write adds nothing, evicts nothing and removes no file, since a name may be the other's new file by now; what the other
//! evicts is found to be gone when it is opened.

use std::collections::HashSet;
use std::time::Instant;

use super::Disk;
use super::scan;
use super::snapshot;
use crate::cache::error::Error;
use crate::oci::Digest;

impl Disk {
    /// Finds what the folder holds, while another process writes there.
    pub(in crate::cache) fn load_as_guest(&self) {
        let begun = Instant::now();
        *self.guest.write() = true;
        let saved = snapshot::read(&self.layout.index());
        let seen = scan::scan(&self.layout.blobs(), &snapshot::sizes(&saved));
        let count = seen.len();
        self.restore(saved, seen);
        tracing::info!(entries = count, elapsed = ?begun.elapsed(), "cache folder read, beside the process that writes there");
    }

    /// Gives the folder to another process, which finds out by itself what is there. Files that are being written get no name meanwhile.
    pub(in crate::cache) fn hand_over(&self) {
        // Waits for whoever is just giving a file its name.
        *self.guest.write() = true;
        self.close();
    }

    /// Writes from now on; the other process does not any more.
    pub(in crate::cache) fn take_over(&self) -> Result<(), Error> {
        if self.is_on() {
            // What the other has begun has no name, and gets none. What we ourselves have, if nobody took the folder, goes on.
            let own = format!("{}-", std::process::id());
            self.prepare(|name| name.starts_with(&own))?;
        }
        *self.guest.write() = false;
        Ok(())
    }

    /// Learns what has come and gone in the folder while it was another's.
    pub(in crate::cache) fn catch_up(&self) {
        if !self.is_on() {
            return;
        }
        let known = self.state.lock().index.saved();
        let seen = scan::scan(&self.layout.blobs(), &snapshot::sizes(&known));
        let there: HashSet<Digest> = seen.iter().map(|seen| seen.digest).collect();
        let gone = known.iter().filter(|entry| !there.contains(&entry.digest));
        let mut state = self.state.lock();
        for entry in gone {
            state.index.remove(&entry.digest);
        }
        drop(state);
        self.restore(Vec::new(), seen.into_iter().filter(|seen| seen.modified.is_some()).collect());
        self.shrink();
    }
}
