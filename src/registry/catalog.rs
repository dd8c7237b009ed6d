//! `GET /v2/_catalog`: the repositories. No part of the specification; as distribution answers it.

mod walk;

use std::cmp::Ordering;

use http::header::LINK;

use super::lists::{self, GrowingLists, Grows, Lists};
use super::reply::{Answer, Refusal};
use super::tags::json_list;
use super::{Registry, Reply};
use crate::auth::Permit;
use crate::oci::pagination::link_next;
use crate::oci::{ErrorCode, Page, PageError, RepositoryName};
pub(super) use walk::{Walks, count};

/// Bytes of the kept list: about 300,000 repositories. A longer one is read again by whoever asks after it was read.
const MAX_KEPT: u64 = 32 << 20;
/// Repositories on a page for a client that does not say: distribution's.
const DEFAULT_PAGE: usize = 100;

pub(super) type CatalogList = GrowingLists<(), Names>;

/// Repositories in the catalog's order.
#[derive(Clone, Default)]
pub(super) struct Names {
    names: Vec<RepositoryName>,
    /// Not: only those that were pushed here since a walk began, which will find the others.
    complete: bool,
}

impl Grows for Names {
    type Item = RepositoryName;

    fn grown(&self, items: Vec<RepositoryName>) -> Self {
        Names { names: lists::merged(self.names.clone(), items, by_order), complete: self.complete }
    }

    fn since(&self, old: &Self) -> Vec<RepositoryName> {
        lists::added(&self.names, &old.names, by_order)
    }
}

impl Names {
    /// Whether it has the name; also if it does not know.
    pub(super) fn lists(&self, name: &RepositoryName) -> bool {
        !self.complete || self.names.binary_search_by(|other| by_order(other, name)).is_ok()
    }
}

pub(super) fn lists() -> CatalogList {
    let weigh = |list: &Names| lists::weight(list.names.iter().map(RepositoryName::as_str));
    GrowingLists::new(Lists::new(MAX_KEPT, weigh))
}

/// What `permit` does not show is as if it were not there, before pages are cut.
pub(super) async fn list(registry: &Registry, page: &Result<Page, PageError>, permit: &Permit) -> Answer {
    let page = page.clone()?;
    let max = registry.settings.load().config.catalog_max;
    if page.n.is_some_and(|n| n > max) {
        return Err(Refusal::new(ErrorCode::PaginationNumberInvalid, format!("'n' is at most {max}")));
    }
    let n = page.n.unwrap_or(DEFAULT_PAGE.min(max));
    walk::ask(registry).await?.page(permit, page.last.as_deref(), n).await
}

/// A page of at most `n` names after `last`. There is another one if there are more names.
fn reply(permit: &Permit, names: &[RepositoryName], last: Option<&str>, n: usize) -> Reply {
    // One more than is listed tells whether there are more.
    let rest: Vec<_> = shown(permit, names, last).take(n.saturating_add(1)).collect();
    let listed = json_list("{\"repositories\":[", rest.iter().map(|name| name.as_str()), n);
    let reply = Reply::json(listed.text);
    match listed.count.checked_sub(1).and_then(|index| rest.get(index)) {
        Some(last) if listed.count < rest.len() => {
            let n = n.to_string();
            reply.with(LINK, link_next("/v2/_catalog", &[("last", last.as_str()), ("n", &n)]))
        }
        _ => reply,
    }
}

/// Those after `last` that are to be seen.
fn shown<'a>(
    permit: &Permit,
    names: &'a [RepositoryName],
    last: Option<&str>,
) -> impl Iterator<Item = &'a RepositoryName> {
    after(names, last).iter().filter(move |name| permit.shows(name))
}

fn after<'a>(names: &'a [RepositoryName], last: Option<&str>) -> &'a [RepositoryName] {
    let start = last.map_or(0, |last| names.partition_point(|name| order(name.as_str(), last).is_le()));
    names.get(start..).unwrap_or_default()
}

fn by_order(one: &RepositoryName, other: &RepositoryName) -> Ordering {
    order(one.as_str(), other.as_str())
}

/// Distribution's order: '/' before everything else, so that what is below a name follows it.
fn order(one: &str, other: &str) -> Ordering {
    let key = |b: u8| if b == b'/' { 0 } else { b };
    one.bytes().map(key).cmp(other.bytes().map(key))
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
