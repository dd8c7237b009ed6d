//! PUT of a manifest, by tag, by digest, and by digest with `?tag=`.
//!
//! Order of writes: bytes, links, tags; so whatever is interrupted leaves garbage, never a tag that leads nowhere.

use bytes::Bytes;
use futures::future::{join_all, try_join, try_join_all};
use http::{HeaderMap, StatusCode};

use super::check::{self, Checked};
use super::location;
use super::receive::receive;
use crate::auth::Permission;
use crate::events::What;
use crate::oci::action::QueryError;
use crate::oci::{Algorithm, Digest, ErrorCode, Reference, RepositoryName, Tag};
use crate::registry::apart::apart;
use crate::registry::arriving::Arrival;
use crate::registry::changed::{Bases, KeptLists, Pushed};
use crate::registry::publish::{ForLists, Published, Writing, Written, publish};
use crate::registry::quota::Hold;
use crate::registry::reply::{OCI_SUBJECT, OCI_TAG, Refusal};
use crate::registry::settling::{Linked, Settling};
use crate::registry::{Body, Registry, Stores, media_types, membership, tags};
use crate::storage::{Error, Link, Storage};

pub(crate) async fn put(
    writing: Writing<'_>,
    (reference, tags): (&Reference, &Result<Vec<Tag>, QueryError>),
    body: &mut dyn Body,
) -> Result<Written, Refusal> {
    let more = tags.clone()?;
    let (bytes, _memory) = receive(&writing.registry.bounds.manifest_memory, body).await?;
    let (checked, digest) = judged(&bytes, &writing.request.headers, reference).await?;
    let tags: Vec<&Tag> = match reference {
        Reference::Tag(tag) => std::iter::once(tag).chain(&more).collect(),
        Reference::Digest(_) => more.iter().collect(),
    };
    let (published, hold) = store(writing, &digest, &tags, &checked, bytes).await?;
    let mut written = hold.warned(published.created(location(writing.name, &digest), &digest));
    if let Some(subject) = checked.manifest.subject.as_ref().filter(|subject| subject.digest_is_well_formed()) {
        written = written.with(OCI_SUBJECT, subject.digest.as_str());
    }
    Ok(more.iter().fold(written, |written, tag| written.with(OCI_TAG, tag.as_str())))
}

/// Keeps a manifest of another registry by its digest, which the caller has verified: whatever it is, and before what it names.
pub(crate) async fn keep(
    writing: Writing<'_>,
    digest: &Digest,
    bytes: Bytes,
    media_type: &str,
) -> Result<Published, Refusal> {
    let (text, told) = (bytes.clone(), media_type.to_owned());
    let checked = apart(bytes.len(), move || Checked::elsewhere(&text, &told)).await?;
    store(writing, digest, &[], &checked, bytes).await.map(|(published, _)| published)
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
    writing: Writing<'_>,
    digest: &Digest,
    tags: &[&Tag],
    checked: &Checked,
    bytes: Bytes,
) -> Result<(Published, Hold), Refusal> {
    let Writing { registry, name, .. } = writing;
    let (settings, size) = (registry.settings.load_full(), bytes.len() as u64);
    let referrer = checked.manifest.subject.is_some();
    // Who may not move tags writes them as those that never move: only where they are not.
    let may_move = writing.request.permit.may(Permission::Overwrite, name);
    let is_fixed = |tag: &Tag| !may_move || settings.immutable.matches(name, tag);
    let fixed = |tag: &&&Tag| is_fixed(tag);
    check::bring(writing, checked).await;
    let _changing = registry.bounds.locks.changing(name, tags.iter().filter(fixed).copied()).await;
    let bases = registry.lists.bases(name);
    let (before, (settling, present)) = tokio::try_join!(
        async {
            Ok::<_, Refusal>(before((&registry.stores.storage, &registry.lists), name, digest, tags, referrer).await?)
        },
        needs(writing, (digest, size), checked),
    )?;
    for (tag, old) in tags.iter().zip(&before.tags) {
        if old.is_some_and(|old| old != *digest) && is_fixed(tag) {
            return Err(stays(tag, may_move));
        }
    }
    // Nowhere in the store, so not in this repository; on a disk nothing was asked.
    let nowhere = !present && !registry.stores.storage.is_local();
    let new = nowhere || is_new(&registry.stores.storage, name, digest, &before).await?;
    let new_tags = before.tags.iter().filter(|old| old.is_none()).count();
    let mut hold = afford(writing, checked, (digest, size), new_tags).await?;
    if !present {
        registry.stores.storage.blob_put(digest, bytes.clone()).await?;
    }
    let retyped = link(&registry.stores, name, digest, tags, checked).await?;
    hold.linked();
    // Before a tag leads to it: one that leads nowhere is worse than none.
    let settled = settling.settle(writing, linked(registry, digest, &bytes, checked)).await;
    let leading = tags.iter().zip(&before.tags).map(|(tag, old)| {
        let how = match (is_fixed(tag), old) {
            (false, _) => Leading::Anyway,
            (true, None) => Leading::Once { may_move },
            (true, Some(_)) => Leading::Already,
        };
        lead(&registry.stores.storage, (name, tag), digest, how)
    });
    let led = if settled.is_ok() { join_all(leading).await } else { Vec::new() };
    let settled = match settled {
        Ok(moving) => settling.settle_led(moving, writing, linked(registry, digest, &bytes, checked)).await,
        Err(refused) => Err(refused),
    };
    // Whether a tag is there that could not be set, only storage knows: what is kept is read anew.
    let bases = if settled.is_ok() && led.iter().all(Result::is_ok) { bases } else { Bases::default() };
    // Also after a failure: the manifest has been linked.
    let tags: Vec<_> = tags.iter().copied().zip(before.tags.iter().copied()).collect();
    let changes = changes(digest, (checked, size, new), tags.iter().zip(&led));
    let (manifest, media_type) = (&checked.manifest, checked.media_type.as_str());
    let (about, again, repository) = (referrer || retyped, before.again, before.repository);
    let pushed = Pushed { bases, digest, manifest, media_type, size, tags, about, again, repository };
    hold.before_tags_are_told();
    let published = publish(writing, changes, ForLists::Pushed(pushed)).await;
    settled?;
    led.into_iter().collect::<Result<(), Refusal>>()?;
    let published = published?;
    registry.reads.content.keep(*digest, bytes, Some(checked.told.clone()));
    Ok((published, hold))
}

/// Reserves what the manifest and its new tags take of the repository's quotas; and what it names, where that was linked without
/// being charged: by another program, before there was a quota, or by an instance that died. Its blobs are known to be there.
/// What is kept of another registry, nobody refuses.
async fn afford(
    writing: Writing<'_>,
    checked: &Checked,
    (digest, size): (&Digest, u64),
    new_tags: usize,
) -> Result<Hold, Refusal> {
    let Writing { registry, name, .. } = writing;
    let mut hold = if checked.after_its_blobs { registry.bounds.quotas.hold(name) } else { Hold::none() };
    if hold.is_none() {
        return Ok(hold);
    }
    let named = if check::is_image(checked) { checked.manifest.needed().collect() } else { Vec::new() };
    let mut named: Vec<Digest> = named.into_iter().filter_map(|named| named.digest.parse().ok()).collect();
    named.sort_unstable();
    named.dedup();
    let mut contents = vec![(*digest, size)];
    for digest in hold.unknown(named).await? {
        let layer = registry.bounds.fan.ask(membership::layer(registry, name, &digest, true)).await?;
        contents.extend(layer.map(|layer| (digest, layer.size)));
    }
    hold.afford(contents, new_tags as u64).await?;
    Ok(hold)
}

/// Whether all is there that it needs, and whether its own bytes are. Before that, what collections say.
async fn needs(
    writing: Writing<'_>,
    (digest, size): (&Digest, u64),
    checked: &Checked,
) -> Result<(Settling, bool), Refusal> {
    let storage = &writing.registry.stores.storage;
    let settling = Settling::begin(storage).await?;
    let (present, ()) = try_join(
        async { Ok::<_, Refusal>(storage.blob_present(digest, size).await?) },
        check::references(writing, checked),
    )
    .await?;
    #[cfg(test)]
    crate::registry::settling::between().await;
    Ok((settling, present))
}

fn linked<'a>(registry: &Registry, digest: &'a Digest, bytes: &'a Bytes, checked: &'a Checked) -> Linked<'a> {
    let judged = check::judges(registry, checked);
    Linked { digest, bytes, manifest: &checked.manifest, checked: judged && check::is_image(checked), judged }
}

/// The manifest, and the tags that are known to lead to it now.
fn changes<'a>(
    digest: &Digest,
    (checked, size, new): (&Checked, u64, bool),
    tags: impl Iterator<Item = (&'a (&'a Tag, Option<Digest>), &'a Result<(), Refusal>)>,
) -> Vec<What> {
    let subject = checked.manifest.subject.as_ref().and_then(|subject| subject.digest.parse().ok());
    let pushed = What::ManifestPushed { digest: *digest, media_type: checked.media_type.clone(), size, subject, new };
    let led = tags.filter(|(_, led)| led.is_ok());
    let moved = led.map(|((tag, old), _)| What::TagMoved { tag: Tag::clone(tag), old: *old, new: *digest });
    std::iter::once(pushed).chain(moved).collect()
}

/// What there was before.
struct Before<'a> {
    tags: Vec<Option<Digest>>,
    /// The repository, and catalogs were told of it.
    repository: bool,
    /// The manifest itself, where that was asked.
    revision: Option<bool>,
    /// This very push, or a part of it: it may have failed before it told anybody.
    again: bool,
    _arrival: Option<Arrival<'a>>,
}

async fn before<'a>(
    (storage, lists): (&Storage, &'a KeptLists),
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    referrer: bool,
) -> Result<Before<'a>, Error> {
    let revision = async {
        match referrer || tags.is_empty() {
            true => storage.link_exists(&Link::Revision(name.clone(), *digest)).await.map(Some),
            // Its tag tells.
            false => Ok(None),
        }
    };
    let tags = try_join_all(tags.iter().map(|tag| tags::read(storage, name, tag)));
    let (tags, revision) = try_join(tags, revision).await?;
    let again = revision == Some(true) || tags.contains(&Some(*digest));
    if lists.existing.contains_key(name) {
        return Ok(Before { tags, repository: true, revision, again, _arrival: None });
    }
    let there = tags.iter().any(Option::is_some) || storage.repository_exists(name).await?;
    let listed = lists.catalog.lists.peek(&()).is_none_or(|list| list.lists(name));
    let repository = there && listed && !lists.arriving.has(name);
    let arrival = (!repository).then(|| lists.arriving.begin(name));
    Ok(Before { tags, repository, revision, again, _arrival: arrival })
}

/// Whether the repository did not hold the manifest: asked only where nothing else tells.
async fn is_new(storage: &Storage, name: &RepositoryName, digest: &Digest, before: &Before<'_>) -> Result<bool, Error> {
    match before.revision {
        _ if before.again => Ok(false),
        Some(there) => Ok(!there),
        None => Ok(!storage.link_exists(&Link::Revision(name.clone(), *digest)).await?),
    }
}

/// The manifest's own links, and the tags' histories. Whether the manifest has another type now.
async fn link(
    stores: &Stores,
    name: &RepositoryName,
    digest: &Digest,
    tags: &[&Tag],
    checked: &Checked,
) -> Result<bool, Refusal> {
    let retyped = media_types::record(stores, name, digest, &checked.told, &checked.media_type).await?;
    let revision = Link::Revision(name.clone(), *digest);
    let indexes = tags.iter().map(|tag| Link::TagIndex(name.clone(), (*tag).clone(), *digest));
    let links: Vec<Link> = std::iter::once(revision).chain(indexes).collect();
    try_join_all(links.iter().map(|link| stores.storage.link_put(link, digest))).await?;
    Ok(retyped)
}

/// How a tag is made to lead somewhere.
#[derive(Clone, Copy)]
enum Leading {
    Anyway,
    /// It must not be moved, and was not there a moment ago; another instance may have created it since.
    Once {
        may_move: bool,
    },
    /// It must not be moved, and led there a moment ago. If somebody who may has moved it since, that stands.
    Already,
}

async fn lead(
    storage: &Storage,
    (name, tag): (&RepositoryName, &Tag),
    digest: &Digest,
    how: Leading,
) -> Result<(), Refusal> {
    let link = Link::Tag(name.clone(), tag.clone());
    match how {
        Leading::Already => return Ok(()),
        Leading::Once { may_move } => {
            if storage.link_create(&link, digest).await? {
                return Ok(());
            }
            match tags::read(storage, name, tag).await? {
                Some(found) if found != *digest => return Err(stays(tag, may_move)),
                Some(_) => return Ok(()),
                // A crash left it torn.
                None => {}
            }
        }
        Leading::Anyway => {}
    }
    Ok(storage.link_put(&link, digest).await?)
}

/// A tag that is there, and does not move: for anybody, or for who asks.
fn stays(tag: &Tag, may_move: bool) -> Refusal {
    match may_move {
        true => immutable(tag),
        false => {
            let message = format!("the tag '{tag}' exists, and you may not move it: that needs 'overwrite'");
            Refusal::new(ErrorCode::Denied, message)
        }
    }
}

/// ECR's code for this, which clients show as it is, with the status of a conflict.
pub(in crate::registry) fn immutable(tag: &Tag) -> Refusal {
    let message = format!("the tag '{tag}' exists and never changes here: [registry] immutable_tags");
    Refusal::status(StatusCode::CONFLICT, ErrorCode::TagInvalid, message)
}
