//! Requests that pingora proxies, streamed both ways: uploads, lists, deletes, and `forward`ed paths.
//!
//! Which peer, whether a failed try may be made again, and what must be changed on the way there and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Method, Response, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, Result};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::access::refusal;
use super::context::{REQUEST_ID, RequestContext, TRACEPARENT, TRACESTATE};
use super::forwarded;
use super::site::Site;
use super::upload::{Home, rewrite_location};
use crate::cluster::{Cluster, Lease, PeerId, PickError};
use crate::oci::{ErrorCode, Route};

/// One proxied request.
pub struct Pass {
    cluster: Arc<Cluster>,
    /// Path and query for the peer: without our own parameter.
    target: String,
    hash: Vec<u8>,
    /// The peer that an upload belongs to.
    home: Option<Home>,
    /// The peer of the present try.
    lease: Option<Lease>,
    tried: Vec<PeerId>,
    tries: u32,
    /// Sent at most once when its method changes something: what it does is not ours to know.
    once: bool,
    /// The request has left for a peer; what it did there is unknown until the peer says.
    pub sent: bool,
    /// A peer has answered.
    pub answered: bool,
    /// A peer's refusal that stands in for the answer.
    pub refusal: Option<Response<Bytes>>,
    /// A kept-alive connection broke under us, so this try goes to the same peer on a connection of its own.
    fresh: bool,
    began: Instant,
}

/// What came of a try, as pingora's error type: the client gets 503.
pub const NO_PEER: ErrorType = ErrorType::Custom("NoPeer");
/// An answer that counts as "try the next peer".
pub const FAILING_PEER: ErrorType = ErrorType::Custom("FailingPeer");

impl Pass {
    pub fn new(cluster: Arc<Cluster>, target: String, hash: Vec<u8>, home: Option<Home>, once: bool) -> Self {
        Pass {
            cluster,
            target,
            hash,
            home,
            lease: None,
            tried: Vec::new(),
            tries: 0,
            once,
            sent: false,
            answered: false,
            refusal: None,
            fresh: false,
            began: Instant::now(),
        }
    }

    /// Chooses the peer of the next try.
    pub async fn choose(&mut self, session: &mut Session, site: &Site, headers: HeaderMap) -> Result<Box<HttpPeer>> {
        if self.fresh
            && let Some(lease) = &self.lease
        {
            let mut peer = http_peer(lease, &self.cluster, site)?;
            // A key of its own: no connection that was kept alive is taken for it.
            peer.group_key = rand::random();
            return Ok(peer);
        }
        self.lease = None;
        self.tries += 1;
        let lease = match self.home {
            Some(home) if !self.tried.contains(&home.peer) => match self.cluster.lease(home.peer).await {
                Ok(lease) => Ok(lease),
                Err(PickError::NoPeer) if home.empty => self.reopen(session, headers).await,
                Err(error) => Err(error),
            },
            Some(home) if home.empty => self.reopen(session, headers).await,
            Some(_) => Err(PickError::NoPeer),
            None => self.cluster.pick(Some(&self.hash), &self.tried).await,
        };
        let lease = lease.map_err(|error| Error::explain(NO_PEER, error.to_string()))?;
        if self.tries > 1 {
            self.cluster.retried();
        }
        let mut peer = http_peer(&lease, &self.cluster, site)?;
        let timeouts = &self.cluster.config().timeouts;
        if session.is_body_empty() {
            peer.options.read_timeout = Some(timeouts.first_byte.0);
        }
        self.lease = Some(lease);
        Ok(peer)
    }

    /// Opens an upload that holds no bytes yet on another peer, in place of the one that is gone.
    async fn reopen(&mut self, session: &Session, headers: HeaderMap) -> Result<Lease, PickError> {
        let path = session.req_header().uri.path();
        let start = path.rfind("/blobs/uploads/").map(|at| &path[..at + "/blobs/uploads/".len()]);
        let start = start.ok_or(PickError::NoPeer)?;
        for _ in 0..self.cluster.config().retry.tries {
            let lease = self.cluster.pick(Some(&self.hash), &self.tried).await?;
            let opened = lease.peer().send(Method::POST, start, headers.clone(), Bytes::new()).await;
            if let Ok(response) = &opened
                && response.status().is_client_error()
            {
                // The peer's word on who asks, not a fault of the peer's.
                let mut answer = Response::new(Bytes::new());
                *answer.status_mut() = response.status();
                *answer.headers_mut() = response.headers().clone();
                self.refusal = Some(refusal(&answer, ErrorCode::NameUnknown));
                return Err(PickError::NoPeer);
            }
            let location = match &opened {
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
                }
                _ => None,
            };
            self.tried.push(lease.peer().id());
            match location {
                Some(location) => {
                    let digest = digest_parameter(&self.target);
                    self.target = with_parameter(super::upload::relative(location), digest);
                    self.home = Some(Home { peer: lease.peer().id(), empty: true });
                    tracing::info!(peer = lease.peer().authority(), "an empty upload was opened again on another peer");
                    return Ok(lease);
                }
                None => lease.failed(),
            }
        }
        Err(PickError::NoPeer)
    }

    /// The connection could not be made: nothing was sent, so the next peer may be tried.
    pub fn connect_failed(&mut self, error: &mut Error) {
        self.try_failed();
        error.set_retry(self.may_try_again());
    }

    /// The exchange broke. Tried again only when the peer cannot have taken anything of the body, or when sending it
    /// again to another peer is the same as sending it once.
    pub fn exchange_failed(&mut self, session: &mut Session, error: &mut Error, reused: bool) {
        // While the client's body is still awaited, the peer's silence is the client's.
        let stalled = *error.etype() == ErrorType::ReadTimedout && !session.is_body_done();
        let upstream = matches!(error.esource(), pingora::ErrorSource::Upstream) && !stalled;
        let unanswered = session.response_written().is_none_or(|written| written.status.is_informational());
        let unconsumed = session.body_bytes_read() == 0;
        if self.once && !session.req_header().method.is_safe() {
            self.try_failed_if(upstream);
            error.set_retry(false);
            return;
        }
        if reused && upstream && unanswered && !self.fresh && (unconsumed || !session.retry_buffer_truncated()) {
            // A connection that the peer closed while it was idle, most likely: no fault of the peer's.
            self.fresh = true;
            error.set_retry(true);
            return;
        }
        self.try_failed_if(upstream);
        // The session of an empty upload starts anew elsewhere, so the part that was sent does not count.
        let fresh = self.home.is_some_and(|home| home.empty);
        let replayable = !session.retry_buffer_truncated() && (fresh || session.req_header().method == Method::DELETE);
        let again = upstream && unanswered && (unconsumed || replayable) && self.may_try_again();
        error.set_retry(again);
    }

    fn try_failed_if(&mut self, upstream: bool) {
        if upstream {
            self.try_failed();
        }
    }

    fn try_failed(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.failed();
            self.tried.push(lease.peer().id());
        }
    }

    fn may_try_again(&self) -> bool {
        let bound = self.cluster.config().retry.tries;
        self.tries < bound && self.home.is_none_or(|home| home.empty)
    }

    /// Sets what the peer shall see.
    pub fn prepare(&mut self, told_by: impl Fn(&mut HeaderMap), request: &mut RequestHeader) -> Result<()> {
        self.sent = true;
        let uri = self.target.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "target"))?;
        request.set_uri(uri);
        let mut told = request.headers.clone();
        told_by(&mut told);
        for name in forwarded::claims(&request.headers) {
            request.remove_header(&name);
        }
        for name in [REQUEST_ID, TRACEPARENT, TRACESTATE] {
            request.remove_header(&name);
        }
        for name in forwarded::claims(&told).into_iter().chain([REQUEST_ID, TRACEPARENT, TRACESTATE]) {
            for value in told.get_all(&name) {
                request.append_header(name.clone(), value)?;
            }
        }
        Ok(())
    }

    /// Judges a peer's answer: one of `retry.statuses` counts as none while another try is possible.
    pub fn judge(&mut self, session: &mut Session, response: &ResponseHeader) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        self.answered = true;
        if self.cluster.config().retry.statuses.contains(&response.status.as_u16()) {
            let mut error = Error::explain(FAILING_PEER, format!("a peer answered {}", response.status)).into_up();
            let last = self.lease.as_ref().map(|lease| lease.peer().id());
            self.exchange_failed(session, &mut error, false);
            if error.retry() {
                return Err(error);
            }
            // Nobody else to ask: the peer's own words reach the client, and the upload stays where it is.
            tracing::warn!(peer = ?last, status = response.status.as_u16(), "a peer's failure is handed on");
        } else if let Some(lease) = &self.lease {
            lease.succeeded();
        }
        Ok(())
    }

    /// Makes a peer's answer right for the client.
    pub fn mend(&self, session: &Session, ctx: &RequestContext, response: &mut ResponseHeader) -> Result<()> {
        response.insert_header(REQUEST_ID, ctx.id.as_str())?;
        let Some(location) = response.headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Ok(());
        };
        let Some(lease) = &self.lease else { return Ok(()) };
        // Only the POST that opened it leaves an upload empty.
        let empty = session.req_header().method == Method::POST && matches!(ctx.route, Some(Route::UploadStart { .. }));
        let home = Home { peer: lease.peer().id(), empty };
        let known = [lease.peer().authority(), ctx.authority.as_str()];
        if let Some(location) = rewrite_location(location, response.status.is_redirection(), &known, home) {
            response.insert_header(LOCATION, location)?;
        }
        Ok(())
    }

    /// The peer of the last try and the time since the first, for the access log.
    pub fn peer(&self) -> (Option<Arc<str>>, Duration) {
        (self.lease.as_ref().map(|lease| lease.peer().address().to_string().into()), self.began.elapsed())
    }
}

fn http_peer(lease: &Lease, cluster: &Cluster, site: &Site) -> Result<Box<HttpPeer>> {
    let peer = lease.peer();
    let tls = peer.tls();
    let name = tls.map(|tls| tls.server_name().to_owned()).unwrap_or_default();
    if tls.is_some() && name.is_empty() {
        // An empty SNI would switch the verification of certificates off: pingora.md, trap T3.
        return Error::e_explain(NO_PEER, "a TLS peer without a name");
    }
    let mut http = Box::new(HttpPeer::new(peer.address(), tls.is_some(), name));
    if let Some(tls) = tls {
        let tls = site.tls.of(cluster.name(), tls);
        http.options.ca = tls.authorities;
        http.client_cert_key = tls.identity;
    }
    let config = cluster.config();
    let timeouts = &config.timeouts;
    http.options.connection_timeout = Some(timeouts.connect.0);
    http.options.total_connection_timeout = Some(timeouts.connect.0);
    // One clock for both waits: pingora does not tell the first byte from the others.
    http.options.read_timeout = Some(timeouts.first_byte.0.max(timeouts.read.0));
    http.options.write_timeout = Some(timeouts.write.0);
    http.options.idle_timeout = Some(config.keepalive_timeout.0);
    Ok(http)
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
