//! One collection at a time: an economy, never a lock. Two at once do the same work twice, and no harm: see `reap`.
//!
//! In the fleet, so that two instances do not begin in the same moment; and in storage, with or without Redis, for as long as the
//! run lasts: whoever holds it writes it again now and then, and one that was not written for a while is nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::error::GcError;
use super::time::{Stopwatch, Time};
use super::work::Tools;
use crate::fleet;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, Version};

/// The word for it, in the fleet and in storage.
const WORD: &str = "gc";
/// Of the file, in bytes.
const LIMIT: u64 = 4096;
/// Whoever was not heard of for so long is thought to be dead.
pub const OVER: Duration = Duration::from_secs(120);
/// How long it may take to give one back whose run was dropped, and how often it is looked whether that is done.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOKED_EVERY: Duration = Duration::from_millis(10);

/// Leases that this process has and has not given back.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Counts as one as long as it is there.
struct InUse;

/// The file. Times are the store's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    nonce: String,
    by: String,
    since: Time,
    beat: Time,
}

impl Format for Held {
    const WHAT: &'static str = "the lease of collections";
    const VERSION: u32 = 1;
}

/// This process's.
pub struct Lease<'a> {
    tools: &'a Tools,
    held: Held,
    over: Duration,
    /// Of two beats at once, each would take the other's for that of another run.
    beating: tokio::sync::Mutex<()>,
    /// Since the last beat began that was written.
    heard: Mutex<Stopwatch>,
    in_use: Option<InUse>,
    _fleet: Option<fleet::Lease>,
}

impl InUse {
    fn begin() -> Self {
        IN_USE.fetch_add(1, Ordering::SeqCst);
        InUse
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<'a> Lease<'a> {
    /// # Errors
    /// `GcError::UnderWay`: another has it.
    pub async fn take(tools: &'a Tools, by: &str, over: Duration) -> Result<Self, GcError> {
        let under_way = |held: Option<&Held>| GcError::UnderWay {
            by: held.map_or_else(|| "another instance".into(), |held| held.by.clone()),
            since: held.map_or_else(|| "a moment ago".into(), |held| shown(held.since)),
        };
        let fleet = tools.fleet.lease(WORD, over).await;
        let heard = Mutex::new(Stopwatch::start());
        let now = tools.clock.now(&tools.storage).await?;
        let (present, condition) = match read(&tools.storage).await? {
            Some((held, version)) => (held, Precondition::Unchanged(version)),
            None => (None, Precondition::Absent),
        };
        // One that reaches into the future was written by a clock that has been set back since.
        let holds = |held: &Held| !held.beat.is_past(over, now) && held.beat.get() <= now + over;
        if fleet.is_none() || present.as_ref().is_some_and(holds) {
            return Err(under_way(present.as_ref()));
        }
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let held = Held { nonce, by: by.to_owned(), since: Time::of(now), beat: Time::of(now) };
        let in_use = Some(InUse::begin());
        match tools.storage.own_put(&OwnKey::Lease(WORD), format::write(&held)?.into(), condition).await {
            Ok(_) => Ok(Lease { tools, held, over, beating: Default::default(), heard, in_use, _fleet: fleet }),
            Err(Error::Conflict) => Err(under_way(None)),
            Err(error) => Err(error.into()),
        }
    }

    pub fn nonce(&self) -> &str {
        &self.held.nonce
    }

    /// How often it has to be written.
    pub fn every(&self) -> Duration {
        self.over / 4
    }

    /// Says that its run is alive.
    ///
    /// # Errors
    /// `GcError::Overtaken`: another has taken it, because this one was late.
    pub async fn beat(&self) -> Result<(), GcError> {
        let _one = self.beating.lock().await;
        let begun = Stopwatch::start();
        let storage = &self.tools.storage;
        let version = match read(storage).await? {
            Some((Some(held), version)) if held.nonce == self.held.nonce => version,
            _ => return Err(GcError::Overtaken),
        };
        let held = Held { beat: Time::of(self.tools.clock.now(storage).await?), ..self.held.clone() };
        match storage
            .own_put(&OwnKey::Lease(WORD), format::write(&held)?.into(), Precondition::Unchanged(version))
            .await
        {
            Ok(_) => {
                *self.heard.lock() = begun;
                Ok(())
            }
            Err(Error::Conflict) => Err(GcError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Self::beat`], unless that was done so lately that nobody else can have taken it.
    pub async fn sure(&self) -> Result<(), GcError> {
        let elapsed = self.heard.lock().elapsed();
        if elapsed < self.every() { Ok(()) } else { self.beat().await }
    }

    /// Gives it back, if it is still ours.
    pub async fn release(mut self) {
        give_back(&self.tools.storage, &self.held.nonce).await;
        self.in_use = None;
    }
}

impl Drop for Lease<'_> {
    /// Its run was dropped: by Ctrl-C, or because whoever ordered it has left. The next one need not wait for its end.
    fn drop(&mut self) {
        let (Some(in_use), Ok(runtime)) = (self.in_use.take(), Handle::try_current()) else { return };
        let (storage, nonce) = (Arc::clone(&self.tools.storage), self.held.nonce.clone());
        runtime.spawn(async move {
            _ = timeout(PATIENCE, give_back(&storage, &nonce)).await;
            drop(in_use);
        });
    }
}

/// If it does not come to that, it is over after a while.
async fn give_back(storage: &Storage, nonce: &str) {
    if let Ok(Some((Some(held), _))) = read(storage).await
        && held.nonce == nonce
    {
        _ = storage.own_delete(&OwnKey::Lease(WORD)).await;
    }
}

/// Waits until all leases of this process are given back whose runs have ended or were dropped: for a process that is about to end.
/// Not for long.
pub async fn given_back() {
    let begun = Instant::now();
    while IN_USE.load(Ordering::SeqCst) > 0 && begun.elapsed() < PATIENCE {
        sleep(LOOKED_EVERY).await;
    }
}

/// Whether somebody holds it now.
pub async fn is_held(tools: &Tools, over: Duration, now: SystemTime) -> Result<bool, GcError> {
    let held = read(&tools.storage).await?.and_then(|(held, _)| held);
    Ok(held.is_some_and(|held| !held.beat.is_past(over, now)))
}

/// A damaged one is nobody's.
async fn read(storage: &Storage) -> Result<Option<(Option<Held>, Version)>, Error> {
    let Some((bytes, version)) = storage.own(&OwnKey::Lease(WORD), LIMIT).await? else { return Ok(None) };
    match format::read(&bytes) {
        Ok(held) => Ok(Some((Some(held), version))),
        Err(error @ Error::Newer { .. }) => Err(error),
        Err(_) => Ok(Some((None, version))),
    }
}

/// For people.
pub fn shown(time: Time) -> String {
    humantime::format_rfc3339_seconds(time.get()).to_string()
}
