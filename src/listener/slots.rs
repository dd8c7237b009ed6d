//! The connection limit: who may be accepted, how many are open, and when the last one ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use prometheus::IntGauge;
use tokio::sync::watch;

pub(super) struct Slots {
    open: watch::Sender<usize>,
    limit: AtomicUsize,
    gauge: IntGauge,
}

/// The right of one connection to be open.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn new(limit: usize, gauge: IntGauge) -> Slots {
        Slots { open: watch::Sender::new(0), limit: AtomicUsize::new(limit), gauge }
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Takes effect on the next connection; those above a lowered limit stay.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Release);
        self.open.send_modify(|_| {});
    }

    /// Waits until fewer connections than the limit are open.
    pub(super) async fn room(&self) {
        self.wait_until(|open| open < self.limit.load(Acquire)).await;
    }

    /// Counts a connection. Only the task that waited for [`Self::room`] may, once for each wait.
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        self.open.send_modify(|open| *open += 1);
        self.gauge.inc();
        Slot(Arc::clone(self))
    }

    /// Waits until no connection is open.
    pub(super) async fn drained(&self) {
        self.wait_until(|open| open == 0).await;
    }

    async fn wait_until(&self, condition: impl Fn(usize) -> bool) {
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = self.open.subscribe().wait_for(|open| condition(*open)).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open = open.saturating_sub(1));
        self.0.gauge.dec();
    }
}
