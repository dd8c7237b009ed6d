//! What a cluster's peers answer: `ask` them on a client's behalf and remember their verdicts (`standing`); answer what can be
//! answered here (`ping`, `blob` with its downloads from `origin`, `manifest`, `push`); and `pass` for what pingora streams to a
//! peer: which one, whether a failed try is made again, what is changed on the way there and back (`upload`, `link`, `login`).

pub mod at_hand;
pub mod blob;
pub mod changes;
pub mod manifest;
pub mod pass;
pub mod ping;
pub mod push;
pub mod upload;

mod ask;
mod link;
mod login;
mod odd;
mod once;
mod origin;
mod pull;
pub mod ruled;
mod standing;
mod unanswered;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Semaphore;

use crate::cache::BlobCache;
use crate::cluster::Cluster;
use crate::cluster::config::VerdictBy;
use crate::exchange::RequestContext;
use crate::oci::RepositoryName;
use crate::routing::Site;
use crate::verdicts::{Credential, Jurisdiction, Verdicts};
use ask::{Answer, Unanswered};
use changes::Changed;
use once::Once;

pub use pull::Pull;
pub use standing::Standing;

/// What requests to clusters share.
pub struct Front {
    site: ArcSwap<Site>,
    cache: Arc<BlobCache>,
    verdicts: Arc<Verdicts>,
    blob_questions: Once<blob::Key, Result<Answer, Unanswered>>,
    manifest_questions: Once<manifest::Key, Result<Answer, Unanswered>>,
    pings: Once<ping::Key, Result<Answer, Unanswered>>,
    /// Counts what was changed through us: a question begun before a change answers nobody who asks after it.
    changes: AtomicU64,
    /// For manifests that are being pushed, in KiB: beyond it they are streamed.
    push_memory: Arc<Semaphore>,
}

/// KiB of manifests being pushed that are held in memory at once, over all clients.
const PUSH_MEMORY_KIB: usize = 64 << 10;

/// Who goes on with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nobody: it has been answered.
    Answered,
    /// Pingora streams it to a peer.
    Pass,
}

impl Front {
    pub fn new(site: Site, cache: Arc<BlobCache>, verdicts: Arc<Verdicts>) -> Self {
        Front {
            site: ArcSwap::from_pointee(site),
            cache,
            verdicts,
            blob_questions: Once::default(),
            manifest_questions: Once::default(),
            pings: Once::default(),
            changes: AtomicU64::new(0),
            push_memory: Arc::new(Semaphore::new(PUSH_MEMORY_KIB)),
        }
    }

    /// Requests that come from now on follow `site`.
    pub fn replace_site(&self, site: Site) {
        self.site.store(Arc::new(site));
    }

    pub fn cache(&self) -> &Arc<BlobCache> {
        &self.cache
    }

    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// The same for a moment, without counting who holds it.
    pub fn present_site(&self) -> arc_swap::Guard<Arc<Site>> {
        self.site.load()
    }

    /// Whose `holds` of manifests count: a digest's being there as a blob says nothing of its being there as a manifest.
    fn holding_manifests(&self, cluster: &Cluster, host: &str, query: Option<&str>) -> Jurisdiction {
        let query = query.unwrap_or_default();
        self.verdicts.jurisdiction(cluster.name(), Some(&format!("{host}?{query}#manifest")))
    }

    /// Whom the peers' answers to this request count for: what they are told of who asks, and the addresses that they
    /// are told, where they judge by them.
    fn credential(&self, ctx: &RequestContext, cluster: &Cluster, clients: Option<&HeaderValue>) -> Credential {
        let told = cluster.authorization(clients).map(HeaderValue::as_bytes);
        match cluster.config().verdict_by {
            VerdictBy::Credential => self.verdicts.credential(told),
            VerdictBy::CredentialAndAddress => self.verdicts.credential_at(told, &ctx.told_addresses()),
        }
    }

    /// Whose answers count together: a cluster's, for one host name (peers may route by it) and one query (mirrors go by its
    /// `ns`).
    fn jurisdiction(&self, ctx: &RequestContext, cluster: &Cluster) -> Jurisdiction {
        match ctx.target.query() {
            None => self.verdicts.jurisdiction(cluster.name(), Some(&ctx.host)),
            Some(query) => self.verdicts.jurisdiction(cluster.name(), Some(&format!("{}?{query}", ctx.host))),
        }
    }

    /// The number of the latest change: part of every question's key.
    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Something of a repository was changed by whoever looks after it.
    pub fn repository_changed(&self, repository: &RepositoryName) {
        self.forget(&self.site(), repository, &Changed::Repository);
    }

    /// Something was changed through us: what was remembered of it must not speak any more, in whichever cluster of the
    /// site it was learnt.
    fn forget(&self, site: &Site, repository: &RepositoryName, what: &Changed) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for cluster in site.table.clusters() {
            let jurisdiction = self.verdicts.jurisdiction(cluster.name(), None);
            match what {
                Changed::Tag(tag) => self.verdicts.tag_changed(&jurisdiction, repository, tag),
                Changed::Repository => self.verdicts.repository_changed(&jurisdiction, repository),
            }
        }
    }
}
