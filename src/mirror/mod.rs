//! What is served of other registries: tags and how fresh they are, manifests and blobs by digest, kept in the registry's storage or
//! in the cache; fetched once for all who ask. Knows no HTTP exchange: it is asked with a [`Request`] and gives a [`Reply`].
//!
//! - `tags`: what a tag names now; `record`: what is remembered of it; `seen`: which platforms clients take of it
//! - `manifests`: by digest, from what is kept or once from the remote; `received`: whether what came is one
//! - `stale`, `complete`: what is served while the remote cannot speak; `image`: what a manifest leads to
//! - `overlay`: what was pushed over a mirror, and content brought to it
//! - `rights`: whether a caller may have what is kept, where that is asked; `statuses`: how a remote's failure is answered
//! - `status`, `explain`: what is told to those who run it; `warm`: images brought whole because they said so
//! - `lists`: tags, referrers, the catalog
//! - `flights`: one question for all who ask it
//! - `blobs`: from what is kept, or by `origin` through the cache; `piece`: a range of one that is not here; `keeping`: what came is
//!   taken to where it stays; `prefetch`: images are made whole; `fetching`: the other instances, and what all mirrors share
//! - `keep`: where content stays

mod blobs;
mod bodies;
mod complete;
mod explain;
mod fetching;
mod flights;
mod image;
mod keep;
mod keeping;
mod lists;
mod manifests;
mod metrics;
mod origin;
mod overlay;
mod piece;
mod prefetch;
mod received;
mod record;
mod reply;
mod rights;
mod seen;
mod stale;
mod status;
mod statuses;
mod tags;
#[cfg(test)]
mod tests;
mod warm;

#[cfg(any(test, fuzzing))]
pub mod fuzz {
    //! What is read of remotes.

    pub fn link(bytes: &[u8]) {
        super::lists::fuzz::link(bytes);
    }
}

pub use fetching::{Asked, Fetching, PROOF, TOTAL};
pub use keep::{CacheKeep, Keep, KeepError, KeptBlob, KeptManifest, StorageKeep};
pub use metrics::Metrics;
pub use record::TagRecord;
pub use reply::{Blob, Body, Reply, Request};
pub use warm::{Wanted, WantedPlatforms, Wish, warm};

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::{BlobCache, Source};
use crate::fleet::Fleet;
use crate::oci::{Digest, ErrorCode, Reference, RepositoryName, Resource};
use crate::registry::Registry;
use crate::remote::config::AskedAs;
use crate::remote::{Asker, Remote, RemoteError};

/// Of the time for an answer, so much is left for what is kept when the remote has used its part: a tenth, within these bounds.
const LEAST_FOR_KEPT: Duration = Duration::from_millis(20);
const MOST_FOR_KEPT: Duration = Duration::from_millis(500);

/// One remote, mirrored. Shared behind an `Arc`.
pub struct Mirror {
    remote: Arc<Remote>,
    parts: Parts,
    tags: tags::Tags,
    manifests: manifests::Manifests,
    complete: complete::Completeness,
    rights: rights::Rights,
    seen: seen::Seen,
    blobs: blobs::Blobs,
    lists: lists::Lists,
    prefetch: prefetch::Prefetch,
}

/// What a mirror works with.
#[derive(Clone)]
pub struct Parts {
    pub keep: Arc<dyn Keep>,
    pub cache: Arc<BlobCache>,
    pub fleet: Arc<Fleet>,
    pub fetching: Arc<Fetching>,
    /// The integrated registry, if any route uses it: for what is pushed over a mirror.
    pub registry: Option<Arc<Registry>>,
    pub metrics: Arc<Metrics>,
}

/// Until when something about a manifest has to be known.
#[derive(Clone, Copy, Debug)]
struct Until {
    /// The remote's part.
    remote: Instant,
    /// The whole.
    answer: Instant,
}

impl Until {
    /// When it is given up to keep what came, so that those who wait for it still get it.
    fn keeping(self) -> Instant {
        let now = Instant::now();
        now + self.answer.saturating_duration_since(now) / 2
    }
}

impl Mirror {
    pub fn new(remote: Arc<Remote>, parts: Parts) -> Arc<Self> {
        parts.cache.leave_disk_free();
        Arc::new(Mirror {
            remote,
            parts,
            tags: tags::Tags::default(),
            manifests: manifests::Manifests::default(),
            complete: complete::Completeness::default(),
            rights: rights::Rights::default(),
            seen: seen::Seen::default(),
            blobs: blobs::Blobs::default(),
            lists: lists::Lists::default(),
            prefetch: prefetch::Prefetch::default(),
        })
    }

    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Answers a read of one of its repositories, in bounded time.
    pub async fn answer(self: &Arc<Self>, request: Request) -> Reply {
        let reply = self.dispatch(&request).await;
        self.parts.metrics.answered(self.remote.name(), &request.action, &reply);
        reply
    }

    /// So many bytes of an answer's body went to its client. `source`: as the answer said.
    pub fn sent(&self, resource: &Resource, source: Option<Source>, bytes: u64) {
        self.parts.metrics.sent(self.remote.name(), resource, source, bytes);
    }

    async fn dispatch(self: &Arc<Self>, request: &Request) -> Reply {
        match &request.action.resource {
            Resource::Manifest { name, reference, .. } => match reference {
                Reference::Tag(tag) => tags::answer(self, request, name, tag).await,
                Reference::Digest(digest) => manifests::answer(self, request, name, digest).await,
            },
            Resource::Blob { name, digest } => blobs::answer(self, request, name, digest).await,
            Resource::Tags { .. } | Resource::Referrers { .. } | Resource::Catalog { .. } => {
                lists::answer(self, request).await
            }
            _ => Reply::problem(ErrorCode::Unsupported, "a mirror is only read from"),
        }
    }

    /// Brings a blob that the remote has, or that is kept of it, into the registry's repository: for a pushed manifest that names
    /// it, and who may pull it here. False: nobody has it, or it did not come in time.
    pub async fn bring(self: &Arc<Self>, name: &RepositoryName, digest: &Digest) -> bool {
        overlay::bring(self, name, digest).await
    }

    /// As [`Self::bring`], of a manifest that a pushed index names.
    pub async fn bring_manifest(self: &Arc<Self>, name: &RepositoryName, digest: &Digest) -> bool {
        overlay::bring_manifest(self, name, digest).await
    }

    /// By whose right the remote is asked for somebody.
    fn asker(&self, asker: &Asker) -> Asker {
        match self.remote.config().identity {
            AskedAs::Mirror => Asker::Mirror,
            AskedAs::Caller => asker.clone(),
        }
    }

    /// What the remote calls a repository.
    fn at_remote(&self, name: &RepositoryName) -> Result<RepositoryName, RemoteError> {
        self.remote.names().at_remote(name).ok_or(RemoteError::Absent(http::StatusCode::NOT_FOUND))
    }

    /// From now on.
    fn until(&self) -> Until {
        let (now, whole) = (Instant::now(), self.remote.config().timeouts.manifest.0);
        let kept = (whole / 10).clamp(LEAST_FOR_KEPT, MOST_FOR_KEPT).min(whole / 2);
        Until { remote: now + (whole - kept), answer: now + whole }
    }
}
