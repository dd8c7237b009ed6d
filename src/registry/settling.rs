//! What is written that names content which was there a moment ago: a collection may have moved the bytes since, because it did
//! not see what was being written.
//!
//! A collection says in the *epoch* that it moves bytes, looks which are named, and moves those that are not to the trash, where
//! they stay for its grace; before it deletes them it looks again. So whoever
//!
//! 1. reads the epoch,
//! 2. looks whether all is there that a manifest names,
//! 3. writes its links,
//! 4. reads the epoch again, and if bytes are being moved or were moved since, looks at all of it once more,
//!
//! has either been seen by the collection, or sees what it did, and brings that back. What he may not see (bytes that are moved
//! after he looked again) is in the trash, and found to be named before it is deleted. A collection that deletes without that
//! time in between must move to the trash, say that it is done, look once more, and only then delete: so it sees whoever did not
//! see it. While bytes are being moved, the links are written anew: one that was written since it was condemned is not taken.
//! Whoever takes longer than a part of the shortest grace looks again in any case.
//!
//! A single blob needs no epoch: once it is linked, looking whether its bytes are there costs the same.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::fan::PER_REQUEST;
use super::publish::Writing;
use super::reply::Refusal;
use super::rescue::{Held, Kind, Restored};
use super::{Registry, membership, rescue};
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::storage::{Epoch, Error, Link, Storage};

/// What was seen longer ago is looked at again: a quarter of the shortest grace that a collection can have.
const SOON: Duration = Duration::from_secs(30 * 60);

/// How deep indexes lie in each other that are followed, and manifests of one push that are read for it: what lies further is
/// found by the last look of the collection.
const DEPTH: usize = 4;
const FOLLOWED: usize = 256;

/// What a write knows of collections that run beside it.
pub(super) struct Settling {
    epoch: Epoch,
    began: Instant,
    /// A machine that slept has one clock that did not.
    began_at: SystemTime,
    #[cfg(test)]
    later: Duration,
}

/// A manifest that has been linked.
pub(super) struct Linked<'a> {
    pub digest: &'a Digest,
    pub bytes: &'a Bytes,
    pub manifest: &'a Manifest,
    /// Its blobs were found to be there.
    pub checked: bool,
    /// What else it names may not vanish either.
    pub judged: bool,
}

/// How it is looked at once more.
#[derive(Clone, Copy)]
struct Again {
    /// When that began.
    since: Instant,
    /// A collection goes on at this moment.
    moving: bool,
}

/// Something that a manifest names.
#[derive(Clone, Copy)]
struct Named {
    digest: Digest,
    kind: Kind,
    needed: Needed,
}

/// What has to be there of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    /// It was there.
    Surely,
    /// What the repository holds, or held until a collection took it.
    IfHeld,
    /// Nothing: what can be brought back is.
    Maybe,
}

impl Settling {
    /// Before anything is looked at.
    pub(super) async fn begin(storage: &Storage) -> Result<Self, Error> {
        let (began, began_at) = (Instant::now(), SystemTime::now());
        Ok(Settling {
            #[cfg(test)]
            later: later(),
            epoch: storage.epoch().await?,
            began,
            began_at,
        })
    }

    /// After the manifest and its links were written, before a tag leads to it. Nothing is asked but the epoch, unless a
    /// collection moves bytes or did meanwhile: then all that it names is looked at again, and brought back. Refuses, for the
    /// client to come again, what cannot be. Whether a collection goes on at this moment.
    pub(super) async fn settle(&self, writing: Writing<'_>, linked: Linked<'_>) -> Result<bool, Refusal> {
        let Writing { registry, name, .. } = writing;
        let now = registry.stores.storage.epoch().await?;
        if !self.must_look_again(&now) {
            return Ok(false);
        }
        let again = Again { since: Instant::now(), moving: now.is_moving() };
        let outcome = look_again(registry, name, linked, again).await;
        registry.metrics.looked_twice(match &outcome {
            Ok(0) => "well",
            Ok(_) => "missing",
            Err(_) => "failed",
        });
        match outcome? {
            0 => Ok(now.is_moving()),
            count => {
                tracing::warn!(%name, count, "a collection took what a manifest names while it was pushed: it is refused");
                Err(taken("what the manifest names"))
            }
        }
    }

    /// After tags were written that lead to it, with what [`Self::settle`] told before: a collection that did not see them may have
    /// taken the link since, if it had decided to before it was written. One that takes it later sees them.
    pub(super) async fn settle_led(
        &self,
        moving: bool,
        writing: Writing<'_>,
        linked: Linked<'_>,
    ) -> Result<(), Refusal> {
        let revision = Link::Revision(writing.name.clone(), *linked.digest);
        if self.is_late() || moving && !writing.registry.stores.storage.link_exists(&revision).await? {
            self.settle(writing, linked).await?;
        }
        Ok(())
    }

    fn must_look_again(&self, now: &Epoch) -> bool {
        self.is_late() || now.is_moving() || *now != self.epoch
    }

    /// Too late to believe anything that was seen: after longer than any grace a collection may have taken the manifest.
    fn is_late(&self) -> bool {
        let elapsed = self.began.elapsed().max(self.began_at.elapsed().unwrap_or_default());
        #[cfg(test)]
        let elapsed = elapsed + later().saturating_sub(self.later);
        elapsed > SOON
    }
}

/// Links a blob whose bytes were there a moment ago. False: they are gone for good.
pub(super) async fn link(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    target: &Digest,
) -> Result<bool, Error> {
    #[cfg(test)]
    between().await;
    registry.stores.storage.link_put(&Link::Layer(name.clone(), *digest), target).await?;
    Ok(rescue::bytes(registry, target).await?.is_some())
}

/// For the client, who pushes it again.
pub(super) fn taken(what: &str) -> Refusal {
    Refusal::later(&format!("a garbage collection took {what} away while it was pushed: push it again"))
}

/// How much of it is gone for good. What it names is followed to the end: a collection may have taken what a manifest needs that
/// an index names before it took that.
async fn look_again(
    registry: &Registry,
    name: &RepositoryName,
    linked: Linked<'_>,
    again: Again,
) -> Result<usize, Error> {
    let Linked { digest, bytes, manifest, checked, judged } = linked;
    let storage = &registry.stores.storage;
    if rescue::bytes(registry, digest).await?.is_none() {
        storage.blob_put(digest, bytes.clone()).await?;
    }
    let revision = Link::Revision(name.clone(), *digest);
    if !storage.link_exists(&revision).await? {
        storage.link_put(&revision, digest).await?;
    }
    let others = if judged { Needed::IfHeld } else { Needed::Maybe };
    let mut level = named(manifest, if checked { Needed::Surely } else { Needed::Maybe }, others);
    let mut seen: HashSet<Digest> = level.iter().map(|named| named.digest).chain([*digest]).collect();
    let (mut gone, mut follow) = (0, FOLLOWED);
    for _ in 0..DEPTH {
        let looked = level.into_iter().map(|named| async move {
            let there = registry.bounds.fan.ask(is_there(registry, name, named, again)).await?;
            Ok::<_, Error>((named, there))
        });
        let looked: Vec<_> = stream::iter(looked).buffer_unordered(PER_REQUEST).try_collect().await?;
        gone += looked.iter().filter(|(_, there)| *there == There::Gone).count();
        let manifests = looked.into_iter().filter(|(_, there)| *there == There::Manifest).take(follow);
        let manifests: Vec<Named> = manifests.map(|(named, _)| named).collect();
        follow -= manifests.len();
        level = Vec::new();
        for Named { digest, needed, .. } in manifests {
            level.extend(named(&rescue::read(registry, &digest).await?, needed, needed));
        }
        level.retain(|named| seen.insert(named.digest));
        if level.is_empty() {
            break;
        }
    }
    Ok(gone)
}

/// Each digest once, as what it is needed for most.
fn named(manifest: &Manifest, blobs: Needed, others: Needed) -> Vec<Named> {
    let blobs = manifest.needed().map(|named| (named, Kind::Layer, blobs));
    let listed = manifest.manifests.iter().flatten().map(|named| (named, rescue::kind_of(named), others));
    let subject = manifest.subject.iter().map(|named| (named, Kind::Revision, others));
    let mut all: Vec<Named> = blobs
        .chain(listed)
        .chain(subject)
        .filter_map(|(named, kind, needed)| Some(Named { digest: named.digest.parse().ok()?, kind, needed }))
        .collect();
    all.sort_by_key(|named| (named.digest, named.needed));
    all.dedup_by_key(|named| named.digest);
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Here,
    /// By its own link: what it names has to be looked at, too.
    Manifest,
    Gone,
}

/// Whether what is needed is there, or has been brought back; what never was need not be.
async fn is_there(registry: &Registry, name: &RepositoryName, named: Named, again: Again) -> Result<There, Error> {
    let Named { digest, kind, needed } = named;
    let gone = if needed == Needed::Maybe { There::Here } else { There::Gone };
    Ok(match rescue::held(registry, name, &digest).await? {
        held @ (Held::Blob | Held::Manifest)
            if again.moving && !written_again(registry, name, &digest, held).await? =>
        {
            gone
        }
        Held::Manifest if needed != Needed::Surely => There::Manifest,
        Held::Blob => There::Here,
        Held::Lost => gone,
        // The link has been taken since. Its bytes may have had another digest, which nobody knows any more: then they are gone.
        _ if needed == Needed::Surely => match settled(registry, name, &digest).await? {
            true => There::Here,
            false => There::Gone,
        },
        _ => match rescue::restore(registry, name, (digest, kind), again.since).await? {
            Restored::Yes | Restored::NotTaken => There::Here,
            Restored::Gone => gone,
        },
    })
}

/// A link that a collection may be about to take, because it decided so before, is written again: it leaves what was written since.
/// False: it was taken at this moment, and cannot be written any more.
async fn written_again(registry: &Registry, name: &RepositoryName, digest: &Digest, held: Held) -> Result<bool, Error> {
    let storage = &registry.stores.storage;
    if held == Held::Manifest {
        return storage.link_put(&Link::Revision(name.clone(), *digest), digest).await.map(|_| true);
    }
    let target = membership::target(storage, &Link::Layer(name.clone(), *digest)).await?.unwrap_or(*digest);
    link(registry, name, digest, &target).await
}

/// Links a blob that was there once more.
async fn settled(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
    Ok(rescue::bytes(registry, digest).await?.is_some() && link(registry, name, digest, digest).await?)
}

#[cfg(test)]
tokio::task_local! {
    /// What happens between the moment at which a write has looked, and its links.
    pub(super) static BETWEEN: std::cell::RefCell<Option<futures::future::BoxFuture<'static, ()>>>;
}

#[cfg(test)]
tokio::task_local! {
    /// How much time has passed in a test that does not wait for it.
    pub(super) static LATER: std::sync::Arc<dyn Fn() -> Duration + Send + Sync>;
}

#[cfg(test)]
fn later() -> Duration {
    LATER.try_with(|later| later()).unwrap_or_default()
}

#[cfg(test)]
pub(super) async fn between() {
    let happens = BETWEEN.try_with(|between| between.borrow_mut().take());
    if let Ok(Some(happens)) = happens {
        happens.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Descriptor;
    use crate::registry::tests::harness::Harness;

    #[tokio::test]
    async fn one_looks_again_when_bytes_are_moved_or_were_and_when_it_took_too_long() {
        let storage = Harness::new().await.storage;
        let begin = async || Settling::begin(&storage).await.unwrap();
        let now = async || storage.epoch().await.unwrap();
        assert!(!begin().await.must_look_again(&now().await), "no collection has ever run");
        let before = begin().await;
        storage.epoch_moving().await.unwrap();
        assert!(before.must_look_again(&now().await));
        let meanwhile = begin().await;
        assert!(meanwhile.must_look_again(&now().await), "it goes on");
        storage.epoch_still().await.unwrap();
        assert!(before.must_look_again(&now().await) && meanwhile.must_look_again(&now().await), "it is over");
        assert!(!begin().await.must_look_again(&now().await));
        let mut late = begin().await;
        late.began_at -= SOON * 2;
        assert!(late.must_look_again(&now().await));
    }

    #[test]
    fn each_digest_is_looked_at_once_as_what_it_is_needed_for_most() {
        let [a, b] = ["a", "b"].map(|text| Digest::of(crate::oci::Algorithm::Sha256, text.as_bytes()));
        let descriptor = |digest: String| Descriptor { digest, ..Descriptor::default() };
        let manifest = Manifest {
            config: Some(descriptor(a.text())),
            layers: Some(vec![descriptor(b.text()), descriptor(b.text()), descriptor("md5:12".into())]),
            subject: Some(descriptor(a.text())),
            ..Manifest::default()
        };
        let mut expected = [a, b];
        expected.sort_unstable();
        let found = named(&manifest, Needed::Surely, Needed::IfHeld);
        assert!(found.iter().all(|named| named.needed == Needed::Surely && named.kind == Kind::Layer));
        assert_eq!(found.iter().map(|named| named.digest).collect::<Vec<_>>(), expected);
    }
}
