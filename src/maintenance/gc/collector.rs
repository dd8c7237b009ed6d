//! The door of the room.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::FutureExt as _;

use super::config::Config;
use super::error::GcError;
use super::lease;
use super::report::{Order, Paused, Report, Restored, Status, Tell, Undelete};
use super::state::{self, Phase};
use super::time::{Clock, Time};
use super::unlinked::{Entries, Part};
use super::work::{LastPulls, Parts, Tools, paused};
use crate::registry::quota;
use crate::storage::format;
use crate::storage::{OwnKey, Precondition};

/// Collects the garbage of one storage: see the room's description. Made anew when the configuration changes.
pub struct Collector {
    pub(super) tools: Tools,
    pub(super) config: Config,
}

impl Collector {
    pub fn new(parts: Parts, config: Config) -> Self {
        let Parts { storage, fleet, metrics } = parts;
        let clock = Clock::default();
        Collector { tools: Tools { storage, fleet, metrics, clock, pulls: None, quotas: Vec::new() }, config }
    }

    /// Without one, manifests that no tag leads to stay where `[gc] untagged` is a span since their last pull.
    #[must_use]
    pub fn with_pulls(mut self, pulls: Arc<dyn LastPulls>) -> Self {
        self.tools.pulls = Some(pulls);
        self
    }

    /// What their repositories hold is counted again by each run, which goes through all of it anyway.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Vec<quota::Config>) -> Self {
        self.tools.quotas = quotas;
        self
    }

    #[cfg(test)]
    #[must_use]
    pub(super) fn with_clock(mut self, clock: Clock) -> Self {
        self.tools.clock = clock;
        self
    }

    /// Collects, or says what it would do. One that was cut off before, by whatever, goes on.
    ///
    /// # Errors
    /// What was done until then is good, and the next run goes on from there.
    pub async fn run(&self, order: Order, tell: &dyn Tell) -> Result<Report, GcError> {
        if let Some((key, what)) = self.config.faults().into_iter().next() {
            return Err(GcError::Config(key, what));
        }
        if order.dry {
            return self.plan(&order, tell).boxed().await;
        }
        let outcome = self.alone(&order, tell).boxed().await;
        match &outcome {
            Ok(report) => {
                let counts = &report.counts;
                tracing::info!(
                    run = report.run,
                    condemned = counts.condemned_blobs + counts.condemned_manifests,
                    moved = counts.moved,
                    deleted = counts.deleted,
                    freed = counts.freed_bytes,
                    "a collection has ended"
                );
            }
            Err(error @ (GcError::UnderWay { .. } | GcError::Paused { .. })) => {
                self.tools.metrics.refused();
                tracing::info!(%error, "a collection did not begin");
            }
            Err(error) => tracing::error!(%error, "a collection was cut off: the next one goes on"),
        }
        outcome
    }

    /// How it stands, as far as it is written down.
    pub async fn status(&self) -> Result<Status, GcError> {
        let storage = &self.tools.storage;
        let now = self.tools.clock.now(storage).await.unwrap_or_else(|_| SystemTime::now());
        let state = state::read(storage).await?.map(|(state, _)| state);
        let is_held = lease::is_held(&self.tools, self.lease_over(), now).await?;
        let (running, last) = match state.as_ref().map(|state| state.status()) {
            Some(run) if is_held && run.ended.is_none() && run.phase != Phase::Done => (Some(run), None),
            last => (None, last),
        };
        let mut status = Status {
            running,
            last,
            unlinked: Default::default(),
            due: Default::default(),
            next_due: None,
            trash: Default::default(),
            paused: paused(storage).await?,
        };
        self.heaps(&mut status, now).await?;
        self.tools.metrics.show(&status, state.and_then(|state| state.last_good));
        Ok(status)
    }

    async fn heaps(&self, status: &mut Status, now: SystemTime) -> Result<(), GcError> {
        let (grace, reap_after) = (self.config.grace.0, self.config.reap_after.0);
        for part in Part::written(&self.tools.storage).await? {
            let entries = Entries::read(&self.tools.storage, part).await?;
            for entry in entries.by_digest.values() {
                let place = entry.since.map(|since| since.plus(reap_after));
                let copies = entry.copies.iter().map(|copy| copy.moved.plus(grace));
                if place.is_some() {
                    status.unlinked.add(entry.size);
                }
                entry.copies.iter().for_each(|_| status.trash.add(entry.size));
                for due in place.into_iter().chain(copies) {
                    match due.get() <= now {
                        true => status.due.add(entry.size),
                        false => status.next_due = Some(status.next_due.map_or(due, |next| next.min(due))),
                    }
                }
            }
        }
        Ok(())
    }

    /// Brings back what was taken away, as far as its bytes are there.
    ///
    /// # Errors
    /// `GcError::Unknown`: nothing of that was taken, or too long ago.
    pub async fn undelete(&self, what: Undelete, tell: &dyn Tell) -> Result<Restored, GcError> {
        super::undelete::undelete(&self.tools, &what, tell).boxed().await
    }

    /// From now on no collection begins, and one under way waits, on whatever instance, until somebody lets them go on.
    pub async fn pause(&self, by: &str) -> Result<Paused, GcError> {
        let storage = &self.tools.storage;
        if let Some(paused) = paused(storage).await? {
            return Ok(paused);
        }
        let since = self.tools.clock.now(storage).await?;
        let paused = Paused { since: Time::of(since), by: by.to_owned() };
        storage.own_put(&OwnKey::GcPaused, format::write(&paused)?.into(), Precondition::None).await?;
        Ok(paused)
    }

    /// False if they were not paused.
    pub async fn resume(&self) -> Result<bool, GcError> {
        let was = paused(&self.tools.storage).await?.is_some();
        self.tools.storage.own_delete(&OwnKey::GcPaused).await?;
        Ok(was)
    }

    /// How long a run that is not heard of keeps others from beginning.
    pub(super) fn lease_over(&self) -> Duration {
        match self.config.short_times {
            true => self.config.grace.0.clamp(Duration::from_secs(2), lease::OVER),
            false => lease::OVER,
        }
    }
}
