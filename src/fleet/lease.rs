//! Who does a job of which one is enough.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A job that one instance of the fleet does; ends when dropped or after its time.
pub struct Lease {
    /// Its drop gives the job back.
    _held: Box<dyn Send + Sync>,
}

impl Lease {
    pub(super) fn new(held: impl Send + Sync + 'static) -> Self {
        Lease { _held: Box::new(held) }
    }
}

/// The leases of one process. As many as there are words for jobs in the code.
#[derive(Default)]
pub(super) struct LocalLeases(Mutex<HashMap<&'static str, Instant>>);

struct Local {
    job: &'static str,
    until: Instant,
    leases: Arc<LocalLeases>,
}

impl LocalLeases {
    pub(super) fn take(self: &Arc<Self>, job: &'static str, time: Duration) -> Option<Lease> {
        let now = Instant::now();
        let mut leases = self.0.lock();
        if leases.get(job).is_some_and(|until| now < *until) {
            return None;
        }
        let until = now + time;
        leases.insert(job, until);
        Some(Lease::new(Local { job, until, leases: Arc::clone(self) }))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut leases = self.leases.0.lock();
        // Another's, if this one took longer than its time.
        if leases.get(self.job) == Some(&self.until) {
            leases.remove(self.job);
        }
    }
}
