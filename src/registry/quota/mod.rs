//! How much repositories may hold: `[[quota]]`.
//!
//! - Used is what the repositories of a quota link, layers and manifests, each distinct content once. Bytes are reserved before
//!   they come, and charged when they are linked; only what is linked is found again by a count.
//! - What is known is in storage (`state`, `file`), for all instances. Each takes a grant there, ahead of its pushes, and gives
//!   it to them without asking (`account`, `one`); what a push has is a `hold`, which gives it back when it is dropped. An
//!   instance that dies is missed after a minute and a half, and its grant is given to others.
//! - Nobody is refused by what other instances may only have taken ahead: a push waits a few seconds for that.
//! - Which contents are held already, and so cost nothing, is known from the last `count` and the changes since (`held`).
//!   Links that other programs made or took away are found by the next one.
//! - Where the file is lost it is counted anew; meanwhile only what is pushed then is known, and nobody is refused for the rest.
//! - Where the store does not mind conditions, instances lose each other's changes: then more may be pushed at the same time
//!   than there is room for, until somebody counts.

mod account;
mod amount;
mod behind;
mod config;
mod count;
mod doubt;
mod entry;
mod file;
mod held;
mod hold;
mod metrics;
mod one;
mod state;
mod usage;
mod walk;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use globset::GlobMatcher;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::{Change, Listener, What};
use crate::oci::{Digest, RepositoryName};
use crate::storage::Storage;
use crate::uploads::UploadId;

pub use amount::Amount;
pub use config::Config;
pub use count::{Count, Counted};
pub use doubt::doubt;
pub(super) use hold::{Hold, Measured};
pub use metrics::Metrics;
use one::{Quota, Shared};
#[cfg(test)]
pub use usage::Limit;
pub use usage::{Usage, usage};
pub use walk::{Step, count};

use entry::Short;

/// What an upload has reserved waits so long for its next request, and for so many of them.
const PARKED_FOR: Duration = Duration::from_secs(2);
const MOST_PARKED: usize = 10_000;
/// Links that are gone, of which it is not known yet whether others hold the same; beyond, a count finds out.
const MOST_GONE: usize = 10_000;

/// The quotas of the registry. Shared behind an `Arc`.
pub(super) struct Quotas {
    shared: Arc<Shared>,
    present: ArcSwap<Vec<Bounded>>,
    parked: Mutex<HashMap<UploadId, (Hold, Instant)>>,
    gone: Mutex<VecDeque<Gone>>,
    /// Something is in `gone`.
    went: Notify,
    /// Held by who takes out of `gone`.
    seeking: tokio::sync::Mutex<()>,
}

struct Bounded {
    repositories: GlobMatcher,
    quota: Arc<Quota>,
}

/// A content that a repository of a quota links no more.
#[derive(Clone)]
struct Gone {
    quota: Arc<Quota>,
    digest: Digest,
}

impl Quotas {
    pub fn new(storage: Arc<Storage>, metrics: Metrics) -> Arc<Self> {
        let shared = Arc::new(Shared { storage, metrics, me: file::nonce(), restless: Notify::new() });
        Arc::new(Quotas {
            shared,
            present: ArcSwap::default(),
            parked: Mutex::default(),
            gone: Mutex::default(),
            went: Notify::new(),
            seeking: tokio::sync::Mutex::default(),
        })
    }

    /// Takes other quotas over; what is known of those that stay goes on.
    pub fn replace(&self, quotas: &[Config]) {
        let before = self.present.load_full();
        let kept = |config: &Config| before.iter().find(|bounded| bounded.quota.pattern == config.repositories);
        let mut present = Vec::new();
        for config in quotas {
            // The check of the configuration has told of those that are no pattern.
            let Ok(repositories) = config::glob(&config.repositories) else { continue };
            let quota = kept(config).map_or_else(|| Quota::new(config, &self.shared), |kept| kept.quota.clone());
            self.shared.metrics.begin(&quota.pattern);
            quota.limit(config.limit());
            present.push(Bounded { repositories, quota });
        }
        for gone in before.iter().filter(|gone| !quotas.iter().any(|new| new.repositories == gone.quota.pattern)) {
            self.shared.metrics.end(&gone.quota.pattern);
        }
        self.present.store(Arc::new(present));
    }

    /// For a push to this repository.
    pub fn hold(&self, name: &RepositoryName) -> Hold {
        let present = self.present.load();
        if present.is_empty() {
            return Hold::none();
        }
        Hold::new(
            present
                .iter()
                .filter(|bounded| bounded.repositories.is_match(name.as_str()))
                .map(|bounded| bounded.quota.clone()),
        )
    }

    /// For a further request of an upload: with what the last one left, if it came here.
    pub fn resume(&self, name: &RepositoryName, id: &UploadId) -> Hold {
        match self.parked.lock().remove(id) {
            Some((hold, _)) => hold.unparked(),
            None => self.hold(name),
        }
    }

    /// Keeps what a request has reserved for the next one of the same upload, for a moment.
    pub fn park(&self, id: &UploadId, hold: Hold) {
        if hold.is_none() {
            return;
        }
        let mut parked = self.parked.lock();
        if parked.len() < MOST_PARKED {
            parked.insert(id.clone(), (hold.parked(), Instant::now()));
        }
    }

    /// The upload is over.
    pub fn ended(&self, id: &UploadId) {
        self.parked.lock().remove(id);
    }

    /// What all of them hold is to be counted again.
    pub fn doubt(&self) {
        for quota in self.all() {
            quota.account(account::Account::doubt);
            quota.stir();
        }
    }

    fn all(&self) -> Vec<Arc<Quota>> {
        self.present.load().iter().map(|bounded| bounded.quota.clone()).collect()
    }

    /// A repository of the quota links it no more.
    fn gone(&self, quota: Arc<Quota>, digest: Digest) {
        let mut gone = self.gone.lock();
        if gone.len() >= MOST_GONE {
            quota.account(account::Account::doubt);
            return quota.stir();
        }
        gone.push_back(Gone { quota, digest });
        drop(gone);
        self.went.notify_one();
    }
}

/// Whatever was linked or taken away counts, whoever did it: what is kept of other registries too, which nobody refuses.
impl Listener for Quotas {
    fn changed(&self, change: &Change) {
        let present = self.present.load();
        let name = change.repository.as_str();
        for Bounded { quota, .. } in present.iter().filter(|bounded| bounded.repositories.is_match(name)) {
            match &change.what {
                What::BlobLinked { digest, size, .. } | What::ManifestPushed { digest, size, .. } => {
                    quota.account(|account| account.added(Short::of(digest), *size, &mut Amount::default()));
                }
                What::TagMoved { old: None, .. } => quota.account(account::Account::tag_added),
                What::TagMoved { old: Some(_), .. } => continue,
                What::TagDeleted { .. } => quota.account(account::Account::tag_removed),
                What::BlobUnlinked { digest } | What::ManifestDeleted { digest } => self.gone(quota.clone(), *digest),
            }
            quota.stir();
        }
    }
}
