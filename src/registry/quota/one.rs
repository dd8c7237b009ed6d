//! One quota, as this instance takes part in it: pushes take of what it was granted; when that is not enough, the file is
//! replaced, by one for all who wait.

mod exchange;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};
use tokio::time::{Instant, sleep, timeout};

use super::account::{Account, Lacking};
use super::amount::Amount;
use super::config::Config;
use super::entry::Short;
use super::file::{File, MANY_SEGMENTS};
use super::held::Held;
use super::metrics::Metrics;
use super::state::State;
use super::words;
use crate::oci::{Digest, ErrorCode};
use crate::registry::reply::Refusal;
use crate::storage::{Error, Storage};

/// How long a push waits for what other instances were granted and may give back.
const PATIENCE: Duration = Duration::from_secs(4);
/// And for others that read or replace the file: where storage hangs, each of them would wait for it in turn.
const TURN: Duration = Duration::from_secs(15);
/// Between two looks, while it waits.
const PAUSE: Duration = Duration::from_millis(200);
/// Nobody is refused by what was read longer ago.
const FRESH: Duration = Duration::from_secs(1);
/// What was counted is believed for so long.
const BELIEVED: u64 = 24 * 3600;
/// Clocks may differ by so much.
const SKEW: u64 = 2 * 3600;
/// Where something is doubtful, it is counted again no sooner, and no sooner than twenty times as long as counting took.
const REST: u64 = 600;
/// How long nobody else counts after somebody began to, in seconds.
pub(super) const COUNTING: u64 = 600;

/// What all quotas have in common.
pub(super) struct Shared {
    pub storage: Arc<Storage>,
    pub metrics: Metrics,
    /// This instance, as the others know it.
    pub me: String,
    /// Some quota has something to tell.
    pub restless: Notify,
}

pub(super) struct Quota {
    pub pattern: String,
    pub file: File,
    shared: Arc<Shared>,
    account: Mutex<Account>,
    /// Held by who reads or replaces the file.
    turn: tokio::sync::Mutex<()>,
    /// What was counted cannot be read any more.
    lost: AtomicBool,
}

/// Why nothing could be taken.
pub(super) enum Refused {
    Full(Lacking),
    Storage(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Storage(error)
    }
}

/// Seconds since 1970, by this machine's clock.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Quota {
    pub fn new(config: &Config, shared: &Arc<Shared>) -> Arc<Self> {
        let pattern = config.repositories.clone();
        let account = Account::new(&shared.me, State::new(&pattern), config.limit());
        Arc::new(Quota {
            file: File::of(&pattern),
            pattern,
            shared: shared.clone(),
            account: Mutex::new(account),
            turn: tokio::sync::Mutex::new(()),
            lost: AtomicBool::new(false),
        })
    }

    /// Takes another bound over.
    pub fn limit(&self, limit: Amount) {
        self.account.lock().limit = limit;
        self.told();
    }

    /// Changes or looks at what is known, without waiting for anything.
    pub fn account<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        look(&mut self.account.lock())
    }

    /// Something is to be told to the other instances soon.
    pub fn stir(&self) {
        self.shared.restless.notify_one();
    }

    /// Reserves so much for a push; the caller gives it back. Waits a few seconds if others may not need what they were granted.
    pub async fn take(&self, more: Amount) -> Result<(), Refused> {
        if self.account(|account| account.take(more, Instant::now())) {
            return Ok(());
        }
        let _want = Want::new(self, more);
        let outcome = self.wait(more).await;
        self.stir();
        match outcome {
            Err(Refused::Storage(error @ Error::Newer { .. })) => {
                tracing::error!(quota = self.pattern, %error, "a quota cannot be kept: a push goes on without it");
                self.account(|account| account.take_anyway(more, Instant::now()));
                Ok(())
            }
            other => other,
        }
    }

    async fn wait(&self, more: Amount) -> Result<(), Refused> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.ask(more).await? {
                return Ok(());
            }
            let lacking = self.account(|account| account.lacking(more));
            if lacking.certain || Instant::now() >= deadline {
                return Err(Refused::Full(lacking));
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether it could be taken, as the file is now. Of all who ask at the same time, one looks.
    async fn ask(&self, more: Amount) -> Result<bool, Error> {
        let asked = self.account(Account::moment);
        let _turn = self.turn().await?;
        let take = || self.account(|account| account.take(more, Instant::now()));
        let is_fresh = || self.account(|account| account.is_fresh(asked));
        if take() {
            return Ok(true);
        }
        // By who looked before us, while we waited, and knew what we want.
        if !is_fresh() {
            self.exchange(false).await?;
        }
        if !is_fresh() {
            self.read().await?;
            self.exchange(false).await?;
        }
        Ok(take())
    }

    /// Refuses where not even one byte more would be taken.
    pub async fn has_any(&self) -> Result<(), Refused> {
        let full = || {
            self.account(|account| {
                let full = !account.was_read() || account.used().bytes >= account.limit.bytes;
                full.then(|| account.lacking(Amount::NOTHING))
            })
        };
        if full().is_none() {
            return Ok(());
        }
        match self.refresh(FRESH).await {
            // Nothing is known, and who pushes is not to suffer by it.
            Err(Error::Newer { .. }) => return Ok(()),
            outcome => outcome?,
        }
        full().map_or(Ok(()), |lacking| Err(Refused::Full(lacking)))
    }

    /// 403: the same may be pushed once there is room.
    pub fn refusal(&self, lacking: &Lacking) -> Refusal {
        self.shared.metrics.refused(&self.pattern);
        let (message, detail) = words::refusal(&self.pattern, lacking);
        tracing::info!(quota = self.pattern, message, "a push is refused");
        Refusal::detailed(ErrorCode::Denied, &message, detail)
    }

    /// Whether a repository of the quota holds the content, as far as is known here. Asks storage only if nothing is known yet.
    pub async fn holds(&self, digest: &Digest) -> Result<bool, Error> {
        let short = Short::of(digest);
        if !self.account(|account| account.held.is_loaded()) {
            let _turn = self.turn().await?;
            if !self.account(|account| account.held.is_loaded()) {
                match self.read().await {
                    // Nothing is known, and who pushes is not to suffer by it.
                    Err(Error::Newer { .. }) => return Ok(false),
                    outcome => outcome?,
                }
            }
        }
        Ok(self.account(|account| account.holds(&short)))
    }

    /// Reads the file, unless it was the one in storage within so long.
    pub async fn refresh(&self, age: Duration) -> Result<(), Error> {
        let _turn = self.turn().await?;
        if self.account(|account| account.is_as_fresh(age)) {
            return Ok(());
        }
        self.read().await
    }

    /// Tells the others what is new here, and gives back what nobody needs. With `closing`, everything.
    pub async fn flush(&self, closing: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.exchange(closing).await
    }

    async fn turn(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let late = |_| Error::Unavailable(format!("the quota of '{}': its file is not read or written", self.pattern));
        timeout(TURN, self.turn.lock()).await.map_err(late)
    }

    /// Forgets what is held until somebody asks: it takes memory.
    pub fn forget(&self) {
        self.account(|account| account.held = Held::default());
    }

    /// Whether it should be counted now.
    pub fn is_due(&self) -> bool {
        let now = now();
        self.account(|account| {
            let state = &account.state;
            let counting = state.counting > now && state.counting <= now + COUNTING;
            if !account.was_read() || counting {
                return false;
            }
            let Some(count) = &state.count else { return true };
            let age = now.saturating_sub(count.at);
            let rest = REST.max(count.took / 1000 * 20);
            let wrong = count.at > now + SKEW || self.lost.load(Ordering::Relaxed);
            let doubtful = state.doubtful || state.segments.len() >= MANY_SEGMENTS;
            wrong || age >= BELIEVED || (doubtful && age >= rest)
        })
    }

    fn told(&self) {
        let (used, limit) = self.account(|account| (account.used(), account.limit));
        self.shared.metrics.tell(&self.pattern, used, limit);
    }
}

/// Somebody waits for a part of a quota, until this is dropped.
struct Want<'a> {
    quota: &'a Quota,
    number: u64,
}

impl<'a> Want<'a> {
    fn new(quota: &'a Quota, more: Amount) -> Self {
        Want { quota, number: quota.account(|account| account.want(more)) }
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        self.quota.account(|account| account.wants_no_more(self.number));
    }
}
