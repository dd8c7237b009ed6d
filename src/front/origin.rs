//! Where a fill gets its bytes: the peers of a cluster, asked with one client's credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, HOST, HeaderName, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use parking_lot::Mutex;
use url::Url;

use super::{login, odd};
use crate::cache::{Origin, OriginError, OriginStream, Refusal};
use crate::cluster::config::Redirects;
use crate::cluster::{Cluster, InFlight, PeerId, PickError};
use crate::exchange::fields::TRACEPARENT;
use crate::exchange::respond::{CONTENT_DIGEST, problem_with_status};
use crate::oci::conditional::none_match_lists;
use crate::oci::{Digest, ErrorCode};
use crate::telemetry::spans;

/// Most redirects followed for one request.
const MAX_HOPS: usize = 5;
/// Most bytes of a refusal's body that are handed on to the client.
const MAX_REFUSAL: usize = 64 << 10;

/// One client's way to a blob or manifest on a cluster's peers.
pub struct ClusterOrigin {
    cluster: Arc<Cluster>,
    /// Path and query on the peers.
    target: String,
    /// What the peers are told; holds the client's credentials, and is dropped with the fill.
    headers: HeaderMap,
    hash: Vec<u8>,
    /// Peers that broke this content before; avoided while others are left.
    tried: Arc<Mutex<Vec<PeerId>>>,
    /// The peer that gave content last, for the access log.
    gave: Mutex<Option<Arc<str>>>,
    /// What `open_as_permission` opened, until the fill takes it.
    opened: Mutex<Option<OriginStream>>,
    /// What an answer must show, while the answer is a permission.
    proof: Mutex<Option<Proof>>,
    /// Why the latest answer that could not be one was of no use.
    useless: Mutex<Option<String>>,
    /// A peer may have had the question: asking another one is a re-send.
    sent: AtomicBool,
    /// A peer answered with a redirect, and no content was where it led.
    misled: AtomicBool,
}

/// What makes the answer to a GET a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It names this digest, or is a 307. A page to log in at is neither.
    Named(Digest),
    /// It is no page for people, and tells a length, which the caller compares with the content's. For peers that take
    /// no HEAD: such servers seldom name digests.
    Sized,
}

impl ClusterOrigin {
    pub fn new(cluster: Arc<Cluster>, target: String, headers: HeaderMap, hash: Vec<u8>) -> Self {
        ClusterOrigin {
            cluster,
            target,
            headers,
            hash,
            tried: Arc::default(),
            gave: Mutex::default(),
            opened: Mutex::default(),
            proof: Mutex::default(),
            useless: Mutex::default(),
            sent: AtomicBool::new(false),
            misled: AtomicBool::new(false),
        }
    }

    /// Opens the content before a fill asks for it, where the opening is the permission; the fill goes on with it.
    /// Gives the length that the peer told.
    pub async fn open_as_permission(&self, proof: Proof) -> Result<Option<u64>, OriginError> {
        *self.proof.lock() = Some(proof);
        let stream = self.open(0).await;
        *self.proof.lock() = None;
        let stream = stream?;
        Ok(self.opened.lock().insert(stream).total)
    }

    /// Gives back what was opened and not used.
    pub fn close(&self) {
        *self.opened.lock() = None;
    }

    /// Address of the peer that gave content last.
    pub fn gave(&self) -> Option<Arc<str>> {
        self.gave.lock().clone()
    }

    /// Chooses a peer that has not failed this content; when all have, begins anew with all of them.
    async fn in_flight(&self) -> Result<InFlight, OriginError> {
        let tried = self.tried.lock().clone();
        match self.cluster.pick(Some(&self.hash), &tried).await {
            Ok(in_flight) => return Ok(in_flight),
            Err(PickError::Busy) => return Err(OriginError::Unavailable("every peer is at its limit".into())),
            Err(PickError::NoPeer) if tried.is_empty() => {}
            Err(PickError::NoPeer) => {
                self.tried.lock().clear();
                if let Ok(in_flight) = self.cluster.pick(Some(&self.hash), &[]).await {
                    return Ok(in_flight);
                }
            }
        }
        Err(OriginError::Unavailable("no peer is left".into()))
    }

    fn give_up_on(&self, in_flight: &InFlight) {
        in_flight.failed();
        self.tried.lock().push(in_flight.peer().id());
    }

    /// An answer that cannot be one: the next peer is asked, and the client hears of it when none does better.
    fn useless(&self, in_flight: &InFlight, why: &str) {
        tracing::warn!(peer = in_flight.peer().authority(), why, "a peer's answer is of no use");
        *self.useless.lock() = Some(why.to_owned());
        self.give_up_on(in_flight);
    }

    /// One try with one peer. `Ok(None)`: try the next one.
    async fn try_peer(&self, in_flight: InFlight, offset: u64) -> Result<Option<OriginStream>, OriginError> {
        let mut headers = self.headers.clone();
        if offset > 0 {
            headers.insert(RANGE, range_from(offset));
        }
        let mut waiting = spans::waiting(|| "peer GET".into());
        if let Some(waiting) = &mut waiting {
            waiting.set("server.address", in_flight.peer().authority());
            headers.insert(TRACEPARENT, waiting.header());
        }
        let response = match in_flight.peer().send(Method::GET, &self.target, headers, Bytes::new()).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(waiting) = &mut waiting {
                    waiting.fail(&error.to_string());
                }
                tracing::warn!(peer = in_flight.peer().authority(), %error, "a peer gave no content");
                self.sent.fetch_or(!error.unsent(), Ordering::Relaxed);
                self.give_up_on(&in_flight);
                return Ok(None);
            }
        };
        if let Some(mut waiting) = waiting {
            waiting.set("http.response.status_code", response.status().as_u16());
        }
        self.sent.store(true, Ordering::Relaxed);
        let proof = *self.proof.lock();
        if let Some(proof) = proof
            && !proof.is_in(&response)
        {
            return Err(OriginError::Refused(Refusal::new(absent())));
        }
        let response = if response.status().is_redirection() && self.cluster.config().redirects == Redirects::Follow {
            match self.follow(&in_flight, response, offset).await {
                Ok(response) => response,
                Err(error) => {
                    tracing::warn!(peer = in_flight.peer().authority(), error, "a peer's redirect led nowhere");
                    self.misled.store(true, Ordering::Relaxed);
                    // The peer is well: what is wrong with this content is no reason to take the others from it.
                    in_flight.succeeded();
                    self.tried.lock().push(in_flight.peer().id());
                    return Ok(None);
                }
            }
        } else {
            response
        };
        self.judge(in_flight, response, offset).await
    }

    async fn judge(
        &self,
        in_flight: InFlight,
        response: reqwest::Response,
        offset: u64,
    ) -> Result<Option<OriginStream>, OriginError> {
        let status = response.status();
        if let Err(why) = odd::check(status) {
            self.useless(&in_flight, why);
            return Ok(None);
        }
        match status {
            StatusCode::OK if odd::is_page(response.headers()) && !response.headers().contains_key(CONTENT_DIGEST) => {
                self.useless(&in_flight, "it answered with a page for people");
                Ok(None)
            }
            StatusCode::OK | StatusCode::PARTIAL_CONTENT if odd::is_coded(response.headers()) => {
                self.useless(&in_flight, "its content is compressed, though none was asked for");
                Ok(None)
            }
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => match body_from(&response, offset) {
                Ok((total, skip)) => {
                    *self.gave.lock() = Some(in_flight.peer().address().to_string().into());
                    Ok(Some(stream(in_flight, response, total, skip, self.tried.clone())))
                }
                Err(problem) => {
                    self.useless(&in_flight, problem);
                    Ok(None)
                }
            },
            status if status.is_success() => {
                self.useless(&in_flight, "it answered with a success that has no content");
                Ok(None)
            }
            status if status.is_server_error() => {
                tracing::warn!(peer = in_flight.peer().authority(), status = status.as_u16(), "a peer gave no content");
                self.give_up_on(&in_flight);
                Ok(None)
            }
            // At an offset this is no answer to the client's question: the content was there a moment ago.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
                self.give_up_on(&in_flight);
                Ok(None)
            }
            _ => {
                in_flight.succeeded();
                let refusal = login::judged(refusal(response).await, &self.cluster);
                Err(OriginError::Refused(Refusal::new(refusal)))
            }
        }
    }

    /// Follows redirects to an object store. Credentials stay with the host that they were meant for.
    ///
    /// Only content comes back: what else the target says is no word of a peer's, and may tell of its insides or of the
    /// signature in its address, so no client hears it.
    async fn follow(
        &self,
        in_flight: &InFlight,
        mut response: reqwest::Response,
        offset: u64,
    ) -> Result<reqwest::Response, String> {
        let scheme = if in_flight.peer().tls().is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}{}", in_flight.peer().authority(), self.target);
        let mut at = Url::parse(&base).map_err(|e| e.to_string())?;
        let mut headers = self.headers.clone();
        headers.remove(HOST);
        if offset > 0 {
            headers.insert(RANGE, range_from(offset));
        }
        for _ in 0..MAX_HOPS {
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = at.join(location.ok_or("a redirect without Location")?).map_err(|_| "a broken Location")?;
            if (at.scheme() == "https" && next.scheme() == "http") || !same_host(&at, &next) {
                drop_credentials(&mut headers);
            }
            response =
                self.cluster.direct().send_url(next.as_str(), headers.clone()).await.map_err(|e| e.to_string())?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                status if !status.is_redirection() => return Err(format!("status {} where it leads", status.as_u16())),
                _ => at = next,
            }
        }
        Err(format!("more than {MAX_HOPS} redirects"))
    }
}

#[async_trait]
impl Origin for ClusterOrigin {
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError> {
        let opened = if offset == 0 { self.opened.lock().take() } else { None };
        if let Some(opened) = opened {
            return Ok(opened);
        }
        *self.useless.lock() = None;
        for attempt in 0..self.cluster.config().retry.tries {
            if attempt > 0 && self.sent.load(Ordering::Relaxed) && !self.cluster.may_resend() {
                break;
            }
            let in_flight = self.in_flight().await?;
            if attempt > 0 {
                self.cluster.retried();
            }
            if let Some(stream) = self.try_peer(in_flight, offset).await? {
                return Ok(stream);
            }
        }
        if offset == 0 && self.misled.load(Ordering::Relaxed) {
            return Err(OriginError::Refused(Refusal::new(misled())));
        }
        Err(match self.useless.lock().take() {
            Some(why) => OriginError::Useless(why),
            None => OriginError::Unavailable("no peer gave the content".into()),
        })
    }
}

/// The peers do answer, so trying again soon helps no more than it did.
fn misled() -> Response<Bytes> {
    let message = "the registries behind this proxy redirect to where the content is not";
    problem_with_status(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message)
}

impl Proof {
    /// Whether a peer's answer is a yes.
    fn is_in(self, response: &reqwest::Response) -> bool {
        let field = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        match (response.status(), self) {
            (StatusCode::OK, Proof::Named(digest)) => {
                let digest = digest.text();
                [CONTENT_DIGEST, ETAG].map(field).iter().flatten().any(|listed| none_match_lists(listed, &digest))
            }
            (StatusCode::OK, Proof::Sized) => field(CONTENT_LENGTH).is_some() && !odd::is_page(response.headers()),
            (StatusCode::TEMPORARY_REDIRECT, _) => true,
            // Refusals and failures are judged like any other.
            (status, _) => !status.is_redirection() && !status.is_success(),
        }
    }
}

fn absent() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn same_host(a: &Url, b: &Url) -> bool {
    a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// What must not reach another host: credentials, and what tells of the client.
fn drop_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE] {
        headers.remove(name);
    }
    let told: Vec<_> =
        headers.keys().filter(|n| n.as_str().starts_with("x-") || n.as_str() == "forwarded").cloned().collect();
    for name in told {
        headers.remove(name);
    }
}

fn range_from(offset: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes={offset}-")).unwrap_or(HeaderValue::from_static("bytes=0-"))
}

/// The content's whole size when the answer tells it, and how many bytes to skip before `offset`.
fn body_from(response: &reqwest::Response, offset: u64) -> Result<(Option<u64>, u64), &'static str> {
    if response.status() == StatusCode::OK {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        return Ok((length.and_then(|length| length.parse().ok()), offset));
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let (span, total) =
        range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split_once('/')).ok_or("no Content-Range")?;
    let start: u64 = span.split_once('-').and_then(|(start, _)| start.parse().ok()).ok_or("a broken Content-Range")?;
    if start != offset {
        return Err("another range than was asked for");
    }
    Ok((total.parse().ok(), 0))
}

/// The body as a stream that holds the peer's in_flight until it ends.
fn stream(
    in_flight: InFlight,
    response: reqwest::Response,
    total: Option<u64>,
    skip: u64,
    tried: Arc<Mutex<Vec<PeerId>>>,
) -> OriginStream {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = futures::stream::unfold(Some((response, in_flight, skip, tried)), |state| async move {
        let (mut response, in_flight, mut skip, tried) = state?;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if skip >= chunk.len() as u64 => skip -= chunk.len() as u64,
                Ok(Some(chunk)) => {
                    // `skip` is below the chunk's length here, so it fits.
                    let chunk = chunk.slice(skip as usize..);
                    return Some((Ok(chunk), Some((response, in_flight, 0, tried))));
                }
                Ok(None) => {
                    in_flight.succeeded();
                    return None;
                }
                Err(error) => {
                    in_flight.failed();
                    // The rest is asked of another peer, while there is one.
                    tried.lock().push(in_flight.peer().id());
                    return Some((Err(OriginError::Broken(error.without_url().to_string())), None));
                }
            }
        }
    });
    OriginStream { total, media_type, body: body.boxed() }
}

/// A peer's refusal, small enough to hand on.
async fn refusal(mut response: reqwest::Response) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > MAX_REFUSAL {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    *answer.body_mut() = body.into();
    answer
}
