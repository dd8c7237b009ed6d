//! What clients meet: listeners, TLS, the proxy. The only room that knows pingora's sessions.
//!
//! A request, from top to bottom: `listener` accepts and reads its head; `door` parses it and dispatches; `ping`,
//! `blob`, `manifest` and `push` answer what they can themselves; everything else is streamed to a peer by pingora as
//! `pass` decides. What a route gives to the integrated registry goes through `registry`, and what that answers with
//! leaves by `content`, like everything from the cache. `journal` writes a request's line.

mod access;
mod ask;
mod blob;
mod content;
mod context;
mod door;
mod entrance;
mod forwarded;
mod journal;
mod link;
pub mod listener;
mod local_file;
mod login;
mod manifest;
mod odd;
mod once;
mod origin;
mod pass;
mod ping;
mod proxy;
mod push;
mod realm;
mod registry;
mod request_body;
mod respond;
pub mod routing;
mod site;
mod upload;
mod upstream_tls;
mod via;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Semaphore;

use crate::auth::{Credential, Memory};
use crate::cache::BlobCache;
use crate::cluster::Cluster;
use crate::cluster::config::VerdictBy;
use crate::oci::{RepositoryName, Tag};
use crate::telemetry::{AccessLog, HttpMetrics};
use ask::{Answer, Unanswered};
use context::RequestContext;
use once::Once;

pub use proxy::Proxy;
pub use site::Site;

/// What every request shares.
pub struct Front {
    site: ArcSwap<Site>,
    cache: Arc<BlobCache>,
    memory: Arc<Memory>,
    access_log: Arc<AccessLog>,
    metrics: Arc<HttpMetrics>,
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

/// What a request changed at a peer.
enum Changed {
    Tag(Tag),
    /// Anything else in the repository, by digest.
    Repository,
}

/// Who goes on with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nobody: it has been answered.
    Answered,
    /// Pingora streams it to a peer.
    Pass,
}

impl Front {
    pub fn new(
        site: Site,
        cache: Arc<BlobCache>,
        memory: Arc<Memory>,
        access_log: Arc<AccessLog>,
        metrics: Arc<HttpMetrics>,
    ) -> Self {
        Front {
            site: ArcSwap::from_pointee(site),
            cache,
            memory,
            access_log,
            metrics,
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

    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Whom the peers' answers to this request count for: what they are told of who asks, and the addresses that they
    /// are told, where they judge by them.
    fn credential(&self, ctx: &RequestContext, cluster: &Cluster, clients: Option<&HeaderValue>) -> Credential {
        let told = cluster.authorization(clients).map(HeaderValue::as_bytes);
        match cluster.config().verdict_by {
            VerdictBy::Credential => self.memory.credential(told),
            VerdictBy::CredentialAndAddress => self.memory.credential_at(told, &ctx.told_addresses()),
        }
    }

    /// The number of the latest change: part of every question's key.
    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Something was changed through us: what was remembered of it must not speak any more, in whichever cluster of the
    /// site it was learnt.
    fn forget(&self, site: &Site, repository: &RepositoryName, what: &Changed) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for cluster in site.table.clusters() {
            let scope = self.memory.scope(cluster.name(), None);
            match what {
                Changed::Tag(tag) => self.memory.tag_changed(&scope, repository, tag),
                Changed::Repository => self.memory.repository_changed(&scope, repository),
            }
        }
    }
}
