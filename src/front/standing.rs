//! One client's standing with one repository: what is remembered of the peers' answers, and what they say now.
//!
//! Authorisation comes before every cache look-up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::Front;
use crate::cluster::Cluster;
use crate::cluster::config::Permission;
use crate::exchange::RequestContext;
use crate::exchange::fields::{beside_content, relayed};
use crate::exchange::respond::{is_refusal, problem_with_status};
use crate::listener::Exchange;
use crate::oci::media_type::AcceptClass;
use crate::oci::{Digest, ErrorCode, RepositoryName, Resource, Tag};
use crate::verdicts::{Credential, Generation, Jurisdiction, PermissionResult, TagAnswer, Verdicts};

/// Who asks for what, as far as permission goes.
#[derive(Clone)]
pub struct Standing {
    verdicts: Arc<Verdicts>,
    cluster: Arc<Cluster>,
    pub jurisdiction: Jurisdiction,
    /// Whose `holds` count: a digest's being there as a blob says nothing of its being there as a manifest.
    holding: Jurisdiction,
    pub credential: Credential,
    pub repository: RepositoryName,
}

impl Standing {
    /// Of whoever makes this request, with this repository of the cluster.
    pub fn of(
        front: &Front,
        exchange: &Exchange,
        ctx: &RequestContext,
        cluster: &Arc<Cluster>,
        repository: &RepositoryName,
    ) -> Self {
        let verdicts = &front.verdicts;
        let credential = front.credential(ctx, cluster, exchange.headers().get(AUTHORIZATION));
        let jurisdiction = front.jurisdiction(ctx, cluster);
        let holding = match ctx.resource() {
            Some(Resource::Manifest { .. }) => front.holding_manifests(cluster, &ctx.host, ctx.target.query()),
            _ => jurisdiction,
        };
        let (verdicts, cluster, repository) = (verdicts.clone(), cluster.clone(), repository.clone());
        Standing { verdicts, cluster, jurisdiction, holding, credential, repository }
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The client may read this of the repository, by what a peer said within `verdict_ttl` of the client, and within
    /// `holds_ttl` of the content.
    pub fn remembered(&self, digest: &Digest) -> bool {
        let config = self.cluster.config();
        let good = self.may_read(config.verdict_ttl.0) && self.holds(digest, Some(config.holds_ttl.0));
        if good {
            self.verdicts.metrics().permission(PermissionResult::Remembered);
        }
        good
    }

    /// The same by what a peer said within `stale`: for when no peer answers.
    pub fn known_good(&self, digest: &Digest) -> bool {
        let good = self.may_read(self.cluster.config().stale.0) && self.holds(digest, None);
        if good {
            self.verdicts.metrics().permission(PermissionResult::Stale);
        }
        good
    }

    fn may_read(&self, max_age: Duration) -> bool {
        self.cluster.config().permission == Permission::Public
            || self.verdicts.may_read(&self.jurisdiction, &self.credential, &self.repository, max_age)
    }

    fn holds(&self, digest: &Digest, max_age: Option<Duration>) -> bool {
        self.verdicts.holds(&self.holding, &self.repository, digest, max_age)
    }

    /// What a tag was known to name within `stale`.
    pub fn known_tag(&self, tag: &Tag, accept: AcceptClass) -> Option<TagAnswer> {
        self.verdicts.tag(&self.jurisdiction, &self.repository, tag, &accept, self.cluster.config().stale.0)
    }

    /// A peer said what a tag names.
    pub fn named(&self, tag: &Tag, accept: AcceptClass, known: TagAnswer, generation: Generation) {
        self.verdicts.record_tag(&self.jurisdiction, &self.repository, (tag, &accept), known, generation);
    }

    /// To be taken before a peer is asked: its answer is not recorded when a DELETE came in between.
    pub fn generation(&self) -> Generation {
        self.verdicts.generation()
    }

    /// A peer gave this content, or said that it would.
    pub fn granted(&self, digest: &Digest, generation: Generation) {
        self.verdicts.metrics().permission(PermissionResult::Asked);
        self.verdicts.record_read(&self.jurisdiction, &self.credential, &self.repository, generation);
        self.verdicts.record_holds(&self.holding, &self.repository, digest, generation);
    }

    /// The same for a tag: one that is gone must not be served when no peer answers.
    pub fn refused_tag(&self, status: StatusCode, tag: &Tag, accept: AcceptClass) {
        self.refused(status, None);
        if status == StatusCode::NOT_FOUND {
            self.verdicts.forget_tag(&self.jurisdiction, &self.repository, tag, &accept);
        }
    }

    /// A peer refused: what was remembered to the contrary goes.
    pub fn refused(&self, status: StatusCode, digest: Option<&Digest>) {
        // A 5xx is no peer's word here (`ask` hands none on) but ours, for a login of ours that the peers refuse.
        if is_refusal(status) || status.is_server_error() {
            self.verdicts.metrics().permission(PermissionResult::Refused);
            self.verdicts.forget_read(&self.jurisdiction, &self.credential, &self.repository);
        }
        if let (StatusCode::NOT_FOUND, Some(digest)) = (status, digest) {
            self.verdicts.forget_holds(&self.holding, &self.repository, digest);
        }
    }
}

/// A peer's refusal as the client shall see it: its own words. The answer to a HEAD has no body, so the error is written
/// anew then; its challenge, the time to wait and whatever else it said are the peer's.
pub fn refusal(answer: &Response<Bytes>, unknown: ErrorCode) -> Response<Bytes> {
    let status = answer.status();
    if status.is_redirection() || !answer.body().is_empty() {
        return relayed(answer);
    }
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => (ErrorCode::Unauthorized, "authentication required"),
        StatusCode::FORBIDDEN => (ErrorCode::Denied, "requested access to the resource is denied"),
        StatusCode::NOT_FOUND => (unknown, "unknown to the registry"),
        StatusCode::TOO_MANY_REQUESTS => (ErrorCode::TooManyRequests, "too many requests"),
        _ => (ErrorCode::Unsupported, "the registry refused"),
    };
    let mut response = problem_with_status(status, code, message);
    response.headers_mut().extend(beside_content(answer.headers()));
    for value in answer.headers().get_all(WWW_AUTHENTICATE) {
        response.headers_mut().append(WWW_AUTHENTICATE, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients show it, and people look for it: distribution's sentence.
    #[test]
    fn a_refusal_without_a_body_is_written_in_the_words_of_the_field() {
        for (status, words) in [
            (StatusCode::UNAUTHORIZED, "authentication required"),
            (StatusCode::FORBIDDEN, "requested access to the resource is denied"),
            (StatusCode::NOT_FOUND, "unknown to the registry"),
        ] {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = status;
            let refused = refusal(&answer, ErrorCode::BlobUnknown);
            let text = String::from_utf8_lossy(refused.body()).into_owned();
            assert!(refused.status() == status && text.contains(words), "{text}");
        }
    }
}
