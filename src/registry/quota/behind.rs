//! What quotas do while nobody waits: the other instances are told, what nobody needs is given back, what is gone is looked
//! for elsewhere, and what is doubtful is counted.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Account;
use super::entry::Short;
use super::one::Quota;
use super::{Gone, PARKED_FOR, Quotas, config, walk};
use crate::fleet::Fleet;
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Link, Storage, layout};

/// What is new is told after so long, in one write with whatever came meanwhile.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// Storage that did not take it is left alone for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Files are read so often, also where nobody pushes: for gauges, and to see what has to be counted.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The first look comes after a while, not among the first requests.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Deletions come in rows: so long after the first, all are looked into at once.
const GONE_AFTER: Duration = Duration::from_secs(1);
/// A quota with more repositories, or that takes more lists of folders to find them, is not asked one by one whether they hold
/// something: it is counted, later.
const FEW_REPOSITORIES: usize = 32;
const FEW_LISTS: usize = 128;
/// Memory for what is known to be held, all quotas together, in bytes: beyond, those that nobody has pushed to for longest are
/// read again when somebody does. Looked at with each look.
const MEMORY: usize = 128 << 20;
/// Instances do not wake in step: up to so much is added to every wait.
const JITTER: f64 = 0.2;
/// One instance counts; if it takes longer, another may begin.
const LEASE: &str = "quota";
const LEASE_TIME: Duration = Duration::from_secs(1800);
/// What is left when the process ends is told within so long, or found by a count; and before that, it is looked so long whether
/// what went last is held elsewhere.
const LAST_WORDS: Duration = Duration::from_secs(3);
const LAST_LOOK: Duration = Duration::from_secs(3);

impl Quotas {
    /// Until dropped. `rests`: nothing may be counted now.
    pub async fn run(&self, fleet: &Fleet, rests: impl Fn() -> bool) -> Infallible {
        let telling = async {
            loop {
                self.shared.restless.notified().await;
                tokio::time::sleep(FLUSH_EVERY).await;
                while self.flush().await {
                    tokio::time::sleep(FLUSH_EVERY).await;
                }
            }
        };
        let looking = async {
            tokio::time::sleep(jittered(FIRST_LOOK)).await;
            loop {
                self.look(fleet, &rests).await;
                tokio::time::sleep(jittered(LOOK_EVERY)).await;
            }
        };
        let seeking = async {
            loop {
                self.went.notified().await;
                tokio::time::sleep(GONE_AFTER).await;
                self.seek().await;
            }
        };
        let (never, _, _): (Infallible, Infallible, Infallible) = tokio::join!(telling, looking, seeking);
        never
    }

    /// Tells what is new. Whether something is left that has to be told later.
    pub(super) async fn flush(&self) -> bool {
        let now = Instant::now();
        let expired = |since: &Instant| now.saturating_duration_since(*since) >= PARKED_FOR;
        let left: Vec<_> = self.parked.lock().extract_if(|_, (_, since)| expired(since)).collect();
        drop(left);
        let mut restless = !self.parked.lock().is_empty();
        for quota in self.all() {
            if !quota.account(|account| account.is_restless()) {
                continue;
            }
            if let Err(error) = quota.flush(false).await {
                tracing::debug!(quota = quota.pattern, %error, "what is new of a quota could not be told");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            restless |= quota.account(|account| account.is_restless());
        }
        restless
    }

    /// The process ends: nothing is held any more.
    pub async fn close(&self) {
        self.parked.lock().clear();
        if tokio::time::timeout(LAST_LOOK, self.seek()).await.is_err() {
            self.gone.lock().iter().for_each(|gone| gone.quota.account(Account::doubt));
        }
        let flushing = async {
            for quota in self.all().iter().filter(|quota| quota.account(|account| account.is_restless())) {
                let _ = quota.flush(true).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, flushing).await;
    }

    async fn look(&self, fleet: &Fleet, rests: &impl Fn() -> bool) {
        let all = self.all();
        for quota in &all {
            if let Err(error) = quota.refresh(LOOK_EVERY / 2).await {
                tracing::warn!(quota = quota.pattern, %error, "a quota's file cannot be read");
            }
        }
        let due: Vec<_> = all.iter().filter(|quota| quota.is_due()).cloned().collect();
        if !due.is_empty()
            && !rests()
            && let Some(_lease) = fleet.lease(LEASE, LEASE_TIME).await
        {
            self.recount(&due).await;
        }
        self.forget_some(all);
    }

    /// Counts these quotas, in one walk.
    pub(super) async fn recount(&self, due: &[Arc<Quota>]) {
        let patterns: Vec<&str> = due.iter().map(|quota| quota.pattern.as_str()).collect();
        match walk::count_patterns(&self.shared.storage, &patterns, &|_| {}).await {
            Ok(counted) => {
                for counted in counted {
                    let (bytes, tags) = (counted.used.bytes, counted.used.tags);
                    tracing::info!(
                        quota = counted.repositories,
                        bytes,
                        tags,
                        took = counted.took,
                        "a quota was counted"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "quotas could not be counted"),
        }
        for quota in due {
            let _ = quota.refresh(Duration::ZERO).await;
        }
    }

    fn forget_some(&self, mut all: Vec<Arc<Quota>>) {
        let weight = |quota: &Arc<Quota>| quota.account(|account| account.held.weight());
        let mut held: usize = all.iter().map(weight).sum();
        all.sort_by_cached_key(|quota| quota.account(|account| account.taken()));
        for quota in all {
            if held <= MEMORY {
                break;
            }
            held = held.saturating_sub(weight(&quota));
            quota.forget();
        }
    }

    /// Looks whether what is gone from one repository of a quota is held by another one.
    pub(super) async fn seek(&self) {
        let _alone = self.seeking.lock().await;
        let gone: Vec<Gone> = self.gone.lock().iter().cloned().collect();
        for quota in self.all() {
            let mut digests: Vec<Digest> =
                gone.iter().filter(|gone| Arc::ptr_eq(&gone.quota, &quota)).map(|gone| gone.digest).collect();
            digests.sort_unstable();
            digests.dedup();
            if digests.is_empty() {
                continue;
            }
            let outcome = seek_in(&self.shared.storage, &quota, &digests).await;
            if !matches!(outcome, Ok(true)) {
                quota.account(Account::doubt);
            }
            quota.stir();
        }
        // Only now, so that whoever is cut off in between forgets nothing.
        let mut left = self.gone.lock();
        let looked_for = gone.len().min(left.len());
        left.drain(..looked_for);
    }
}

/// Whether all could be found out.
async fn seek_in(storage: &Storage, quota: &Quota, digests: &[Digest]) -> Result<bool, Error> {
    let Some(names) = repositories(storage, &quota.pattern).await? else { return Ok(false) };
    for digest in digests {
        if quota.holds(digest).await? && !is_linked(storage, &names, digest).await? {
            let size = storage.blob_size(digest).await?;
            // Nobody knows what was charged for it, if its bytes are gone already.
            let Some(size) = size else { return Ok(false) };
            quota.account(|account| account.removed(Short::of(digest), size));
        }
    }
    Ok(true)
}

async fn is_linked(storage: &Storage, names: &[RepositoryName], digest: &Digest) -> Result<bool, Error> {
    for name in names {
        for link in [Link::Layer(name.clone(), *digest), Link::Revision(name.clone(), *digest)] {
            if storage.link_exists(&link).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The repositories of a pattern, if they are few and found soon.
async fn repositories(storage: &Storage, pattern: &str) -> Result<Option<Vec<RepositoryName>>, Error> {
    let Ok(matcher) = config::glob(pattern) else { return Ok(None) };
    if let Some(name) = walk::literal(pattern) {
        return Ok(Some(name.parse().into_iter().collect()));
    }
    let (mut names, mut lists) = (HashSet::new(), 0);
    let mut waiting = vec![walk::prefix(pattern).to_owned()];
    while let Some(path) = waiting.pop() {
        lists += 1;
        if lists > FEW_LISTS {
            return Ok(None);
        }
        let folder = walk::folder(&path);
        for child in storage.store().list(&folder).await?.folders {
            if layout::is_name_part(&child) {
                waiting.push(if path.is_empty() { child } else { format!("{path}/{child}") });
            } else if matcher.is_match(&path)
                && let Ok(name) = path.parse()
            {
                names.insert(name);
            }
        }
        if names.len() > FEW_REPOSITORIES || waiting.len() > FEW_LISTS {
            return Ok(None);
        }
    }
    Ok(Some(names.into_iter().collect()))
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * rand::random::<f64>())
}
