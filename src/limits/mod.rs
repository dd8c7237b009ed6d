//! How much one client may ask for: requests, logins and uploads, by address and by who asks.
//!
//! - `config`: `[limits]`, and what a rate is; `weight`: what a request counts for
//! - `source`: an address as it is counted; `bucket`, `table`: the count of this instance, bounded in memory
//! - `shared`: the count of the whole fleet, where there is a Redis; `uploads`: those under way
//!
//! Each instance counts for itself first, which costs a look into a table. Where instances share a Redis, what this instance lets
//! through is counted there too, and that count decides; while Redis does not answer in time, each instance's own does.

mod bucket;
pub mod config;
mod metrics;
mod shared;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod uploads;
pub mod weight;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use governor::clock::MonotonicClock;
use moka::sync::Cache;

use crate::fleet::Fleet;
use bucket::Bucket;
pub use config::Config;
pub use metrics::Metrics;
use shared::Shared;
pub use source::{Source, Subject};
pub use uploads::Place;
use uploads::Uploads;

/// Logins that were right, each with where it came from, are not counted there again: who floods a name does not shut out those who
/// have its password. Some 5 MiB.
const MAX_KNOWN: u64 = 50_000;
/// … as long as they come again within this.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// So many addresses guess as often as they may before a name that they guess at is tried too often: one alone does not keep
/// anybody from logging in elsewhere.
const NAME: u32 = 8;
/// How often those who have been quiet are forgotten.
const SWEEP: Duration = Duration::from_secs(10);
/// A client whose uploads are all under way may ask again after this.
const UPLOAD_WAIT: Duration = Duration::from_secs(1);

/// What was asked for too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Requests,
    Logins,
    Uploads,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Requests => "requests",
            Kind::Logins => "logins",
            Kind::Uploads => "uploads",
        }
    }
}

/// It was too much: to be asked again after `wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {} from one client: come again later", .kind.word())]
pub struct Limited {
    pub kind: Kind,
    pub wait: Duration,
}

/// The limits of one configuration, and the counts. A reload that does not change them keeps them.
pub struct Limits {
    config: Config,
    requests: Option<Bucket>,
    logins: Option<Bucket>,
    /// The same, of the names that are tried.
    names: Option<Bucket>,
    uploads: Option<Uploads>,
    known: Cache<u64, ()>,
    shared: Option<Shared>,
    /// Keys are hashed under a secret of this process: nobody can choose them to collide.
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// A login that may be tried; what came of it is told to [`Limits::tried`].
pub struct Attempt {
    login: u64,
    /// It is counted, as the addresses' and the names' of these keys.
    counted: Option<(u64, Option<u64>)>,
}

impl Limits {
    /// `fleet`: where the instances count together.
    pub fn new(config: &Config, fleet: Option<Arc<Fleet>>, metrics: Arc<Metrics>) -> Arc<Self> {
        let bucket = |rate: &Option<config::Rate>, units, least| {
            rate.map(|rate| Bucket::new(rate, config.burst, (units, least), MonotonicClock))
        };
        let limits = Arc::new(Limits {
            requests: bucket(&config.requests, weight::REQUEST, weight::MOST),
            logins: bucket(&config.logins, weight::LOGIN, weight::WRONG),
            names: bucket(&config.logins.map(|rate| rate.times(NAME)), weight::LOGIN, weight::WRONG * NAME),
            uploads: config.uploads.map(Uploads::new),
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_idle(KNOWN_FOR).build(),
            shared: fleet.map(Shared::new),
            hasher: RandomState::new(),
            config: config.clone(),
            metrics,
        });
        tokio::spawn(sweep(Arc::downgrade(&limits)));
        limits
    }

    /// Whether this is what a configuration says.
    pub fn is_of(&self, config: &Config) -> bool {
        self.config == *config
    }

    /// One request, counted here. Does not wait.
    ///
    /// # Errors
    /// It is one too many.
    pub fn request_here(&self, subject: Subject<'_>, weight: u32) -> Result<(), Limited> {
        self.take_here(Kind::Requests, self.requests.as_ref(), self.key(subject), weight)
    }

    /// Whether content out of memory may be given: refused, it is asked for again on the long way, which says and counts it.
    pub fn admits_hit(&self, subject: Subject<'_>) -> bool {
        let Some(bucket) = &self.requests else { return true };
        bucket.take(self.key(subject), weight::REQUEST).is_ok()
    }

    /// Whether [`Self::request_together`] has anything to ask.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The same request, after [`Self::request_here`] let it through, counted by all instances together.
    ///
    /// # Errors
    /// It is one too many.
    pub async fn request_together(&self, subject: Subject<'_>, weight: u32) -> Result<(), Limited> {
        self.take_together(Kind::Requests, self.requests.as_ref(), subject, weight).await
    }

    /// A password or secret that is to be checked, for `name` if it is a user's. One that was right from there lately costs nothing.
    ///
    /// # Errors
    /// It is one too many, and is not to be looked at.
    pub async fn login(&self, from: Source, name: Option<&str>, secret: &str) -> Result<Attempt, Limited> {
        let login = self.hasher.hash_one((from, name, secret));
        if self.known.get(&login).is_some() {
            return Ok(Attempt { login, counted: None });
        }
        let address = Subject::Address(from);
        self.take(Kind::Requests, self.requests.as_ref(), address, weight::PASSWORD).await?;
        self.take(Kind::Logins, self.logins.as_ref(), address, weight::LOGIN).await?;
        if let Some(name) = name {
            self.take(Kind::Logins, self.names.as_ref(), Subject::Name(name), weight::LOGIN).await?;
        }
        let name = name.map(|name| self.key(Subject::Name(name)));
        Ok(Attempt { login, counted: Some((self.key(address), name)) })
    }

    /// What came of a login. `None`: it was not found out.
    pub fn tried(&self, attempt: &Attempt, right: Option<bool>) {
        match right {
            Some(true) => self.known.insert(attempt.login, ()),
            Some(false) => {
                self.known.invalidate(&attempt.login);
                let Some((address, name)) = attempt.counted else { return };
                for (bucket, key) in [(&self.logins, Some(address)), (&self.names, name)] {
                    if let (Some(bucket), Some(key)) = (bucket, key) {
                        // What has no room left is empty enough.
                        let _ = bucket.take(key, weight::WRONG - weight::LOGIN);
                    }
                }
            }
            None => {}
        }
    }

    /// A place among the uploads of one client; free again when it is dropped.
    ///
    /// # Errors
    /// All are taken.
    pub fn upload(&self, subject: Subject<'_>) -> Result<Option<Place>, Limited> {
        let Some(uploads) = &self.uploads else { return Ok(None) };
        let place = uploads.begin(self.key(subject));
        place.map(Some).ok_or_else(|| self.limited(Kind::Uploads, UPLOAD_WAIT))
    }

    fn key(&self, subject: Subject<'_>) -> u64 {
        self.hasher.hash_one(subject)
    }

    async fn take(
        &self,
        kind: Kind,
        bucket: Option<&Bucket>,
        subject: Subject<'_>,
        weight: u32,
    ) -> Result<(), Limited> {
        self.take_here(kind, bucket, self.key(subject), weight)?;
        self.take_together(kind, bucket, subject, weight).await
    }

    fn take_here(&self, kind: Kind, bucket: Option<&Bucket>, key: u64, weight: u32) -> Result<(), Limited> {
        let Some(bucket) = bucket else { return Ok(()) };
        bucket.take(key, weight).map_err(|wait| self.limited(kind, wait))
    }

    async fn take_together(
        &self,
        kind: Kind,
        bucket: Option<&Bucket>,
        subject: Subject<'_>,
        weight: u32,
    ) -> Result<(), Limited> {
        let (Some(bucket), Some(shared)) = (bucket, &self.shared) else { return Ok(()) };
        let taken = shared.take(kind, subject, (bucket.cost(weight), bucket.room())).await;
        taken.map_err(|wait| self.limited(kind, wait))
    }

    fn limited(&self, kind: Kind, wait: Duration) -> Limited {
        self.metrics.limited(kind);
        Limited { kind, wait }
    }
}

/// Forgets who has been quiet, as long as the limits are in use.
async fn sweep(limits: Weak<Limits>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(limits) = limits.upgrade() else { return };
        limits.requests.iter().chain(&limits.logins).chain(&limits.names).for_each(Bucket::sweep);
    }
}
