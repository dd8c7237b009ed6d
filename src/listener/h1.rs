//! HTTP/1.0 and 1.1: heads read and checked here, then one exchange after another.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::Handler;
use super::connection::Connection;
use super::exchange::{self, Exchange, RequestHead};
use super::head::{Head, Scanner};
use super::refusal::Refusal;
use super::shared::Shared;
use super::state::{Deadline, Phase};
use super::stream::ClientStream;

/// How much of a refused request the access log is shown.
const SHOWN: usize = 256;

/// What came in the place of a request head.
enum Next {
    Head(BytesMut, Box<Head>),
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
    loop {
        let (bytes, head) = match next_head(&mut stream, connection).await {
            Next::Head(bytes, head) => (bytes.freeze(), head),
            Next::Refused(refusal, scanner) => {
                shared.metrics.refused(refusal.status);
                return refuse(handler, connection, stream, refusal, &scanner).await;
            }
            Next::End => return stream.close(false).await,
        };
        state.enter(Phase::Exchange);
        stream.expect_body(head.framing);
        let Some(request) = RequestHead::of_h1(&bytes, &head) else {
            // Both readings are ours: that they differ is a fault, and the request is not served.
            tracing::error!(client = %connection.client(), "a request head was let through that cannot be read");
            return;
        };
        let exchange = Box::new(Exchange::over_h1(request, connection, stream));
        let Some(over) = handler.serve(exchange).await else { return };
        match over.finish() {
            Some(exchange::Next::Request(back)) => stream = back,
            Some(exchange::Next::Close(mut back)) => {
                state.enter(Phase::Closing);
                // What the client still sends of a body is read for a while, or a reset would take the answer from it.
                let linger = !back.body_done();
                return back.close(linger).await;
            }
            Some(exchange::Next::Abort) | None => return,
        }
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
                Ok(Some(head)) => return Next::Head(stream.take_inbound(head.length), Box::new(head)),
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
