//! An image in another repository, or under another tag: links to what is here already.
//!
//! Written as a push writes: blobs, then manifests from the inner ones to the outer one, then what is about them (signatures,
//! attestations), and the tag last, so that whoever sees the tag sees all of it.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::asking::Held;
use super::plan::Plan;
use super::{Image, Repositories, RepositoryError, Step};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::registry::Room;
use crate::storage::{Link, Storage};

/// Blobs that are looked at, or linked, at once.
pub(super) const AT_ONCE: usize = 8;
/// Blobs whose turn is prepared at once.
const ORDERED: usize = 1000;
/// Blobs that are remembered as linked while a whole repository is copied; beyond, some are asked for again.
const MAX_LINKED: usize = 200_000;

/// What was copied.
#[derive(Clone, Debug, Serialize)]
pub struct Copied {
    pub source: Image,
    pub target: Image,
    pub digest: Digest,
    /// What the target's tag led to before.
    pub before: Option<Digest>,
    /// Manifests that were written, and blobs that were linked, in the other repository.
    pub manifests: usize,
    pub blobs: usize,
}

/// One repository's way to another: what has been brought there is not brought again.
pub(super) struct Way<'a> {
    pub(super) work: &'a Repositories<'a>,
    pub(super) from: &'a RepositoryName,
    pub(super) to: &'a RepositoryName,
    /// What is about an image comes along.
    pub(super) referrers: bool,
    pub(super) manifests: HashSet<Digest>,
    pub(super) blobs: HashSet<Digest>,
    /// How many were brought.
    pub(super) brought: (usize, usize),
}

impl Repositories<'_> {
    /// Makes a tag of the same repository lead to a manifest of it.
    pub async fn tag(&self, source: &Image, target: &Image) -> Result<Copied, RepositoryError> {
        if source.name != target.name {
            let what =
                format!("{source} and {target} are in two repositories: `entrepot cp` copies from one to another");
            return Err(RepositoryError::Useless(what));
        }
        self.copy(source, target, false).await
    }

    /// Copies one image. The target is a tag, or the digest that the source has.
    pub async fn copy(&self, source: &Image, target: &Image, referrers: bool) -> Result<Copied, RepositoryError> {
        let held = self.needed(source).await?;
        if let Reference::Digest(digest) = &target.reference
            && *digest != held.digest
        {
            let what = format!("{source} is {}, which cannot be had as {digest}: name a tag", held.digest);
            return Err(RepositoryError::Useless(what));
        }
        let mut way = Way::new(self, (&source.name, &target.name), referrers);
        let before = way.bring(&held, target.tag()).await?;
        let (manifests, blobs) = way.brought;
        let (source, target) = (source.clone(), target.clone());
        Ok(Copied { source, target, digest: held.digest, before, manifests, blobs })
    }
}

impl<'a> Way<'a> {
    pub(super) fn new(
        work: &'a Repositories<'a>,
        (from, to): (&'a RepositoryName, &'a RepositoryName),
        referrers: bool,
    ) -> Self {
        Way { work, from, to, referrers, manifests: HashSet::new(), blobs: HashSet::new(), brought: (0, 0) }
    }

    /// Brings an image and sets the tag; what the tag led to before. What would be refused leaves nothing behind: it is judged before
    /// anything is linked.
    pub(super) async fn bring(&mut self, held: &Held, tag: Option<&Tag>) -> Result<Option<Digest>, RepositoryError> {
        let before = match tag {
            Some(tag) => tag_now(self.work.registry.storage(), self.to, tag).await?,
            None => None,
        };
        if self.from != self.to {
            let plan = self.plan(held.digest).await?;
            let room = self.judged(&plan, held.digest, tag).await?;
            self.bring_all(&plan, &room).await?;
            let new_tags = u64::from(tag.is_some() && before.is_none());
            room.make_way(&held.digest, held.bytes.len() as u64, new_tags).await?;
        }
        // Also where it led there already: the registry judges whether it may.
        self.work.put(self.to, held, tag).await?;
        Ok(before)
    }

    /// All blobs before the first manifest: whoever comes in between finds blobs that nothing names, which a collection takes.
    async fn bring_all(&mut self, plan: &Plan, room: &Room) -> Result<(), RepositoryError> {
        self.link_blobs(plan, room).await?;
        for planned in plan.manifests.iter().rev() {
            let Some(held) = self.held(&planned.digest).await? else { continue };
            room.make_way(&planned.digest, planned.size, 0).await?;
            self.work.put(self.to, &held, None).await?;
            self.manifests.insert(planned.digest);
            self.brought.0 += 1;
            (self.work.tell)(Step::Manifest { digest: planned.digest, blobs: planned.blobs });
        }
        for (tag, digest) in &plan.tags {
            let Some(held) = self.held(digest).await? else { continue };
            let new_tags = u64::from(tag_now(self.work.registry.storage(), self.to, tag).await?.is_none());
            room.make_way(digest, held.bytes.len() as u64, new_tags).await?;
            self.work.put(self.to, &held, Some(tag)).await?;
        }
        Ok(())
    }

    async fn link_blobs(&mut self, plan: &Plan, room: &Room) -> Result<(), RepositoryError> {
        let (registry, to) = (self.work.registry, self.to);
        let (mut new, mut taken) = (Vec::new(), None);
        for some in plan.blobs.chunks(ORDERED) {
            let linking = some.iter().map(|(digest, _)| async move {
                let linked = registry.adopt_blob_into(room, to, digest).await?;
                Ok::<_, RepositoryError>((*digest, linked.is_some()))
            });
            let mut linked = stream::iter(linking.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
            while let Some((digest, is_there)) = linked.try_next().await? {
                if is_there {
                    new.push(digest);
                } else {
                    taken = Some(digest);
                }
            }
        }
        self.brought.1 += new.len();
        if self.blobs.len() + new.len() <= MAX_LINKED {
            self.blobs.extend(new);
        }
        // It was there a moment ago: the manifest that needs it would be refused.
        let gone = |digest: Digest| RepositoryError::Absent(format!("{digest} was taken away meanwhile: try again"));
        taken.map_or(Ok(()), |digest| Err(gone(digest)))
    }

    /// A manifest that needs what is nowhere.
    pub(super) fn lacks(&self, digest: &Digest, manifest: &Digest) -> RepositoryError {
        RepositoryError::Absent(format!(
            "{} lacks {digest}, which its manifest {manifest} needs: `entrepot verify` tells what is damaged",
            self.from
        ))
    }

    pub(super) async fn held(&self, digest: &Digest) -> Result<Option<Held>, RepositoryError> {
        self.work.manifest(&Image { name: self.from.clone(), reference: Reference::Digest(*digest) }).await
    }
}

/// What a tag leads to; a damaged one to nothing.
pub(super) async fn tag_now(
    storage: &Storage,
    name: &RepositoryName,
    tag: &Tag,
) -> Result<Option<Digest>, RepositoryError> {
    match storage.link(&Link::Tag(name.clone(), tag.clone())).await {
        Err(crate::storage::Error::Damaged(_)) => Ok(None),
        found => Ok(found?),
    }
}
