//! GET and HEAD of a manifest, by tag or digest.
//!
//! The client's `Accept` is not looked at: what a digest names is one thing, and a client that asks by tag is better served
//! with what is there than with 404 (distribution's answer to an OCI manifest without its type in `Accept`) or with a
//! part of it (a list is rewritten to its linux/amd64 image there, whose digest is not the tag's).

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::X_CONTENT_TYPE_OPTIONS;

use super::unknown;
use crate::fleet::Holding;
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::registry::content::KeptContent;
use crate::registry::membership::{self, Known};
use crate::registry::reply::Answer;
use crate::registry::shared_read::SharedReads;
use crate::registry::{Content, ContentBytes, Registry, Reply, media_types, rescue, tags};
use crate::storage::{Error, Link};

/// What a GET found.
#[derive(Clone)]
pub(crate) struct Found {
    digest: Digest,
    kept: Arc<KeptContent>,
    /// In this repository.
    media_type: String,
}

/// GETs under way, by what they ask for and whether nothing remembered may be believed.
pub(crate) type Gets = SharedReads<(RepositoryName, Reference, bool), Result<Option<Found>, Error>>;

pub(crate) async fn get(registry: &Registry, method: &Method, name: &RepositoryName, reference: &Reference) -> Answer {
    let by_tag = matches!(reference, Reference::Tag(_));
    // Who asks for a digest by HEAD goes on to leave the manifest out of a push; a tag is read from storage anyway.
    let proof = method == Method::HEAD && !by_tag;
    let key = (name.clone(), reference.clone(), proof);
    // Storage is asked each time, because other programs move tags too; those who ask at the same time share the answer.
    let found = registry.reads.gets.get(&key, || find(registry, name, reference, proof)).await?;
    let Found { digest, kept, media_type } = found.ok_or_else(unknown)?;
    let bytes = ContentBytes::Whole(kept.bytes.clone());
    let reply = Reply::content(Content { digest, media_type, by_tag, bytes });
    // Anybody's bytes: no browser shall make a page of them.
    Ok(reply.with(X_CONTENT_TYPE_OPTIONS, "nosniff"))
}

/// The bytes and the media type of a manifest that the repository holds.
pub(crate) async fn held(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<(Bytes, String)>, Error> {
    let found = revision(registry, name, (*digest, None), false).await?;
    Ok(found.map(|found| (found.kept.bytes.clone(), found.media_type)))
}

async fn find(
    registry: &Registry,
    name: &RepositoryName,
    reference: &Reference,
    proof: bool,
) -> Result<Option<Found>, Error> {
    let asked = match reference {
        Reference::Digest(digest) => (*digest, None),
        Reference::Tag(tag) => match tags::read(&registry.stores.storage, name, tag).await? {
            Some(digest) => (digest, Some(tag)),
            None => return Ok(None),
        },
    };
    revision(registry, name, asked, proof).await
}

/// A manifest that the repository holds, and the tag that led to it. With `proof`, nothing remembered is believed.
async fn revision(
    registry: &Registry,
    name: &RepositoryName,
    (digest, tag): (Digest, Option<&Tag>),
    proof: bool,
) -> Result<Option<Found>, Error> {
    let known = membership::known(&registry.stores.fleet, name, &digest, true).await;
    let ticket = match known {
        Known::Held(Holding { media_type: Some(media_type), .. }) if !proof => {
            let kept = content(registry, &digest).await?;
            return Ok(kept.map(|kept| Found { digest, kept, media_type }));
        }
        Known::Held(_) => None,
        Known::Ask(ticket) => ticket,
    };
    let linked = registry.stores.storage.link_exists(&Link::Revision(name.clone(), digest)).await?;
    if !linked && !rescue::revision(registry, name, &digest, tag).await? {
        return Ok(None);
    }
    if proof && rescue::bytes(registry, &digest).await?.is_none() {
        return Ok(None);
    }
    let Some(kept) = content(registry, &digest).await? else { return Ok(None) };
    let Some(told) = &kept.told else { return Ok(None) };
    let media_type = media_types::of(&registry.stores.storage, name, &digest, told).await?;
    let descriptor = Holding { size: kept.bytes.len() as u64, media_type: Some(media_type.clone()) };
    membership::remember(&registry.stores.fleet, ticket, name, &digest, descriptor).await;
    Ok(Some(Found { digest, kept, media_type }))
}

/// Of any repository, from wherever its bytes are.
async fn content(registry: &Registry, digest: &Digest) -> Result<Option<Arc<KeptContent>>, Error> {
    let (content, storage) = (&registry.reads.content, &registry.stores.storage);
    match content.manifest(storage, digest).await? {
        None if rescue::brought_back(registry, digest).await?.is_some() => content.manifest(storage, digest).await,
        found => Ok(found),
    }
}
