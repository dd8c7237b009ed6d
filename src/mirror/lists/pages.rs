//! A list of the remote, page by page, as far as bounds go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use super::link;
use super::written::MAX_LIST_BYTES;
use crate::mirror::Mirror;
use crate::oci::manifest::MAX_LISTED;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::remote::{Answer, Asker, Question, RemoteError, What};

/// What the first page is asked for: registries have their own bounds below it.
const FIRST: &str = "n=1000";
/// Pages of one list. Some registries have 50 names on each.
const MAX_PAGES: usize = 1000;
/// Of one page, in bytes. Some registries have their whole catalog on one.
const MAX_PAGE: usize = 8 << 20;
/// Names of one list: of a repository with a tag for each commit of a decade.
const MAX_NAMES: usize = 500_000;
/// Until the whole list is here. Whoever asked may have left; the next who asks finds it.
pub(super) const LIST_TIME: Duration = Duration::from_secs(60);
/// Parsing less than this on an async thread is cheaper than changing threads, in bytes.
const SMALL: usize = 64 << 10;

/// One list, as the remote calls it.
pub(super) struct Pages<'a> {
    pub(super) mirror: &'a Arc<Mirror>,
    pub(super) repository: Option<&'a RepositoryName>,
    pub(super) asker: &'a Asker,
}

enum List<'a> {
    Tags,
    Catalog,
    Referrers(&'a Digest),
}

impl List<'_> {
    fn page<'q>(&'q self, query: &'q str) -> What<'q> {
        match self {
            List::Tags => What::Tags(query),
            List::Catalog => What::Catalog(query),
            List::Referrers(digest) => What::Referrers(digest, query),
        }
    }
}

#[derive(Deserialize)]
struct TagsPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

impl Pages<'_> {
    /// Sorted, each once; names that are none are left out.
    pub(super) async fn tags(&self) -> Result<Vec<String>, RemoteError> {
        let read = |bytes: &[u8]| {
            let page: TagsPage = serde_json::from_slice(bytes).map_err(no_list)?;
            let tags = page.tags.unwrap_or_default();
            Ok(tags.into_iter().filter(|tag| tag.parse::<Tag>().is_ok()).collect())
        };
        self.names(&List::Tags, read).await
    }

    /// The same of the names of its repositories.
    pub(super) async fn catalog(&self) -> Result<Vec<String>, RemoteError> {
        let read = |bytes: &[u8]| {
            let page: CatalogPage = serde_json::from_slice(bytes).map_err(no_list)?;
            let names = page.repositories.unwrap_or_default();
            Ok(names.into_iter().filter(|name| name.parse::<RepositoryName>().is_ok()).collect())
        };
        self.names(&List::Catalog, read).await
    }

    /// What is about a manifest; not sorted.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        let read = |bytes: &[u8]| {
            // Some that have no such lists answer with a page for people, or with an error and 200.
            let nothing = || RemoteError::Unsupported(StatusCode::OK);
            let index = Manifest::parse(bytes).map_err(|_| nothing())?;
            index.manifests.filter(|_| index.is_list).ok_or_else(nothing)
        };
        let mut found = Vec::new();
        self.each(&List::Referrers(subject), "", read, |page: Vec<Descriptor>| {
            found.extend(page);
            if found.len() > MAX_LISTED { Err(useless("its list of referrers is too long")) } else { Ok(()) }
        })
        .await?;
        Ok(found)
    }

    async fn names(
        &self,
        list: &List<'_>,
        read: fn(&[u8]) -> Result<Vec<String>, RemoteError>,
    ) -> Result<Vec<String>, RemoteError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        self.each(list, FIRST, read, |page: Vec<String>| {
            bytes += page.iter().map(String::len).sum::<usize>();
            found.extend(page);
            let fits = found.len() <= MAX_NAMES && bytes <= MAX_LIST_BYTES;
            if fits { Ok(()) } else { Err(useless("its list is too long")) }
        })
        .await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Follows the list to its end.
    async fn each<T: Send + 'static>(
        &self,
        list: &List<'_>,
        first: &str,
        read: fn(&[u8]) -> Result<T, RemoteError>,
        mut take: impl FnMut(T) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let until = Instant::now() + LIST_TIME;
        let mut followed = HashSet::new();
        let mut query = first.to_owned();
        loop {
            let (bytes, next) = self.one(list.page(&query), until).await?;
            take(parsed(bytes, read).await?)?;
            followed.insert(query);
            // A page that leads back to one before would never end.
            let Some(next) = next.filter(|next| !followed.contains(next)) else { return Ok(()) };
            if followed.len() >= MAX_PAGES {
                return Err(useless("its list has too many pages"));
            }
            query = next;
        }
    }

    async fn one(&self, what: What<'_>, until: Instant) -> Result<(Bytes, Option<String>), RemoteError> {
        let left = until.saturating_duration_since(Instant::now());
        // A question with no time would count as one that was not answered.
        let within = self.mirror.remote.config().timeouts.first_byte.0;
        if left < within {
            return Err(RemoteError::Down("a list did not come in time".to_owned()));
        }
        let (repository, asker) = (self.repository, self.asker);
        let question = Question { repository, what, head: false, accept: &[], range: None, asker, within };
        let answer = self.mirror.remote.ask(question).await?;
        let next = link::next(&answer.headers);
        let reading = tokio::time::timeout_at(until, body(answer));
        let late = |_| RemoteError::Down("a list did not come in time".to_owned());
        Ok((reading.await.map_err(late)??, next))
    }
}

async fn body(mut answer: Answer) -> Result<Bytes, RemoteError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = answer.body.next().await {
        let piece = piece?;
        if bytes.len().saturating_add(piece.len()) > MAX_PAGE {
            return Err(useless("one page of its list is too long"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

async fn parsed<T: Send + 'static>(bytes: Bytes, read: fn(&[u8]) -> Result<T, RemoteError>) -> Result<T, RemoteError> {
    if bytes.len() <= SMALL {
        return read(&bytes);
    }
    tokio::task::spawn_blocking(move || read(&bytes)).await.map_err(|error| useless(&error.to_string()))?
}

fn no_list(error: impl std::fmt::Display) -> RemoteError {
    useless(&format!("its list cannot be read: {error}"))
}

fn useless(what: &str) -> RemoteError {
    RemoteError::Useless(what.to_owned())
}
