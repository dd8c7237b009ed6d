//! Pulling a blob: permission first, then the cache, then one download for everybody who waits.

mod head;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::Next;
use super::ask::{Answer, Question, Unanswered, ask, refuses_head};
use super::origin::{ClusterOrigin, Proof};
use super::pull::Pull;
use super::standing::refusal;
use super::unanswered::unanswered;
use crate::cache::{Content, FillError, Origin as _, OriginError};
use crate::cluster::config::Redirects;
use crate::exchange::CacheUse;
use crate::exchange::content::{Served, Stored, serve};
use crate::exchange::fields;
use crate::exchange::respond::{problem, problem_with_status};
use crate::listener::Result;
use crate::oci::{Digest, ErrorCode, RepositoryName, media_type};
use crate::verdicts::{Credential, Jurisdiction};
pub use head::head_of_blob;
use head::{held, sized};

/// Key of a question that simultaneous askers share: latest change, jurisdiction, credential, repository, digest.
pub type Key = (u64, Jurisdiction, Credential, RepositoryName, Digest);

/// What the peers say of this client and this blob.
enum Verdict {
    /// Remembered from an earlier answer.
    Remembered,
    Granted(Answer),
    /// Not there, says HEAD. Where a peer fetches on GET only (Harbor's proxy projects), the GET is the answer.
    Absent(Answer),
    Refused(Answer),
    /// They take no HEAD: the answer to a GET counts, as far as it can.
    HeadRefused,
    Unanswered(Unanswered),
}

/// What a permission comes with.
#[derive(Default)]
struct Opened {
    /// The GET that was opened to get it, for this very client.
    origin: Option<Arc<ClusterOrigin>>,
    /// The length that it promised.
    total: Option<u64>,
}

/// Answers a GET or HEAD of a blob.
///
/// A HEAD is how clients ask whether they need to push, so its answer is always the peers' own: a remembered yes would make
/// them leave out a layer that was collected meanwhile, for good. Memory speaks only while no peer does.
pub async fn pull(mut pull: Pull<'_>, digest: Digest) -> Result<Next> {
    pull.blob(&digest).await
}

impl Pull<'_> {
    async fn blob(&mut self, digest: &Digest) -> Result<Next> {
        let get = self.exchange.head().method == Method::GET;
        let verdict = match get && self.standing.remembered(digest) {
            true => Verdict::Remembered,
            false => self.permission(digest).await,
        };
        let opened = match self.open(digest, &verdict, get).await {
            Ok(opened) => opened,
            Err(response) => return self.answer(*response).await,
        };
        match &verdict {
            Verdict::Unanswered(why) => return self.stale_blob(digest, why.clone()).await,
            Verdict::HeadRefused if !get => return self.answer(sized(opened.total, digest)).await,
            _ => {}
        }
        if let Some(content) = self.front.cache.get(digest).await {
            // What was opened for the permission is not read: kept, it would hold its peer for as long as the client reads.
            drop(opened.origin);
            return self.cached(digest, content, opened.total).await;
        }
        if !get {
            return self.head(digest, verdict).await;
        }
        if self.standing.cluster().config().redirects == Redirects::Pass && self.redirects(digest, &verdict).await {
            self.ctx.cache = CacheUse::Bypass;
            return Ok(Next::Pass);
        }
        let origin = opened.origin.unwrap_or_else(|| self.origin(digest));
        self.fill(digest, origin, opened.total).await
    }

    /// Where only a GET is an answer, opens it, for this very client: only a peer's yes makes it join the others. `Err`: a
    /// refusal.
    async fn open(
        &mut self,
        digest: &Digest,
        verdict: &Verdict,
        get: bool,
    ) -> std::result::Result<Opened, Box<Response<Bytes>>> {
        let generation = self.standing.generation();
        match verdict {
            Verdict::Remembered | Verdict::Granted(_) | Verdict::Unanswered(_) => Ok(Opened::default()),
            Verdict::Absent(answer) | Verdict::Refused(answer) if get && is_worth_a_get(answer.response.status()) => {
                let origin = self.origin(digest);
                let opened = origin.open_as_permission(Proof::Named(*digest)).await;
                opened.map_err(|error| Box::new(self.failed(digest, error)))?;
                self.standing.granted(digest, generation);
                Ok(Opened { origin: Some(origin), total: None })
            }
            Verdict::Absent(answer) | Verdict::Refused(answer) => {
                Err(Box::new(refusal(&answer.response, ErrorCode::BlobUnknown)))
            }
            // Nothing is remembered of such a yes: it does not name what it is a yes to.
            Verdict::HeadRefused => {
                let origin = self.origin(digest);
                let total = origin.open_as_permission(Proof::Sized).await;
                let total = total.map_err(|error| Box::new(self.failed(digest, error)))?;
                Ok(Opened { origin: Some(origin), total })
            }
        }
    }

    async fn cached(&mut self, digest: &Digest, content: Content, promised: Option<u64>) -> Result<Next> {
        if !is_promised(&content, promised) {
            return self.answer(other_content()).await;
        }
        let (used, content) = match content.bytes().is_some() {
            true => (CacheUse::Memory, content),
            // A corrupt file heals from the peers, in this very answer.
            false => (CacheUse::Disk, content.with_origin(self.origin(digest))),
        };
        self.ctx.cache = used;
        self.serve_blob(digest, content).await
    }

    /// Downloads, or joins who does.
    async fn fill(&mut self, digest: &Digest, origin: Arc<ClusterOrigin>, promised: Option<u64>) -> Result<Next> {
        match self.front.cache.get_or_fill(digest, origin.clone()).await {
            Ok((content, _)) if !is_promised(&content, promised) => self.answer(other_content()).await,
            Ok((content, source)) => {
                self.ctx.cache = source.into();
                if self.ctx.cache == CacheUse::Miss {
                    self.ctx.peer = origin.gave();
                } else {
                    // Somebody else's download is read: what was opened for the permission would only hold a peer.
                    origin.close();
                }
                self.serve_blob(digest, content).await
            }
            Err(error) => {
                let response = match error {
                    FillError::Refused(refusal) => self.failed(digest, OriginError::Refused(refusal)),
                    FillError::Unavailable(why) => self.failed(digest, OriginError::Unavailable(why.to_string())),
                    FillError::Broken(_) | FillError::Mismatched => {
                        self.ctx.problem = Some(error.to_string());
                        let message = "the registries behind this proxy gave no usable content";
                        problem_with_status(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message)
                    }
                };
                self.answer(response).await
            }
        }
    }

    async fn serve_blob(&mut self, digest: &Digest, content: Content) -> Result<Next> {
        let (content, media_type) = (Stored::Cached(content), media_type::OCTET_STREAM);
        let served = Served { digest, content, media_type, by_tag: false, extra: None };
        serve(self.exchange, self.ctx, served).await?;
        Ok(Next::Answered)
    }

    /// Asks the peers, with the client's own credentials, whether it may read the blob and whether they hold it.
    async fn permission(&mut self, digest: &Digest) -> Verdict {
        let (standing, digest) = (self.standing.clone(), *digest);
        let key =
            (self.front.changes(), standing.jurisdiction, standing.credential, standing.repository.clone(), digest);
        let question = Question {
            method: Method::HEAD,
            target: self.ctx.target.as_str().to_owned(),
            headers: self.ctx.asking(self.exchange.headers(), None),
            body: Bytes::new(),
            hash: digest.hash().to_vec(),
            check: head_of_blob(&digest),
        };
        let answer = self.front.blob_questions.ask(key, || async move {
            let generation = standing.generation();
            let answer = ask(standing.cluster(), &question).await?;
            match answer.response.status() {
                StatusCode::OK | StatusCode::TEMPORARY_REDIRECT => standing.granted(&digest, generation),
                status => standing.refused(status, Some(&digest)),
            }
            Ok(answer)
        });
        let answer = match answer.await.unwrap_or(Err(Unanswered::NoPeer)) {
            answer if refuses_head(&answer) => return Verdict::HeadRefused,
            Ok(answer) => answer,
            Err(why) => return Verdict::Unanswered(why),
        };
        answer.note_in(self.ctx);
        match answer.response.status() {
            StatusCode::OK | StatusCode::TEMPORARY_REDIRECT => Verdict::Granted(answer),
            StatusCode::NOT_FOUND => Verdict::Absent(answer),
            _ => Verdict::Refused(answer),
        }
    }

    /// No peer answers: what was known to be good is served, with a warning.
    async fn stale_blob(&mut self, digest: &Digest, why: Unanswered) -> Result<Next> {
        if why.is_silence()
            && self.standing.known_good(digest)
            && let Some(content) = self.front.cache.get(digest).await
        {
            self.ctx.cache = CacheUse::Stale;
            return self.serve_blob(digest, content).await;
        }
        self.answer(unanswered(why)).await
    }

    /// A HEAD of what is not in the cache: the peer's own answer; nothing is downloaded for it.
    async fn head(&mut self, digest: &Digest, verdict: Verdict) -> Result<Next> {
        self.ctx.cache = CacheUse::Bypass;
        let response = match verdict {
            Verdict::Granted(answer) if answer.response.status() == StatusCode::OK => held(&answer.response, digest),
            Verdict::Granted(answer) => match self.standing.cluster().config().redirects {
                Redirects::Pass => fields::relayed(&answer.response),
                Redirects::Follow => self.followed_head(digest).await,
            },
            Verdict::Absent(answer) | Verdict::Refused(answer) => refusal(&answer.response, ErrorCode::BlobUnknown),
            Verdict::Unanswered(why) => unanswered(why),
            // Answered before.
            Verdict::Remembered | Verdict::HeadRefused => problem(ErrorCode::Unknown, "no answer"),
        };
        self.answer(response).await
    }

    /// A HEAD that the peers redirect: an object store's signed addresses are for GET, so its answer is begun and dropped.
    async fn followed_head(&mut self, digest: &Digest) -> Response<Bytes> {
        match self.origin(digest).open(0).await {
            Ok(stream) => sized(stream.total, digest),
            Err(OriginError::Refused(answer)) => refusal(answer.response(), ErrorCode::BlobUnknown),
            Err(OriginError::Useless(why)) => unanswered(Unanswered::Useless(why.into())),
            Err(_) => unanswered(Unanswered::NoPeer),
        }
    }

    /// `redirects = "pass"`: whether the peers would send this client to their object store.
    async fn redirects(&mut self, digest: &Digest, verdict: &Verdict) -> bool {
        let status = match verdict {
            Verdict::Granted(answer) => answer.response.status(),
            _ => match self.permission(digest).await {
                Verdict::Granted(answer) => answer.response.status(),
                _ => return false,
            },
        };
        status.is_redirection()
    }

    /// What is said when the download did not begin, or no peer could end it.
    fn failed(&mut self, digest: &Digest, error: OriginError) -> Response<Bytes> {
        match error {
            OriginError::Refused(answer) => {
                self.standing.refused(answer.status(), Some(digest));
                refusal(answer.response(), ErrorCode::BlobUnknown)
            }
            OriginError::Unavailable(why) => {
                self.ctx.problem = Some(why);
                unanswered(Unanswered::NoPeer)
            }
            OriginError::Useless(why) | OriginError::Broken(why) => unanswered(Unanswered::Useless(why.into())),
        }
    }

    fn origin(&self, digest: &Digest) -> Arc<ClusterOrigin> {
        let (cluster, headers) = (self.standing.cluster().clone(), self.ctx.asking(self.exchange.headers(), None));
        Arc::new(ClusterOrigin::new(cluster, self.ctx.target.as_str().to_owned(), headers, digest.hash().to_vec()))
    }
}

/// Whether the content is what a peer's GET promised this client, as far as its length tells.
fn is_promised(content: &Content, promised: Option<u64>) -> bool {
    promised.is_none_or(|promised| content.total() == Some(promised))
}

fn other_content() -> Response<Bytes> {
    unanswered(Unanswered::Useless("it has another content there".into()))
}

/// Whether a refusal of the HEAD is asked for once more as the GET that the client sent: it may be no refusal then, and
/// its body says why it is one. Not for 401, whose challenge says all that clients read, nor for 429, which each further
/// request makes worse.
fn is_worth_a_get(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}
