//! What a tag leads to, and the list of tags.

use std::sync::Arc;
use std::time::Instant;

use http::header::LINK;

use super::lists::{self, GrowingLists, Grows, KeptList, Lists};
use super::membership;
use super::reply::{Answer, Refusal};
use super::shared_read::SharedReads;
use super::{Registry, Reply};
use crate::oci::pagination::link_next;
use crate::oci::{Digest, ErrorCode, Page, PageError, RepositoryName, Tag};
use crate::storage::{Error, Link, Storage};

/// Bytes of all kept lists of tags together.
const MAX_KEPT: u64 = 32 << 20;
/// Longest list that is sent at once; it goes on behind a `Link`.
pub(super) const MAX_LIST_BYTES: usize = 4 << 20;

/// `None`: no such repository.
pub(super) type TagLists = GrowingLists<RepositoryName, Option<Vec<Tag>>>;
pub(super) type TagReads = SharedReads<(RepositoryName, Tag), Result<Option<Digest>, Error>>;

pub(super) fn lists() -> TagLists {
    GrowingLists::new(Lists::new(MAX_KEPT, |tags: &Option<Vec<Tag>>| {
        lists::weight(tags.iter().flatten().map(Tag::as_str))
    }))
}

impl Grows for Option<Vec<Tag>> {
    type Item = Tag;

    fn grown(&self, items: Vec<Tag>) -> Self {
        Some(lists::merged(self.clone().unwrap_or_default(), items, Tag::cmp))
    }

    fn since(&self, old: &Self) -> Vec<Tag> {
        lists::added(self.as_deref().unwrap_or_default(), old.as_deref().unwrap_or_default(), Tag::cmp)
    }
}

pub(super) fn lists_tag(list: &Option<Vec<Tag>>, tag: &Tag) -> bool {
    list.as_ref().is_some_and(|tags| tags.binary_search(tag).is_ok())
}

/// Where the tag leads now. Storage is asked each time, because other programs move tags too; simultaneous askers share
/// the question.
pub(super) async fn resolve(
    (storage, reads): (&Storage, &TagReads),
    name: &RepositoryName,
    tag: &Tag,
) -> Result<Option<Digest>, Error> {
    let key = (name.clone(), tag.clone());
    reads.get(&key, || read(storage, name, tag)).await
}

/// Like `resolve`, asked by one.
pub(super) async fn read(storage: &Storage, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
    membership::target(storage, &Link::Tag(name.clone(), tag.clone())).await
}

/// `GET /v2/<name>/tags/list`
pub(super) async fn list(registry: &Registry, name: &RepositoryName, page: &Result<Page, PageError>) -> Answer {
    let page = page.clone()?;
    let kept = all(registry, name).await?;
    let Some(tags) = kept.value.as_ref() else { return Err(Refusal::of(ErrorCode::NameUnknown)) };
    // Without `n`, distribution sends all; clients that page get no more than our own largest page.
    let n = page.n.map(|n| n.min(registry.settings.load().config.tags_max));
    let start = page.last.as_ref().map_or(0, |last| tags.partition_point(|tag| tag.as_str() <= last.as_str()));
    let rest = tags.get(start..).unwrap_or_default();
    let names = rest.iter().map(Tag::as_str);
    let listed = json_list(&format!("{{\"name\":\"{name}\",\"tags\":["), names, n.unwrap_or(usize::MAX));
    let reply = Reply::json(listed.text);
    match listed.count.checked_sub(1).and_then(|index| rest.get(index)) {
        Some(last) if listed.count < rest.len() => {
            let n = n.unwrap_or(listed.count).to_string();
            let path = format!("/v2/{name}/tags/list");
            Ok(reply.with(LINK, link_next(&path, &[("last", last.as_str()), ("n", &n)])))
        }
        _ => Ok(reply),
    }
}

/// As it is kept: what other programs tagged within `list_ttl` may be missing.
pub(super) async fn all(registry: &Registry, name: &RepositoryName) -> Result<Arc<KeptList<Option<Vec<Tag>>>>, Error> {
    let ttl = registry.settings.load().config.list_ttl.0;
    let storage = &registry.stores.storage;
    let stamp = async || registry.lists.tags.stamp(name, storage.stamp(Some(name))).await;
    let kept = registry.lists.tags.lists.get(name, ttl, stamp, async || storage.tags(name).await).await?;
    if kept.should_be_refreshed(ttl) {
        let (name, old, lists, storage) = (name.clone(), kept.clone(), registry.lists.clone(), storage.clone());
        tokio::spawn(async move {
            let read = Instant::now();
            // When it fails, the next asker's own read says so.
            if let Ok(tags) = storage.tags(&name).await {
                lists.tags.refresh(&name, &old, read, tags);
            }
        });
    }
    Ok(kept)
}

/// A JSON object that ends in a list of names, and how many of them were written.
pub(super) struct Listed {
    pub text: String,
    pub count: usize,
}

/// Writes at most `n` names, none of which has a character that JSON escapes.
pub(super) fn json_list<'a>(head: &str, names: impl Iterator<Item = &'a str>, n: usize) -> Listed {
    let mut text = String::with_capacity(head.len() + names.size_hint().0.min(n).min(1 << 16) * 16 + 3);
    text.push_str(head);
    let mut count = 0;
    for name in names.take(n) {
        if text.len() + name.len() > MAX_LIST_BYTES {
            break;
        }
        if count > 0 {
            text.push(',');
        }
        text.push('"');
        text.push_str(name);
        text.push('"');
        count += 1;
    }
    text.push_str("]}\n");
    Listed { text, count }
}
