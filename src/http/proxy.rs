//! Pingora's hooks. Each delegates: what is decided, is decided in the files that `mod.rs` lists.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, Result};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::{Error, ErrorSource, ErrorType};

use super::{Next, Passing, Shared, door, journal};
use crate::exchange::RequestContext;
use crate::exchange::request_body::is_malformed;
use crate::exchange::respond::{problem, problem_with_status, send};
use crate::front::changes;
use crate::front::pass::{FAILING_PEER, NO_PEER, ODD_PEER, UNANSWERABLE};
use crate::listener::{Connection, Handler, Refusal};
use crate::oci::ErrorCode;
use crate::outbound::hop::named_by_connection;

/// Idle connections to peers that uploads and lists share, over all clusters.
const POOLED_CONNECTIONS: usize = 512;

tokio::task_local! {
    /// The connection that a request came on, and whether we are to stop: pingora's sessions have no place for them on
    /// HTTP/2.
    static CONNECTION: RefCell<Option<(Arc<Connection>, ShutdownWatch)>>;
}

/// What the listeners hand requests to.
pub struct Proxy {
    http: Arc<HttpProxy<Hooks>>,
    shared: Arc<Shared>,
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
            ..ServerConf::default()
        };
        let mut http = HttpProxy::new(Hooks { shared: shared.clone() }, Arc::new(conf));
        http.handle_init_modules();
        Proxy { http: Arc::new(http), shared }
    }
}

#[async_trait]
impl Handler for Proxy {
    async fn serve(
        self: &Arc<Self>,
        session: ServerSession,
        connection: &Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let cell = RefCell::new(Some((connection.clone(), shutdown.clone())));
        CONNECTION.scope(cell, self.http.process_new_http(session, shutdown)).await
    }

    fn refused(&self, connection: &Arc<Connection>, refusal: Refusal, line: &[u8]) {
        journal::refused(&self.shared, connection, refusal, line);
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = Passing;

    fn new_ctx(&self) -> Passing {
        let connection = CONNECTION.try_with(|cell| cell.borrow_mut().take()).ok().flatten();
        let request = RequestContext::new(connection, self.shared.front.site());
        Passing { request, pass: None, _under_way: self.shared.metrics.begin() }
    }

    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {
        // None: content leaves as it is stored.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Passing) -> Result<bool> {
        match door::enter(&self.shared.front, session, &mut ctx.request).await? {
            Next::Answered => Ok(true),
            Next::Pass(pass) => {
                ctx.pass = Some(pass);
                // Keeps a connection alive over the peer's `100 Continue`; `response_filter` closes it when need be.
                session.set_close_on_response_before_downstream_finish(false);
                if let Some(connection) = &ctx.request.connection {
                    // On HTTP/1 the listener's sweeper watches the socket; a stream of h2 needs a clock of its own.
                    let clock = session.is_http2().then(|| connection.settings().timeouts.body.0);
                    session.set_write_timeout(clock);
                }
                Ok(false)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Passing) -> Result<Box<HttpPeer>> {
        let headers = ctx.request.asking(session, None);
        let pass = ctx.pass.as_mut().ok_or_else(|| Error::explain(NO_PEER, "nothing to proxy"))?;
        pass.choose(session, &ctx.request.site, headers).await
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Passing,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(pass) = &mut ctx.pass {
            pass.connect_failed(&mut error);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Passing,
        _reused: bool,
    ) -> Box<Error> {
        // A failing peer has been judged already.
        if ![FAILING_PEER, ODD_PEER, UNANSWERABLE].contains(&error.etype)
            && let Some(pass) = &mut ctx.pass
        {
            pass.exchange_failed(session, &mut error);
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Passing,
    ) -> Result<()> {
        let (told, Some(pass)) = (&ctx.request, &mut ctx.pass) else { return Ok(()) };
        pass.prepare(session, |headers| told.tell(headers), request)
    }

    /// pingora writes an empty piece to an HTTP/1.1 peer as a chunk of size 0, which is the last chunk, and tells the end
    /// once more behind it (RFC 9112 §7.1; pingora#935). So a body that ends with nothing ends without a piece.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        _ctx: &mut Passing,
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
        ctx: &mut Passing,
    ) -> Result<()> {
        for name in named_by_connection(&response.headers) {
            response.remove_header(&name);
        }
        let Some(pass) = &mut ctx.pass else { return Ok(()) };
        pass.judge(session, response)?;
        if pass.is_doubtful(session, response) {
            let headers = ctx.request.asking(session, None);
            pass.settle(&ctx.request, headers, response).await?;
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Passing,
    ) -> Result<Option<Duration>> {
        if ctx.pass.as_ref().is_some_and(|pass| pass.drops_body) {
            *body = None;
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Passing,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        if !session.is_body_done() {
            // An answer to half an upload: what is still on its way would be read as the next request.
            session.set_keepalive(None);
        }
        if changes::may_have_changed(response.status) {
            changes::changed(&self.shared.front, &ctx.request);
        }
        changes::refused(&self.shared.front, &ctx.request, response.status);
        ctx.request.answer_begins(session);
        match &ctx.pass {
            Some(pass) => pass.mend(session, &ctx.request, response),
            None => Ok(()),
        }
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Passing) -> FailToProxy {
        ctx.request.problem = Some(error.to_string());
        if is_the_clients(error) {
            tracing::debug!(request = ctx.request.id.as_str(), %error, "a client left its request");
        } else {
            tracing::warn!(request = ctx.request.id.as_str(), %error, "a request failed");
        }
        let nothing = FailToProxy { error_code: 0, can_reuse_downstream: false };
        if session.response_written().is_some_and(|written| !written.status.is_informational()) {
            return nothing;
        }
        let refusal = ctx.pass.as_mut().and_then(|pass| pass.refusal.take());
        let response = match (error.etype(), error.esource()) {
            _ if refusal.is_some() => refusal.unwrap_or_default(),
            (_, source) if *source != ErrorSource::Upstream && is_malformed(error) => problem_with_status(
                http::StatusCode::BAD_REQUEST,
                ErrorCode::Unsupported,
                "the framing of the request's body is broken",
            ),
            (etype, source) if *source != ErrorSource::Upstream && is_gone(etype) => return nothing,
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => problem_with_status(
                http::StatusCode::REQUEST_TIMEOUT,
                ErrorCode::BlobUploadInvalid,
                "the request's body stalled",
            ),
            (_, ErrorSource::Downstream) => {
                problem_with_status(http::StatusCode::BAD_REQUEST, ErrorCode::Unsupported, "the request is malformed")
            }
            (ErrorType::ReadTimedout, ErrorSource::Upstream) if !session.is_body_done() => problem_with_status(
                http::StatusCode::REQUEST_TIMEOUT,
                ErrorCode::BlobUploadInvalid,
                "the request's body stalled",
            ),
            (ErrorType::ReadTimedout, ErrorSource::Upstream) => problem_with_status(
                http::StatusCode::GATEWAY_TIMEOUT,
                ErrorCode::Unavailable,
                "the registry behind this proxy did not answer in time",
            ),
            (etype, ErrorSource::Upstream) if *etype == ODD_PEER || *etype == ErrorType::InvalidHTTPHeader => {
                problem_with_status(
                    http::StatusCode::BAD_GATEWAY,
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
        let error_code = response.status().as_u16();
        if !session.is_body_done() {
            session.set_keepalive(None);
        }
        match send(session, &mut ctx.request, response).await {
            Ok(()) => FailToProxy { error_code, can_reuse_downstream: session.is_body_done() },
            Err(_) => nothing,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Passing) {
        if ctx.pass.as_ref().is_some_and(|pass| pass.sent && !pass.answered) {
            changes::changed(&self.shared.front, &ctx.request);
        }
        journal::answered(&self.shared, session, error, ctx);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Passing, _error: &Error) -> bool {
        // `fail_to_proxy` has said what there is to say.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Passing,
        error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        is_the_clients(error)
    }

    fn request_summary(&self, _session: &Session, ctx: &Passing) -> String {
        // No URL: it may carry upload states and signatures.
        format!("request {}", ctx.request.id.as_str())
    }
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
