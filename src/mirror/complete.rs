//! Which platforms of an image could be pulled if the remote said nothing any more, and which of a tag's digests that makes the one to
//! serve: never a newer one of which less can be had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use moka::sync::Cache;

use super::flights::Flights;
use super::image::{ANY, Image, Named};
use super::{Mirror, manifests};
use crate::oci::{Digest, RepositoryName};

/// What was found out is believed for so long.
const TIME: Duration = Duration::from_secs(5);
const MOST: u64 = 10_000;
/// Blobs of an image that are looked for at once, and manifests of an index.
const AT_ONCE: usize = 8;
/// Indexes in indexes that are looked into.
const DEPTH: usize = 3;

/// Names of platforms, or [`ANY`].
pub(super) type Platforms = BTreeSet<String>;

/// What must be here for a platform to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    /// Its manifest and all blobs.
    All,
    /// Its manifest: blobs can be had, where it is only that no pulls are left.
    Manifests,
}

type Key = (RepositoryName, Digest, Need);

pub(super) struct Completeness {
    memo: Cache<Key, Arc<Platforms>>,
    looking: Flights<Key, Arc<Platforms>>,
}

impl Default for Completeness {
    fn default() -> Self {
        let memo = Cache::builder().max_capacity(MOST).time_to_live(TIME).build();
        Completeness { memo, looking: Flights::default() }
    }
}

/// The platforms that can be pulled of a kept manifest; empty where it is not kept.
pub(super) async fn platforms(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    digest: &Digest,
    need: Need,
) -> Arc<Platforms> {
    let key = (name.clone(), *digest, need);
    if let Some(known) = mirror.complete.memo.get(&key) {
        return known;
    }
    let look = || {
        let (mirror, key) = (mirror.clone(), key.clone());
        async move {
            let found = Arc::new(look(&mirror, &key.0, &key.1, need, DEPTH).await);
            mirror.complete.memo.insert(key, found.clone());
            found
        }
        .boxed()
    };
    mirror.complete.looking.join(key.clone(), look).await.map(|landed| landed.value).unwrap_or_default()
}

/// The same, without what was found out a moment ago.
pub(super) async fn look_now(mirror: &Mirror, name: &RepositoryName, digest: &Digest, need: Need) -> Platforms {
    look(mirror, name, digest, need, DEPTH).await
}

/// The newest of a tag's digests, by what can be pulled of each (newest first), that lacks no platform which an older one has.
pub(super) fn newest(of_each: &[Arc<Platforms>]) -> Option<usize> {
    (0..of_each.len()).find(|index| {
        let (before, older) = of_each.split_at(index + 1);
        before.last().is_some_and(|newest| older.iter().all(|older| covers(newest, older)) && !newest.is_empty())
    })
}

/// An image without platforms is for whoever pulled it.
fn covers(newer: &Platforms, older: &Platforms) -> bool {
    older.iter().all(|platform| platform == ANY || newer.contains(ANY) || newer.contains(platform))
        && (older.is_empty() || !newer.is_empty())
}

fn look<'a>(
    mirror: &'a Mirror,
    name: &'a RepositoryName,
    digest: &'a Digest,
    need: Need,
    depth: usize,
) -> BoxFuture<'a, Platforms> {
    async move {
        let Some(found) = manifests::kept(mirror, name, digest).await else { return Platforms::new() };
        match Image::of(&found.manifest) {
            Image::Single(blobs) => match need == Need::Manifests || all_here(mirror, name, &blobs).await {
                true => Platforms::from([ANY.to_owned()]),
                false => Platforms::new(),
            },
            // An index of nothing, such as a list of referrers, is whole by itself.
            Image::Index(children) if children.is_empty() => Platforms::from([ANY.to_owned()]),
            Image::Index(_) if depth == 0 => Platforms::new(),
            Image::Index(children) => {
                let looked = stream::iter(children).map(|child| async move {
                    let below = look(mirror, name, &child.digest, need, depth - 1).await;
                    // Of an index in an index, its own platforms.
                    below.into_iter().map(|below| if below == ANY { child.platform.clone() } else { below }).collect()
                });
                let all: Vec<Vec<String>> = looked.buffer_unordered(AT_ONCE).collect().await;
                all.into_iter().flatten().collect()
            }
        }
    }
    .boxed()
}

async fn all_here(mirror: &Mirror, name: &RepositoryName, blobs: &[Named]) -> bool {
    let digests: Vec<Digest> = blobs.iter().map(|named| named.digest).collect();
    let here = stream::iter(digests).map(|digest| is_here(mirror, name, digest)).buffer_unordered(AT_ONCE);
    here.all(|here| async move { here }).await
}

/// Held by the repository. What another one holds is not this one's because a manifest names it: `prefetch` asks the remote and takes
/// it over while the remote answers.
async fn is_here(mirror: &Mirror, name: &RepositoryName, digest: Digest) -> bool {
    match mirror.parts.keep.blob_size(name, &digest).await {
        Ok(size) => size.is_some(),
        Err(error) => {
            tracing::warn!(%name, %digest, %error, "whether a blob is kept cannot be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(all: &[&[&str]]) -> Vec<Arc<Platforms>> {
        all.iter().map(|set| Arc::new(set.iter().map(|platform| (*platform).to_owned()).collect())).collect()
    }

    #[test]
    fn a_newer_digest_counts_only_if_it_lacks_no_platform_that_an_older_one_has() {
        for (of_each, expected) in [
            (&[&["linux/amd64"][..], &["linux/amd64"]][..], Some(0)),
            (&[&["linux/amd64"], &["linux/amd64", "linux/arm64"]], Some(1)),
            (&[&["linux/amd64", "linux/arm64"], &["linux/amd64"], &["linux/arm64"]], Some(0)),
            (&[&["linux/amd64"], &[], &["linux/amd64"]], Some(0)),
            (&[&[], &["linux/amd64"], &["linux/arm64"]], Some(2)),
            (&[&[], &[]], None),
            (&[&[]], None),
            (&[], None),
            (&[&["linux/amd64"]], Some(0)),
            // From one image to an index, and back.
            (&[&["linux/amd64"], &[ANY]], Some(0)),
            (&[&[ANY], &["linux/amd64", "linux/arm64"]], Some(0)),
            (&[&[], &[ANY]], Some(1)),
        ] {
            assert_eq!(newest(&sets(of_each)), expected, "{of_each:?}");
        }
    }
}
