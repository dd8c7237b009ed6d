//! Replaces files of our own only if nobody else did meanwhile, also not another process on the same volume.

use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::change::Occupant;
use super::{Disk, split};
use crate::storage::layout;

/// How long other processes may keep the lock; it is held for a few fsyncs.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

impl Disk {
    /// Writes if `unchanged` says so of the present content. False: it did not.
    pub(super) fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        limit: u64,
        unchanged: impl FnOnce(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let _threads = self.lock.lock();
        let (path, name) = split(layout::LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder(path)?.handle, name, flags, Mode::from_raw_mode(0o666))?;
        let deadline = Instant::now() + PATIENCE;
        // Unlocked when the file is closed, also by the kernel when we die.
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
        match self.read(key, limit)? {
            Some(Ok(present)) if unchanged(&present) => self.write(key, bytes, Occupant::Any).map(|()| true),
            _ => Ok(false),
        }
    }
}
