//! `GET /v2/<name>/referrers/<digest>`: what is about a manifest (distribution-spec, "Listing Referrers").
//!
//! The truth is the repository's manifests themselves, so that those count too which other programs pushed, and nothing
//! can be lost by two writers at once. `memo` remembers what was read of them (`stored`: for the next start), `index` has it
//! by what it is about, `line` is what is kept of one, `fallback` what clients listed under a tag.

mod fallback;
mod index;
mod line;
mod memo;
mod stored;

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, LINK};

use super::changed::Pushed;
use super::reply::{Answer, OCI_FILTERS_APPLIED, Refusal};
use super::{Registry, Reply};
use crate::oci::pagination::link_next;
use crate::oci::{Descriptor, Digest, ErrorCode, Page, PageError, RepositoryName, manifest, media_type};
use crate::storage::Error;
use line::Line;

/// What is kept for lists of referrers.
pub(super) struct Referrers {
    indexes: index::IndexLists,
    memos: memo::Memos,
    fallbacks: fallback::Fallbacks,
}

impl Referrers {
    pub(super) fn new() -> Self {
        Referrers { indexes: index::lists(), memos: memo::Memos::new(), fallbacks: fallback::Fallbacks::new() }
    }

    /// Takes over what is known of a manifest that was just pushed here: called before that is acknowledged.
    pub(super) fn pushed(&self, name: &RepositoryName, pushed: &Pushed<'_>) {
        self.fallbacks.pushed(name);
        // Only of repositories that somebody has asked about.
        if let Some(memo) = self.memos.get(name) {
            let referrer = memo::referrer(pushed.digest, pushed.manifest.clone(), pushed.media_type, pushed.size);
            memo.learn(*pushed.digest, referrer);
            self.memos.weigh(name, &memo);
        }
    }

    /// A manifest of this repository was deleted here: called before that is acknowledged.
    pub(super) fn deleted(&self, name: &RepositoryName) {
        self.fallbacks.pushed(name);
    }
}

/// Never 404: nothing is about a manifest that is not there.
pub(super) async fn list(
    registry: &Registry,
    name: &RepositoryName,
    subject: &Digest,
    (wanted, page): (&[String], &Result<Page, PageError>),
) -> Answer {
    let page = page.clone()?;
    let mut found = all(registry, name, subject).await?;
    if !wanted.is_empty() {
        let fits = |own: &String| wanted.binary_search(own).is_ok();
        found.retain(|line| line.descriptor.artifact_type.as_ref().is_some_and(fits));
    }
    if let Some(last) = &page.last {
        found.retain(|line| line.descriptor.digest > *last);
    }
    let count = line::page_length(&found, page.n);
    let next = found.get(count..).is_some_and(|rest| !rest.is_empty());
    found.truncate(count);
    let whole = line::whole(registry, found).await?;
    let descriptors: Vec<&Descriptor> = whole.iter().map(|line| &line.descriptor).collect();
    let body = serde_json::to_vec(&manifest::Index::new(&descriptors)).map_err(|_| Refusal::of(ErrorCode::Unknown))?;
    let mut reply = Reply::json(body);
    reply.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type::OCI_INDEX));
    if !wanted.is_empty() {
        reply = reply.with(OCI_FILTERS_APPLIED, "artifactType");
    }
    match whole.last() {
        Some(last) if next => {
            let n = page.n.map(|n| n.to_string());
            let filters = wanted.iter().map(|artifact_type| ("artifactType", artifact_type.as_str()));
            let last = Some(("last", last.descriptor.digest.as_str()));
            let n = n.as_deref().map(|n| ("n", n));
            let parameters: Vec<_> = filters.chain(last).chain(n).collect();
            Ok(reply.with(LINK, link_next(&format!("/v2/{name}/referrers/{subject}"), &parameters)))
        }
        _ => Ok(reply),
    }
}

/// Sorted by digest, each once.
async fn all(registry: &Registry, name: &RepositoryName, subject: &Digest) -> Result<Vec<Arc<Line>>, Error> {
    let index = index::get(registry, name).await?;
    let listed = fallback::listed(registry, name, subject, &index).await?;
    let mut found = index.about(subject).to_vec();
    let mut known: HashSet<&str> = index.about(subject).iter().map(|line| line.descriptor.digest.as_str()).collect();
    found.extend(listed.iter().filter(|line| known.insert(line.descriptor.digest.as_str())).cloned());
    found.sort_unstable_by(|one, other| one.descriptor.digest.cmp(&other.descriptor.digest));
    Ok(found)
}
