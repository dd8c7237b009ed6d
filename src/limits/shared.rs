//! The count of the whole fleet. It never holds anybody up for long: whoever gets no answer goes by this instance's own count, and
//! so does everybody for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Kind, Subject};
use crate::fleet::Fleet;

/// How long nobody asks after there was no answer.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    fleet: Arc<Fleet>,
    began: Instant,
    /// Milliseconds after `began` until which each instance counts alone.
    alone_until: AtomicU64,
}

impl Shared {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Shared { fleet, began: Instant::now(), alone_until: AtomicU64::new(0) }
    }

    /// `cost`, of the `room` that there is: see [`Fleet::count`].
    ///
    /// # Errors
    /// It is too much now: after so long it would not be.
    pub(super) async fn take(
        &self,
        kind: Kind,
        subject: Subject<'_>,
        (cost, room): (Duration, Duration),
    ) -> Result<(), Duration> {
        let now = self.milliseconds();
        if now < self.alone_until.load(Relaxed) {
            return Ok(());
        }
        let key = format!("{}:{}", kind.word(), subject.word());
        self.fleet.count(&key, cost, room).await.unwrap_or_else(|| {
            let pause = u64::try_from(PAUSE.as_millis()).unwrap_or_default();
            self.alone_until.store(self.milliseconds() + pause, Relaxed);
            Ok(())
        })
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 1)
    }
}
