//! A question to a cluster: tried on one peer after the other until one answers.
//!
//! Small exchanges only: HEADs, manifests, pings, manifest pushes. Blobs come through `origin`, uploads through `pass`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};

use crate::cluster::{Cluster, Lease, PickError, SendError};

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
    /// Says what is wrong with an answer; a wrong one counts as none, and the next peer is asked.
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

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// No peer could be chosen, or none could be reached: nothing was sent.
    NoPeer,
    /// The question was sent, and no answer came.
    Lost,
    /// Every peer is at its `max_connections`, and stayed there for `queue_timeout`.
    Busy,
    /// The peers did answer, but with one of `retry.statuses`, which says nothing about the question.
    Failing,
    /// A peer failed in its own words: any other 5xx. No answer to the question either, but worth handing on.
    Failed(Answer),
}

impl Unanswered {
    /// The peers do not answer, which is when the cache may speak for them. Being busy is not that.
    pub fn is_silence(&self) -> bool {
        !matches!(self, Unanswered::Busy)
    }
}

/// Asks until a peer answers, at most `retry.tries` times, each time another peer while there is one.
pub async fn ask(cluster: &Cluster, question: &Question) -> Result<Answer, Unanswered> {
    let retry = &cluster.config().retry;
    let mut tried = Vec::new();
    let mut last = Unanswered::NoPeer;
    for attempt in 0..retry.tries {
        let lease = match cluster.pick(Some(&question.hash), &tried).await {
            Ok(lease) => lease,
            Err(PickError::Busy) if tried.is_empty() => return Err(Unanswered::Busy),
            Err(_) => break,
        };
        if attempt > 0 {
            cluster.retried();
        }
        match exchange(&lease, question).await {
            Ok(answer) if !is_failure(answer.response.status(), &retry.statuses) => {
                lease.succeeded();
                cluster.heard(true);
                if !answer.response.status().is_server_error() {
                    return Ok(answer);
                }
                return Err(Unanswered::Failed(answer));
            }
            Ok(_) => {
                lease.failed();
                last = Unanswered::Failing;
            }
            Err(error) => {
                tracing::warn!(peer = lease.peer().authority(), %error, "a peer did not answer");
                if error.blames_peer() {
                    lease.failed();
                }
                if error.maybe_sent() && matches!(last, Unanswered::NoPeer) {
                    last = Unanswered::Lost;
                }
            }
        }
        tried.push(lease.peer().id());
    }
    cluster.heard(false);
    Err(last)
}

fn is_failure(status: StatusCode, statuses: &[u16]) -> bool {
    statuses.contains(&status.as_u16())
}

/// Why one try gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("{0}")]
    Answer(String),
}

impl Failure {
    fn blames_peer(&self) -> bool {
        match self {
            Failure::Send(error) => error.is_peers_fault(),
            Failure::Answer(_) => true,
        }
    }

    fn maybe_sent(&self) -> bool {
        match self {
            Failure::Send(error) => !error.unsent(),
            Failure::Answer(_) => true,
        }
    }
}

async fn exchange(lease: &Lease, question: &Question) -> Result<Answer, Failure> {
    let started = Instant::now();
    let peer = lease.peer();
    let response =
        peer.send(question.method.clone(), &question.target, question.headers.clone(), question.body.clone()).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body =
        if question.method == Method::HEAD { Bytes::new() } else { whole(response).await.map_err(Failure::Answer)? };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    (question.check)(&answer).map_err(Failure::Answer)?;
    Ok(Answer { response: answer, peer: peer.address().to_string().into(), took: started.elapsed() })
}

/// A body of at most [`MAX_ANSWER`] bytes.
async fn whole(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| e.without_url().to_string())? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
