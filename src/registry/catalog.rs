//! `GET /v2/_catalog`: the repositories. No part of the specification; as distribution answers it.

use std::cmp::Ordering;
use std::sync::Arc;

use http::header::LINK;

use super::lists::{GrowingLists, Grows, Kept, Lists};
use super::reply::{Answer, Refusal};
use super::tags::json_list;
use super::{Registry, Reply};
use crate::oci::pagination::link_next;
use crate::oci::{ErrorCode, Page, RepositoryName};
use crate::storage::Error;

/// Bytes of the kept list: about 200,000 repositories. A longer one is read each time.
const MAX_KEPT: u64 = 32 << 20;
/// Memory of a name beside its text.
const NAME_OVERHEAD: usize = 32;
/// Repositories on a page for a client that does not say: distribution's.
const DEFAULT_PAGE: usize = 100;

pub(super) type CatalogList = GrowingLists<(), Vec<RepositoryName>>;

impl Grows for Vec<RepositoryName> {
    type Item = RepositoryName;

    fn grown(&self, items: Vec<RepositoryName>) -> Self {
        let mut names = self.clone();
        for item in items {
            if let Err(place) = names.binary_search_by(|name| order(name.as_str(), item.as_str())) {
                names.insert(place, item);
            }
        }
        names
    }
}

pub(super) fn lists() -> CatalogList {
    let weigh =
        |names: &Vec<RepositoryName>| names.iter().map(|name| name.as_str().len() + NAME_OVERHEAD).sum::<usize>();
    GrowingLists::new(Lists::new(MAX_KEPT, weigh))
}

pub(super) async fn list(registry: &Registry, query: Option<&str>) -> Answer {
    let refuse = |message: String| Refusal::new(ErrorCode::PaginationNumberInvalid, message);
    let page = Page::parse(query).map_err(|error| refuse(error.to_string()))?;
    let max = registry.settings.load().config.catalog_max;
    if page.n.is_some_and(|n| n > max) {
        return Err(refuse(format!("'n' is at most {max}")));
    }
    let n = page.n.unwrap_or(DEFAULT_PAGE.min(max));
    let kept = all(registry).await?;
    let names = &kept.value;
    let start = page.last.as_ref().map_or(0, |last| names.partition_point(|name| order(name.as_str(), last).is_le()));
    let rest = names.get(start..).unwrap_or_default();
    let listed = json_list("{\"repositories\":[", rest.iter().map(RepositoryName::as_str), n);
    let reply = Reply::json(listed.text);
    match listed.count.checked_sub(1).and_then(|index| rest.get(index)) {
        Some(last) if listed.count < rest.len() => {
            let n = n.to_string();
            Ok(reply.with(LINK, link_next("/v2/_catalog", &[("last", last.as_str()), ("n", &n)])))
        }
        _ => Ok(reply),
    }
}

/// Distribution's order: '/' before everything else, so that what is below a name follows it.
fn order(one: &str, other: &str) -> Ordering {
    let key = |b: u8| if b == b'/' { 0 } else { b };
    one.bytes().map(key).cmp(other.bytes().map(key))
}

pub(super) async fn all(registry: &Registry) -> Result<Arc<Kept<Vec<RepositoryName>>>, Error> {
    let ttl = registry.settings.load().config.list_ttl.0;
    let storage = &registry.storage;
    let stamp = async || storage.stamp(None).await;
    let kept = registry.catalog.lists.get(&(), ttl, stamp, async || storage.repositories().await).await?;
    if kept.should_be_refreshed(ttl)
        && let Some(registry) = registry.me.upgrade()
    {
        tokio::spawn(async move {
            let Ok(stamp) = registry.storage.stamp(None).await else { return };
            // When it fails, the next asker's own read says so.
            let _ = registry.catalog.lists.load(&(), stamp, async || registry.storage.repositories().await).await;
        });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_name_follows_it() {
        let mut names = ["a-b", "a/b", "a", "a.b", "b"];
        names.sort_by(|one, other| order(one, other));
        assert_eq!(names, ["a", "a/b", "a-b", "a.b", "b"]);
    }
}
