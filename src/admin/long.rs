//! Requests that take longer than a probe: few at once, each within a time of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Of the admin endpoint's connections, these at most are for what takes long.
const MAX_LONG: usize = 8;

/// The places for what takes long, of one admin endpoint.
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Places(Arc::new(Semaphore::new(MAX_LONG)))
    }
}

impl Places {
    pub(super) fn of_one_connection(&self) -> Long {
        Long { places: self.0.clone(), seconds: Arc::default() }
    }
}

/// How long one connection may last beyond the usual.
#[derive(Clone)]
pub(super) struct Long {
    places: Arc<Semaphore>,
    seconds: Arc<AtomicU64>,
}

impl Long {
    /// A place, and this time from the connection's beginning; `None`: all places are taken. The place is given back when
    /// the permit is dropped.
    pub(super) fn begin(&self, time: Duration) -> Option<OwnedSemaphorePermit> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        self.seconds.store(time.as_secs(), Ordering::Relaxed);
        Some(permit)
    }

    /// Resolves when a connection that begins now has lasted as long as it may: `usual`, or what its request said meanwhile.
    pub(super) async fn expired(&self, usual: Duration) {
        sleep(usual).await;
        sleep(Duration::from_secs(self.seconds.load(Ordering::Relaxed)).saturating_sub(usual)).await;
    }
}
