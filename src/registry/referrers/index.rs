//! The manifests of a repository by what they are about, kept while the repository's stamp holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use super::memo::{self, Memo};
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::registry::lists::Lists;
use crate::registry::media_types::{self, Told};
use crate::registry::{Registry, content};
use crate::storage::Error;

/// Bytes of all kept indexes together.
const MAX_KEPT: u64 = 32 << 20;
/// Manifests being read at once, of 4 MiB each at most.
const CONCURRENT_READS: usize = 16;
/// How long one asker has manifests read that were never looked at; what was read then is remembered for the next.
const READING_TIME: Duration = Duration::from_secs(25);
/// The memo is stored when so many manifests had to be read.
const WORTH_STORING: usize = 32;
/// Memory of an entry.
const OVERHEAD: usize = 100;

#[derive(Default)]
pub(in crate::registry) struct Index {
    by_subject: HashMap<Digest, Vec<Arc<Descriptor>>>,
    revisions: HashSet<Digest>,
}

pub(in crate::registry) type IndexLists = Lists<RepositoryName, Index>;

pub(in crate::registry) fn lists() -> IndexLists {
    // Descriptors are the memo's; a list of them costs little.
    let weigh = |index: &Index| {
        let listed: usize = index.by_subject.values().map(|about| OVERHEAD + about.len() * 8).sum();
        OVERHEAD + listed + index.revisions.len() * OVERHEAD
    };
    Lists::new(MAX_KEPT, weigh)
}

impl Index {
    pub(super) fn about(&self, subject: &Digest) -> &[Arc<Descriptor>] {
        self.by_subject.get(subject).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.revisions.contains(digest)
    }
}

pub(super) async fn get(registry: &Registry, name: &RepositoryName) -> Result<Arc<Index>, Error> {
    let ttl = registry.settings.load().config.list_ttl.0;
    let stamp = async || registry.storage.stamp(Some(name)).await;
    let kept = registry.referrers.get(name, ttl, stamp, async || build(registry, name).await).await?;
    Ok(kept.value.clone())
}

async fn build(registry: &Registry, name: &RepositoryName) -> Result<Index, Error> {
    let revisions = registry.storage.revisions(name).await?;
    if revisions.is_empty() {
        return Ok(Index::default());
    }
    let memo = memo::of(registry, name).await;
    let new = unread(registry, name, &revisions, &memo).await?;
    let count = new.len();
    let read = read_all(registry, name, new, &memo).await;
    if count >= WORTH_STORING {
        memo::store(registry, name, &memo).await;
    }
    read?;
    let known = memo.lock();
    let mut index = Index::default();
    for digest in &revisions {
        if let Some(Some(referrer)) = known.get(digest) {
            index.by_subject.entry(referrer.subject).or_default().push(referrer.descriptor.clone());
        }
    }
    drop(known);
    index.revisions = revisions.into_iter().collect();
    Ok(index)
}

/// What the memo does not know, and referrers that the repository holds as another type by now: where bytes do not tell
/// their type, a push to any instance may change it.
async fn unread(
    registry: &Registry,
    name: &RepositoryName,
    revisions: &[Digest],
    memo: &Memo,
) -> Result<Vec<Digest>, Error> {
    let (mut unread, mut unsure) = (Vec::new(), Vec::new());
    {
        let known = memo.lock();
        for digest in revisions {
            match known.get(digest) {
                None => unread.push(*digest),
                Some(Some(referrer)) if !referrer.told.surely => unsure.push((*digest, referrer.clone())),
                Some(_) => {}
            }
        }
    }
    let retyped: Vec<Digest> = stream::iter(unsure)
        .map(|(digest, referrer)| async move {
            let media_type = media_types::of(registry, name, &digest, &referrer.told).await?;
            Ok::<_, Error>((media_type != referrer.descriptor.media_type).then_some(digest))
        })
        .buffer_unordered(CONCURRENT_READS)
        .try_filter_map(|retyped| async move { Ok(retyped) })
        .try_collect()
        .await?;
    unread.extend(retyped);
    Ok(unread)
}

async fn read_all(registry: &Registry, name: &RepositoryName, new: Vec<Digest>, memo: &Memo) -> Result<(), Error> {
    let deadline = Instant::now() + READING_TIME;
    let read = |digest| read_one(registry, name, digest, memo);
    let mut reads = stream::iter(new).map(read).buffer_unordered(CONCURRENT_READS);
    while let Some(read) = reads.next().await {
        read?;
        if Instant::now() > deadline {
            return Err(Error::Unavailable("the repository's manifests are still being read for referrers".into()));
        }
    }
    Ok(())
}

/// What is missing or damaged is about nothing now; it is read again when it is back.
async fn read_one(registry: &Registry, name: &RepositoryName, digest: Digest, memo: &Memo) -> Result<(), Error> {
    let bytes = match content::read(&registry.storage, &digest, MAX_MANIFEST as u64).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(Error::Damaged(_)) => return Ok(()),
        Err(Error::TooLarge(_)) => {
            memo.lock().insert(digest, None);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let manifest = Manifest::parse(&bytes).unwrap_or_default();
    let referrer = match manifest.subject {
        None => None,
        Some(_) => {
            let media_type = media_types::of(registry, name, &digest, &Told::by(&manifest)).await?;
            memo::referrer(&digest, manifest, &media_type, bytes.len() as u64)
        }
    };
    memo.lock().insert(digest, referrer);
    Ok(())
}
