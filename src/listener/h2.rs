//! h2, by ALPN or prior knowledge: one connection, a task for each stream.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;

use super::Handler;
use super::config::Config;
use super::connection::Connection;
use super::exchange::Exchange;
use super::h2_head::judged;
use super::shared::Shared;
use super::state::{ConnectionState, Phase};
use super::stream::ClientStream;

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
        let (request, respond) = match accepted {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                tracing::debug!(client = %connection.client(), %error, "h2 connection failed");
                return;
            }
            None => return,
        };
        match judged(request, connection) {
            Ok((head, body)) => spawn(handler, connection, Exchange::over_h2(head, connection, body, respond)),
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
