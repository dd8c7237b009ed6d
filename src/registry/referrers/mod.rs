//! `GET /v2/<name>/referrers/<digest>`: what is about a manifest (distribution-spec, "Listing Referrers").
//!
//! The truth is the repository's manifests themselves, so that those count too which other programs pushed, and nothing
//! can be lost by two writers at once. `memo` remembers what was read of them.

mod index;
mod memo;

pub(super) use index::{IndexLists, lists};
pub(super) use memo::{Memos, pushed};

use std::sync::Arc;

use http::header::{CONTENT_TYPE, LINK};

use super::reply::{Answer, OCI_FILTERS_APPLIED, Refusal};
use super::tags::{self, MAX_LIST_BYTES};
use super::{Registry, Reply};
use crate::oci::pagination::link_next;
use crate::oci::route::query_values;
use crate::oci::{Descriptor, Digest, ErrorCode, Manifest, Page, RepositoryName, Tag, manifest, media_type};
use crate::storage::{Error, Link};

/// Descriptors taken from one fallback tag.
const MAX_FALLBACK: usize = 10_000;

/// Never 404: nothing is about a manifest that is not there.
pub(super) async fn list(registry: &Registry, name: &RepositoryName, subject: &Digest, query: Option<&str>) -> Answer {
    let page =
        Page::parse(query).map_err(|error| Refusal::new(ErrorCode::PaginationNumberInvalid, error.to_string()))?;
    let wanted = artifact_types(query.unwrap_or_default());
    let mut found = all(registry, name, subject).await?;
    if !wanted.is_empty() {
        found.retain(|descriptor| descriptor.artifact_type.as_ref().is_some_and(|own| wanted.contains(own)));
    }
    if let Some(last) = &page.last {
        found.retain(|descriptor| descriptor.digest > *last);
    }
    let count = page_length(&found, page.n);
    let next = found.get(count..).is_some_and(|rest| !rest.is_empty());
    found.truncate(count);
    let body = serde_json::to_vec(&manifest::Index::new(&found)).map_err(|_| Refusal::of(ErrorCode::Unknown))?;
    let mut reply = Reply::json(body);
    reply.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type::OCI_INDEX));
    if !wanted.is_empty() {
        reply = reply.with(OCI_FILTERS_APPLIED, "artifactType");
    }
    match found.last() {
        Some(last) if next => {
            let n = page.n.map(|n| n.to_string());
            let filters = wanted.iter().map(|artifact_type| ("artifactType", artifact_type.as_str()));
            let last = Some(("last", last.digest.as_str()));
            let n = n.as_deref().map(|n| ("n", n));
            let parameters: Vec<_> = filters.chain(last).chain(n).collect();
            Ok(reply.with(LINK, link_next(&format!("/v2/{name}/referrers/{subject}"), &parameters)))
        }
        _ => Ok(reply),
    }
}

/// What the list is filtered by: a referrer is of one of these types. No type has a blank: whoever wrote '+' as it is
/// (`application/spdx+json`) meant it, although a query has it for a blank.
fn artifact_types(query: &str) -> Vec<String> {
    let mut wanted: Vec<String> =
        query_values(query, "artifactType").flatten().map(|own| own.replace(' ', "+")).collect();
    wanted.retain(|own| !own.is_empty());
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// How many of them fit on a page; at least one, unless none is wanted.
fn page_length(found: &[Arc<Descriptor>], n: Option<usize>) -> usize {
    let mut bytes = 0;
    let fitting = found.iter().take_while(|descriptor| {
        let first = bytes == 0;
        bytes += memo::weight(descriptor);
        first || bytes <= MAX_LIST_BYTES
    });
    fitting.count().min(n.unwrap_or(usize::MAX))
}

/// Sorted by digest.
async fn all(registry: &Registry, name: &RepositoryName, subject: &Digest) -> Result<Vec<Arc<Descriptor>>, Error> {
    let (index, listed) =
        futures::future::try_join(index::get(registry, name), fallback(registry, name, subject)).await?;
    let mut found = index.about(subject).to_vec();
    for descriptor in listed {
        if found.iter().all(|known| known.digest != descriptor.digest)
            && let Ok(digest) = descriptor.digest.parse::<Digest>()
            && (index.has(&digest) || registry.storage.link_exists(&Link::Revision(name.clone(), digest)).await?)
        {
            found.push(Arc::new(descriptor));
        }
    }
    found.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
    Ok(found)
}

/// What clients listed themselves, for registries without this API: the index under the tag `sha256-<hex>`.
async fn fallback(registry: &Registry, name: &RepositoryName, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
    let Some(tag) = fallback_tag(subject) else { return Ok(Vec::new()) };
    let Some(digest) = tags::resolve(registry, name, &tag).await? else { return Ok(Vec::new()) };
    let Some(kept) = registry.content.manifest(&registry.storage, &digest).await? else { return Ok(Vec::new()) };
    let listed = Manifest::parse(&kept.bytes).ok().and_then(|index| index.manifests).unwrap_or_default();
    Ok(listed.into_iter().take(MAX_FALLBACK).map(memo::bounded).collect())
}

/// The hash is cut to 64 characters (distribution-spec, "Referrers Tag Schema").
fn fallback_tag(subject: &Digest) -> Option<Tag> {
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
            let tag = fallback_tag(&Digest::of(algorithm, b"x")).unwrap();
            assert_eq!(tag.as_str().len(), 7 + 64);
        }
    }

    #[test]
    fn a_page_holds_at_least_one() {
        let of = |weight: usize| {
            let annotations = Some(crate::oci::Annotations(vec![("k".into(), "v".repeat(weight))]));
            Arc::new(Descriptor { annotations, ..Descriptor::default() })
        };
        assert_eq!(page_length(&[of(MAX_LIST_BYTES), of(1)], None), 1);
        assert_eq!(page_length(&[of(1), of(1), of(1)], None), 3);
        assert_eq!(page_length(&[of(1), of(1), of(1)], Some(2)), 2);
        assert_eq!(page_length(&[of(1)], Some(0)), 0);
        assert_eq!(page_length(&[], None), 0);
    }
}
