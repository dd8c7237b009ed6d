//! Pingora's hooks. Each delegates: what is decided, is decided in the files that `mod.rs` lists.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, StatusCode};
use pingora::apps::HttpServerApp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, Result};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::{Error, ErrorSource, ErrorType};
use tokio::sync::watch;

use super::bridge::Bridge;
use super::hit::{self, Hit};
use super::passing::{self, MalformedBody, Passing};
use super::{Next, Shared, door, journal};
use crate::exchange::RequestContext;
use crate::exchange::respond::{problem, problem_with_status, send};
use crate::front::changes;
use crate::front::pass::{FAILING_PEER, NO_PEER, ODD_PEER, Pass, UNANSWERABLE};
use crate::listener::{Broken, Connection, Exchange, Handler, Plain, Refusal};
use crate::oci::ErrorCode;
use crate::outbound::hop::named_by_connection;
use crate::outbound::tls;
use crate::telemetry::TraceParent;

/// Idle connections to peers that uploads and lists share, over all clusters.
const POOLED_CONNECTIONS: usize = 512;
/// A file of certificates that holds none.
const NO_AUTHORITIES: &str = "/dev/null";

/// What the listeners hand requests to.
pub struct Proxy {
    http: Arc<HttpProxy<Hooks>>,
    shared: Arc<Shared>,
    /// Pingora's own way to stop, which is not ours.
    never: ShutdownWatch,
}

/// Our side of `HttpProxy`.
pub struct Hooks {
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn new(shared: Shared, threads: usize) -> Self {
        let shared = Arc::new(shared);
        let conf = ServerConf {
            threads,
            upstream_keepalive_pool_size: POOLED_CONNECTIONS,
            // The bound on tries is each cluster's own `retry.tries`, at most 16.
            max_retries: 16,
            // It would not start on a machine without any; there, whoever speaks TLS to peers names their authorities.
            ca_file: tls::system_roots().is_empty().then(|| NO_AUTHORITIES.to_owned()),
            ..ServerConf::default()
        };
        let mut http = HttpProxy::new(Hooks { shared: shared.clone() }, Arc::new(conf));
        http.handle_init_modules();
        Proxy { http: Arc::new(http), shared, never: watch::Sender::new(false).subscribe() }
    }

    /// One request, from its head to its line in the log.
    async fn answer(&self, mut exchange: Box<Exchange>, mut request: RequestContext) -> Option<Box<Exchange>> {
        let most = exchange.connection().settings().max_requests;
        let entered = match self.shared.metrics.under_way() > most && !door::is_always_answered(&exchange) {
            true => door::turn_away(&mut exchange, &mut request).await,
            false => door::enter(&self.shared, &mut exchange, &mut request).await,
        };
        let error = match entered {
            Ok(Next::Answered) => None,
            Ok(Next::Pass(pass)) => match exchange.prove_empty().await {
                Ok(()) => return self.pass(exchange, request, pass).await,
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        if let Some(error) = &error {
            self.broken(&mut exchange, &mut request, error).await;
        }
        let error = error.map(|error| error.to_string());
        journal::answered(&self.shared, &exchange, error.as_deref(), &mut request, None);
        Some(exchange)
    }

    /// Streams a request to a peer, and answers in its place when there is no answer.
    async fn pass(&self, exchange: Box<Exchange>, request: RequestContext, pass: Box<Pass>) -> Option<Box<Exchange>> {
        let passing = Box::new(Passing { request, pass, failure: None, broke: None });
        let through = async {
            match Bridge::new(exchange) {
                Ok(bridge) => {
                    let session = ServerSession::new_custom(Box::new(bridge));
                    self.http.process_new_http(session, &self.never).await;
                }
                Err(error) => tracing::error!(%error, "a request cannot be told to pingora"),
            }
        };
        let (passing, exchange) = passing::hand_over(passing, through).await;
        let (Passing { mut request, pass, failure, mut broke }, mut exchange) = (*passing?, exchange?);
        if pass.sent && !pass.answered {
            changes::changed(&self.shared.front, &request);
        }
        if let Some(response) = failure.filter(|_| exchange.status().is_none()) {
            if !exchange.body_done() {
                exchange.close_after();
            }
            broke = send(&mut exchange, &mut request, response).await.err().map(|error| error.to_string());
        }
        journal::answered(&self.shared, &exchange, broke.as_deref(), &mut request, Some(&pass));
        Some(exchange)
    }

    /// What became of a request that we answer ourselves and that broke.
    async fn broken(&self, exchange: &mut Exchange, request: &mut RequestContext, error: &Broken) {
        let id = request.id.as_str();
        match error.is_the_clients() {
            true => tracing::debug!(request = id, %error, "a client left its request"),
            false => tracing::warn!(request = id, %error, "a request failed"),
        }
        request.problem = Some(error.to_string());
        if exchange.status().is_some() {
            return;
        }
        let response = match error {
            Broken::Gone(_) => return,
            Broken::Malformed(why) => problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, why),
            Broken::TooSlow(_) => stalled(),
            Broken::Content(_) => problem(ErrorCode::Unavailable, "the registry behind this proxy does not answer"),
        };
        if !exchange.body_done() {
            exchange.close_after();
        }
        // Who has gone meanwhile hears nothing.
        let _ = send(exchange, request, response).await;
    }
}

fn stalled() -> Response<Bytes> {
    problem_with_status(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, "the request's body stalled")
}

#[async_trait]
impl Handler for Proxy {
    type AtHand = Hit;

    fn at_hand(&self, request: &Plain<'_>, connection: &Connection) -> Option<Hit> {
        hit::find(&self.shared, request, connection)
    }

    fn given(&self, request: &Plain<'_>, connection: &Connection, hit: Hit, sent: Option<u64>) {
        journal::hit(&self.shared, request, connection, &hit, sent);
    }

    async fn serve(self: &Arc<Self>, exchange: Box<Exchange>) -> Option<Box<Exchange>> {
        let _under_way = self.shared.metrics.begin();
        let trace = self.shared.tracer.begin(TraceParent::of(exchange.headers()));
        let request = RequestContext::new(exchange.connection().clone(), self.shared.front.site(), trace.clone());
        trace.along(self.answer(exchange, request)).await
    }

    fn refused(&self, connection: &Arc<Connection>, refusal: Refusal, line: &[u8]) {
        journal::refused(&self.shared, connection, refusal, line);
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = Option<Box<Passing>>;

    fn new_ctx(&self) -> Self::CTX {
        passing::take()
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {
        // None: content leaves as it is stored.
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let passing = ctx.as_deref_mut().ok_or_else(|| Error::explain(NO_PEER, "nothing to proxy"))?;
        let headers = passing.request.asking(&session.req_header().headers, None);
        passing.pass.choose(session, &passing.request.site, headers).await
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(passing) = ctx {
            passing.pass.connect_failed(&mut error);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        _reused: bool,
    ) -> Box<Error> {
        // A failing peer has been judged already.
        if ![FAILING_PEER, ODD_PEER, UNANSWERABLE].contains(&error.etype)
            && let Some(passing) = ctx
        {
            passing.pass.exchange_failed(session, &mut error);
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let Some(Passing { request: told, pass, .. }) = ctx.as_deref_mut() else { return Ok(()) };
        pass.prepare(session, |headers| told.tell(headers), request)
    }

    /// pingora writes an empty piece to an HTTP/1.1 peer as a chunk of size 0, which is the last chunk, and tells the end
    /// once more behind it (RFC 9112 §7.1; pingora#935). So a body that ends with nothing ends without a piece.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        for name in named_by_connection(&response.headers) {
            response.remove_header(&name);
        }
        let Some(Passing { request, pass, .. }) = ctx.as_deref_mut() else { return Ok(()) };
        pass.judge(session, response)?;
        if pass.is_doubtful(session, response) {
            let headers = request.asking(&session.req_header().headers, None);
            pass.settle(request, headers, response).await?;
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if ctx.as_ref().is_some_and(|passing| passing.pass.drops_body) {
            *body = None;
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        let Some(Passing { request, pass, .. }) = ctx.as_deref_mut() else { return Ok(()) };
        if changes::may_have_changed(response.status) {
            changes::changed(&self.shared.front, request);
        }
        changes::refused(&self.shared.front, request, response.status);
        request.answer_begins();
        pass.mend(session, request, response)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        // The answer is written when the exchange has come back: see `Proxy::pass`.
        let nothing = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Some(passing) = ctx else { return nothing };
        passing.request.problem = Some(error.to_string());
        let id = passing.request.id.as_str();
        match is_the_clients(error) {
            true => tracing::debug!(request = id, %error, "a client left its request"),
            false => tracing::warn!(request = id, %error, "a request failed"),
        }
        match session.response_written() {
            Some(_) => passing.broke = Some(error.to_string()),
            None => {
                let refusal = passing.pass.refusal.take();
                passing.failure = refusal.or_else(|| instead(error, session.is_body_done()));
            }
        }
        nothing
    }

    async fn logging(&self, _session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        let mut passing = ctx.take();
        if let Some((passing, error)) = passing.as_mut().zip(error) {
            passing.broke.get_or_insert_with(|| error.to_string());
        }
        passing::put_back(passing);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        // `fail_to_proxy` has said what there is to say.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        is_the_clients(error)
    }

    fn request_summary(&self, _session: &Session, ctx: &Self::CTX) -> String {
        // No URL: it may carry upload states and signatures.
        ctx.as_ref().map(|passing| format!("request {}", passing.request.id.as_str())).unwrap_or_default()
    }
}

/// What the client is told when no peer's answer can be given; nothing when it has gone itself.
fn instead(error: &Error, body_done: bool) -> Option<Response<Bytes>> {
    let theirs = *error.esource() == ErrorSource::Upstream;
    let response = match (error.etype(), error.esource()) {
        _ if !theirs && is_malformed(error) => problem_with_status(
            StatusCode::BAD_REQUEST,
            ErrorCode::Unsupported,
            "the framing of the request's body is broken",
        ),
        (etype, _) if !theirs && is_gone(etype) => return None,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => stalled(),
        (_, ErrorSource::Downstream) => {
            problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, "the request is malformed")
        }
        (ErrorType::ReadTimedout, ErrorSource::Upstream) if !body_done => stalled(),
        (ErrorType::ReadTimedout, ErrorSource::Upstream) => problem_with_status(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::Unavailable,
            "the registry behind this proxy did not answer in time",
        ),
        (etype, ErrorSource::Upstream) if *etype == ODD_PEER || *etype == ErrorType::InvalidHTTPHeader => {
            problem_with_status(
                StatusCode::BAD_GATEWAY,
                ErrorCode::Unknown,
                "the registry behind this proxy gave no usable answer",
            )
        }
        (etype, ErrorSource::Upstream) if *etype != NO_PEER => {
            problem(ErrorCode::Unavailable, "the registry behind this proxy does not answer")
        }
        (etype, _) if *etype == NO_PEER => {
            problem(ErrorCode::Unavailable, "no registry behind this proxy takes the request")
        }
        _ => problem(ErrorCode::Unknown, "internal error"),
    };
    Some(response)
}

/// The listener refused the framing of the request's body.
fn is_malformed(error: &Error) -> bool {
    error.cause.as_deref().is_some_and(|cause| cause.is::<MalformedBody>())
}

/// Nobody is there any more who could be answered.
fn is_gone(etype: &ErrorType) -> bool {
    matches!(etype, ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error)
}

/// Whether a failure is the client's alone. Our own answers are written by us, and then pingora does not say on which side
/// the connection broke; what breaks at a peer or in the cache always does.
fn is_the_clients(error: &Error) -> bool {
    match error.esource() {
        ErrorSource::Downstream => true,
        ErrorSource::Upstream => false,
        _ => is_gone(error.etype()) || matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout),
    }
}
