//! What clients listed themselves, for registries without this API: the index under the tag `sha256-<hex>`
//! (distribution-spec, "Referrers Tag Schema").
//!
//! Whoever may push may list there what they like, and others pay for it with each of their questions. So an index is parsed
//! once and kept by its digest; and where it names more than a few manifests that the repository does not seem to hold, the
//! repository's manifests are listed once for all of them and for everybody who asks, instead of one question for each.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use moka::sync::Cache;

use super::index::Index;
use super::line::Line;
use crate::oci::manifest::MAX_LISTED;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::registry::apart::apart;
use crate::registry::fan::PER_REQUEST;
use crate::registry::lists::Lists;
use crate::registry::{Registry, tags};
use crate::storage::{Error, Link, Stamp};

/// Bytes of all kept indexes together.
const MAX_LISTS: u64 = 32 << 20;
/// Bytes of all kept lists of what repositories hold.
const MAX_HELD: u64 = 16 << 20;
/// Memory of a line's or a digest's place in a list.
const PLACE: usize = 140;
/// So many manifests are asked for one by one.
const FEW: usize = 16;
/// Repositories that share a counter of pushes forget together, which costs speed only.
const COUNTERS: usize = 256;

type Listed = Arc<Vec<(Digest, Arc<Line>)>>;

pub(super) struct Fallbacks {
    lists: Cache<Digest, Listed>,
    /// What repositories held a moment ago, beyond what their indexes know, which a push that changes no list of tags or
    /// referrers does not tell of. Stamped with the number of pushes here.
    held: Lists<RepositoryName, HashSet<Digest>>,
    pushes: [AtomicU64; COUNTERS],
    hasher: RandomState,
}

impl Fallbacks {
    pub(super) fn new() -> Self {
        let lines = |_: &Digest, list: &Listed| {
            let total: usize = list.iter().map(|(_, line)| PLACE + line.weight()).sum();
            u32::try_from(PLACE + total).unwrap_or(u32::MAX)
        };
        Fallbacks {
            lists: Cache::builder().max_capacity(MAX_LISTS).weigher(lines).build(),
            held: Lists::new(MAX_HELD, |held: &HashSet<Digest>| PLACE * held.len()),
            pushes: std::array::from_fn(|_| AtomicU64::new(0)),
            hasher: RandomState::new(),
        }
    }

    /// A manifest was pushed to the repository here, or deleted: called before that is acknowledged.
    pub(super) fn pushed(&self, name: &RepositoryName) {
        if let Some(counter) = self.counter(name) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn pushes(&self, name: &RepositoryName) -> u64 {
        self.counter(name).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn counter(&self, name: &RepositoryName) -> Option<&AtomicU64> {
        self.pushes.get(self.hasher.hash_one(name.as_str()) as usize % COUNTERS)
    }
}

/// What the fallback tag of `subject` lists, as far as the repository holds it.
pub(super) async fn listed(
    registry: &Registry,
    name: &RepositoryName,
    subject: &Digest,
    index: &Index,
) -> Result<Vec<Arc<Line>>, Error> {
    let Some(tag) = tag_of(subject) else { return Ok(Vec::new()) };
    let Some(digest) = tags::resolve((&registry.stores.storage, &registry.reads.tags), name, &tag).await? else {
        return Ok(Vec::new());
    };
    let all = lines(registry, &digest).await?;
    let (known, unsure): (Vec<_>, Vec<_>) = all.iter().partition(|(digest, _)| index.has(digest));
    let mut found: Vec<Arc<Line>> = known.into_iter().map(|(_, line)| line.clone()).collect();
    if unsure.len() > FEW {
        let held = held(registry, name).await?;
        let there = unsure.into_iter().filter(|(digest, _)| held.contains(digest));
        found.extend(there.map(|(_, line)| line.clone()));
        return Ok(found);
    }
    let asked = unsure.into_iter().cloned().map(|(digest, line)| async move {
        let link = Link::Revision(name.clone(), digest);
        let there = registry.bounds.fan.ask(registry.stores.storage.link_exists(&link)).await?;
        Ok::<_, Error>(there.then_some(line))
    });
    let asked: Vec<Option<Arc<Line>>> = stream::iter(asked).buffer_unordered(PER_REQUEST).try_collect().await?;
    found.extend(asked.into_iter().flatten());
    Ok(found)
}

/// An index never changes under its digest.
async fn lines(registry: &Registry, digest: &Digest) -> Result<Listed, Error> {
    let lists = &registry.lists.referrers.fallbacks.lists;
    if let Some(list) = lists.get(digest) {
        return Ok(list);
    }
    let Some(kept) = registry.reads.content.manifest(&registry.stores.storage, digest).await? else {
        return Ok(Listed::default());
    };
    let list = apart(kept.bytes.len(), move || read_index(&kept.bytes)).await?;
    lists.insert(*digest, list.clone());
    Ok(list)
}

fn read_index(bytes: &[u8]) -> Listed {
    let listed = Manifest::parse(bytes).ok().and_then(|index| index.manifests).unwrap_or_default();
    // What we cannot hash we do not have.
    let line = |descriptor: Descriptor| {
        let digest = descriptor.digest.parse().ok()?;
        Some((digest, Arc::new(Line::of_index(descriptor))))
    };
    Arc::new(listed.into_iter().take(MAX_LISTED).filter_map(line).collect())
}

/// What the repository holds, as it was within `list_ttl`, and with all that was pushed here.
async fn held(registry: &Registry, name: &RepositoryName) -> Result<Arc<HashSet<Digest>>, Error> {
    let (fallbacks, storage) = (&registry.lists.referrers.fallbacks, &registry.stores.storage);
    let ttl = registry.settings.load().config.list_ttl.0;
    let stamp = async || Ok(Stamp(fallbacks.pushes(name).to_string()));
    let read = async || {
        let held: HashSet<Digest> = storage.revisions(name).await?.into_iter().collect();
        Ok(held)
    };
    Ok(fallbacks.held.get(name, ttl, stamp, read).await?.value.clone())
}

/// The hash is cut to 64 characters (distribution-spec, "Referrers Tag Schema").
fn tag_of(subject: &Digest) -> Option<Tag> {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), hex.get(..64)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn every_digest_has_a_fallback_tag() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let tag = tag_of(&Digest::of(algorithm, b"x")).unwrap();
            assert_eq!(tag.as_str().len(), 7 + 64);
        }
    }
}
