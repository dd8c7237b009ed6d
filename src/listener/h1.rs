//! HTTP/1.0 and 1.1: heads read and checked here, then one session after another.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use pingora_core::protocols::http::ServerSession;
use tokio::io::AsyncWriteExt;

use super::Handler;
use super::connection::Connection;
use super::head::{Head, Scanner};
use super::refusal::Refusal;
use super::shared::Shared;
use super::state::{Deadline, Phase};
use super::stream::ClientStream;

/// How much of a refused request the access log is shown.
const SHOWN: usize = 256;

/// What came in the place of a request head.
enum Next {
    Head(BytesMut, Head),
    Refused(Refusal, Scanner),
    /// The client has gone, or was told to go.
    End,
}

/// Serves the requests of one connection until it ends.
pub(super) async fn serve<H: Handler>(
    shared: &Shared,
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut stream: Box<ClientStream>,
) {
    let state = connection.state();
    let mut settings = None;
    loop {
        let (head, framing) = match next_head(&mut stream, connection).await {
            Next::Head(bytes, head) => (bytes, head.framing),
            Next::Refused(refusal, scanner) => {
                shared.metrics.refused(refusal.status);
                return refuse(handler, connection, stream, refusal, &scanner).await;
            }
            Next::End => return stream.close(false).await,
        };
        state.enter(Phase::Exchange);
        stream.expect_body(framing);
        let mut session = ServerSession::new_http1(stream);
        // The sweeper keeps the time.
        session.set_read_timeout(None);
        if let Some(settings) = settings.take() {
            pingora_core::apps::HttpPersistentSettings::apply_to_session(settings, &mut session);
        }
        session.set_pipelined_prefix(head);
        let Some(reused) = handler.serve(session, connection, &shared.watch).await else { return };
        let (io, kept) = reused.consume();
        let Some(back) = ClientStream::from_io(io) else { return };
        stream = back;
        // pingora and we disagree where the body ends: nothing after it can be trusted.
        if !stream.body_done() {
            return;
        }
        settings = kept;
        state.enter(Phase::Idle);
        if shared.drains() && stream.inbound().is_empty() {
            return stream.close(false).await;
        }
    }
}

/// Reads and checks the next head. Bytes after it stay in the stream.
async fn next_head(stream: &mut ClientStream, connection: &Connection) -> Next {
    let state = connection.state();
    let limit = connection.settings().max_header.as_usize();
    let mut scanner = Scanner::default();
    if !matches!(stream.first_fill().await, Ok(1..)) {
        return Next::End;
    }
    state.enter(Phase::Head);
    let mut blank = true;
    loop {
        // One empty line before a request is forgiven: old clients send it after a body.
        if blank && !stream.inbound().is_empty() && stream.inbound() != b"\r" {
            blank = false;
            if stream.inbound().starts_with(b"\r\n") {
                stream.skip_inbound(2);
            }
        }
        if !blank {
            match scanner.advance(stream.inbound(), limit) {
                Ok(Some(head)) => return Next::Head(stream.take_inbound(head.length), head),
                Ok(None) => {}
                Err(refusal) => return Next::Refused(refusal, scanner),
            }
        }
        if let Err(end) = more(stream).await {
            return match state.expired() {
                Some(Deadline::Header) => Next::Refused(Refusal::too_slow(), scanner),
                _ => end,
            };
        }
    }
}

async fn more(stream: &mut ClientStream) -> Result<(), Next> {
    match stream.fill().await {
        Ok(0) | Err(_) => Err(Next::End),
        Ok(_) => Ok(()),
    }
}

/// Says no, and closes without a reset.
async fn refuse<H: Handler>(
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut stream: Box<ClientStream>,
    refusal: Refusal,
    scanner: &Scanner,
) {
    connection.state().enter(Phase::Closing);
    let answer = refusal.to_bytes(!scanner.is_head());
    let written: io::Result<()> = stream.write_all(&answer).await;
    let shown = stream.inbound().get(..SHOWN).unwrap_or(stream.inbound());
    let line = shown.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    handler.refused(connection, refusal, line);
    if written.is_ok() {
        stream.close(true).await;
    }
}
