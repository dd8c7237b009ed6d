//! Room on disk: what fills may take, and what must go for it.
//!
//! A fill of known size *promises* all of it at its start (so that two large fills do not both fail half way), but takes, and
//! evicts for it, only as its bytes come: a peer that announces 10 GiB and breaks has not emptied the cache.
//! Invariants: files + taken ≤ cap, promised ≤ cap, taken ≤ promised of each room.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Disk;
use super::leaving::free_to_leave;
use super::trailer;
use crate::oci::Digest;

/// Room is taken in such steps, so that the index is not locked for every chunk.
const STEP: u64 = 4 << 20;

/// Room of one fill; what is not handed over to the index returns when dropped.
pub(super) struct Room {
    disk: Arc<Disk>,
    promised: u64,
    taken: u64,
    /// The size was known at the start.
    known: bool,
}

impl Disk {
    /// Room for data of `total` bytes and its trailer; `None` when that can never be, or not now.
    pub(super) fn promise(self: &Arc<Self>, total: Option<u64>) -> Option<Room> {
        let size = total.map_or(0, |total| total.saturating_add(trailer::overhead(total)));
        let mut room = Room { disk: self.clone(), promised: 0, taken: 0, known: total.is_some() };
        // Everything of ours could be evicted for it; what others use of the file system could not.
        let fits = total.is_none() || self.free_bytes().is_none_or(|free| free.saturating_add(self.bytes()) >= size);
        (fits && self.stays_free(size) && room.raise_promise(size)).then_some(room)
    }

    /// Bytes that the file system still has for us, if it says so.
    fn free_bytes(&self) -> Option<u64> {
        let about = rustix::fs::statvfs(self.layout.fills()).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// Where some of the file system is to stay free: lets contents go until it does with `size` bytes more. False when all of them
    /// would not be enough.
    fn stays_free(&self, size: u64) -> bool {
        if !self.leaves_free.load(Ordering::Relaxed) {
            return true;
        }
        let Ok(about) = rustix::fs::statvfs(self.layout.fills()) else { return true };
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        let wanted = free_to_leave(about.f_blocks.saturating_mul(about.f_frsize)).saturating_add(size);
        let missing = wanted.saturating_sub(free);
        if missing == 0 {
            self.metrics.low.set(0);
            return true;
        }
        if missing > self.bytes() {
            self.tell_low();
            return false;
        }
        self.evict_bytes(missing)
    }

    /// Evicts until files and taken room leave `spare` bytes below the cap. The files' names are removed after the lock.
    fn make_room(&self, spare: u64, take: u64) -> bool {
        let cap = self.cap.load(Ordering::Relaxed);
        let mut victims = Vec::new();
        let mut state = self.state.lock();
        let fits = loop {
            if state.index.bytes() + state.taken + spare <= cap {
                state.taken += take;
                break true;
            }
            if !self.evict_next(&mut state, &mut victims) {
                break false;
            }
        };
        self.show(&state);
        drop(state);
        self.forget_files(&victims);
        fits
    }

    /// Evicts down to the cap, after that was lowered or a scan found more.
    pub(super) fn shrink(&self) {
        self.make_room(0, 0);
    }

    /// The file system is full although the cap is not reached: lets `bytes` of files go. False when none were left.
    fn evict_bytes(&self, bytes: u64) -> bool {
        let mut victims = Vec::new();
        let mut state = self.state.lock();
        let goal = state.index.bytes().saturating_sub(bytes);
        while state.index.bytes() > goal {
            if !self.evict_next(&mut state, &mut victims) {
                break;
            }
        }
        self.show(&state);
        drop(state);
        self.forget_files(&victims);
        !victims.is_empty()
    }

    fn forget_files(&self, digests: &[Digest]) {
        for digest in digests {
            self.metrics.disk.evictions.inc();
            self.unlink(digest);
        }
    }
}

impl Room {
    /// Room for `size` bytes in all.
    pub(super) fn grow(&mut self, size: u64) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
        if size <= self.taken {
            return Ok(());
        }
        let goal = size.div_ceil(STEP).saturating_mul(STEP);
        if !self.known && goal > self.promised && !self.raise_promise(goal) {
            return Err(full());
        }
        let goal = goal.min(self.promised);
        let more = goal.saturating_sub(self.taken);
        if goal < size || !self.disk.make_room(more, more) {
            return Err(full());
        }
        self.taken = goal;
        Ok(())
    }

    /// The file system had no place for the next `bytes`. Whether trying again makes sense.
    pub(super) fn after_no_space(&self, bytes: u64) -> bool {
        // A fill of unknown size might throw out everything and still not end.
        self.known && self.disk.evict_bytes(bytes.max(STEP))
    }

    /// The file of `size` bytes is in its place: from now on the index counts it.
    pub(super) fn hand_over(&mut self, digest: &Digest, size: u64, asked: bool) -> u64 {
        let mut state = self.disk.state.lock();
        state.taken -= self.taken;
        self.taken = 0;
        let seq = state.index.insert(*digest, size, asked);
        self.disk.show(&state);
        seq
    }

    fn raise_promise(&mut self, size: u64) -> bool {
        let more = size.saturating_sub(self.promised);
        let mut state = self.disk.state.lock();
        let fits = state.promised.checked_add(more).is_some_and(|sum| sum <= self.disk.cap.load(Ordering::Relaxed));
        if fits {
            state.promised += more;
            self.promised += more;
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        state.promised -= self.promised;
        state.taken -= self.taken;
        self.disk.show(&state);
    }
}
