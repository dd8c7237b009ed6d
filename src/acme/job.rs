//! One certificate of the configuration: what is known of it, and the place from which listeners show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::config::Kind;
use super::held::Ready;
use super::kept::Certificate;
use super::metrics::Metrics;
use super::names::Names;
use super::plan::{Life, Told};
use crate::listener::Slot;

/// One certificate of the configuration.
pub struct Job {
    pub names: Names,
    pub id: String,
    /// The ways in which its names can be proven here.
    pub ways: Vec<Kind>,
    pub slot: Arc<Slot>,
    pub state: Arc<State>,
}

/// What is known of it, also by the next configuration that names it.
#[derive(Default)]
pub struct State {
    pub shown: Mutex<Shown>,
    /// It came, and could not be written down yet.
    pub unsaved: Mutex<Option<Certificate>>,
    /// The configuration that names it counts. Changed under the lock of `shown`.
    in_force: AtomicBool,
    /// It was looked for a certificate of somebody else's for these names.
    pub last_sought: AtomicBool,
}

/// What operators are told.
#[derive(Clone, Default)]
pub struct Shown {
    pub life: Option<Life>,
    pub next: Option<u64>,
    pub failures: u32,
    pub last_error: Option<Told>,
    /// Of our own storage, now.
    pub trouble: Option<String>,
    pub ordering: bool,
}

impl Job {
    pub fn new(names: Names, id: String, ways: Vec<Kind>, slot: Arc<Slot>) -> Self {
        Job { names, id, ways, slot, state: Arc::default() }
    }

    /// The same certificate in another configuration.
    pub fn anew(&self, ways: Vec<Kind>) -> Self {
        let (names, id) = (self.names.clone(), self.id.clone());
        Job { names, id, ways, slot: self.slot.clone(), state: self.state.clone() }
    }

    pub fn shown(&self) -> Shown {
        self.state.shown.lock().clone()
    }

    pub fn is_in_force(&self) -> bool {
        self.state.in_force.load(Ordering::Relaxed)
    }

    /// The configuration that names it counts from now on. Told at once: whoever watches learns also of what cannot be read.
    pub fn begin(&self, metrics: &Metrics) {
        let shown = self.state.shown.lock();
        self.state.in_force.store(true, Ordering::Relaxed);
        metrics.tell(&self.names, shown.next.unwrap_or_default(), shown.failures);
    }

    /// No configuration that counts names it any more.
    pub fn retire(&self, metrics: &Metrics) {
        let _shown = self.state.shown.lock();
        self.state.in_force.store(false, Ordering::Relaxed);
        metrics.forget(&self.names);
    }

    /// Listeners show it from now on, unless they show a newer one, or what they show is not for us to change.
    pub fn install(&self, ready: &Ready, now: u64) {
        let mut shown = self.state.shown.lock();
        let newer = |life: &Life| life.obtained <= ready.life.obtained && life.fingerprint != ready.life.fingerprint;
        // One that has ended does not take the place of one that lasts.
        let has_ended = |present: i64| ready.life.until <= now && present > ready.held.until;
        let stays = self.slot.held().is_some_and(|held| !self.is_in_force() || has_ended(held.until));
        if shown.life.as_ref().is_none_or(newer) && !stays {
            tracing::info!(names = ?self.names.list(), until = ready.life.until, "a certificate is in use");
            self.slot.put(ready.held.clone());
            shown.life = Some(ready.life.clone());
        }
    }
}
