//! Plain GETs of content in memory, answered before anything is made of them: no map of fields, no task, nothing that waits.
//!
//! The answer is what `content` makes of the same request on the long way, field for field; tests compare them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use super::Shared;
use super::admitted::Reader;
use crate::cache::InMemory;
use crate::exchange::content::at_hand;
use crate::front::at_hand::Asked;
use crate::limits::{Source, Subject};
use crate::listener::{AtHand, Connection, Plain};
use crate::oci::{Digest, Host, RepositoryName, media_type};
use crate::routing::Target;
use crate::telemetry::{RequestId, RouteKind, Trace, UnderWay};

/// A hit.
pub struct Hit {
    pub id: RequestId,
    /// Its place in a trace, if it has one.
    pub trace: Option<Trace>,
    pub kind: RouteKind,
    /// Where in the target the repository and the digest stand.
    pub repository: Range<usize>,
    pub digest: Range<usize>,
    /// Who asks, for the log.
    pub identity: Option<Arc<str>>,
    pub started: Instant,
    pub first_byte: Duration,
    /// A manifest that may be in the registry's storage.
    pub is_pull: bool,
    content: InMemory,
    /// Answers to pages in browsers are others.
    by_origin: bool,
    _under_way: UnderWay,
}

/// Content of a repository, as a path names it.
struct Named<'a> {
    repository: &'a str,
    digest: &'a str,
    kind: RouteKind,
}

/// The hit that a plain GET is, if it is one.
pub fn find(shared: &Shared, request: &Plain<'_>, connection: &Connection) -> Option<Hit> {
    let started = Instant::now();
    let settings = connection.settings();
    // Trusted proxies speak for others, whom the long way finds.
    if connection.is_of_a_trusted_proxy() || (settings.redirect_to_https && connection.tls().is_none()) {
        return None;
    }
    let named = named(settings.prefix.take_off(request.target)?)?;
    let digest: Digest = named.digest.parse().ok()?;
    let repository: RepositoryName = named.repository.parse().ok()?;
    let host = Host::plain_name(request.host)?;
    let site = shared.front.present_site();
    if request.from_a_page && site.cors.is_some() {
        return None;
    }
    if !site.table.is_canonical(host, &repository) {
        return None;
    }
    let answerer = site.table.read(host, &repository)?;
    let Target::Cluster(cluster) = answerer.target else { return None };
    let mut authorization = request.authorization;
    let (mut identity, mut subject) = (None, None);
    if answerer.ruled {
        let policy = site.policy.as_ref()?;
        let address = connection.client().ip().to_canonical();
        let reader =
            Reader { authorization, certificate: connection.certified_user(), host, address, repository: &repository };
        (identity, subject) = shared
            .admitted
            .recall(&reader, policy, started, |admission| (admission.name.clone(), admission.subject.clone()))?;
        // It was for us: no peer is asked with it.
        authorization = None;
    }
    let as_manifest = named.kind == RouteKind::Manifest;
    let asked = Asked { cluster, host, authorization, repository: &repository, digest: &digest, as_manifest };
    let content = shared.front.at_hand(&asked)?;
    // A manifest that came as something else is looked into first.
    if as_manifest && !content.media_type().is_some_and(media_type::is_manifest) {
        return None;
    }
    if let Some(limits) = &site.limits {
        let address = Subject::Address(Source::of(connection.client().ip()));
        // Who shares an address with others loses nothing of their own by what these ask.
        let by_address = limits.admits_hit(address);
        if !by_address || subject.as_deref().is_some_and(|subject| !limits.admits_hit(Subject::Identity(subject))) {
            return None;
        }
    }
    Some(Hit {
        id: RequestId::accept(request.request_id),
        trace: shared.tracer.begin_plain(request.trace_parent),
        kind: named.kind,
        repository: within(request.target, named.repository),
        digest: within(request.target, named.digest),
        identity,
        started,
        first_byte: started.elapsed(),
        is_pull: as_manifest && answerer.ours,
        content,
        by_origin: site.cors.is_some(),
        _under_way: shared.metrics.begin(),
    })
}

/// `/v2/NAME/blobs/DIGEST` or `/v2/NAME/manifests/DIGEST`, with nothing encoded and no query.
fn named(target: &str) -> Option<Named<'_>> {
    let rest = target.strip_prefix("/v2/")?;
    let (rest, digest) = rest.rsplit_once('/')?;
    let (repository, kind) = match rest.strip_suffix("/blobs") {
        Some(repository) => (repository, RouteKind::Blob),
        None => (rest.strip_suffix("/manifests")?, RouteKind::Manifest),
    };
    Some(Named { repository, digest, kind })
}

/// Where in `text` its `part` stands.
fn within(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    start..start + part.len()
}

impl Hit {
    fn media_type(&self) -> &str {
        match self.kind {
            RouteKind::Manifest => self.content.media_type().unwrap_or(media_type::OCTET_STREAM),
            _ => media_type::OCTET_STREAM,
        }
    }
}

impl AtHand for Hit {
    fn push_head(&self, request: &Plain<'_>, out: &mut Vec<u8>) {
        let digest = request.target.get(self.digest.clone()).unwrap_or_default();
        let (content, length) = ((digest, self.media_type()), self.content.bytes().len());
        at_hand::push_head(out, content, length, self.id.as_str(), self.by_origin);
    }

    fn fields(&self, request: &Plain<'_>) -> HeaderMap {
        let digest = request.target.get(self.digest.clone()).unwrap_or_default();
        let (content, length) = ((digest, self.media_type()), self.content.bytes().len());
        at_hand::fields(content, length, self.id.as_str(), self.by_origin)
    }

    fn body(&self) -> &Bytes {
        self.content.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_of_content_are_named() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let target = format!("/v2/library/busybox/blobs/{digest}");
        let found = named(&target).unwrap();
        assert_eq!((found.repository, found.digest, found.kind), ("library/busybox", &digest[..], RouteKind::Blob));
        assert_eq!(&target[within(&target, found.digest)], digest);
        assert_eq!(&target[within(&target, found.repository)], "library/busybox");
        for other in ["/v2/", "/v2/a/tags/list", "/", "/healthz", "/v2/a/blobs", "/v2/blobs/x"] {
            let plain = named(other).is_some_and(|named| {
                named.repository.parse::<RepositoryName>().is_ok() && named.digest.parse::<Digest>().is_ok()
            });
            assert!(!plain, "{other}");
        }
    }
}
