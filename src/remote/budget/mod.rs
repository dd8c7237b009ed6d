//! How many pulls a remote still gives us, for each credential: what it told of them, which credential has the most left, and both
//! kinds of refusals for asking too much. Other instances hear of it through the fleet, which is a hint and never the truth.
//!
//! A pull is a GET of a manifest. HEADs and blobs cost nothing, so they go on while no pulls are left.

mod bucket;
mod fields;
mod state;
mod told;

#[cfg(test)]
mod tests;

pub(super) use fields::retry_after;
pub use told::{BudgetState, PullsLeft};

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::error::{RemoteError, Throttle};
use super::question::What;
use crate::fleet::Fleet;
use bucket::Hint;
use fields::Told;
use state::{Credential, State};

#[cfg(any(test, fuzzing))]
pub(super) use fields::fuzz;

/// One part in so many of a budget is for clients: what is fetched in advance leaves it.
const RESERVE: u64 = 10;
/// How old what other instances know may be when a pull is asked for.
const HINT_AGE: Duration = Duration::from_secs(2);
/// How long a pull waits for it.
const HINT_PATIENCE: Duration = Duration::from_millis(100);
/// How often others are told of a budget that is not used up.
const HINT_INTERVAL: Duration = Duration::from_secs(1);
/// What is read of a refusal.
pub(super) const MAX_REFUSAL: usize = 16 << 10;
/// The name of nobody's budget.
pub(super) const ANONYMOUS: &str = "anonymous";

/// Of one remote. Shared behind an `Arc`.
pub struct Budget {
    /// The remote's name in the world, by which instances that call it differently find each other's hints.
    registry: String,
    fleet: Arc<Fleet>,
    state: Mutex<State>,
}

/// What a question costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A GET of a manifest.
    Pull,
    /// The same, but nobody waits for it: it leaves a reserve for those who do.
    Spare,
    /// A HEAD of a manifest: free, and it tells what is left.
    Look,
    /// Referrers: some registries answer these with refusals that mean nothing else.
    Extra,
    /// All else.
    Free,
}

impl Cost {
    /// `spare`: nobody waits for the answer.
    pub fn of(what: &What<'_>, head: bool, spare: bool) -> Self {
        match what {
            What::Manifest(_) if head => Cost::Look,
            What::Manifest(_) if spare => Cost::Spare,
            What::Manifest(_) => Cost::Pull,
            What::Referrers(..) => Cost::Extra,
            What::Blob(_) | What::Tags(_) | What::Catalog(_) | What::Ping => Cost::Free,
        }
    }

    fn is_pull(self) -> bool {
        matches!(self, Cost::Pull | Cost::Spare)
    }
}

impl Budget {
    /// `registry`: as in the configuration. `credentials`: names of ours, in its order, none of which is a secret; empty: nobody's is
    /// the only one. Takes over what `previous` knows of those that have stayed.
    pub fn new(registry: &str, credentials: Vec<String>, fleet: Arc<Fleet>, previous: Option<&Budget>) -> Arc<Self> {
        let mut state = previous.map(|previous| previous.state.lock().clone()).unwrap_or_default();
        let known = std::mem::take(&mut state.credentials);
        let names = if credentials.is_empty() { vec![ANONYMOUS.to_owned()] } else { credentials };
        let of = |name: String| {
            let known = known.iter().find(|known| known.name == name).cloned();
            known.unwrap_or(Credential { name, source: None, heard: None, said: None })
        };
        state.credentials = names.into_iter().map(of).collect();
        state.tidy();
        Arc::new(Budget { registry: registry.to_ascii_lowercase(), fleet, state: Mutex::new(state) })
    }

    /// Which credential to ask with: its place in what [`Self::new`] was given (0 where that was empty).
    ///
    /// # Errors
    /// `Exhausted`: no credential has pulls left. `Throttled`: nothing at all is asked now.
    pub async fn choose(&self, cost: Cost) -> Result<usize, RemoteError> {
        if cost.is_pull() {
            self.hear().await;
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        state.pause(now)?;
        state.choose(cost, now)
    }

    /// Whether a manifest may be asked for that no client waits for.
    ///
    /// # Errors
    /// `Exhausted`: what is left is for clients. `Throttled`: nothing at all is asked now.
    pub async fn may_spare(&self) -> Result<(), RemoteError> {
        self.hear().await;
        let now = Instant::now();
        let mut state = self.state.lock();
        state.pause(now)?;
        state.best(Cost::Spare, now).map(drop)
    }

    /// Whether a caller's own credential may be asked with.
    ///
    /// # Errors
    /// `Throttled`: nothing at all is asked now.
    pub fn admit(&self) -> Result<(), RemoteError> {
        self.state.lock().pause(Instant::now())
    }

    /// What an answer other than 429 told. `credential`: as chosen, `None` for a caller's own. `headers`: those of the registry
    /// itself, not of where it led to. A success of a pull that tells of no budget has none.
    pub fn note(&self, credential: Option<usize>, cost: Cost, headers: &HeaderMap, success: bool) {
        let told = Told::read(headers);
        let now = Instant::now();
        let mut state = self.state.lock();
        if success {
            state.pauses = 0;
        }
        let Some(credential) = credential.filter(|_| cost.is_pull() || cost == Cost::Look) else { return };
        let Some(bucket) = state.bucket(credential, told.source.as_deref(), now) else { return };
        if told.is_some() {
            bucket.tell(&told, now);
            self.say(&mut state, credential, now, false);
        } else if cost.is_pull() && success {
            bucket.forget();
        }
    }

    /// A 429: which kind it is. `body`: what was read of it, some KiB are enough.
    pub fn refused(&self, credential: Option<usize>, cost: Cost, headers: &HeaderMap, body: &[u8]) -> Throttle {
        let told = Told::read(headers);
        let after = retry_after(headers);
        let now = Instant::now();
        let mut state = self.state.lock();
        if cost.is_pull() && (told.is_some() || told.source.is_some() || says_too_many(body)) {
            let Some(credential) = credential else { return Throttle::Pulls { retry_after: after } };
            let Some(bucket) = state.bucket(credential, told.source.as_deref(), now) else {
                return Throttle::Pulls { retry_after: after };
            };
            bucket.tell(&told, now);
            let news = bucket.refused(after.or(told.reset), now);
            let wait = bucket.wait(now);
            self.say(&mut state, credential, now, news);
            return Throttle::Pulls { retry_after: wait };
        }
        if cost == Cost::Extra {
            return Throttle::Abuse { retry_after: after };
        }
        Throttle::Abuse { retry_after: Some(state.rest(after, now)) }
    }

    /// What is known, for whoever asks how it is.
    pub fn state(&self) -> BudgetState {
        let now = Instant::now();
        let mut state = self.state.lock();
        let paused = state.pause(now).err().and(state.paused);
        BudgetState {
            paused_seconds: paused.map(|until| until.saturating_duration_since(now).as_secs().max(1)),
            credentials: (0..state.credentials.len()).filter_map(|index| state.told(index, now)).collect(),
        }
    }

    /// Tells the other instances in the background; `now_or_never`: also if they were told a moment ago.
    fn say(&self, state: &mut State, credential: usize, now: Instant, news: bool) {
        let Some(key) = self.hint_key(state, credential) else { return };
        let name = state.bucket_key(credential);
        let Some(known) = state.credentials.get_mut(credential) else { return };
        if !news && known.said.is_some_and(|said| now.saturating_duration_since(said) < HINT_INTERVAL) {
            return;
        }
        known.said = Some(now);
        let Some(bucket) = name.and_then(|name| state.buckets.get(&name)) else { return };
        let Some(text) = bucket.hint(now).and_then(|hint| serde_json::to_string(&hint).ok()) else { return };
        let (fleet, time) = (Arc::clone(&self.fleet), bucket.worn_off_after());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { fleet.note(&key, &text, time).await });
        }
    }

    /// Takes over what other instances know, if nobody looked a moment ago. Waits for it only shortly.
    async fn hear(&self) {
        let due = self.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let asked = join_all(due.iter().map(|(_, key)| self.fleet.noted(key)));
        let Ok(texts) = timeout(HINT_PATIENCE, asked).await else { return };
        let now = Instant::now();
        let mut state = self.state.lock();
        for ((credential, _), text) in due.into_iter().zip(texts) {
            let hint: Option<Hint> = text.and_then(|text| serde_json::from_str(&text).ok());
            if let (Some(hint), Some(bucket)) = (hint, state.bucket(credential, None, now)) {
                bucket.learn(&hint, now);
            }
        }
    }

    /// Hints that nobody has looked at lately; from now on somebody has.
    fn due(&self, now: Instant) -> Vec<(usize, String)> {
        let mut state = self.state.lock();
        let mut due = Vec::new();
        for credential in 0..state.credentials.len() {
            let Some(key) = self.hint_key(&state, credential) else { continue };
            let Some(known) = state.credentials.get_mut(credential) else { continue };
            if known.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= HINT_AGE) {
                known.heard = Some(now);
                due.push((credential, key));
            }
        }
        due
    }

    /// Nobody's budget is that of an address, and instances may have several: it is known by what the remote calls it.
    fn hint_key(&self, state: &State, credential: usize) -> Option<String> {
        let known = state.credentials.get(credential)?;
        let of = if known.name == ANONYMOUS { known.source.as_deref()? } else { &known.name };
        Some(format!("budget:{}:{of}", self.registry))
    }
}

/// Docker Hub's words, in the specification's form.
fn says_too_many(body: &[u8]) -> bool {
    let Some(body) = body.get(..body.len().min(MAX_REFUSAL)) else { return false };
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    let errors = value.get("errors").and_then(Value::as_array);
    let code = |error: &Value| error.get("code").and_then(Value::as_str) == Some("TOOMANYREQUESTS");
    errors.is_some_and(|errors| errors.iter().any(code))
}
