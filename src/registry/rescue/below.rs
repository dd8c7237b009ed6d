//! Links that are written again for a manifest: what it names comes back before its own link does, since a link that is there
//! lets whoever finds it believe that all below it is.

use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Kind, bytes, write};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, media_type};
use crate::registry::{Registry, membership};
use crate::storage::{Error, Link};

/// How deep indexes may lie in each other, and how many manifests are read for one: what is more is not brought back.
const DEPTH: usize = 4;
const MANIFESTS: usize = 256;

/// What became of a link that is missing and that a manifest needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::registry) enum Restored {
    /// A collection had taken it away; it is there again, and the bytes are, and what they name.
    Yes,
    /// No collection took it away: it was never there, or a client deleted it.
    NotTaken,
    /// It was there, and something of it is gone for good.
    Gone,
}

/// How a repository holds something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::registry) enum Held {
    Blob,
    Manifest,
    /// By a link whose bytes are gone.
    Lost,
    No,
}

/// Looks for a link of either kind, and brings its bytes back.
pub(in crate::registry) async fn held(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Held, Error> {
    let storage = &registry.stores.storage;
    let (target, held) = match membership::target(storage, &Link::Layer(name.clone(), *digest)).await? {
        Some(target) => (target, Held::Blob),
        None if storage.link_exists(&Link::Revision(name.clone(), *digest)).await? => (*digest, Held::Manifest),
        None => return Ok(Held::No),
    };
    Ok(if bytes(registry, &target).await?.is_some() { held } else { Held::Lost })
}

/// Writes a missing link again for a manifest that is being pushed and names the content, if a collection took it away. Who goes on
/// where none did says by `since` when he began to look.
pub(in crate::registry) async fn restore(
    registry: &Registry,
    name: &RepositoryName,
    (digest, kind): (Digest, Kind),
    since: Instant,
) -> Result<Restored, Error> {
    restored(registry, name, (digest, kind), DEPTH, (&mut { MANIFESTS }, since)).await
}

fn restored<'a>(
    registry: &'a Registry,
    name: &'a RepositoryName,
    (digest, kind): (Digest, Kind),
    depth: usize,
    (left, since): (&'a mut usize, Instant),
) -> BoxFuture<'a, Result<Restored, Error>> {
    async move {
        if !registry.rescue.taken(&registry.stores.storage, (name, &digest), since).await? {
            return Ok(Restored::NotTaken);
        }
        let there = bytes(registry, &digest).await?.is_some();
        if !there || kind == Kind::Revision && !complete(registry, name, &digest, depth, (left, since)).await? {
            return Ok(Restored::Gone);
        }
        write(registry, name, &digest, kind).await?;
        // As whoever links something: it may have been moved in between.
        Ok(if bytes(registry, &digest).await?.is_some() { Restored::Yes } else { Restored::Gone })
    }
    .boxed()
}

/// Whether all is there that was there of what a manifest, whose bytes are in their place, names; what a collection took is
/// brought back.
pub(super) async fn is_complete(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
    complete(registry, name, digest, DEPTH, (&mut { MANIFESTS }, Instant::now())).await
}

async fn complete(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    depth: usize,
    (left, since): (&mut usize, Instant),
) -> Result<bool, Error> {
    let (Some(depth), Some(rest)) = (depth.checked_sub(1), left.checked_sub(1)) else { return Ok(false) };
    *left = rest;
    let manifest = read(registry, digest).await?;
    let listed = manifest.manifests.iter().flatten().map(|named| (named, kind_of(named)));
    let all = manifest.needed().map(|named| (named, Kind::Layer)).chain(listed);
    let all: Vec<(Digest, Kind)> = all.filter_map(|(named, kind)| Some((named.digest.parse().ok()?, kind))).collect();
    for (digest, kind) in all {
        let gone = match held(registry, name, &digest).await? {
            Held::Blob | Held::Manifest => false,
            Held::Lost => true,
            Held::No => restored(registry, name, (digest, kind), depth, (&mut *left, since)).await? == Restored::Gone,
        };
        if gone {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a manifest says; one that cannot be read names nothing.
pub(in crate::registry) async fn read(registry: &Registry, digest: &Digest) -> Result<Manifest, Error> {
    let kept = match registry.reads.content.manifest(&registry.stores.storage, digest).await {
        Err(Error::Damaged(_) | Error::TooLarge(_)) => None,
        kept => kept?,
    };
    Ok(kept.and_then(|kept| Manifest::parse(&kept.bytes).ok()).unwrap_or_default())
}

/// As what an index lists it: BuildKit keeps its caches as an index of blobs.
pub(in crate::registry) fn kind_of(listed: &Descriptor) -> Kind {
    match media_type::is_manifest(&listed.media_type) || media_type::is_schema1(&listed.media_type) {
        true => Kind::Revision,
        false => Kind::Layer,
    }
}
