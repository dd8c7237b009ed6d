//! Pulling a manifest, by tag or by digest.
//!
//! A tag is asked of the peers each time, and so is every HEAD: pushing clients leave out what it says is there. A digest's GET
//! is asked only when nothing is remembered of this client and this manifest. Manifests are small: they are taken whole,
//! verified, and then kept by digest. What cannot be verified (schema 1, whose digest is not that of its body) is handed on and
//! never kept.

mod check;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderValue, Method, Response, StatusCode};

use super::Next;
use super::ask::{Answer, MAX_ANSWER, Question, Unanswered, ask, refuses_head};
use super::pull::Pull;
use super::standing::{Standing, refusal};
use super::unanswered::unanswered;
use crate::cache::{BlobCache, Content};
use crate::exchange::CacheUse;
use crate::exchange::content::{Served, Stored, serve};
use crate::exchange::fields;
use crate::exchange::respond::CACHE_STATUS;
use crate::listener::{Exchange, Result};
use crate::oci::media_type::{self, AcceptClass, accept_class};
use crate::oci::{Digest, ErrorCode, Reference, RepositoryName};
use crate::verdicts::{Credential, Generation, Jurisdiction, TagAnswer};
use check::{head_of_manifest, kind_of, length_of, verification, verified_digest};

/// Key of a question that simultaneous askers share.
pub type Key = (u64, Jurisdiction, Credential, RepositoryName, Reference, AcceptClass, Method);

/// What is asked for.
struct Wanted {
    reference: Reference,
    accept: AcceptClass,
    accept_field: Option<HeaderValue>,
}

/// Answers a GET or HEAD of a manifest.
pub async fn pull(mut pull: Pull<'_>, reference: Reference) -> Result<Next> {
    let (accept, accept_field) = accepted(pull.exchange);
    pull.manifest(&Wanted { reference, accept, accept_field }).await
}

impl Pull<'_> {
    async fn manifest(&mut self, wanted: &Wanted) -> Result<Next> {
        if let Reference::Digest(digest) = &wanted.reference
            && self.exchange.head().method == Method::GET
            && self.standing.remembered(digest)
            && let Some(content) = self.front.cache.get(digest).await
        {
            self.ctx.cache = CacheUse::Memory;
            return self.serve_manifest(wanted, digest, content, None).await;
        }
        let answer = match self.answer_to(wanted).await {
            Ok(answer) => answer,
            Err(why) => return self.stale_manifest(wanted, why).await,
        };
        answer.note_in(self.ctx);
        let status = answer.response.status();
        if status != StatusCode::OK {
            match &wanted.reference {
                Reference::Digest(digest) => self.standing.refused(status, Some(digest)),
                Reference::Tag(tag) => self.standing.refused_tag(status, tag, wanted.accept),
            }
            return self.answer(refusal(&answer.response, ErrorCode::ManifestUnknown)).await;
        }
        self.answered(wanted, &answer.response).await
    }

    /// Asks by the cheapest method that will do.
    async fn answer_to(&mut self, wanted: &Wanted) -> std::result::Result<Answer, Unanswered> {
        let asked = self.exchange.head().method.clone();
        let Reference::Digest(digest) = &wanted.reference else {
            return self.or_by_get(wanted, asked).await;
        };
        if self.front.cache.get(digest).await.is_none() {
            return self.or_by_get(wanted, asked).await;
        }
        // The bytes are here already, only the permission is missing.
        let answer = self.or_by_get(wanted, Method::HEAD).await;
        let granted = answer.as_ref().is_ok_and(|answer| answer.response.status() == StatusCode::OK);
        if asked == Method::GET && granted && self.front.cache.get(digest).await.is_none() {
            // They went while we asked.
            return self.ask_peers(wanted, Method::GET).await;
        }
        answer
    }

    /// Peers that take no HEAD take GET.
    async fn or_by_get(&mut self, wanted: &Wanted, method: Method) -> std::result::Result<Answer, Unanswered> {
        let answer = self.ask_peers(wanted, method.clone()).await;
        match method == Method::HEAD && refuses_head(&answer) {
            true => self.ask_peers(wanted, Method::GET).await,
            false => answer,
        }
    }

    /// A peer gave the manifest, or its head.
    async fn answered(&mut self, wanted: &Wanted, response: &Response<Bytes>) -> Result<Next> {
        let get = self.exchange.head().method == Method::GET;
        let by_tag = matches!(wanted.reference, Reference::Tag(_));
        if let Some(digest) = verified_digest(&wanted.reference, response)
            && let Some(content) = self.front.cache.get(&digest).await
        {
            self.ctx.cache = if by_tag || get { CacheUse::Miss } else { CacheUse::Memory };
            return self.serve_manifest(wanted, &digest, content, kind_of(response)).await;
        }
        // A HEAD of what is not kept, or what cannot be verified: the peer's own words.
        self.ctx.cache = CacheUse::Bypass;
        let mut relayed = fields::relayed(response);
        if !get && let Some(length) = response.headers().get(CONTENT_LENGTH) {
            relayed.headers_mut().insert(CONTENT_LENGTH, length.clone());
        }
        if let Some(status) = self.ctx.cache.field(true) {
            relayed.headers_mut().insert(CACHE_STATUS, status);
        }
        self.answer(relayed).await
    }

    /// Asks the peers; simultaneous askers of the same credential and Accept share one question, and its answer is
    /// remembered.
    async fn ask_peers(&mut self, wanted: &Wanted, method: Method) -> std::result::Result<Answer, Unanswered> {
        let (standing, reference, accept) = (self.standing.clone(), wanted.reference.clone(), wanted.accept);
        let key = (
            self.front.changes(),
            standing.jurisdiction,
            standing.credential,
            standing.repository.clone(),
            reference.clone(),
            accept,
            method.clone(),
        );
        let question = Question {
            check: if method == Method::GET { verification(reference.clone()) } else { Arc::new(head_of_manifest) },
            method,
            target: self.ctx.target.as_str().to_owned(),
            headers: self.ctx.asking(self.exchange.headers(), accept_for(wanted)),
            body: Bytes::new(),
            hash: standing.repository.as_str().as_bytes().to_vec(),
        };
        let cache = self.front.cache.clone();
        let answer = self.front.manifest_questions.ask(key, || async move {
            let generation = standing.generation();
            let answer = ask(standing.cluster(), &question).await?;
            if answer.response.status() == StatusCode::OK
                && let Some(digest) = verified_digest(&reference, &answer.response)
            {
                learn(&standing, (&reference, accept), &digest, &answer.response, generation);
                if question.method == Method::GET {
                    keep(&cache, &digest, &answer.response).await;
                }
            }
            Ok(answer)
        });
        answer.await.unwrap_or(Err(Unanswered::NoPeer))
    }

    /// No peer answers: what was known to be good is served, with a warning.
    async fn stale_manifest(&mut self, wanted: &Wanted, why: Unanswered) -> Result<Next> {
        let known = match &wanted.reference {
            Reference::Digest(digest) => Some((*digest, None)),
            Reference::Tag(tag) => {
                self.standing.known_tag(tag, wanted.accept).map(|tag| (tag.digest, Some(tag.media_type)))
            }
        };
        if let Some((digest, kind)) = known
            && why.is_silence()
            && self.standing.known_good(&digest)
            && let Some(content) = self.front.cache.get(&digest).await
        {
            self.ctx.cache = CacheUse::Stale;
            return self.serve_manifest(wanted, &digest, content, kind.as_deref()).await;
        }
        self.answer(unanswered(why)).await
    }

    async fn serve_manifest(
        &mut self,
        wanted: &Wanted,
        digest: &Digest,
        content: Content,
        kind: Option<&str>,
    ) -> Result<Next> {
        let kind = match kind.or_else(|| content.media_type()).filter(|kind| media_type::is_manifest(kind)) {
            Some(kind) => kind.to_owned(),
            None => sniffed(&content).await,
        };
        let (content, by_tag) = (Stored::Cached(content), matches!(wanted.reference, Reference::Tag(_)));
        serve(self.exchange, self.ctx, Served { digest, content, media_type: &kind, by_tag, extra: None }).await?;
        Ok(Next::Answered)
    }
}

/// Remembers what a peer said of a manifest.
fn learn(
    standing: &Standing,
    (reference, accept): (&Reference, AcceptClass),
    digest: &Digest,
    response: &Response<Bytes>,
    generation: Generation,
) {
    standing.granted(digest, generation);
    if let Reference::Tag(tag) = reference {
        let known = TagAnswer {
            digest: *digest,
            media_type: kind_of(response).unwrap_or_default().to_owned(),
            size: length_of(response).unwrap_or_default(),
        };
        standing.named(tag, accept, known, generation);
    }
}

async fn keep(cache: &BlobCache, digest: &Digest, response: &Response<Bytes>) {
    if let Err(error) = cache.insert(digest, kind_of(response), response.body().clone()).await {
        tracing::warn!(%digest, %error, "a verified manifest was not kept");
    }
}

/// The media type that a manifest names itself; it may have come into the cache as a blob.
async fn sniffed(content: &Content) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let mut body = Vec::new();
    let mut reader = content.clone().read(0, None);
    while let Some(Ok(chunk)) = reader.next().await {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Named>(&body) {
        Ok(Named { media_type: Some(kind), .. }) if media_type::is_manifest(&kind) => kind,
        Ok(Named { manifests: Some(_), .. }) => media_type::OCI_INDEX.to_owned(),
        _ => media_type::OCI_MANIFEST.to_owned(),
    }
}

/// The client's Accept fields, joined; and their class, which tags are remembered by.
fn accepted(exchange: &Exchange) -> (AcceptClass, Option<HeaderValue>) {
    let fields: Vec<&str> = exchange.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let joined = (!fields.is_empty()).then(|| fields.join(", "));
    (accept_class(&fields), joined.and_then(|joined| HeaderValue::from_str(&joined).ok()))
}

/// What a peer is asked to accept. By digest there is only one answer, so every type is asked for: distribution says
/// 404 to a client that does not list the type that it stores.
fn accept_for(wanted: &Wanted) -> Option<HeaderValue> {
    const EVERY: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
        application/vnd.docker.distribution.manifest.v2+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, */*";
    match &wanted.reference {
        Reference::Digest(_) => Some(HeaderValue::from_static(EVERY)),
        Reference::Tag(_) => wanted.accept_field.clone(),
    }
}
