//! All that comes with an image, found before anything of it is linked: so whatever would be refused is refused as a whole.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::asking::{Held, refused};
use super::copy::{AT_ONCE, Way, tag_now};
use super::{Image, RepositoryError, Step};
use crate::oci::{Digest, Manifest, Reference, Tag};
use crate::registry::{Coming, Room};

/// Manifests of one image, with all that they list and all that is about them, and all their blobs.
const MAX_MANIFESTS: usize = 10_000;
const MAX_BLOBS: usize = 1_000_000;
/// Ends of the tags under which older tools keep what is about an image.
const KINDS: [&str; 4] = ["", ".sig", ".att", ".sbom"];

/// What is to be brought.
#[derive(Default)]
pub(super) struct Plan {
    /// The outer ones first.
    pub manifests: Vec<Planned>,
    /// What older tools keep of the image, under tags of their own.
    pub tags: Vec<(Tag, Digest)>,
    /// With their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Manifests that are looked at, or will be, in that order.
    queue: Vec<Digest>,
    seen: HashSet<Digest>,
    seen_blobs: HashSet<Digest>,
}

/// A manifest that is to be brought.
#[derive(Clone, Copy)]
pub(super) struct Planned {
    pub digest: Digest,
    pub size: u64,
    /// How many blobs come for it.
    pub blobs: usize,
}

impl Plan {
    fn look_at(&mut self, digest: Digest) {
        if self.seen.insert(digest) {
            self.queue.push(digest);
        }
    }
}

impl Way<'_> {
    /// Everything that the manifest needs, lists and is talked about with.
    pub(super) async fn plan(&self, root: Digest) -> Result<Plan, RepositoryError> {
        let mut plan = Plan::default();
        self.find(root, root, self.referrers, &mut plan).await?;
        if self.referrers {
            for digest in plan.queue.clone() {
                self.tags_about(root, &digest, &mut plan).await?;
            }
        }
        Ok(plan)
    }

    /// Asks whether the registry would take all of it, and reserves the room.
    pub(super) async fn judged(&self, plan: &Plan, root: Digest, tag: Option<&Tag>) -> Result<Room, RepositoryError> {
        let mut tags = plan.tags.clone();
        if let Some(tag) = tag {
            tags.retain(|(other, _)| other != tag);
            tags.push((tag.clone(), root));
        }
        let manifests: Vec<_> = plan.manifests.iter().map(|planned| (planned.digest, planned.size)).collect();
        let coming = Coming { name: self.to, tags: &tags, blobs: &plan.blobs, manifests: &manifests };
        self.work.registry.room_for(&coming).await.map_err(|reply| refused(reply.status, &reply.body))
    }

    async fn find(&self, root: Digest, start: Digest, referrers: bool, plan: &mut Plan) -> Result<(), RepositoryError> {
        let mut next = plan.queue.len();
        plan.look_at(start);
        while let Some(digest) = plan.queue.get(next).copied() {
            next += 1;
            if self.manifests.contains(&digest) {
                continue;
            }
            let Some(held) = self.held(&digest).await? else { continue };
            self.listed(&held).await?.into_iter().for_each(|listed| plan.look_at(listed));
            if referrers {
                let about = self.work.referrers(self.from, &digest).await?;
                about.into_iter().for_each(|about| plan.look_at(about));
            }
            let blobs = self.blobs(&held, plan).await?;
            plan.manifests.push(Planned { digest, size: held.bytes.len() as u64, blobs });
            if plan.queue.len() > MAX_MANIFESTS || plan.blobs.len() > MAX_BLOBS {
                let what = format!(
                    "more than {MAX_MANIFESTS} manifests, or {MAX_BLOBS} blobs, belong to {}@{root}",
                    self.from
                );
                return Err(RepositoryError::Useless(what));
            }
        }
        Ok(())
    }

    /// Manifests that this one lists and the repository has: an index may list what is not there.
    async fn listed(&self, held: &Held) -> Result<Vec<Digest>, RepositoryError> {
        let manifest = Manifest::parse(&held.bytes).unwrap_or_default();
        let named = manifest.manifests.iter().flatten().filter_map(|named| named.digest.parse::<Digest>().ok());
        let mut listed = Vec::new();
        for digest in named {
            if self.held(&digest).await?.is_some() {
                listed.push(digest);
            }
        }
        Ok(listed)
    }

    /// Takes the blobs that a manifest names into the plan; how many are not in it yet.
    async fn blobs(&self, held: &Held, plan: &mut Plan) -> Result<usize, RepositoryError> {
        let manifest = Manifest::parse(&held.bytes).unwrap_or_default();
        let needed = manifest.needed().map(|named| (named, true));
        // Lists of build caches name blobs where others name manifests.
        let listed = manifest.manifests.iter().flatten().map(|named| (named, false));
        let named = needed.chain(listed).filter_map(|(named, sure)| Some((named.digest.parse::<Digest>().ok()?, sure)));
        let new = named.filter(|(digest, _)| !self.blobs.contains(digest) && !plan.seen_blobs.contains(digest));
        let asking: Vec<_> = new.map(|(digest, sure)| self.blob(held, digest, sure)).collect();
        let found: Vec<Option<(Digest, u64)>> = stream::iter(asking).buffer_unordered(AT_ONCE).try_collect().await?;
        let before = plan.blobs.len();
        for (digest, size) in found.into_iter().flatten() {
            if plan.seen_blobs.insert(digest) {
                plan.blobs.push((digest, size));
            }
        }
        Ok(plan.blobs.len() - before)
    }

    /// A blob with its size; `None`: it is no blob of the repository, and need not be. `sure`: it is one.
    async fn blob(&self, held: &Held, digest: Digest, sure: bool) -> Result<Option<(Digest, u64)>, RepositoryError> {
        let registry = self.work.registry;
        let size = match sure {
            true => registry.adoptable(self.to, &digest).await?,
            false => registry.held_blob_size(self.from, &digest).await?,
        };
        match size {
            None if sure => Err(self.lacks(&digest, &held.digest)),
            size => Ok(size.map(|size| (digest, size))),
        }
    }

    /// `sha256-…`, `sha256-….sig` and so on: what older tools keep of an image under tags of their own. Where the other repository has
    /// such a tag that leads elsewhere, it stays: somebody has signed the image there, and would have to do it again.
    async fn tags_about(&self, root: Digest, digest: &Digest, plan: &mut Plan) -> Result<(), RepositoryError> {
        let hex: String = digest.hex().chars().take(64).collect();
        for kind in KINDS {
            let Ok(tag) = format!("{}-{hex}{kind}", digest.algorithm().name()).parse::<Tag>() else { continue };
            let storage = self.work.registry.storage();
            if tag_now(storage, self.from, &tag).await?.is_none() {
                continue;
            }
            let image = Image { name: self.from.clone(), reference: Reference::Tag(tag.clone()) };
            let Some(held) = self.work.manifest(&image).await? else { continue };
            if let Some(digest) = tag_now(storage, self.to, &tag).await?.filter(|there| *there != held.digest) {
                (self.work.tell)(Step::Stays { tag: tag.to_string(), digest });
                continue;
            }
            self.find(root, held.digest, false, plan).await?;
            plan.tags.push((tag, held.digest));
        }
        Ok(())
    }
}
