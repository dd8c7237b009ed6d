//! What a run works with, and when it may go on.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::config::{Config, Untagged};
use super::error::GcError;
use super::evidence::Evidence;
use super::lease::Lease;
use super::metrics::Metrics;
use super::pace::{PAGE, Pace};
use super::report::{Order, Paused, Step, Tell};
use super::state::Kept;
use super::time::{Clock, Stopwatch, Time};
use super::view::View;
use crate::fleet::Fleet;
use crate::oci::{Digest, RepositoryName};
use crate::registry::quota;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Storage};

/// How often it is looked whether it was paused.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Of the file that says so, in bytes.
const PAUSED_LIMIT: u64 = 4096;

/// What a collection needs. All of one storage.
pub struct Parts {
    pub storage: Arc<Storage>,
    pub fleet: Arc<Fleet>,
    pub metrics: Arc<Metrics>,
}

/// Who knows when manifests were pulled.
#[async_trait]
pub trait LastPulls: Send + Sync {
    /// Which of these manifests of a repository were pulled since then, or may have been.
    async fn pulled(
        &self,
        name: &RepositoryName,
        manifests: &[Digest],
        since: SystemTime,
    ) -> Result<Vec<Digest>, Error>;
}

/// What all runs of a process share.
pub struct Tools {
    pub storage: Arc<Storage>,
    pub fleet: Arc<Fleet>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub pulls: Option<Arc<dyn LastPulls>>,
    /// What their repositories hold is counted by the way.
    pub quotas: Vec<quota::Config>,
}

/// One run.
pub struct Work<'a> {
    pub tools: &'a Tools,
    pub storage: Arc<Storage>,
    pub config: &'a Config,
    pub order: &'a Order,
    pub untagged: Untagged,
    /// Another program may write into the storage.
    pub careful: bool,
    pub tell: &'a dyn Tell,
    pub pace: Pace,
    pub run: String,
    /// When it began, by the store's clock. Ages are measured from here where that makes things younger than they are.
    pub begun: SystemTime,
    pub kept: &'a Kept,
    /// `None` of one that only says what would go.
    pub lease: Option<&'a Lease<'a>>,
    pub evidence: Mutex<Evidence>,
    pub moving: Moving,
    pub prints: Prints,
    /// When it was last looked whether it is paused.
    looked: Mutex<Option<Stopwatch>>,
    /// Digests that something needs, and of which there is something in the trash.
    pub needed_in_trash: Mutex<HashSet<Digest>>,
    /// Since when the oldest of what waits, in its place or in the trash, is linked nowhere.
    pub waits_since: Mutex<Option<Time>>,
    /// Entries that walks have told of.
    walked: AtomicU64,
    /// What repositories hold, counted by the way: of a run that goes through all of them itself.
    pub count: Mutex<Option<quota::Count>>,
}

/// What was there when each repository was marked: 16 bytes each. Without it, all that manifests name has to be read again by who
/// looks once more.
#[derive(Default)]
pub struct Prints {
    hasher: RandomState,
    by_name: Mutex<HashMap<u64, u64>>,
}

/// Whether the epoch is odd, and how many need it to be.
#[derive(Default)]
pub struct Moving {
    odd: tokio::sync::Mutex<bool>,
    users: AtomicUsize,
}

/// While it lives, the epoch stays odd.
pub struct Using<'a>(&'a Moving);

/// The file that says that collections are paused.
impl Format for Paused {
    const WHAT: &'static str = "that collections are paused";
    const VERSION: u32 = 1;
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Prints {
    pub fn keep(&self, view: &View) {
        let (name, print) = (self.hasher.hash_one(view.name.as_str()), view.print(&self.hasher));
        self.by_name.lock().insert(name, print);
    }

    /// Whether there is nothing in it that was not there when it was marked.
    pub fn is_as_it_was(&self, view: &View) -> bool {
        let name = self.hasher.hash_one(view.name.as_str());
        self.by_name.lock().get(&name).copied() == Some(view.print(&self.hasher))
    }
}

impl<'a> Work<'a> {
    /// `untagged`: what is meant by the order or the configuration.
    pub fn new(
        (tools, config): (&'a Tools, &'a Config),
        order: &'a Order,
        tell: &'a dyn Tell,
        kept: &'a Kept,
        evidence: Evidence,
    ) -> Self {
        let (run, begun) = {
            let state = kept.state.lock();
            (state.run.clone(), state.begun.get())
        };
        Work {
            tools,
            storage: Arc::clone(&tools.storage),
            config,
            order,
            untagged: order.untagged.map_or(config.untagged, Untagged::After),
            careful: order.foreign_careful || config.foreign == super::Foreign::Careful,
            tell,
            pace: Pace::new(config.rate),
            run,
            begun,
            kept,
            lease: None,
            evidence: Mutex::new(evidence),
            moving: Moving::default(),
            prints: Prints::default(),
            looked: Mutex::new(None),
            needed_in_trash: Mutex::default(),
            waits_since: Mutex::default(),
            walked: AtomicU64::new(0),
            count: Mutex::new(None),
        }
    }

    pub fn grace(&self) -> Duration {
        self.config.grace.0
    }

    /// It begins with the first repository: so it can count what all of them hold.
    pub async fn begin_count(&self) {
        if self.order.dry || self.tools.quotas.is_empty() {
            return;
        }
        match quota::Count::begin(&self.storage, &self.tools.quotas).await {
            Ok(count) => *self.count.lock() = Some(count),
            Err(error) => tracing::warn!(%error, "what repositories hold is not counted this time"),
        }
    }

    pub async fn end_count(&self) {
        let count = self.count.lock().take();
        if let Some(count) = count
            && let Err(error) = count.finish().await
        {
            tracing::warn!(%error, "what repositories hold could not be counted");
        }
    }

    /// The store's time.
    pub async fn now(&self) -> Result<SystemTime, Error> {
        self.pace.take(3).await;
        self.tools.clock.now(&self.storage).await
    }

    /// A walk has told of so many entries.
    pub async fn walked(&self, entries: usize) {
        let before = self.walked.fetch_add(entries as u64, Ordering::Relaxed);
        self.pace.take((before + entries as u64) / PAGE - before / PAGE).await;
    }

    pub fn step(&self, step: &Step) {
        self.tell.step(step);
    }

    pub async fn save(&self) -> Result<(), GcError> {
        if self.order.dry {
            return Ok(());
        }
        self.pace.take(1).await;
        self.kept.save(&self.storage).await
    }

    /// The epoch is odd from here on, as long as the answer lives and longer: whoever writes links meanwhile looks again at what they
    /// lead to.
    pub async fn moving(&self) -> Result<Using<'_>, Error> {
        let mut odd = self.moving.odd.lock().await;
        if !*odd {
            self.storage.epoch_moving().await?;
            *odd = true;
        }
        self.moving.users.fetch_add(1, Ordering::SeqCst);
        Ok(Using(&self.moving))
    }

    /// The epoch is even again, unless somebody needs it to be odd.
    pub async fn still(&self) -> Result<(), Error> {
        // Who has it may be one of several repositories that are gone through at once, and that go on only when this here returns: it
        // is not waited for.
        let Ok(mut odd) = self.moving.odd.try_lock() else { return Ok(()) };
        if *odd && self.moving.users.load(Ordering::SeqCst) == 0 {
            self.storage.epoch_still().await?;
            *odd = false;
        }
        Ok(())
    }

    /// The same at the end of a run, also where one that died before left it odd: pushes would look twice until bytes are moved again.
    pub async fn still_at_last(&self) -> Result<(), Error> {
        self.still().await?;
        if self.moving.users.load(Ordering::SeqCst) == 0 && self.storage.epoch().await?.is_moving() {
            self.storage.epoch_still().await?;
        }
        Ok(())
    }

    /// Waits while collections are paused, and outside of the hours. Asked before each repository and each part of the blobs, so that
    /// what is under way ends first: nothing may wait between a look and what follows from it.
    pub async fn go_on(&self) -> Result<(), GcError> {
        if self.order.dry {
            return Ok(());
        }
        let mut told = false;
        loop {
            let fresh = self.looked.lock().is_some_and(|looked| looked.elapsed() < LOOK_EVERY);
            if fresh && !told {
                return Ok(());
            }
            let Some((until, why)) = self.must_wait().await? else {
                *self.looked.lock() = Some(Stopwatch::start());
                return Ok(());
            };
            if !told {
                self.step(&Step::Waiting { until, why });
                told = true;
            }
            self.still().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn must_wait(&self) -> Result<Option<(Option<Time>, String)>, GcError> {
        if let Some(paused) = paused(&self.storage).await? {
            return Ok(Some((None, format!("paused by {}", paused.by))));
        }
        if !self.order.scheduled || self.order.now {
            return Ok(None);
        }
        let zone = self.config.zone().map_err(|what| GcError::Config("timezone", what))?;
        // By the clock on the wall here: it says what time it is, not how old something is.
        let now = SystemTime::now();
        let wait = self.config.hours.wait(zone, now);
        Ok(wait.map(|wait| (Some(Time::of(now).plus(wait)), format!("[gc] hours = \"{}\"", self.config.hours))))
    }
}

/// Whether collections are paused. A file that cannot be read pauses them too.
pub async fn paused(storage: &Storage) -> Result<Option<Paused>, Error> {
    let Some((bytes, _)) = storage.own(&OwnKey::GcPaused, PAUSED_LIMIT).await? else { return Ok(None) };
    match format::read(&bytes) {
        Err(Error::Damaged(_)) => {
            let since = Time::of(SystemTime::UNIX_EPOCH);
            Ok(Some(Paused { since, by: "somebody (the file that says so is damaged)".into() }))
        }
        other => other.map(Some),
    }
}
