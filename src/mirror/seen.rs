//! Which platforms clients take of a tag, and when they last pulled it: clients ask for a tag first, and then by digest for what its
//! index leads to. What is noted helps to fetch ahead and to tell what matters; losing it costs nothing else.

use std::sync::Arc;

use moka::sync::Cache;

use super::image::{ANY, Image};
use super::manifests::Found;
use super::record::now;
use super::{Mirror, TagRecord, tags};
use crate::oci::{Digest, RepositoryName, Tag};

/// Manifests whose tags are remembered, with their platforms: the index itself, and those that it leads to.
const MOST: u64 = 100_000;
/// Tags that one manifest is noted for; further ones are passed over.
const MOST_TAGS: usize = 16;
/// Seconds between two notes of when a tag was pulled.
const PULLED_INTERVAL: u64 = 3600;

/// By what tags a manifest was reached, and as what.
#[derive(Clone)]
struct Reached {
    tags: Arc<Vec<Tag>>,
    platform: Option<Arc<str>>,
}

pub(super) struct Seen {
    manifests: Cache<(RepositoryName, Digest), Reached>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { manifests: Cache::new(MOST) }
    }
}

impl Seen {
    /// A tag was answered with this manifest.
    pub(super) fn served(&self, mirror: &Arc<Mirror>, (name, tag): (&RepositoryName, &Tag), found: &Found, head: bool) {
        let known = self.manifests.get(&(name.clone(), found.digest));
        if known.is_none_or(|known| !known.tags.contains(tag)) {
            self.add(name, found.digest, tag, None);
            if let Image::Index(children) = Image::of(&found.manifest) {
                for child in children.into_iter().filter(|child| child.platform != ANY) {
                    self.add(name, child.digest, tag, Some(child.platform.into()));
                }
            }
        }
        if !head {
            pulled(mirror, name, tag, None);
        }
    }

    /// A manifest was asked for by digest.
    pub(super) fn taken(&self, mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest, head: bool) {
        if head {
            return;
        }
        let Some(reached) = self.manifests.get(&(name.clone(), *digest)) else { return };
        for tag in reached.tags.iter() {
            pulled(mirror, name, tag, reached.platform.clone());
        }
    }

    fn add(&self, name: &RepositoryName, digest: Digest, tag: &Tag, platform: Option<Arc<str>>) {
        let key = (name.clone(), digest);
        let mut reached = self.manifests.get(&key).unwrap_or(Reached { tags: Arc::default(), platform: None });
        reached.platform = platform.or(reached.platform);
        if reached.tags.len() < MOST_TAGS && !reached.tags.contains(tag) {
            Arc::make_mut(&mut reached.tags).push(tag.clone());
        }
        self.manifests.insert(key, reached);
    }
}

/// Notes it, if that is news, without anybody waiting for it.
fn pulled(mirror: &Arc<Mirror>, name: &RepositoryName, tag: &Tag, platform: Option<Arc<str>>) {
    let platform = platform.unwrap_or_else(|| "".into());
    if !tags::at_hand(mirror, name, tag).is_some_and(|record| is_news(&record, &platform)) {
        return;
    }
    let (mirror, name, tag) = (mirror.clone(), name.clone(), tag.clone());
    tokio::spawn(async move {
        let change = |before: Option<&TagRecord>| {
            let before = before.filter(|before| is_news(before, &platform))?;
            let mut record = before.clone();
            record.pulled = now();
            if !platform.is_empty() {
                record.note_platform(&platform);
            }
            Some((record, true))
        };
        tags::note(&mirror, (&name, &tag), change).await;
    });
}

fn is_news(record: &TagRecord, platform: &str) -> bool {
    let due = now().abs_diff(record.pulled) >= PULLED_INTERVAL;
    due || (!platform.is_empty() && record.clone().note_platform(platform))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_pull_is_news_once_an_hour_and_a_platform_once() {
        let mut record = TagRecord::new(Digest::of(Algorithm::Sha256, b"a"), now());
        assert!(is_news(&record, ""));
        record.pulled = now();
        assert!(!is_news(&record, "") && is_news(&record, "linux/amd64"));
        record.note_platform("linux/amd64");
        assert!(!is_news(&record, "linux/amd64") && is_news(&record, "linux/arm64"));
        record.pulled = now() - PULLED_INTERVAL;
        assert!(is_news(&record, "linux/amd64"));
    }
}
