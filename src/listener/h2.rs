//! h2, by ALPN or prior knowledge: one connection, a task for each stream.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    AUTHORIZATION, DATE, EXPECT, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    RANGE, USER_AGENT, VIA,
};
use http::{HeaderValue, Method, Response};

use super::budget::{self, Excess, Held};
use super::config::Config;
use super::connection::Connection;
use super::date;
use super::exchange::{Exchange, RequestHead, write_h2};
use super::h2_head::{judged, line_of};
use super::pace::Pace;
use super::refusal::Refusal;
use super::shared::Shared;
use super::state::{ConnectionState, Phase};
use super::stream::ClientStream;
use super::{AtHand, Handler, Plain};

/// What a client with prior knowledge sends first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest frame that we receive.
const FRAME: u32 = 64 << 10;
/// Bytes of one response that may wait in h2's buffers for the client.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that the client opened and reset before we saw them; more is an attack.
const UNSEEN_RESETS: usize = 20;
/// Errors of the client's streams over a connection's life; more is an attack.
const STREAM_ERRORS: usize = 256;
/// Requests over a connection's life that were malformed; more is an attack.
const MALFORMED: usize = 32;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The largest window that the protocol has.
const MAX_WINDOW: u64 = (1 << 31) - 1;

/// Serves one connection until it ends.
pub(super) async fn serve<H: Handler>(
    shared: &Arc<Shared>,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut stream: Box<ClientStream>,
) {
    let state = connection.state();
    state.set_multiplexed();
    stream.multiplex();
    match builder(connection.settings()).handshake(stream).await {
        Ok(h2) => accept_streams(shared, handler, connection, h2).await,
        Err(error) => tracing::debug!(client = %connection.client(), %error, "h2 handshake failed"),
    }
}

async fn accept_streams<H: Handler>(
    shared: &Arc<Shared>,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut h2: h2::server::Connection<Box<ClientStream>, Bytes>,
) {
    let state = connection.state();
    state.enter(Phase::FirstByte);
    if shared.drains() {
        state.ask_to_finish();
    }
    let mut finishing = false;
    let mut malformed = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = state.asked_to_finish(), if !finishing => {
                finishing = true;
                h2.graceful_shutdown();
                continue;
            }
            accepted = h2.accept() => accepted,
        };
        let (request, mut respond) = match accepted {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                tracing::debug!(client = %connection.client(), %error, "h2 connection failed");
                return;
            }
            None => return,
        };
        match judged(request, connection) {
            Ok((head, body)) => {
                let held = match hold(&head, connection) {
                    Ok(held) => held,
                    Err(excess) => {
                        shared.metrics.refused(Refusal::overloaded().status);
                        handler.refused(connection, Refusal::overloaded(), &line_of(&head.method, head.target.path()));
                        match excess {
                            Excess::Process => respond.send_reset(Reason::REFUSED_STREAM),
                            Excess::Connection => h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                        }
                        continue;
                    }
                };
                serve_stream(handler, connection, (head, held), body, respond);
            }
            Err(refused) => {
                malformed += 1;
                shared.metrics.refused(refused.refusal.status);
                handler.refused(connection, refused.refusal, &refused.line);
                refused.answer(respond);
                if malformed > MALFORMED {
                    tracing::debug!(client = %connection.client(), "too many malformed requests on an h2 connection");
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
            }
        }
    }
}

fn hold(head: &RequestHead, connection: &Connection) -> Result<Held, Excess> {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    budget::hold(connection.state(), head.headers.len(), head.target.as_str().len() + fields)
}

/// Answers at once what is at hand; for all else there is a task.
fn serve_stream<H: Handler>(
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    (head, held): (RequestHead, Held),
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) {
    if body.is_end_stream()
        && let Some(request) = plain(&head)
        && let Some(answer) = handler.at_hand(&request, connection)
    {
        // The connection is in use: its clocks begin anew when the answer is given.
        let _open = OpenStream::new(connection.state());
        let length = answer.body().len();
        match give(&mut respond, &request, &answer) {
            Some(rest) => finish_giving(handler, connection, (head, held), answer, rest),
            None => handler.given(&request, connection, answer, length as u64),
        }
        return;
    }
    spawn(handler, connection, Exchange::over_h2(head, connection, held, body, respond));
}

/// Hands the answer to the library: whole, if the client's windows have room for it, or else its head. The bytes are the cache's
/// own, shared by all; but what waits in the library, nobody's clock ends.
fn give(respond: &mut SendResponse<Bytes>, request: &Plain<'_>, answer: &impl AtHand) -> Option<SendStream<Bytes>> {
    let mut response = Response::new(());
    *response.headers_mut() = answer.fields(request);
    if let Some(date) = date::with(|date| HeaderValue::from_bytes(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
    let body = answer.body();
    // A stream that the client has reset meanwhile takes nothing, and needs nothing.
    let mut send = respond.send_response(response, body.is_empty()).ok()?;
    if body.is_empty() {
        return None;
    }
    send.reserve_capacity(body.len());
    if send.capacity() < body.len() {
        return Some(send);
    }
    let _ = send.send_data(body.clone(), true);
    None
}

/// A client that takes the answer as it can.
fn finish_giving<H: Handler>(
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    (head, held): (RequestHead, Held),
    answer: H::AtHand,
    mut send: SendStream<Bytes>,
) {
    let open = OpenStream::new(connection.state());
    let (handler, connection) = (Arc::clone(handler), Arc::clone(connection));
    tokio::spawn(async move {
        let (_open, _held) = (open, held);
        let body = answer.body().clone();
        let (mut pace, mut rest) = (Pace::new(connection.settings()), body.clone());
        let mut broke = false;
        while !rest.is_empty() && !broke {
            let piece = rest.split_to(rest.len().min(SEND_BUFFER));
            broke = write_h2(&mut send, &mut pace, piece, rest.is_empty()).await.is_err();
        }
        if broke {
            send.send_reset(Reason::INTERNAL_ERROR);
        }
        if let Some(request) = plain(&head) {
            let unsent = if broke { rest.len() + 1 } else { 0 };
            handler.given(&request, &connection, answer, body.len().saturating_sub(unsent) as u64);
        }
    });
}

/// The request, if it is a plain GET.
fn plain(head: &RequestHead) -> Option<Plain<'_>> {
    const UNUSUAL: [HeaderName; 8] =
        [VIA, RANGE, EXPECT, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    let headers = &head.headers;
    if head.method != Method::GET || UNUSUAL.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let field = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return None;
    }
    Some(Plain {
        target: head.target.as_str(),
        host: head.authority.as_deref()?,
        authorization: field(&AUTHORIZATION),
        user_agent: field(&USER_AGENT),
        request_id: field(&REQUEST_ID),
        protocol: "HTTP/2",
    })
}

fn spawn<H: Handler>(handler: &Arc<H>, connection: &Arc<Connection>, exchange: Exchange) {
    let open = OpenStream::new(connection.state());
    let handler = Arc::clone(handler);
    tokio::spawn(async move {
        let _open = open;
        if let Some(over) = handler.serve(Box::new(exchange)).await {
            over.finish();
        }
    });
}

/// Counts one stream for as long as it is served.
struct OpenStream(Arc<ConnectionState>);

impl OpenStream {
    fn new(state: &Arc<ConnectionState>) -> OpenStream {
        state.stream_opened();
        OpenStream(Arc::clone(state))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.stream_ended();
    }
}

fn builder(settings: &Config) -> Builder {
    let window = |bytes: u64| u32::try_from(bytes.min(MAX_WINDOW)).unwrap_or(u32::MAX >> 1);
    let mut builder = Builder::new();
    builder
        .initial_window_size(window(settings.h2.stream_window.0))
        .initial_connection_window_size(window(settings.h2.connection_window.0))
        .max_concurrent_streams(settings.h2.max_streams)
        .max_frame_size(FRAME)
        .max_header_list_size(u32::try_from(settings.max_header.0).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(STREAM_ERRORS));
    builder
}
