//! PUT of a manifest, by tag, by digest, and by digest with `?tag=`.
//!
//! Order of writes: bytes, links, tags; so whatever is interrupted leaves garbage, never a tag that leads nowhere.

use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use http::{HeaderMap, StatusCode};

use super::check::{self, Checked};
use super::location;
use super::receive::receive;
use crate::oci::action::QueryError;
use crate::oci::{Algorithm, Digest, ErrorCode, Reference, RepositoryName, Tag};
use crate::registry::apart::apart;
use crate::registry::arriving::Arrival;
use crate::registry::lists::Base;
use crate::registry::reply::{Answer, OCI_SUBJECT, OCI_TAG, Refusal};
use crate::registry::{Body, Registry, Reply, Request, media_types, referrers, tags};
use crate::storage::{Error, Link, Stamp};

pub(crate) async fn put(
    registry: &Registry,
    request: &Request,
    name: &RepositoryName,
    (reference, tags): (&Reference, &Result<Vec<Tag>, QueryError>),
    body: &mut dyn Body,
) -> Answer {
    let more = tags.clone()?;
    let (bytes, _memory) = receive(&registry.manifest_memory, body).await?;
    let (checked, digest) = judged(&bytes, &request.headers, reference).await?;
    let tags: Vec<&Tag> = match reference {
        Reference::Tag(tag) => std::iter::once(tag).chain(&more).collect(),
        Reference::Digest(_) => more.iter().collect(),
    };
    store(registry, name, &digest, &tags, &checked, bytes).await?;
    let mut reply = Reply::created(location(name, &digest), &digest);
    if let Some(subject) = checked.manifest.subject.as_ref().filter(|subject| subject.digest_is_well_formed()) {
        reply = reply.with(OCI_SUBJECT, subject.digest.as_str());
    }
    Ok(more.iter().fold(reply, |reply, tag| reply.with(OCI_TAG, tag.as_str())))
}

/// What it is, and its digest.
async fn judged(bytes: &Bytes, headers: &HeaderMap, reference: &Reference) -> Result<(Checked, Digest), Refusal> {
    let (text, headers, reference) = (bytes.clone(), headers.clone(), reference.clone());
    let judge = move || {
        let checked = check::check(&text, &headers)?;
        let digest = match &reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &text),
            Reference::Digest(expected) => verified(expected, &text)?,
        };
        Ok((checked, digest))
    };
    apart(bytes.len(), judge).await?
}

fn verified(expected: &Digest, bytes: &[u8]) -> Result<Digest, Refusal> {
    let found = Digest::of(expected.algorithm(), bytes);
    if found == *expected {
        return Ok(found);
    }
    Err(Refusal::new(ErrorCode::DigestInvalid, format!("the content is {found}, not {expected}")))
}

async fn store(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    checked: &Checked,
    bytes: Bytes,
) -> Result<(), Refusal> {
    let settings = registry.settings.load_full();
    let referrer = checked.manifest.subject.is_some();
    let fixed = |tag: &&&Tag| settings.immutable.matches(name, tag);
    let _changing = registry.locks.changing(name, tags.iter().filter(fixed).copied()).await;
    let bases = (registry.tag_lists.base(name), registry.catalog.base(&()));
    let (before, (), present) = tokio::try_join!(
        async { Ok::<_, Refusal>(before(registry, name, digest, tags, referrer).await?) },
        check::references(registry, name, checked),
        async { Ok(registry.storage.blob_present(digest, bytes.len() as u64).await?) },
    )?;
    for (tag, old) in tags.iter().zip(&before.tags) {
        if old.is_some_and(|old| old != *digest) && settings.immutable.matches(name, tag) {
            return Err(immutable(tag));
        }
    }
    if !present {
        registry.storage.blob_put(digest, bytes.clone()).await?;
    }
    let retyped = link(registry, name, digest, tags, checked).await?;
    let leading = tags.iter().zip(&before.tags).map(|(tag, old)| {
        let once = old.is_none() && settings.immutable.matches(name, tag);
        lead(registry, name, tag, digest, once)
    });
    let led = try_join_all(leading).await;
    // Also after a failure: the manifest has been linked.
    let told = announce(registry, name, digest, tags, &before, referrer || retyped, bases).await;
    led?;
    told?;
    referrers::pushed(registry, name, digest, checked.manifest.clone(), &checked.media_type, bytes.len() as u64);
    registry.content.keep(*digest, bytes, Some(checked.told.clone()));
    Ok(())
}

/// What there was before.
struct Before<'a> {
    tags: Vec<Option<Digest>>,
    /// The repository, and catalogs were told of it.
    repository: bool,
    /// This very push, or a part of it: it may have failed before it told anybody.
    again: bool,
    _arrival: Option<Arrival<'a>>,
}

async fn before<'a>(
    registry: &'a Registry,
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    referrer: bool,
) -> Result<Before<'a>, Error> {
    let revision = async {
        match referrer || tags.is_empty() {
            true => registry.storage.link_exists(&Link::Revision(name.clone(), *digest)).await,
            // Its tag tells.
            false => Ok(false),
        }
    };
    let tags = try_join_all(tags.iter().map(|tag| tags::read(registry, name, tag)));
    let (tags, revision) = try_join(tags, revision).await?;
    let again = revision || tags.contains(&Some(*digest));
    if registry.existing.contains_key(name) {
        return Ok(Before { tags, repository: true, again, _arrival: None });
    }
    let there = tags.iter().any(Option::is_some) || registry.storage.repository_exists(name).await?;
    let listed = registry.catalog.lists.peek(&()).is_none_or(|list| list.lists(name));
    let repository = there && listed && !registry.arriving.has(name);
    let arrival = (!repository).then(|| registry.arriving.begin(name));
    Ok(Before { tags, repository, again, _arrival: arrival })
}

/// The manifest's own links, and the tags' histories. Whether the manifest has another type now.
async fn link(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    checked: &Checked,
) -> Result<bool, Refusal> {
    let retyped = media_types::record(registry, name, digest, &checked.told, &checked.media_type).await?;
    let revision = Link::Revision(name.clone(), *digest);
    let indexes = tags.iter().map(|tag| Link::TagIndex(name.clone(), (*tag).clone(), *digest));
    let links: Vec<Link> = std::iter::once(revision).chain(indexes).collect();
    try_join_all(links.iter().map(|link| registry.storage.link_put(link, digest))).await?;
    Ok(retyped)
}

/// Makes the tag lead there. `once`: it never changes, and was not there a moment ago; another instance may have created it
/// since.
async fn lead(
    registry: &Registry,
    name: &RepositoryName,
    tag: &Tag,
    digest: &Digest,
    once: bool,
) -> Result<(), Refusal> {
    let link = Link::Tag(name.clone(), tag.clone());
    if once {
        if registry.storage.link_create(&link, digest).await? {
            return Ok(());
        }
        if tags::read(registry, name, tag).await?.is_some_and(|found| found != *digest) {
            return Err(immutable(tag));
        }
        // It leads there already, or a crash left it torn.
    }
    Ok(registry.storage.link_put(&link, digest).await?)
}

/// Tells every instance which lists have changed: with `about`, that of referrers. A tag that moved changes none. `bases`
/// are what was kept before anything was written.
async fn announce(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    before: &Before<'_>,
    about: bool,
    bases: (Base, Base),
) -> Result<(), Error> {
    let storage = &registry.storage;
    // One that was there may be what another push has written that failed then, or has not told yet.
    let listed = registry.tag_lists.lists.peek(name);
    let is_listed = |tag: &Tag| listed.as_ref().is_some_and(|list| tags::lists_tag(list, tag));
    let is_new = |(tag, old): &(&&Tag, &Option<Digest>)| old.is_none_or(|old| old == *digest) || !is_listed(tag);
    let new: Vec<Tag> = tags.iter().zip(&before.tags).filter(is_new).map(|(tag, _)| (*tag).clone()).collect();
    let write = async |of: Option<&RepositoryName>, expected: Option<&Stamp>| match expected {
        Some(stamp) => storage.stamp_follows(of, stamp).await,
        None => storage.stamp_changed(of).await.map(|()| None),
    };
    if !new.is_empty() || about || before.again || !before.repository {
        let write = async |expected: Option<&Stamp>| write(Some(name), expected).await;
        registry.tag_lists.tell(name, bases.0, new, write).await?;
    }
    if before.again || !before.repository {
        let write = async |expected: Option<&Stamp>| write(None, expected).await;
        registry.catalog.tell(&(), bases.1, vec![name.clone()], write).await?;
    }
    registry.existing.insert(name.clone(), ());
    Ok(())
}

/// ECR's code for this, which clients show as it is, with the status of a conflict.
pub(super) fn immutable(tag: &Tag) -> Refusal {
    let message = format!("the tag '{tag}' exists and never changes here: [registry] immutable_tags");
    Refusal::status(StatusCode::CONFLICT, ErrorCode::TagInvalid, message)
}
