//! A question to a cluster: tried on one peer after the other until one answers.
//!
//! Small exchanges only: HEADs, manifests, pings, manifest pushes. Blobs come through `origin`, uploads through `pass`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};

use super::{login, odd};
use crate::cluster::{Cluster, InFlight, PeerId, PickError, Resent, SendError};
use crate::exchange::RequestContext;
use crate::exchange::fields::TRACEPARENT;
use crate::telemetry::spans;

/// Most bytes of an answer that we take into memory: above distribution's 4 MiB limit on manifests.
pub const MAX_ANSWER: usize = 8 << 20;

/// What is asked. Cloned for each try; the body is shared.
#[derive(Clone)]
pub struct Question {
    pub method: Method,
    /// Path and query, as the peer shall see them.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Key for `balance = "consistent_hash"`.
    pub hash: Vec<u8>,
    /// Says what is wrong with an answer that arrived whole; a wrong one counts as none, and the next peer is asked.
    pub check: Check,
}

/// Judges an answer that arrived whole.
pub type Check = Arc<dyn Fn(&Response<Bytes>) -> Result<(), String> + Send + Sync>;

/// Takes every answer.
pub fn any_answer() -> Check {
    Arc::new(|_| Ok(()))
}

/// A peer's answer; its body is whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub response: Response<Bytes>,
    /// Address of the peer, for the access log.
    pub peer: Arc<str>,
    /// From the question to the whole answer.
    pub took: Duration,
}

impl Answer {
    /// The peer's part in the answer, for the access log and for the client.
    pub fn note_in(&self, ctx: &mut RequestContext) {
        ctx.answered_by(&self.peer, self.took, &self.response);
    }
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// No peer could be chosen, or none could be reached: nothing was sent.
    NoPeer,
    /// The question was sent, and no answer came.
    Lost,
    /// Every peer is at its `max_connections`, and stayed there for `queue_timeout`.
    Busy,
    /// A peer failed, and the cluster's budget of re-sends is spent: another one was not asked. Says nothing of the peers.
    Spent,
    /// The peers did answer, but with one of `retry.statuses`, which says nothing about the question.
    Failing,
    /// The peers did answer, but with what cannot be an answer to this question: why.
    Useless(Arc<str>),
    /// A peer failed in its own words: any other 5xx. No answer to the question either, but worth handing on.
    Failed(Answer),
}

/// The peers do not take HEAD, or not for this: there are such servers, and they take GET.
pub fn refuses_head(answer: &Result<Answer, Unanswered>) -> bool {
    match answer {
        Ok(answer) | Err(Unanswered::Failed(answer)) => matches!(
            answer.response.status(),
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ),
        Err(_) => false,
    }
}

impl Unanswered {
    /// The peers do not answer, which is when the cache may speak for them. Being busy is not that, nor that one of them was
    /// not asked.
    pub fn is_silence(&self) -> bool {
        !matches!(self, Unanswered::Busy | Unanswered::Spent)
    }
}

/// What the tries of one question came to so far.
struct Tries {
    tried: Vec<PeerId>,
    last: Unanswered,
    /// One of them may have done what was asked, although nobody said so.
    maybe_done: bool,
}

/// Asks until a peer answers, at most `retry.tries` times, each time another peer while there is one.
pub async fn ask(cluster: &Cluster, question: &Question) -> Result<Answer, Unanswered> {
    let retry = &cluster.config().retry;
    let mut tries = Tries { tried: Vec::new(), last: Unanswered::NoPeer, maybe_done: false };
    for attempt in 0..retry.tries {
        // Where nothing was sent yet, the next peer costs nobody anything.
        let sent = !matches!(tries.last, Unanswered::NoPeer);
        if attempt > 0 && sent && !cluster.may_resend() {
            tracing::warn!(
                cluster = cluster.name(),
                "not asked of the next peer: a fifth of all is sent twice already"
            );
            return Err(Unanswered::Spent);
        }
        let in_flight = match cluster.pick(Some(&question.hash), &tries.tried).await {
            Ok(in_flight) => in_flight,
            Err(PickError::Busy) if tries.tried.is_empty() => return Err(Unanswered::Busy),
            Err(_) => break,
        };
        if attempt > 0 {
            cluster.retried();
        }
        match exchange(&in_flight, question).await {
            Ok(answer) if !retry.statuses.contains(&answer.response.status().as_u16()) => {
                in_flight.succeeded();
                cluster.peers_answered(true);
                if let Some(ours) = login::in_place_of(answer.response.status(), cluster) {
                    return Ok(Answer { response: ours, ..answer });
                }
                tries.maybe_done |= answer.response.extensions().get::<Resent>().is_some();
                return match answer.response.status().is_server_error() {
                    true => Err(Unanswered::Failed(answer)),
                    false => Ok(tries.settled(question, answer)),
                };
            }
            Ok(_) => {
                in_flight.failed();
                tries.maybe_done = true;
                tries.last = Unanswered::Failing;
            }
            Err(failure) => tries.failed(&in_flight, failure),
        }
        tries.tried.push(in_flight.peer().id());
    }
    cluster.peers_answered(false);
    Err(tries.last)
}

impl Tries {
    fn settled(&self, question: &Question, mut answer: Answer) -> Answer {
        let status = answer.response.status();
        // What an earlier try deleted is not there any more: that is its success.
        if self.maybe_done && question.method == Method::DELETE && status == StatusCode::NOT_FOUND {
            answer.response = Response::new(Bytes::new());
            *answer.response.status_mut() = StatusCode::ACCEPTED;
        }
        answer
    }

    fn failed(&mut self, in_flight: &InFlight, failure: Failure) {
        tracing::warn!(peer = in_flight.peer().authority(), error = %failure, "a peer did not answer");
        if failure.blames_peer() {
            in_flight.failed();
        }
        self.maybe_done |= failure.maybe_sent();
        match failure {
            Failure::Useless(why) => self.last = Unanswered::Useless(why.into()),
            other if other.maybe_sent() && matches!(self.last, Unanswered::NoPeer) => self.last = Unanswered::Lost,
            _ => {}
        }
    }
}

/// Why one try gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer's body broke off.
    #[error("its answer broke off: {0}")]
    Cut(String),
    #[error("{0}")]
    Useless(String),
}

impl Failure {
    fn blames_peer(&self) -> bool {
        match self {
            Failure::Send(error) => error.is_peers_fault(),
            Failure::Cut(_) | Failure::Useless(_) => true,
        }
    }

    fn maybe_sent(&self) -> bool {
        match self {
            Failure::Send(error) => !error.unsent(),
            Failure::Cut(_) | Failure::Useless(_) => true,
        }
    }
}

async fn exchange(in_flight: &InFlight, question: &Question) -> Result<Answer, Failure> {
    let mut headers = question.headers.clone();
    let mut waiting = spans::waiting(|| format!("peer {}", question.method).into());
    if let Some(waiting) = &mut waiting {
        waiting.set("server.address", in_flight.peer().authority());
        headers.insert(TRACEPARENT, waiting.header());
    }
    let outcome = one_try(in_flight, question, headers).await;
    if let Some(waiting) = &mut waiting {
        match &outcome {
            Ok(answer) => waiting.set("http.response.status_code", answer.response.status().as_u16()),
            Err(failure) => waiting.fail(&failure.to_string()),
        }
    }
    outcome
}

async fn one_try(in_flight: &InFlight, question: &Question, headers: HeaderMap) -> Result<Answer, Failure> {
    let started = Instant::now();
    let peer = in_flight.peer();
    let response = peer.send(question.method.clone(), &question.target, headers, question.body.clone()).await?;
    let useless = |why: &str| Failure::Useless(why.to_owned());
    odd::check(response.status()).map_err(useless)?;
    let (status, mut headers) = (response.status(), response.headers().clone());
    let resent = response.extensions().get::<Resent>().copied();
    let body = match question.method {
        Method::HEAD => Bytes::new(),
        _ => odd::decoded(&mut headers, whole(response).await?, MAX_ANSWER).map_err(useless)?,
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    if let Some(resent) = resent {
        answer.extensions_mut().insert(resent);
    }
    (question.check)(&answer).map_err(Failure::Useless)?;
    Ok(Answer { response: answer, peer: peer.address().to_string().into(), took: started.elapsed() })
}

/// A body of at most [`MAX_ANSWER`] bytes.
async fn whole(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::Cut(e.without_url().to_string()))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Useless(format!("its answer is longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
