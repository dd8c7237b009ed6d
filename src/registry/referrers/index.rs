//! The manifests of a repository by what they are about, kept while the repository's stamp holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use super::line::Line;
use super::memo::{self, Memo};
use super::stored;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::registry::apart::apart;
use crate::registry::fan::{Fan, PER_REQUEST};
use crate::registry::lists::Lists;
use crate::registry::media_types::{self, ImpliedType};
use crate::registry::{Registry, content};
use crate::storage::{Error, Storage};

/// Bytes of all kept indexes together.
const MAX_KEPT: u64 = 64 << 20;
/// How long one asker has manifests read that were never looked at; what was read then is remembered for the next.
const READING_TIME: Duration = Duration::from_secs(25);
/// The memo is stored when so many manifests had to be read.
const WORTH_STORING: usize = 32;
/// So many manifests without a `mediaType` are asked for their type one by one.
const FEW: usize = 16;
/// Memory of an entry.
const OVERHEAD: usize = 140;

#[derive(Default)]
pub(super) struct Index {
    by_subject: HashMap<Digest, Vec<Arc<Line>>>,
    revisions: HashSet<Digest>,
}

pub(super) type IndexLists = Lists<RepositoryName, Index>;

pub(super) fn lists() -> IndexLists {
    // Lines are the memo's; but they stay when it goes.
    let weigh = |index: &Index| {
        let listed: usize = index.by_subject.values().flatten().map(|line| line.weight()).sum();
        OVERHEAD * (1 + index.by_subject.len() + index.revisions.len()) + listed
    };
    Lists::new(MAX_KEPT, weigh)
}

impl Index {
    pub(super) fn about(&self, subject: &Digest) -> &[Arc<Line>] {
        self.by_subject.get(subject).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.revisions.contains(digest)
    }
}

pub(super) async fn get(registry: &Registry, name: &RepositoryName) -> Result<Arc<Index>, Error> {
    let ttl = registry.settings.load().config.list_ttl.0;
    let stamp = async || registry.stores.storage.stamp(Some(name)).await;
    let kept = registry.lists.referrers.indexes.get(name, ttl, stamp, async || build(registry, name).await).await?;
    Ok(kept.value.clone())
}

async fn build(registry: &Registry, name: &RepositoryName) -> Result<Index, Error> {
    let revisions = registry.stores.storage.revisions(name).await?;
    if revisions.is_empty() {
        return Ok(Index::default());
    }
    let memo = stored::of(&registry.stores.storage, &registry.lists.referrers.memos, name).await;
    let new = unread((&registry.stores.storage, &registry.bounds.fan), name, &revisions, &memo).await?;
    let count = new.len();
    let read = read_all((&registry.stores.storage, &registry.bounds.fan), name, new, &memo).await;
    if count > 0 {
        registry.lists.referrers.memos.weigh(name, &memo);
    }
    if count >= WORTH_STORING {
        stored::store(&registry.stores.storage, name, &memo).await;
    }
    read?;
    let mut index = Index::default();
    for referrer in revisions.iter().filter_map(|digest| memo.get(digest).flatten()) {
        index.by_subject.entry(referrer.subject).or_default().push(referrer.line.clone());
    }
    index.revisions = revisions.into_iter().collect();
    Ok(index)
}

/// What the memo does not know, and referrers that the repository holds as another type by now: where bytes do not tell
/// their type, a push to any instance may change it.
async fn unread(
    (storage, fan): (&Storage, &Fan),
    name: &RepositoryName,
    revisions: &[Digest],
    memo: &Memo,
) -> Result<Vec<Digest>, Error> {
    let (mut unread, mut unsure) = (Vec::new(), Vec::new());
    for digest in revisions {
        match memo.get(digest) {
            None => unread.push(*digest),
            Some(Some(referrer)) if !referrer.told.surely => unsure.push((*digest, referrer)),
            Some(_) => {}
        }
    }
    if unsure.len() > FEW {
        // Most are what their shape tells, and nothing is recorded of them: one list says so of all.
        let recorded = storage.recorded_types(name).await?;
        unsure.retain(|(digest, found)| {
            recorded.contains(digest) || found.line.descriptor.media_type != found.told.media_type
        });
    }
    let retyped: Vec<Digest> = stream::iter(unsure)
        .map(|(digest, referrer)| async move {
            let media_type = fan.ask(media_types::of(storage, name, &digest, &referrer.told)).await?;
            Ok::<_, Error>((media_type != referrer.line.descriptor.media_type).then_some(digest))
        })
        .buffer_unordered(PER_REQUEST)
        .try_filter_map(|retyped| async move { Ok(retyped) })
        .try_collect()
        .await?;
    unread.extend(retyped);
    Ok(unread)
}

async fn read_all(
    (storage, fan): (&Storage, &Fan),
    name: &RepositoryName,
    new: Vec<Digest>,
    memo: &Memo,
) -> Result<(), Error> {
    let deadline = Instant::now() + READING_TIME;
    let read = |digest| fan.ask(read_one(storage, name, digest, memo));
    let mut reads = stream::iter(new).map(read).buffer_unordered(PER_REQUEST);
    while let Some(read) = reads.next().await {
        read?;
        if Instant::now() > deadline {
            return Err(Error::Unavailable("the repository's manifests are still being read for referrers".into()));
        }
    }
    Ok(())
}

/// What is missing or damaged is about nothing now; it is read again when it is back.
async fn read_one(storage: &Storage, name: &RepositoryName, digest: Digest, memo: &Memo) -> Result<(), Error> {
    let bytes = match content::read(storage, &digest, MAX_MANIFEST as u64).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(Error::Damaged(_)) => return Ok(()),
        Err(Error::TooLarge(_)) => {
            memo.learn(digest, None);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let text = bytes.clone();
    let manifest = apart(bytes.len(), move || Manifest::parse(&text).unwrap_or_default()).await?;
    let referrer = match manifest.subject {
        None => None,
        Some(_) => {
            let media_type = media_types::of(storage, name, &digest, &ImpliedType::by(&manifest)).await?;
            memo::referrer(&digest, manifest, &media_type, bytes.len() as u64)
        }
    };
    memo.learn(digest, referrer);
    Ok(())
}
