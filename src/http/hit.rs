//! Plain GETs of content in memory, answered before anything is made of them: no map of fields, no task, nothing that waits.
//!
//! The answer is what `content` makes of the same request on the long way, field for field; tests compare them.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use super::Shared;
use crate::cache::InMemory;
use crate::exchange::content::at_hand;
use crate::front::at_hand::Asked;
use crate::listener::{AtHand, Connection, Plain};
use crate::oci::{Digest, Host, RepositoryName, media_type};
use crate::routing::Target;
use crate::telemetry::{RequestId, RouteKind, UnderWay};

/// A hit.
pub struct Hit {
    pub id: RequestId,
    pub kind: RouteKind,
    /// Where in the target the repository and the digest stand.
    pub repository: Range<usize>,
    pub digest: Range<usize>,
    pub started: Instant,
    pub first_byte: Duration,
    content: InMemory,
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
    let named = named(request.target)?;
    let digest: Digest = named.digest.parse().ok()?;
    let repository: RepositoryName = named.repository.parse().ok()?;
    let host = Host::plain_name(request.host)?;
    let site = shared.front.present_site();
    let Target::Cluster(cluster) = site.table.read(host, &repository)? else { return None };
    let as_manifest = named.kind == RouteKind::Manifest;
    let asked = Asked {
        cluster,
        host,
        authorization: request.authorization,
        repository: &repository,
        digest: &digest,
        as_manifest,
    };
    let content = shared.front.at_hand(&asked)?;
    // A manifest that came as something else is looked into first.
    if as_manifest && !content.media_type().is_some_and(media_type::is_manifest) {
        return None;
    }
    Some(Hit {
        id: RequestId::accept(request.request_id),
        kind: named.kind,
        repository: within(request.target, named.repository),
        digest: within(request.target, named.digest),
        started,
        first_byte: started.elapsed(),
        content,
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
        at_hand::push_head(out, digest, self.media_type(), self.content.bytes().len(), self.id.as_str());
    }

    fn fields(&self, request: &Plain<'_>) -> HeaderMap {
        let digest = request.target.get(self.digest.clone()).unwrap_or_default();
        at_hand::fields(digest, self.media_type(), self.content.bytes().len(), self.id.as_str())
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
