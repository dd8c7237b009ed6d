//! h2, by ALPN or prior knowledge: one connection, a task for each stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{HeaderValue, Request, Response};

use super::budget::{self, Excess, Held};
use super::config::Config;
use super::connection::Connection;
use super::date;
use super::exchange::{Exchange, RequestHead, write_h2};
use super::h2_head::{judged, line_of, plain};
use super::multiplexed::Multiplexed;
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
/// Why a head is not even decoded.
const TOO_MANY_FIELDS: &str = "the request has more fields than are read";
/// So much of an answer may wait in the library for the client's windows.
const SHORT: usize = 16 << 10;
/// The largest window that the protocol has.
const MAX_WINDOW: u64 = (1 << 31) - 1;

/// Serves one connection until it ends.
pub(super) async fn serve<H: Handler>(
    shared: &Arc<Shared>,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    stream: Box<ClientStream>,
) {
    let state = connection.state();
    state.set_multiplexed();
    let stream = Multiplexed::new(stream);
    match builder(connection.settings()).handshake(stream.clone()).await {
        Ok(h2) => accept_streams(shared, handler, connection, (h2, stream)).await,
        Err(error) => tracing::debug!(client = %connection.client(), %error, "h2 handshake failed"),
    }
}

/// What the connection's task does next.
#[allow(clippy::large_enum_variant)] // lives for one turn of the loop, by value
enum Next {
    Accepted(Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>),
    /// Say GOAWAY: no further streams.
    Finish,
    /// A head has so many fields that it is not even decoded.
    Overdone,
    End,
}

async fn accept_streams<H: Handler>(
    shared: &Arc<Shared>,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    (mut h2, stream): (h2::server::Connection<Multiplexed, Bytes>, Multiplexed),
) {
    let state = connection.state();
    state.enter(Phase::FirstByte);
    if shared.drains() {
        state.ask_to_finish();
    }
    stream.drive();
    let (mut finishing, mut ending) = (false, false);
    let mut malformed = 0;
    loop {
        let next = poll_fn(|context| poll_next(context, state, (&mut h2, &stream), (finishing, ending)));
        let (request, mut respond) = match next.await {
            Next::Accepted(Ok(accepted)) => accepted,
            Next::Accepted(Err(error)) => {
                tracing::debug!(client = %connection.client(), %error, "h2 connection failed");
                return;
            }
            Next::Finish => {
                finishing = true;
                h2.graceful_shutdown();
                continue;
            }
            Next::Overdone => {
                ending = true;
                refuse(shared, handler, connection, (Refusal::too_large(TOO_MANY_FIELDS), b""));
                h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            Next::End => return,
        };
        match judged(request, connection) {
            Ok((head, body)) => match hold(&head, connection) {
                Ok(held) => serve_stream(handler, connection, (head, held), body, respond),
                Err(excess) => {
                    let line = line_of(&head.method, head.target.path());
                    refuse(shared, handler, connection, (Refusal::overloaded(), &line));
                    match excess {
                        Excess::Process => respond.send_reset(Reason::REFUSED_STREAM),
                        Excess::Connection => h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                    }
                }
            },
            Err(refused) => {
                malformed += 1;
                refuse(shared, handler, connection, (refused.refusal, &refused.line));
                refused.answer(respond, connection);
                if malformed > MALFORMED {
                    tracing::debug!(client = %connection.client(), "too many malformed requests on an h2 connection");
                    h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
            }
        }
    }
}

/// `finishing` and `ending`: it has been told that it shall.
fn poll_next(
    context: &mut Context<'_>,
    state: &ConnectionState,
    (h2, stream): (&mut h2::server::Connection<Multiplexed, Bytes>, &Multiplexed),
    (finishing, ending): (bool, bool),
) -> Poll<Next> {
    if !finishing && state.poll_asked_to_finish(context).is_ready() {
        return Poll::Ready(Next::Finish);
    }
    if let Poll::Ready(accepted) = h2.poll_accept(context) {
        return Poll::Ready(accepted.map_or(Next::End, Next::Accepted));
    }
    if !ending && stream.overdone() {
        return Poll::Ready(Next::Overdone);
    }
    // All that this wake-up brought about, in one write.
    match stream.poll_send(context) {
        Poll::Ready(Err(_)) => Poll::Ready(Next::End),
        _ => Poll::Pending,
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
        match give(&mut respond, &request, &answer, connection) {
            Given::Head(rest) => finish_giving(handler, connection, (head, held), answer, rest),
            Given::Whole => handler.given(&request, connection, answer, Some(length as u64)),
            Given::Nothing => handler.given(&request, connection, answer, None),
        }
        return;
    }
    spawn(handler, connection, Exchange::over_h2(head, connection, held, body, respond));
}

/// Counts a refusal, and has its line written.
fn refuse<H: Handler>(
    shared: &Shared,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    (refusal, line): (Refusal, &[u8]),
) {
    shared.metrics.refused(refusal.status);
    handler.refused(connection, refusal, line);
}

/// What of an answer at hand the library took.
enum Given {
    Whole,
    /// Its body is still to be written.
    Head(SendStream<Bytes>),
    /// The client has reset the stream meanwhile.
    Nothing,
}

/// Hands the answer to the library: whole, if the client's windows have room for it or nearly so (64 KiB are one byte more than the
/// usual window), or else its head. The bytes are the cache's own, shared by all; but what waits in the library, nobody's clock ends.
fn give(
    respond: &mut SendResponse<Bytes>,
    request: &Plain<'_>,
    answer: &impl AtHand,
    connection: &Connection,
) -> Given {
    let mut response = Response::new(());
    *response.headers_mut() = answer.fields(request);
    connection.settings().headers.set_in(response.headers_mut());
    if let Some(date) = date::with(|date| HeaderValue::from_bytes(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
    let body = answer.body();
    let Ok(mut send) = respond.send_response(response, body.is_empty()) else { return Given::Nothing };
    if body.is_empty() {
        return Given::Whole;
    }
    send.reserve_capacity(body.len());
    if send.capacity().saturating_add(SHORT) < body.len() {
        return Given::Head(send);
    }
    match send.send_data(body.clone(), true) {
        Ok(()) => Given::Whole,
        Err(_) => Given::Nothing,
    }
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
            handler.given(&request, &connection, answer, Some(body.len().saturating_sub(unsent) as u64));
        }
    });
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
