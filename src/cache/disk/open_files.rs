//! Files kept open for their next reader: a hit on one of them costs no system call but the read. Not a moka cache, which
//! lets go of removed values at its leisure: an evicted file must give its bytes back to the file system at once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::blob_file::BlobFile;
use crate::cache::digest_hash::DigestHash;
use crate::oci::Digest;

/// Files at most; fewer when the process may open few.
const MAX_FILES: u64 = 1024;
/// Memory for the checksum tables of these files.
const MAX_TABLES: u64 = 16 << 20;

pub(super) struct OpenFiles {
    files: Mutex<Files>,
    max_files: usize,
}

#[derive(Default)]
struct Files {
    by_digest: HashMap<Digest, (Arc<BlobFile>, u64), DigestHash>,
    tables: u64,
    clock: u64,
}

impl OpenFiles {
    pub(super) fn new() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        OpenFiles { files: Mutex::default(), max_files: (limit / 8).clamp(1, MAX_FILES) as usize }
    }

    /// The file, if it is that very one.
    pub(super) fn get(&self, digest: &Digest, seq: u64) -> Option<Arc<BlobFile>> {
        let mut files = self.files.lock();
        files.clock += 1;
        let now = files.clock;
        let (file, used) = files.by_digest.get_mut(digest).filter(|(file, _)| file.seq() == seq)?;
        *used = now;
        Some(file.clone())
    }

    pub(super) fn insert(&self, digest: &Digest, file: &Arc<BlobFile>) {
        let mut files = self.files.lock();
        files.remove(digest);
        files.clock += 1;
        files.tables += file.weight();
        let now = files.clock;
        files.by_digest.insert(*digest, (file.clone(), now));
        while files.by_digest.len() > self.max_files || (files.tables > MAX_TABLES && files.by_digest.len() > 1) {
            // A walk over some hundred entries, beside the opening of a file.
            let oldest = files.by_digest.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest);
            match oldest {
                Some(oldest) => files.remove(&oldest),
                None => break,
            }
        }
    }

    /// Closes it, unless readers still have it.
    pub(super) fn remove(&self, digest: &Digest) {
        self.files.lock().remove(digest);
    }
}

impl Files {
    fn remove(&mut self, digest: &Digest) {
        if let Some((file, _)) = self.by_digest.remove(digest) {
            self.tables -= file.weight();
        }
    }
}
