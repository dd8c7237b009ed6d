//! Registry meaning: blobs, uploads, manifests, tags, catalog, referrers over `storage`. Knows no proxy: it is asked with
//! a [`Request`] and answers with a [`Reply`].
//!
//! - `answer`: from a route to its verb
//! - `blob`, `upload` (`chunk`, `unfinished`), `mount`; `manifest`, `tags`, `catalog`, `referrers`: the verbs
//! - `membership`: what a repository holds; `content`: manifests and small blobs in memory; `media_types`: what a
//!   repository holds manifests as
//! - `shared_read`, `lists`: one read for all who ask; lists that are kept while they are true; `fan`: many questions of one
//!   request; `apart`: what would keep a thread from the others
//! - `publish`: where every write ends: what changed is told, also (`changed`) to the lists that are kept
//! - `settling`: writes that a garbage collection may meet; `rescue`: what it took away and is needed after all
//! - `quota`: how much repositories may hold; `room`: whether a copy would be taken, before anything of it is linked
//! - `absent`: what a repository lacks and a mirror may have
//! - `locks`, `arriving`, `immutable`: what must not meet, and tags that never move
//! - `reply`: how answers are written, and how what went wrong becomes one
//! - `kept`: what is put here of other registries, without a client; `dropped`: tags that go without one; `operated`, `removed`: what
//!   only an operator does
//! - `maintenance`: while nothing is written
//! - `housekeeping`: probes, purge, gauges; `watermark`: whether the disk has room for what is pushed

pub mod config;
pub mod quota;

mod absent;
mod answer;
mod apart;
mod arriving;
mod blob;
mod catalog;
mod changed;
mod chunk;
mod content;
mod dropped;
mod fan;
mod housekeeping;
mod immutable;
mod kept;
mod lists;
mod locks;
mod maintenance;
mod manifest;
mod media_types;
mod membership;
mod metrics;
mod mount;
mod operated;
mod publish;
mod referrers;
mod removed;
mod reply;
mod rescue;
mod room;
mod settling;
mod shared_read;
mod tags;
mod unfinished;
mod upload;
mod watermark;

#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::auth::Permit;
use crate::events::Listener;
use crate::fleet::Fleet;
use crate::oci::{Action, Digest};
pub use crate::storage::{BlobStream, Body, BodyError};
use crate::storage::{Error, LocalBlob, Storage};
use crate::telemetry::RequestId;
use crate::uploads::Uploads;
pub use absent::Absent;
use changed::KeptLists;
pub use config::Config;
pub use dropped::Decided;
pub use maintenance::Maintenance;
pub use metrics::Metrics;
pub use operated::{Links, Unremoved};
pub use room::{Coming, Room};
pub use watermark::Level as DiskLevel;

/// Blobs under another digest than that of their bytes' place, which the blob cache may come to fetch.
const MAX_ALIASES: u64 = 10_000;

/// The integrated registry. Shared behind an `Arc`. Verbs begin here; what they call gets the parts that it uses.
pub struct Registry {
    settings: Arc<ArcSwap<Settings>>,
    stores: Stores,
    reads: Reads,
    lists: Arc<KeptLists>,
    bounds: Bounds,
    health: Health,
    rescue: rescue::Rescue,
    metrics: Arc<Metrics>,
    /// Who is told of every change: see `publish`.
    listeners: Vec<Arc<dyn Listener>>,
}

/// Where the registry's content is, and who else has to know of it; opened by whoever wires the rooms, with
/// [`Config::upload_limits`].
#[derive(Clone)]
pub struct Stores {
    pub storage: Arc<Storage>,
    /// Of the same storage.
    pub uploads: Arc<Uploads>,
    pub fleet: Arc<Fleet>,
}

/// What was read of the stores and is good for ever, and questions to them that are under way.
struct Reads {
    content: content::ContentCache,
    gets: manifest::Gets,
    tags: tags::TagReads,
    layers: membership::LayerReads,
    /// Blobs whose bytes are under another digest than theirs, for the blob cache, which comes to fetch them.
    aliases: Cache<Digest, Digest>,
}

/// What keeps requests from each other's way, and from taking more than there is.
struct Bounds {
    locks: locks::Locks,
    fan: fan::Fan,
    unfinished: unfinished::Unfinished,
    quotas: Arc<quota::Quotas>,
    /// Bytes of manifests that are being pushed.
    manifest_memory: Semaphore,
}

/// What the last probes of storage said.
#[derive(Default)]
struct Health {
    /// Why nothing can be read.
    trouble: Mutex<Option<String>>,
    /// Why nothing can be written, for good.
    write_trouble: Mutex<Option<String>>,
    watermark: watermark::Watermark,
    /// While nothing is to be written.
    maintenance: ArcSwapOption<Maintenance>,
}

/// What a reload replaces.
struct Settings {
    config: Config,
    immutable: immutable::Immutable,
}

/// A request that has been parsed and authorised.
pub struct Request {
    pub id: RequestId,
    /// What it may do, beside what was looked at already: moving a tag, mounting, seeing a repository in the catalog.
    pub permit: Permit,
    pub action: Action,
    /// The client's fields; looked at: Content-Type, Content-Range.
    pub headers: HeaderMap,
    /// Who is told of its changes, beside those who are told of all.
    pub listener: Option<Arc<dyn Listener>>,
    /// Who may have what a repository lacks, where somebody may.
    pub absent: Option<Arc<dyn Absent>>,
}

/// An answer, complete but for what concerns the connection, the request's id and `Docker-Distribution-Api-Version`.
pub struct Reply {
    pub status: StatusCode,
    /// Content-Type, Docker-Content-Digest, Location, Range, Link, OCI-* and so on; never Content-Length. With
    /// `ReplyBody::Content`, its media type and digest are only there.
    pub headers: HeaderMap,
    pub body: ReplyBody,
}

pub enum ReplyBody {
    /// A small body, whole; a HEAD's is here too: the frontend leaves it out and keeps its length.
    Bytes(Bytes),
    /// Content by digest, status 200: the frontend does ranges, conditions, HEAD and caching.
    Content(Content),
}

/// What a digest names; immutable.
pub struct Content {
    pub digest: Digest,
    pub media_type: String,
    /// Asked for by tag: may change.
    pub by_tag: bool,
    pub bytes: ContentBytes,
}

pub enum ContentBytes {
    /// All of it (manifests, and small blobs).
    Whole(Bytes),
    /// A file of this machine: serve from it.
    Local(LocalBlob),
    /// In an object store, so many bytes: `Registry::open_blob` streams it, the blob cache keeps it.
    Remote(u64),
}

impl Registry {
    /// `listeners` are told of every change that a request makes here.
    pub fn open(
        config: &Config,
        stores: Stores,
        metrics: Arc<Metrics>,
        mut listeners: Vec<Arc<dyn Listener>>,
    ) -> Arc<Self> {
        listeners.push(metrics.clone());
        let quotas = quota::Quotas::new(stores.storage.clone(), metrics.quota.clone());
        listeners.push(quotas.clone());
        Arc::new(Registry {
            settings: Arc::new(ArcSwap::from_pointee(settings(config))),
            stores,
            reads: Reads {
                content: content::ContentCache::new(),
                gets: manifest::Gets::new(),
                tags: tags::TagReads::new(),
                layers: membership::LayerReads::new(),
                aliases: Cache::new(MAX_ALIASES),
            },
            lists: Arc::new(KeptLists::new()),
            bounds: Bounds {
                locks: locks::Locks::new(),
                fan: fan::Fan::new(),
                unfinished: unfinished::Unfinished::default(),
                quotas,
                manifest_memory: Semaphore::new(manifest::MEMORY),
            },
            health: Health::default(),
            rescue: rescue::Rescue::new(),
            metrics,
            listeners,
        })
    }

    /// Takes a new configuration over (reload).
    pub fn reconfigure(&self, config: &Config) {
        self.settings.store(Arc::new(settings(config)));
        self.stores.uploads.reconfigure(config.upload_limits());
    }

    /// Takes quotas over, at the start and at a reload.
    pub fn bound(&self, quotas: &[quota::Config]) {
        self.bounds.quotas.replace(quotas);
    }

    /// The process ends: tells the other instances what they do not know yet. Ends within seconds.
    pub async fn close(&self) {
        self.bounds.quotas.close().await;
    }

    /// Answers every route below `/v2/`. Never panics, never hangs without bound. `body` need not have been read to its end
    /// when it returns.
    pub async fn answer(&self, request: Request, body: &mut dyn Body) -> Reply {
        answer::answer(self, request, body).await
    }

    /// The bytes of a blob that `answer` has granted, from an offset: for the blob cache's fills.
    pub async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<Option<BlobStream>, Error> {
        blob::open(self, digest, offset).await
    }

    /// What `open_blob` gave has another digest: the next push of it is written, though it is there.
    pub fn blob_damaged(&self, digest: &Digest) {
        blob::damaged(self, digest);
    }

    /// Why the registry cannot serve now, for readiness: what the last probe of storage said.
    pub fn trouble(&self) -> Option<String> {
        self.health.trouble.lock().clone()
    }

    /// Why nothing can be pushed until somebody acts (no bucket, wrong keys, a read-only volume), for readiness where writes come
    /// here. A storage that does not answer now is no such reason. `None` as well where `read_only` says so.
    pub fn write_trouble(&self) -> Option<String> {
        self.health.write_trouble.lock().clone()
    }

    /// How full the disk of the storage is, by the last probe.
    pub fn disk_level(&self) -> DiskLevel {
        self.health.watermark.level()
    }

    /// While nothing is written, at the operator's wish: as it was found in storage last.
    pub fn maintenance(&self) -> Option<Arc<Maintenance>> {
        self.health.maintenance.load_full()
    }

    /// Looks now whether storage can be read, and written to. Ends within seconds.
    pub async fn probe(&self) {
        housekeeping::probe_now(self).await;
    }

    /// Runs until dropped: probes of storage, purge of expired uploads, gauges.
    pub async fn housekeeping(self: Arc<Self>) -> std::convert::Infallible {
        housekeeping::run(self).await
    }
}

fn settings(config: &Config) -> Settings {
    Settings { config: config.clone(), immutable: immutable::Immutable::new(&config.immutable_tags) }
}
