//! Single flight: at most one fill per digest, and a bound on how many download at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::supply::Ticket;
use super::{Attended, Fill};
use crate::cache::digest_hash::DigestHash;
use crate::cache::origin::Origin;
use crate::oci::Digest;

/// So long a fill waits for others to end; then its content passes through.
const SLOT_WAIT: Duration = Duration::from_secs(10);

pub(in crate::cache) struct Fills {
    running: Mutex<HashMap<Digest, Arc<Fill>, DigestHash>>,
    slots: ArcSwap<Semaphore>,
}

/// How a request came to its fill.
pub(in crate::cache) enum Joined {
    /// The caller must start the task.
    New(Attended, Ticket),
    Running(Attended, Ticket),
    /// It was completed in the meantime.
    Complete,
}

impl Fills {
    pub(in crate::cache) fn new(max_fills: usize) -> Self {
        Fills { running: Mutex::default(), slots: ArcSwap::from_pointee(Semaphore::new(bounded(max_fills))) }
    }

    /// Joins the fill of `digest` or makes one, unless `is_complete` says that one has ended.
    pub(in crate::cache) fn join(
        &self,
        digest: &Digest,
        origin: Arc<dyn Origin>,
        is_complete: impl FnOnce() -> bool,
    ) -> Joined {
        let mut running = self.running.lock();
        if let Some(fill) = running.get(digest) {
            let ticket = fill.join(origin);
            return Joined::Running(Attended::new(fill), ticket);
        }
        // Asked under the lock: a fill keeps its content before it leaves the table.
        if is_complete() {
            return Joined::Complete;
        }
        let fill = Arc::new(Fill::new(*digest));
        let ticket = fill.join(origin);
        let attended = Attended::new(&fill);
        running.insert(*digest, fill);
        Joined::New(attended, ticket)
    }

    /// The fill of `digest`, if one is running.
    pub(in crate::cache) fn running(&self, digest: &Digest) -> Option<Attended> {
        self.running.lock().get(digest).map(Attended::new)
    }

    /// Takes the fill out if nobody waits for it or reads it; whether that is so.
    pub(super) fn leave_deserted(&self, fill: &Arc<Fill>) -> bool {
        let mut running = self.running.lock();
        // Under the lock, under which handles of a fill that is in the table are made.
        if fill.attending.load(Ordering::SeqCst) > 0 {
            return false;
        }
        if running.get(&fill.digest).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            running.remove(&fill.digest);
        }
        true
    }

    /// Takes the fill out, so that nobody joins it any more.
    pub(in crate::cache) fn leave(&self, fill: &Arc<Fill>) {
        let mut running = self.running.lock();
        if running.get(&fill.digest).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            running.remove(&fill.digest);
        }
    }

    /// Nothing of a running fill of `digest` is to be kept, and nobody joins it any more.
    pub(in crate::cache) fn purge(&self, digest: &Digest) {
        if let Some(fill) = self.running.lock().remove(digest) {
            fill.forbid_keeping();
        }
    }

    /// A place among the downloads; `None` when none came free in time.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = self.slots.load_full();
        tokio::time::timeout(SLOT_WAIT, slots.acquire_owned()).await.ok()?.ok()
    }

    /// Running fills keep their old places beside the new ones.
    pub(in crate::cache) fn reconfigure(&self, max_fills: usize) {
        self.slots.store(Arc::new(Semaphore::new(bounded(max_fills))));
    }

    /// Whether a complete content is still being written.
    pub(in crate::cache) fn any_finishing(&self) -> bool {
        self.running.lock().values().any(|fill| fill.complete().is_some())
    }
}

fn bounded(max_fills: usize) -> usize {
    max_fills.clamp(1, Semaphore::MAX_PERMITS)
}
