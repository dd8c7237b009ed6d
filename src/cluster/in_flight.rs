//! A request under way at a peer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::{info, warn};

use super::peer::Peer;
use super::queue::Queue;
use super::state::{Change, now};

const UNTOLD: u8 = 0;
const SUCCEEDED: u8 = 1;
const FAILED: u8 = 2;

/// Counts a request as under way from [`Cluster::pick`](super::Cluster::pick) until it is dropped.
///
/// Drop it when the peer's last byte has come, not when a slow client has taken it.
pub struct InFlight {
    peer: Arc<Peer>,
    queue: Arc<Queue>,
    outcome: AtomicU8,
}

impl InFlight {
    /// The peer's state must have been entered.
    pub(super) fn new(peer: Arc<Peer>, queue: Arc<Queue>) -> Self {
        InFlight { peer, queue, outcome: AtomicU8::new(UNTOLD) }
    }

    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The peer broke the exchange: counts towards `max_fails`. Not for what the client did.
    pub fn failed(&self) {
        self.outcome.store(FAILED, Ordering::Relaxed);
        let policy = self.peer.policy;
        if self.peer.state.failed(now(), policy.max_fails, policy.fail_timeout) == Change::Ejected {
            warn!(peer = %self.peer.address(), fails = policy.max_fails, "peer set aside after failures");
        }
    }

    /// The peer answered: resets the count of failures.
    pub fn succeeded(&self) {
        // A body that breaks after a good head is still a failed request.
        let _ = self.outcome.compare_exchange(UNTOLD, SUCCEEDED, Ordering::Relaxed, Ordering::Relaxed);
        if self.peer.state.succeeded(now()) == Change::Returned {
            info!(peer = %self.peer.address(), "peer is back after failures");
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("peer", &self.peer.address()).finish_non_exhaustive()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.peer.state.leave();
        self.queue.freed();
        let outcomes = &self.peer.outcomes;
        match self.outcome.load(Ordering::Relaxed) {
            SUCCEEDED => outcomes.succeeded.inc(),
            FAILED => outcomes.failed.inc(),
            _ => outcomes.abandoned.inc(),
        }
    }
}
