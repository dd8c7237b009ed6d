//! What leaves the disk when room is needed, and how much of a file system is never used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Books, Disk};
use crate::cache::groups::Groups;
use crate::oci::Digest;

/// Of a file system that is not ours alone so much is left free: a twentieth, and no less than this.
const RESERVE_PART: u64 = 20;
const RESERVE: u64 = 1 << 30;

/// Bytes to be left free of a file system of so many.
pub fn free_to_leave(total: u64) -> u64 {
    (total / RESERVE_PART).max(RESERVE)
}

impl Disk {
    pub(in crate::cache) fn group_by(&self, groups: Arc<dyn Groups>) {
        *self.groups.lock() = Some(groups);
    }

    pub(in crate::cache) fn leave_free(&self) {
        self.leaves_free.store(true, Ordering::Relaxed);
    }

    /// Takes out of the books what goes first: one content, or those that are worth less together. False: nothing is left.
    pub(super) fn evict_next(&self, books: &mut Books, victims: &mut Vec<Digest>) -> bool {
        let Some(evicted) = books.index.evict() else { return false };
        let victim = evicted.digest();
        let groups = self.groups.lock().clone();
        let together = groups.map(|groups| groups.leaving(&victim)).unwrap_or_default();
        if together.contains(&victim) || !together.iter().any(|digest| books.index.contains(digest)) {
            victims.push(victim);
        } else {
            books.index.put_back(evicted);
        }
        victims.extend(together.into_iter().filter(|digest| books.index.remove(digest)));
        true
    }

    /// Said once each time that it becomes so.
    pub(super) fn tell_low(&self) {
        if self.metrics.low.get() == 0 {
            tracing::warn!(
                "the cache's file system is nearly full: contents pass through until others need less of it"
            );
        }
        self.metrics.low.set(1);
    }
}
