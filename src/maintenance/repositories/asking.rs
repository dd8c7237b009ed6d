//! The registry, asked as a client asks it, without a network between.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::{Image, Repositories, RepositoryError};
use crate::auth::Permit;
use crate::oci::{Action, Digest, Reference, RepositoryName, Resource, Tag};
use crate::registry::{Body, BodyError, Content, ContentBytes, Reply, ReplyBody, Request};
use crate::telemetry::RequestId;

/// Referrers of one manifest that are looked at: pages of a list, each of some MiB.
const MAX_PAGES: usize = 64;

/// A manifest as a repository holds it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Bytes,
}

/// A small body, whole.
struct Whole(Option<Bytes>);

#[async_trait]
impl Body for Whole {
    fn length(&self) -> Option<u64> {
        Some(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.0.take().filter(|bytes| !bytes.is_empty()).map(Ok)
    }
}

impl Repositories<'_> {
    /// A manifest, by tag or digest; `None`: the repository has none.
    pub(super) async fn manifest(&self, image: &Image) -> Result<Option<Held>, RepositoryError> {
        let (name, reference) = (image.name.clone(), image.reference.clone());
        let resource = Resource::Manifest { name, reference, tags: Ok(Vec::new()) };
        let reply = self.ask(Method::GET, resource, HeaderMap::new(), Bytes::new()).await;
        match (reply.status, reply.body) {
            (StatusCode::OK, ReplyBody::Content(Content { digest, media_type, bytes, .. })) => match bytes {
                ContentBytes::Whole(bytes) => Ok(Some(Held { digest, media_type, bytes })),
                ContentBytes::Local(_) | ContentBytes::Remote(_) => {
                    Err(RepositoryError::Useless(format!("{image} is no manifest")))
                }
            },
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => Err(refused(status, &body)),
        }
    }

    /// The same, where it has to be.
    pub(super) async fn needed(&self, image: &Image) -> Result<Held, RepositoryError> {
        let absent = || RepositoryError::Absent(format!("there is no {image}"));
        self.manifest(image).await?.ok_or_else(absent)
    }

    /// Pushes a manifest by its digest, and sets a tag to it.
    pub(super) async fn put(
        &self,
        name: &RepositoryName,
        held: &Held,
        tag: Option<&Tag>,
    ) -> Result<(), RepositoryError> {
        let tags = Ok(tag.cloned().into_iter().collect());
        let resource = Resource::Manifest { name: name.clone(), reference: Reference::Digest(held.digest), tags };
        let mut headers = HeaderMap::new();
        if let Ok(media_type) = HeaderValue::from_str(&held.media_type) {
            headers.insert(CONTENT_TYPE, media_type);
        }
        let reply = self.ask(Method::PUT, resource, headers, held.bytes.clone()).await;
        if reply.status.is_success() { Ok(()) } else { Err(refused(reply.status, &reply.body)) }
    }

    /// Digests of the manifests that are about this one.
    pub(super) async fn referrers(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Digest>, RepositoryError> {
        let mut found = Vec::new();
        let mut next = Some(format!("/v2/{name}/referrers/{digest}"));
        for _ in 0..MAX_PAGES {
            let Some(target) = next.take() else { break };
            let (path, query) =
                target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
            let Ok(Action { resource, .. }) = Action::parse(&Method::GET, path, query) else { break };
            let reply = self.ask(Method::GET, resource, HeaderMap::new(), Bytes::new()).await;
            let ReplyBody::Bytes(bytes) = &reply.body else { break };
            if reply.status != StatusCode::OK {
                return Err(refused(reply.status, &reply.body));
            }
            let list: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let named = list["manifests"].as_array().into_iter().flatten();
            found.extend(named.filter_map(|named| named["digest"].as_str()?.parse::<Digest>().ok()));
            next = reply.headers.get(LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
        }
        Ok(found)
    }

    async fn ask(&self, method: Method, resource: Resource, headers: HeaderMap, body: Bytes) -> Reply {
        let request = Request {
            id: RequestId::new(),
            permit: Permit::open(),
            action: Action { method, resource, ns: None },
            headers,
            listener: self.listener.clone(),
            absent: None,
        };
        self.registry.answer(request, &mut Whole(Some(body))).await
    }
}

/// `</v2/…?last=x>; rel="next"`
fn next_page(link: &str) -> Option<String> {
    Some(link.trim().strip_prefix('<')?.split_once('>')?.0.to_owned())
}

pub(super) fn refused(status: StatusCode, body: &ReplyBody) -> RepositoryError {
    let error: Value = match body {
        ReplyBody::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
        ReplyBody::Content(_) => Value::Null,
    };
    let text = |key: &str| error["errors"][0][key].as_str().map(str::to_owned);
    let message = text("message").unwrap_or_else(|| format!("the registry answers {status}"));
    let code = text("code").unwrap_or_else(|| "UNKNOWN".to_owned());
    RepositoryError::Refused { status: status.as_u16(), code, message }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_next_page_is_where_the_link_says() {
        assert_eq!(
            super::next_page("</v2/a/tags/list?n=1&last=x>; rel=\"next\"").unwrap(),
            "/v2/a/tags/list?n=1&last=x"
        );
        assert!(super::next_page("nothing").is_none());
    }
}
