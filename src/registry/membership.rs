//! Which content a repository holds: by its links, or what the fleet remembers of them.
//!
//! A blob is in a repository only by its own link there, however many others hold it; a manifest likewise by its revision.
//! A link whose bytes are gone (a garbage collector took them, and they are in its trash no more) counts as none.

use super::shared_read::SharedReads;
use super::{Registry, rescue};
use crate::fleet::{Fleet, Holding, Lookup, Ticket};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Link, Storage};

/// Questions whether a repository links a blob.
pub(super) type LayerReads = SharedReads<(RepositoryName, Digest), Result<bool, Error>>;

/// A blob that a repository holds.
pub(super) struct Layer {
    /// Where the bytes are: distribution links a sha512 digest to the sha256 one.
    pub target: Digest,
    /// In bytes.
    pub size: u64,
}

/// What the fleet remembers.
pub(super) enum Known {
    Held(Holding),
    /// Storage must say; it may be remembered with the ticket, if there is one.
    Ask(Option<Ticket>),
}

/// `Holding::media_type` tells manifests from blobs: a digest may be one and not the other.
pub(super) async fn known(fleet: &Fleet, name: &RepositoryName, digest: &Digest, manifest: bool) -> Known {
    match fleet.lookup(name, digest).await {
        Lookup::Held(descriptor) if descriptor.media_type.is_some() == manifest => Known::Held(descriptor),
        Lookup::Held(_) => Known::Ask(None),
        Lookup::Unknown(ticket) => Known::Ask(Some(ticket)),
    }
}

pub(super) async fn remember(
    fleet: &Fleet,
    ticket: Option<Ticket>,
    name: &RepositoryName,
    digest: &Digest,
    descriptor: Holding,
) {
    if let Some(ticket) = ticket {
        fleet.remember(ticket, name, digest, &descriptor).await;
    }
}

/// The target of a link. One that was torn by a crash counts as none: pushing again repairs it.
pub(super) async fn target(storage: &Storage, link: &Link) -> Result<Option<Digest>, Error> {
    match storage.link(link).await {
        Err(Error::Damaged(what)) => {
            tracing::warn!(?link, what, "a damaged link counts as none");
            Ok(None)
        }
        other => other,
    }
}

/// Whether the repository holds the blob and storage its bytes. With `proof`, storage is asked about both even if the fleet
/// remembers them: whoever asks goes on to leave the blob out of a push, or to name it in a manifest, and another program
/// may have taken the link or the bytes away.
pub(super) async fn layer(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    proof: bool,
) -> Result<Option<Layer>, Error> {
    let stores = &registry.stores;
    let ticket = match known(&stores.fleet, name, digest, false).await {
        Known::Held(Holding { size, .. }) if !proof => return Ok(Some(Layer { target: *digest, size })),
        Known::Held(_) => None,
        Known::Ask(ticket) => ticket,
    };
    let Some(target) = layer_target(registry, name, digest).await? else { return Ok(None) };
    let Some(size) = rescue::bytes(registry, &target).await? else { return Ok(None) };
    if target == *digest {
        remember(&stores.fleet, ticket, name, digest, Holding { size, media_type: None }).await;
    }
    Ok(Some(Layer { target, size }))
}

/// Where a blob's bytes are, if the repository links it, or did until a collection took the link away from what it names.
pub(super) async fn layer_target(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Digest>, Error> {
    match target(&registry.stores.storage, &Link::Layer(name.clone(), *digest)).await? {
        Some(target) => Ok(Some(target)),
        None => Ok(rescue::layer(registry, name, digest).await?.then_some(*digest)),
    }
}

/// Like `layer`, for content whose bytes the caller has: only the link is asked for, and by those who ask at the same
/// time together.
pub(super) async fn holds_layer(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    size: u64,
) -> Result<bool, Error> {
    let key = (name.clone(), *digest);
    registry.reads.layers.get(&key, || linked(registry, name, digest, size)).await
}

async fn linked(registry: &Registry, name: &RepositoryName, digest: &Digest, size: u64) -> Result<bool, Error> {
    let stores = &registry.stores;
    let ticket = match known(&stores.fleet, name, digest, false).await {
        Known::Held(_) => return Ok(true),
        Known::Ask(ticket) => ticket,
    };
    let link = Link::Layer(name.clone(), *digest);
    let held = stores.storage.link_exists(&link).await? || rescue::layer(registry, name, digest).await?;
    if held {
        remember(&stores.fleet, ticket, name, digest, Holding { size, media_type: None }).await;
    }
    Ok(held)
}
