//! HTTP/1.0 and 1.1: heads read and checked here, then one exchange after another.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::body::Framing;
use super::budget;
use super::connection::Connection;
use super::exchange::{self, Exchange, RequestHead};
use super::head::{Head, Scanner};
use super::refusal::Refusal;
use super::shared::Shared;
use super::state::{Deadline, Phase};
use super::stream::ClientStream;
use super::{Handler, Plain};

/// How much of a refused request the access log is shown.
const SHOWN: usize = 256;

/// What came in the place of a request head.
#[allow(
    clippy::large_enum_variant,
    reason = "each is taken apart where it is made: nothing is gained by an allocation"
)]
enum Next {
    Head(BytesMut, Head),
    Refused(Refusal),
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
            Next::Head(bytes, head) => (bytes, head),
            Next::Refused(refusal) => {
                shared.metrics.refused(refusal.status);
                return refuse(handler, connection, stream, refusal).await;
            }
            Next::End => return stream.close(false).await,
        };
        state.enter(Phase::Exchange);
        if let Some(request) = plain(&bytes, &head)
            && !connection.ends_soon()
            && let Some(answer) = handler.at_hand(&request, connection)
        {
            let (sent, written) = stream.write_answer(&request, &answer, &connection.settings().headers).await;
            handler.given(&request, connection, answer, Some(sent));
            if written.is_err() {
                return;
            }
            state.enter(Phase::Idle);
            continue;
        }
        let Ok(held) = budget::hold(state, head.fields, head.length) else {
            shared.metrics.refused(Refusal::overloaded().status);
            return refuse_read(handler, connection, stream, Refusal::overloaded(), &bytes).await;
        };
        stream.expect_body(head.framing);
        let Some(request) = RequestHead::of_h1(&bytes.freeze(), &head) else {
            // Both readings are ours: that they differ is a fault, and the request is not served.
            tracing::error!(client = %connection.client(), "a request head was let through that cannot be read");
            return;
        };
        let exchange = Box::new(Exchange::over_h1(request, connection, held, stream));
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

/// The request, if it is a plain GET of HTTP/1.1.
fn plain<'a>(bytes: &'a [u8], head: &Head) -> Option<Plain<'a>> {
    if head.http_10 || head.noted.unusual || head.framing != Framing::None || head.authority.is_some() {
        return None;
    }
    let at = |range: &Range<usize>| bytes.get(range.clone());
    if at(&head.method)? != b"GET" {
        return None;
    }
    Some(Plain {
        target: std::str::from_utf8(at(&head.target)?).ok()?,
        host: std::str::from_utf8(at(head.host.as_ref()?)?).ok()?,
        authorization: head.noted.authorization.as_ref().and_then(at),
        user_agent: head.noted.user_agent.as_ref().and_then(at),
        request_id: head.noted.request_id.as_ref().and_then(at),
        trace_parent: head.noted.trace_parent.as_ref().and_then(at),
        from_a_page: head.noted.origin,
        protocol: "HTTP/1.1",
    })
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
                Err(refusal) => return Next::Refused(refusal),
            }
        }
        if let Err(end) = more(stream).await {
            return match state.expired() {
                Some(Deadline::Header) => Next::Refused(Refusal::too_slow()),
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

/// The same for a request whose head has been taken from the stream.
async fn refuse_read<H: Handler>(
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut stream: Box<ClientStream>,
    refusal: Refusal,
    bytes: &[u8],
) {
    connection.state().enter(Phase::Closing);
    let answer = refusal.to_bytes(!bytes.starts_with(b"HEAD "), &connection.settings().headers);
    let written: io::Result<()> = stream.write_all(&[IoSlice::new(&answer)]).await;
    handler.refused(connection, refusal, first_line(bytes));
    if written.is_ok() {
        stream.close(true).await;
    }
}

/// Says no, and closes without a reset.
async fn refuse<H: Handler>(
    handler: &Arc<H>,
    connection: &Arc<Connection>,
    mut stream: Box<ClientStream>,
    refusal: Refusal,
) {
    // A HEAD is answered without a body: what came tells, unless it is too little to be one.
    let bytes = stream.take_inbound(SHOWN);
    refuse_read(handler, connection, stream, refusal, &bytes).await;
}

/// The start of what a client sent, up to the end of its first line.
fn first_line(bytes: &[u8]) -> &[u8] {
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    shown.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}
