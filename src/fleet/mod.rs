//! What the instances of a fleet have in common: a secret ([`secret`]), and what they tell each other, in Redis or, for one instance, in memory. Never the truth: losing it
//! costs speed only.
//!
//! Believed is what storage said at a time since which nothing was deleted from the repository. Each repository has a
//! *generation*, a random word; what is remembered carries the generation that was there *before* storage was asked, and
//! counts only while it is the current one. A deletion closes the repository first (no generation, nothing is believed or
//! remembered), and gives it a new generation afterwards. A generation never comes back, so it may be lost at any time.

pub mod config;

mod alone;
mod claim;
mod lease;
mod member;
mod metrics;
mod redis;
pub mod secret;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::oci::{Digest, RepositoryName};
use alone::Alone;
pub use claim::{Claim, Held};
pub use config::Config;
pub use lease::Lease;
use lease::LocalLeases;
pub use member::{Advertised, MemberConfig};
pub use metrics::Metrics;
use redis::Redis;
pub use redis::{Inspected, inspect};
pub use secret::FleetSecret;

/// How long a deletion that never said that it is done keeps its repository from being believed.
const CLOSED_FOR: Duration = Duration::from_secs(30);

/// Longest text that instances tell each other in one note or claim, in bytes.
pub const MAX_NOTE: usize = 4 << 10;

/// Memory or Redis.
pub struct Fleet {
    kind: Kind,
    leases: Arc<LocalLeases>,
    metrics: Arc<Metrics>,
}

enum Kind {
    Redis(Arc<Redis>),
    Alone(Arc<Alone>),
    /// Others write, and there is no way to tell them: nothing is remembered.
    Nothing,
    /// Redis is configured and cannot be used: nothing is remembered, and nothing may be deleted.
    Broken(String),
}

/// What is known of a blob or manifest that a repository holds. A digest that is both, a layer and a manifest, has one
/// entry: `media_type` tells which of the two was remembered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub size: u64,
    /// Of manifests.
    pub media_type: Option<String>,
}

/// The answer to "does this repository hold this content?".
#[derive(Debug)]
pub enum Lookup {
    Held(Holding),
    /// Not known: ask storage, then `remember` with this ticket.
    Unknown(Ticket),
}

/// Proof of when storage was asked: what is remembered with it is forgotten by every deletion since. A ticket of a time
/// at which nothing may be remembered (Redis down, a deletion under way) is silently useless.
#[derive(Debug)]
pub struct Ticket(Proof);

#[derive(Debug)]
enum Proof {
    Redis(redis::Ticket),
    Alone(alone::Generation),
    Useless,
}

/// A deletion under way in one repository: nothing of the repository is believed until `done`, or until it times out
/// (30 s), which is what dropping it leaves to happen.
pub struct Deleting(Closed);

enum Closed {
    Redis(redis::Deleting),
    Alone(alone::Deleting),
    Nothing,
}

/// Nobody can be told, so nothing may be deleted now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the instances of the fleet cannot be told: {0}")]
pub struct Unreachable(pub String);

impl Fleet {
    /// `alone`: this process is the only instance that can write to the storage (memory storage), or every lookup is
    /// cheap enough to be asked of storage anyway. Without Redis and not alone, nothing about membership is remembered.
    ///
    /// Does not need Redis to answer: waits once, as long as connecting may take, then goes on trying beside.
    pub async fn open(config: Option<&Config>, alone: bool, metrics: Arc<Metrics>) -> Arc<Self> {
        let kind = match config {
            Some(config) => match Redis::open(config, &metrics).await {
                Ok(redis) => Kind::Redis(redis),
                Err(reason) => {
                    error!(server = %config.url, reason, "Redis cannot be used: nothing can be deleted");
                    metrics.up(&config.url.to_string()).set(0);
                    Kind::Broken(reason)
                }
            },
            None if alone => Kind::Alone(Arc::new(Alone::new())),
            None => Kind::Nothing,
        };
        Arc::new(Fleet { kind, leases: Arc::new(LocalLeases::default()), metrics })
    }

    /// Whether Redis answers, as far as is known now; `None`: there is none.
    pub fn answers(&self) -> Option<bool> {
        match &self.kind {
            Kind::Redis(redis) => Some(redis.answers()),
            Kind::Broken(_) => Some(false),
            Kind::Alone(_) | Kind::Nothing => None,
        }
    }

    /// One round trip to Redis, or none.
    pub async fn lookup(&self, name: &RepositoryName, digest: &Digest) -> Lookup {
        let found = match &self.kind {
            Kind::Redis(redis) => redis.lookup(name, digest).await.inspect_err(|_| self.metrics.errors.inc()).ok(),
            Kind::Alone(memory) => Some(memory.lookup(name, digest)),
            Kind::Nothing => return Lookup::Unknown(Ticket(Proof::Useless)),
            Kind::Broken(_) => {
                self.metrics.errors.inc();
                None
            }
        };
        self.metrics.requests.inc();
        if matches!(found, Some(Lookup::Held(_))) {
            self.metrics.hits.inc();
        }
        found.unwrap_or(Lookup::Unknown(Ticket(Proof::Useless)))
    }

    /// One round trip to Redis, or none. That it could not be remembered is no error.
    pub async fn remember(&self, ticket: Ticket, name: &RepositoryName, digest: &Digest, descriptor: &Holding) {
        match (&self.kind, ticket.0) {
            (Kind::Redis(redis), Proof::Redis(ticket)) => redis.remember(ticket, name, digest, descriptor).await,
            (Kind::Alone(memory), Proof::Alone(generation)) => memory.remember(generation, name, digest, descriptor),
            _ => {}
        }
    }

    /// Called before something of a repository is deleted. Tries for two seconds to reach Redis.
    pub async fn deleting(&self, name: &RepositoryName) -> Result<Deleting, Unreachable> {
        Ok(Deleting(match &self.kind {
            Kind::Redis(redis) => Closed::Redis(redis.deleting(name).await?),
            Kind::Alone(memory) => Closed::Alone(memory.deleting(name)),
            Kind::Nothing => Closed::Nothing,
            Kind::Broken(reason) => return Err(Unreachable(reason.clone())),
        }))
    }

    /// Counts a use of `key` by all instances together (GCRA): `cost` is how long it takes to wear off, and no more than `room` may be
    /// there at once. The error says after how long it would fit. `None`: there is no Redis, or no answer in time.
    pub async fn count(&self, key: &str, cost: Duration, room: Duration) -> Option<Result<(), Duration>> {
        match &self.kind {
            Kind::Redis(redis) => redis.count(key, cost, room).await.ok(),
            Kind::Alone(_) | Kind::Nothing | Kind::Broken(_) => None,
        }
    }

    /// Says that this instance does what `key` names for `time`, unless another one does already. `holder` is what the others are told:
    /// where to find it, at most [`MAX_NOTE`] bytes. An economy as [`Self::lease`] is: whoever cannot be told does it too.
    pub async fn claim(&self, key: &str, holder: &str, time: Duration) -> Claim {
        match &self.kind {
            Kind::Redis(redis) if holder.len() <= MAX_NOTE => claim::claim(redis, key, holder, time).await,
            _ => Claim::Nobody,
        }
    }

    /// Tells all instances something small, at most [`MAX_NOTE`] bytes, for `time`. Best effort: the last word counts, and any may be
    /// lost.
    pub async fn note(&self, key: &str, value: &str, time: Duration) {
        if let Kind::Redis(redis) = &self.kind
            && value.len() <= MAX_NOTE
        {
            redis.note(key, value, time).await;
        }
    }

    /// What was noted last, if Redis is there and says it within `redis.command_timeout`.
    pub async fn noted(&self, key: &str) -> Option<String> {
        match &self.kind {
            Kind::Redis(redis) => redis.noted(key).await,
            Kind::Alone(_) | Kind::Nothing | Kind::Broken(_) => None,
        }
    }

    /// `None`: another instance has it, or nobody can tell. Without Redis it is the only one in *this process*, and says
    /// nothing of other instances. It is an economy, never a lock: a holder that is slower than `time` is not alone.
    pub async fn lease(&self, job: &'static str, time: Duration) -> Option<Lease> {
        match &self.kind {
            Kind::Redis(redis) => redis.lease(job, time).await,
            Kind::Alone(_) | Kind::Nothing => self.leases.take(job, time),
            Kind::Broken(_) => None,
        }
    }
}

impl Deleting {
    /// Called when storage has deleted it, before that is acknowledged.
    pub async fn done(self) {
        match self.0 {
            Closed::Redis(deleting) => deleting.done().await,
            Closed::Alone(deleting) => deleting.done(),
            Closed::Nothing => {}
        }
    }
}
