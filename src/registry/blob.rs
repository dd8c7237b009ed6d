//! GET, HEAD and DELETE of blobs.

use std::time::Duration;

use http::header::LOCATION;
use http::{Method, StatusCode};

use super::content::{self, MAX_SMALL_BLOB};
use super::membership::{self, Layer};
use super::publish::{ForLists, Writing, Written, publish};
use super::reply::{Answer, DOCKER_CONTENT_DIGEST, Refusal, unsupported};
use super::{Content, ContentBytes, Registry, Reply, rescue, tags};
use crate::events::What;
use crate::oci::{Digest, ErrorCode, RepositoryName, media_type};
use crate::storage::{BlobStream, Error, Link};

/// How long a signed address of the store serves: distribution's 20 minutes.
const REDIRECT_VALID: Duration = Duration::from_secs(20 * 60);

pub(super) async fn get(registry: &Registry, method: &Method, name: &RepositoryName, digest: &Digest) -> Answer {
    let head = method == Method::HEAD;
    if !head && let Some(bytes) = registry.reads.content.blob(digest) {
        let held = membership::holds_layer(registry, name, digest, bytes.len() as u64).await?;
        return if held { Ok(reply(digest, ContentBytes::Whole(bytes))) } else { Err(unknown()) };
    }
    let found = match registry.stores.storage.is_local() {
        true => local(registry, name, digest).await?.map(|bytes| reply(digest, bytes)),
        false => remote(registry, name, digest, head).await?,
    };
    found.ok_or_else(unknown)
}

/// A blob that the repository holds, wherever its bytes are; never the address of the store.
pub(super) async fn held(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ContentBytes>, Error> {
    if registry.stores.storage.is_local() {
        return local(registry, name, digest).await;
    }
    match membership::layer(registry, name, digest, false).await? {
        Some(layer) => stored(registry, digest, layer).await,
        None => Ok(None),
    }
}

/// From a file: opening it tells that it is there, and its size.
async fn local(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<Option<ContentBytes>, Error> {
    let Some(target) = membership::layer_target(registry, name, digest).await? else { return Ok(None) };
    let blob = match registry.stores.storage.blob_file(&target).await? {
        None if rescue::brought_back(registry, &target).await?.is_some() => {
            registry.stores.storage.blob_file(&target).await?
        }
        found => found,
    };
    let Some(blob) = blob else { return Ok(None) };
    if blob.size > MAX_SMALL_BLOB {
        return Ok(Some(ContentBytes::Local(blob)));
    }
    small(registry, digest, &target).await
}

async fn remote(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    head: bool,
) -> Result<Option<Reply>, Error> {
    let redirect = registry.settings.load().config.redirect;
    // A GET proves by its bytes that they are there; who is sent to the store for them would not come back for the trash's.
    let proof = head || (redirect && registry.rescue.may_be_needed(&registry.stores.storage).await?);
    let Some(layer) = membership::layer(registry, name, digest, proof).await? else { return Ok(None) };
    if redirect && let Some(address) = registry.stores.storage.blob_address(&layer.target, head, REDIRECT_VALID).await?
    {
        let reply = Reply::empty(StatusCode::TEMPORARY_REDIRECT).with(LOCATION, address.as_str());
        return Ok(Some(reply.with(DOCKER_CONTENT_DIGEST, digest.text())));
    }
    Ok(stored(registry, digest, layer).await?.map(|bytes| reply(digest, bytes)))
}

/// In an object store.
async fn stored(registry: &Registry, digest: &Digest, layer: Layer) -> Result<Option<ContentBytes>, Error> {
    let Layer { target, size } = layer;
    if size <= MAX_SMALL_BLOB {
        return small(registry, digest, &target).await;
    }
    if target != *digest {
        registry.reads.aliases.insert(*digest, target);
    }
    Ok(Some(ContentBytes::Remote(size)))
}

async fn small(registry: &Registry, digest: &Digest, target: &Digest) -> Result<Option<ContentBytes>, Error> {
    let bytes = match content::read(&registry.stores.storage, target, MAX_SMALL_BLOB).await? {
        None if rescue::brought_back(registry, target).await?.is_some() => {
            content::read(&registry.stores.storage, target, MAX_SMALL_BLOB).await?
        }
        found => found,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let kept = registry.reads.content.keep(*digest, bytes, None);
    Ok(Some(ContentBytes::Whole(kept.bytes.clone())))
}

fn reply(digest: &Digest, bytes: ContentBytes) -> Reply {
    let media_type = media_type::OCTET_STREAM.to_owned();
    Reply::content(Content { digest: *digest, media_type, by_tag: false, bytes })
}

fn unknown() -> Refusal {
    Refusal::of(ErrorCode::BlobUnknown)
}

/// For the blob cache, after `get` has granted it.
pub(super) async fn open(registry: &Registry, digest: &Digest, offset: u64) -> Result<Option<BlobStream>, Error> {
    let target = registry.reads.aliases.get(digest).unwrap_or(*digest);
    match registry.stores.storage.blob_open(&target, offset).await? {
        None if rescue::brought_back(registry, &target).await?.is_some() => {
            registry.stores.storage.blob_open(&target, offset).await
        }
        found => Ok(found),
    }
}

/// Whoever opened it found other bytes than the digest says.
pub(super) fn damaged(registry: &Registry, digest: &Digest) {
    let target = registry.reads.aliases.get(digest).unwrap_or(*digest);
    registry.stores.storage.blob_damaged(&target);
}

/// Takes the blob from this repository; its bytes stay for other ones, until a garbage collection.
pub(super) async fn delete(writing: Writing<'_>, digest: &Digest) -> Result<Written, Refusal> {
    let Writing { registry, name, .. } = writing;
    if !registry.settings.load().config.delete {
        return Err(unsupported("blobs cannot be deleted here: [registry] delete = false"));
    }
    let concerned = registry.settings.load().immutable.concerns(name);
    // While tags are pushed here, it is not known whether one of them is immutable.
    let _alone = if concerned { Some(registry.bounds.locks.deleting(name).await) } else { None };
    let link = Link::Layer(name.clone(), *digest);
    // Object stores do not tell at removal.
    // What a collection took and a manifest names is as good as there.
    if !registry.stores.storage.link_exists(&link).await? && !rescue::layer(registry, name, digest).await? {
        return Err(unknown());
    }
    if concerned {
        keep_immutable(registry, name).await?;
    }
    let deleting = registry.stores.fleet.deleting(name).await?;
    let deleted = registry.stores.storage.link_delete(&link).await;
    deleting.done().await;
    // A collection that takes it meanwhile has not made it absent to whoever asked for it to go.
    if !deleted? && !rescue::was_taken(registry, name, digest).await? {
        return Err(unknown());
    }
    rescue::deleted(registry, name, &[*digest]).await?;
    let published = publish(writing, vec![What::BlobUnlinked { digest: *digest }], ForLists::Nothing).await?;
    Ok(published.deleted().with(DOCKER_CONTENT_DIGEST, digest.text()))
}

/// Which blobs an immutable tag needs would take all manifests below it to read: while there is such a tag, all stay.
async fn keep_immutable(registry: &Registry, name: &RepositoryName) -> Result<(), Refusal> {
    let kept = tags::all(registry, name).await?;
    let settings = registry.settings.load();
    match kept.value.iter().flatten().find(|tag| settings.immutable.matches(name, tag)) {
        Some(tag) => {
            let message =
                format!("the tag '{tag}' never changes, so no blob is deleted here: [registry] immutable_tags");
            Err(Refusal::status(StatusCode::CONFLICT, ErrorCode::Denied, message))
        }
        None => Ok(()),
    }
}

/// `/v2/<name>/blobs/<digest>`
pub(super) fn location(name: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{name}/blobs/{digest}")
}
