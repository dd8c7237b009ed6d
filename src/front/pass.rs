//! Requests that pingora proxies, streamed both ways: uploads, lists, and `forward`ed paths.
//!
//! Which peer, and whether a failed try may be made again. What is changed on the way there and back is in `answer`, how
//! a peer is connected to in `connect`.

mod answer;
mod connect;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Method, Response, StatusCode};
use pingora::prelude::{HttpPeer, Result};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::login;
use super::standing::refusal;
use super::upload::{UploadPeer, take_peer};
use crate::cluster::{Cluster, InFlight, PeerId, PickError};
use crate::exchange::RequestContext;
use crate::exchange::respond::problem;
use crate::oci::{ErrorCode, RepositoryName, Resource};
use crate::routing::Site;
use crate::telemetry::spans::Waiting;

/// One proxied request.
pub struct Pass {
    cluster: Arc<Cluster>,
    /// Path and query for the peer: without our own parameter.
    target: String,
    /// The repository, where there is one; else the key for `consistent_hash` is empty.
    name: Option<RepositoryName>,
    /// The peer that an upload belongs to.
    home: Option<UploadPeer>,
    /// The peer of the present try.
    in_flight: Option<InFlight>,
    tried: Vec<PeerId>,
    tries: u32,
    /// Sent at most once when its method changes something: what it does is not ours to know.
    once: bool,
    /// The request has left for a peer; what it did there is unknown until the peer says.
    pub sent: bool,
    /// It left for a peer before this try, and may have done its work there.
    sent_before: bool,
    /// A peer has answered.
    pub answered: bool,
    /// A peer's refusal that stands in for the answer.
    pub refusal: Option<Response<Bytes>>,
    /// How the next try is made.
    next: NextTry,
    /// When the patience with an upload's peer ends.
    patience_ends: Option<Instant>,
    /// How often its peer was waited for.
    waits: u32,
    /// `1xx` that the peer sent, and when the first came after the request's end.
    interim: u32,
    interim_since: Option<Instant>,
    /// The host that the peer was told, besides the one that the client named.
    told_host: Option<String>,
    /// The body of the peer's answer does not reach the client: the answer was replaced.
    pub drops_body: bool,
    /// The present try, where the request is recorded, until its answer begins.
    waiting: Option<Waiting>,
    began: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextTry {
    /// Another peer, or the first.
    Choose,
    /// The same peer: a kept-alive connection broke under us, so on one of its own.
    Fresh,
    /// The same peer, as soon as it takes connections.
    Wait,
}

/// What came of a try, as pingora's error type: the client gets 503.
pub const NO_PEER: ErrorType = ErrorType::Custom("NoPeer");
/// An answer that counts as "try the next peer".
pub const FAILING_PEER: ErrorType = ErrorType::Custom("FailingPeer");
/// A challenge that the client could not answer; `Pass::refusal` stands in for it.
pub const UNANSWERABLE: ErrorType = ErrorType::Custom("Unanswerable");
/// An upload that none of our peers can have; `Pass::refusal` says so.
pub const UNKNOWN_UPLOAD: ErrorType = ErrorType::Custom("UnknownUpload");
/// An answer that cannot be one: the client gets 502.
pub const ODD_PEER: ErrorType = ErrorType::Custom("OddPeer");

impl Pass {
    /// Of a request that goes on to a peer by pingora's hands.
    pub fn of(ctx: &RequestContext, cluster: Arc<Cluster>) -> Self {
        let (path, query) = (ctx.target.path(), ctx.target.query());
        let (query, home) = match ctx.resource() {
            Some(Resource::Upload { .. }) => take_peer(query),
            // Outside /v2/ the parameter is ours only if it names a peer of ours.
            Some(Resource::Outside) => match take_peer(query) {
                (rest, Some(home)) if cluster.address(home.peer).is_some() => (rest, Some(home)),
                _ => (query.map(str::to_owned), None),
            },
            _ => (query.map(str::to_owned), None),
        };
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let once = matches!(ctx.resource(), Some(Resource::Outside)) && home.is_none();
        let name = ctx.resource().and_then(Resource::repository).cloned();
        Pass::new(cluster, target, name, home, once)
    }

    fn new(
        cluster: Arc<Cluster>,
        target: String,
        name: Option<RepositoryName>,
        home: Option<UploadPeer>,
        once: bool,
    ) -> Self {
        Pass {
            cluster,
            target,
            name,
            home,
            in_flight: None,
            tried: Vec::new(),
            tries: 0,
            once,
            sent: false,
            sent_before: false,
            answered: false,
            refusal: None,
            next: NextTry::Choose,
            patience_ends: None,
            waits: 0,
            interim: 0,
            interim_since: None,
            told_host: None,
            drops_body: false,
            waiting: None,
            began: Instant::now(),
        }
    }

    /// Chooses the peer of the next try.
    pub async fn choose(&mut self, session: &mut Session, site: &Site, headers: HeaderMap) -> Result<Box<HttpPeer>> {
        self.sent_before = self.sent;
        if self.next == NextTry::Wait
            && let (Some(in_flight), Some(until)) = (&self.in_flight, self.patience_ends)
        {
            connect::wait_for(in_flight.peer().address(), until, self.waits).await;
        }
        if self.next != NextTry::Choose
            && let Some(in_flight) = &self.in_flight
        {
            return connect::http_peer(in_flight, &self.cluster, site, true);
        }
        self.in_flight = None;
        self.tries += 1;
        if self.home.is_some_and(|home| !home.empty && self.cluster.address(home.peer).is_none()) {
            // Made up, or of a peer that has left for good: no fault of ours or of the peers.
            self.refusal = Some(problem(ErrorCode::BlobUploadUnknown, "no registry here has this upload"));
            return Err(Error::explain(UNKNOWN_UPLOAD, "an upload of no peer of ours").into_down());
        }
        let in_flight = match self.home {
            Some(home) if !self.tried.contains(&home.peer) => match self.cluster.begin_on(home.peer).await {
                Ok(in_flight) => Ok(in_flight),
                Err(PickError::NoPeer) if home.empty => self.reopen(headers).await,
                Err(error) => Err(error),
            },
            Some(home) if home.empty => self.reopen(headers).await,
            Some(_) => Err(PickError::NoPeer),
            None => self.cluster.pick(Some(self.hash()), &self.tried).await,
        };
        let in_flight = in_flight.map_err(|error| Error::explain(NO_PEER, error.to_string()))?;
        if self.tries > 1 {
            self.cluster.retried();
        }
        // A body is read once: it must not meet a connection that the peer is just closing.
        let empty = session.is_body_empty();
        let mut peer = connect::http_peer(&in_flight, &self.cluster, site, !empty)?;
        if empty {
            peer.options.read_timeout = Some(self.cluster.config().timeouts.first_byte.0);
        }
        self.in_flight = Some(in_flight);
        Ok(peer)
    }

    fn hash(&self) -> &[u8] {
        self.name.as_ref().map(|name| name.as_str().as_bytes()).unwrap_or_default()
    }

    /// Opens an upload that holds no bytes yet on another peer, in place of the one that is gone.
    async fn reopen(&mut self, headers: HeaderMap) -> Result<InFlight, PickError> {
        let name = self.name.as_ref().ok_or(PickError::NoPeer)?;
        let start = format!("/v2/{name}/blobs/uploads/");
        // What a peer builds an absolute address from.
        let named = ["host", "x-forwarded-host"].map(|field| headers.get(field).and_then(|host| host.to_str().ok()));
        for _ in 0..self.cluster.config().retry.tries {
            let in_flight = self.cluster.pick(Some(self.hash()), &self.tried).await?;
            let opened = in_flight.peer().open_upload(&start, headers.clone()).await;
            if let Ok(response) = &opened
                && response.status().is_client_error()
            {
                // The peer's word on who asks, not a fault of the peer's.
                let mut answer = Response::new(Bytes::new());
                *answer.status_mut() = response.status();
                *answer.headers_mut() = response.headers().clone();
                self.refusal = Some(refusal(&login::judged(answer, &self.cluster), ErrorCode::NameUnknown));
                return Err(PickError::NoPeer);
            }
            let location = match &opened {
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
                }
                _ => None,
            };
            self.tried.push(in_flight.peer().id());
            match location.and_then(|location| answer::on_peer(&in_flight, location, &start, &named)) {
                Some(target) => {
                    let digest = digest_parameter(&self.target);
                    self.target = with_parameter(&target, digest);
                    self.home = Some(UploadPeer { peer: in_flight.peer().id(), empty: true });
                    tracing::info!(
                        peer = in_flight.peer().authority(),
                        "an empty upload was opened again on another peer"
                    );
                    return Ok(in_flight);
                }
                None => in_flight.failed(),
            }
        }
        Err(PickError::NoPeer)
    }

    /// The connection could not be made, so nothing was sent: the next peer may be tried; the bytes of an upload are on
    /// this one alone, so it is waited for.
    pub fn connect_failed(&mut self, error: &mut Error) {
        if self.home.is_some_and(|home| !home.empty) && self.waits() {
            error.set_retry(true);
            return;
        }
        self.try_failed();
        error.set_retry(self.may_try_again());
    }

    /// Whether there is patience left with the upload's peer; makes the next try one with it.
    fn waits(&mut self) -> bool {
        let Some(in_flight) = &self.in_flight else { return false };
        let patience = self.cluster.config().upload_patience.0;
        if self.patience_ends.is_none() {
            in_flight.failed();
            tracing::info!(peer = in_flight.peer().authority(), ?patience, "an upload waits for its peer");
        }
        let until = *self.patience_ends.get_or_insert_with(|| Instant::now() + patience);
        let waits = Instant::now() < until;
        if waits {
            self.next = NextTry::Wait;
            self.waits += 1;
        }
        waits
    }

    /// The exchange broke. Tried again only when the peer cannot have taken anything of the body, or when sending it
    /// again is the same as sending it once; and within the cluster's budget.
    pub fn exchange_failed(&mut self, session: &mut Session, error: &mut Error) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.fail(&error.to_string());
        }
        // While the client's body is still awaited, the peer's silence is the client's.
        let stalled = *error.etype() == ErrorType::ReadTimedout && !session.is_body_done();
        let upstream = matches!(error.esource(), pingora::ErrorSource::Upstream) && !stalled;
        let unanswered = session.response_written().is_none_or(|written| written.status.is_informational());
        let unconsumed = session.body_bytes_read() == 0;
        let changes = self.once && !session.req_header().method.is_safe();
        if !upstream || !unanswered || changes {
            self.try_failed_if(upstream);
            error.set_retry(false);
            return;
        }
        let broke = *error.etype() != FAILING_PEER && *error.etype() != ErrorType::ReadTimedout;
        if unconsumed && broke && self.next == NextTry::Choose {
            // A connection that the peer closed while it was idle, most likely: no fault of the peer's, until it proves so.
            match self.cluster.may_resend() {
                true => self.next = NextTry::Fresh,
                false => self.try_failed(),
            }
            error.set_retry(self.next == NextTry::Fresh);
            return;
        }
        let bound = self.home.is_some_and(|home| !home.empty);
        if bound && broke && unconsumed {
            // It died under a request that can be sent again, perhaps after it had done it: see `settle`.
            error.set_retry(self.waits() && self.cluster.may_resend());
            return;
        }
        self.try_failed();
        // The session of an empty upload starts anew elsewhere, so the part that was sent does not count.
        let fresh = self.home.is_some_and(|home| home.empty);
        let replayable = !session.retry_buffer_truncated() && (fresh || session.req_header().method == Method::DELETE);
        let again = (unconsumed || replayable) && self.may_try_again() && self.cluster.may_resend();
        error.set_retry(again);
    }

    fn try_failed_if(&mut self, upstream: bool) {
        if upstream {
            self.try_failed();
        }
    }

    fn try_failed(&mut self) {
        self.next = NextTry::Choose;
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.failed();
            self.tried.push(in_flight.peer().id());
        }
    }

    fn may_try_again(&self) -> bool {
        let bound = self.cluster.config().retry.tries;
        self.tries < bound && self.home.is_none_or(|home| home.empty)
    }

    /// The peer of the last try and the time since the first, for the access log.
    pub fn peer(&self) -> (Option<Arc<str>>, Duration) {
        (self.in_flight.as_ref().map(|in_flight| in_flight.peer().address().to_string().into()), self.began.elapsed())
    }
}

fn digest_parameter(target: &str) -> Option<&str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find(|pair| pair.starts_with("digest="))
}

fn with_parameter(target: &str, parameter: Option<&str>) -> String {
    match (parameter, target.contains('?')) {
        (None, _) => target.to_owned(),
        (Some(parameter), true) => format!("{target}&{parameter}"),
        (Some(parameter), false) => format!("{target}?{parameter}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_goes_with_an_upload_that_is_opened_again() {
        assert_eq!(digest_parameter("/v2/a/blobs/uploads/u?_state=1&digest=sha256:ab"), Some("digest=sha256:ab"));
        assert_eq!(digest_parameter("/v2/a/blobs/uploads/u?_state=1"), None);
        assert_eq!(with_parameter("/u?_state=2", Some("digest=x")), "/u?_state=2&digest=x");
        assert_eq!(with_parameter("/u", Some("digest=x")), "/u?digest=x");
        assert_eq!(with_parameter("/u", None), "/u");
    }
}
