//! One request and the way back to its client, on HTTP/1 or HTTP/2: the head parsed once, the body as a stream under the
//! listener's pace, and the one writer of answers, which knows framing and keep-alive.

mod amendment;
mod error;
mod h1;
mod h2;
mod head;

use std::fs::File;
use std::sync::Arc;

use ::h2::RecvStream;
use ::h2::server::SendResponse;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::budget::Held;
use super::connection::Connection;
use super::pace::Pace;
use super::stream::ClientStream;
use h1::H1;
use h2::H2;

pub use amendment::Amendment;
pub use error::{Broken, Result};
pub(super) use h1::{Next, field as write_field};
pub(super) use h2::write as write_h2;
pub use head::RequestHead;

/// One request. Dropped before its answer ended, it ends the connection or the stream so that the client can tell.
pub struct Exchange {
    head: RequestHead,
    connection: Arc<Connection>,
    wire: Wire,
    status: Option<StatusCode>,
    sent: u64,
    received: u64,
    amendments: Vec<Amendment>,
    _held: Held,
}

enum Wire {
    H1(H1),
    H2(H2),
}

impl Exchange {
    pub(super) fn over_h1(
        head: RequestHead,
        connection: &Arc<Connection>,
        held: Held,
        stream: Box<ClientStream>,
    ) -> Exchange {
        let wire = Wire::H1(H1::new(stream, &head));
        Exchange::new(head, connection, held, wire)
    }

    pub(super) fn over_h2(
        head: RequestHead,
        connection: &Arc<Connection>,
        held: Held,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Exchange {
        let to_head = head.method == Method::HEAD;
        let wire = Wire::H2(H2::new(body, respond, to_head, &Pace::new(connection.settings())));
        Exchange::new(head, connection, held, wire)
    }

    fn new(head: RequestHead, connection: &Arc<Connection>, held: Held, wire: Wire) -> Exchange {
        Exchange {
            head,
            connection: connection.clone(),
            wire,
            status: None,
            sent: 0,
            received: 0,
            amendments: Vec::new(),
            _held: held,
        }
    }

    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Puts a field of ours in place of the client's, for those behind.
    pub fn put_field(&mut self, name: HeaderName, value: HeaderValue) {
        self.head.headers.insert(name, value);
    }

    /// Takes a field away that was for us: nobody behind sees it.
    pub fn take_field(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.head.headers.remove(name)
    }

    /// Says what is changed of the answer's head, from wherever it comes.
    pub fn amend(&mut self, amendment: Amendment) {
        self.amendments.push(amendment);
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// All of the request's body has been read, or it has none.
    pub fn body_done(&self) -> bool {
        match &self.wire {
            Wire::H1(h1) => h1.stream.body_done(),
            Wire::H2(h2) => h2.body_done(),
        }
    }

    /// The next piece of the body, never empty; `None` at its end. May be cancelled.
    ///
    /// # Errors
    /// The client has gone, is too slow, or breaks the framing.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let piece = match &mut self.wire {
            Wire::H1(h1) => h1.read_body().await?,
            Wire::H2(h2) => h2.read_body().await?,
        };
        self.received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Waits for the end of a body that was announced to be empty: HTTP/2 may still send what its head denies, and then it is no
    /// request at all (RFC 9113 §8.1.1).
    ///
    /// # Errors
    /// Something came, or the client has gone.
    pub async fn prove_empty(&mut self) -> Result<()> {
        let length = self.head.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        match length.is_some_and(|length| length.iter().all(|digit| *digit == b'0')) && !self.body_done() {
            true => match self.read_body().await? {
                Some(_) => Err(Broken::Malformed("the body is longer than its announced length")),
                None => Ok(()),
            },
            false => Ok(()),
        }
    }

    /// Resolves when the client has gone. To be asked only when the body is done. May be cancelled.
    pub async fn gone(&mut self) -> Broken {
        match &mut self.wire {
            Wire::H1(h1) => h1.stream.gone().await.into(),
            Wire::H2(h2) => h2.gone().await,
        }
    }

    /// `100 Continue`. Nobody waits for it on HTTP/1.0; on HTTP/2 it is told as well.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn write_continue(&mut self) -> Result<()> {
        match &mut self.wire {
            Wire::H1(h1) => h1.write_continue().await,
            Wire::H2(h2) => h2.write_informational(StatusCode::CONTINUE, &HeaderMap::new()),
        }
    }

    /// A `1xx` of a peer's, handed on.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn write_informational(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<()> {
        match &mut self.wire {
            Wire::H1(h1) => h1.write_informational(status, headers).await,
            Wire::H2(h2) => h2.write_informational(status, headers),
        }
    }

    /// The answer's head. `end`: no body follows. Framing and `Connection` are the writer's: a body without `Content-Length`
    /// is chunked, or ends with the connection of HTTP/1.0.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn write_head(&mut self, status: StatusCode, mut headers: HeaderMap, end: bool) -> Result<()> {
        self.status = Some(status);
        for amendment in &self.amendments {
            amendment.apply(&mut headers);
        }
        self.connection.settings().prefix.put_before(&mut headers);
        self.connection.settings().headers.set_in(&mut headers);
        match &mut self.wire {
            Wire::H1(h1) => {
                if self.connection.ends_soon() {
                    h1.close_after();
                }
                h1.write_head(status, &headers, end).await
            }
            Wire::H2(h2) => h2.write_head(status, headers, end),
        }
    }

    /// A piece of the answer's body, which leaves now. `end`: it is the last.
    ///
    /// # Errors
    /// The client has gone or takes it too slowly; the answer is longer or shorter than its head says.
    pub async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        let length = bytes.len() as u64;
        match &mut self.wire {
            Wire::H1(h1) => h1.write_body(&bytes, end).await?,
            Wire::H2(h2) => h2.write_body(bytes, end).await?,
        }
        self.sent += length;
        Ok(())
    }

    /// Waits until the client has room for some of the body, so that nothing is read for one who takes nothing. At once on HTTP/1,
    /// whose kernel has some. May be cancelled, but for the time that was waited.
    ///
    /// # Errors
    /// The client has gone, or takes the answer too slowly.
    pub async fn room(&mut self) -> Result<()> {
        match &mut self.wire {
            Wire::H1(_) => Ok(()),
            Wire::H2(h2) => h2.room().await,
        }
    }

    /// Whether pieces of the body can be sent straight from a file: plain HTTP/1, an announced length.
    pub fn takes_files(&self) -> bool {
        match &self.wire {
            Wire::H1(h1) => h1.takes_files(),
            Wire::H2(_) => false,
        }
    }

    /// Sends some of the `count` bytes of a file from `offset` on as the answer's body; how many. Only where
    /// [`Self::takes_files`]. May be cancelled.
    ///
    /// # Errors
    /// The client has gone; the file is shorter than that.
    pub async fn send_file(&mut self, file: &File, offset: u64, count: usize) -> Result<usize> {
        let sent = match &mut self.wire {
            Wire::H1(h1) => h1.send_file(file, offset, count).await?,
            Wire::H2(_) => return Err(Broken::Content("a file for a connection that takes none".into())),
        };
        self.sent += sent as u64;
        Ok(sent)
    }

    /// Sends what was written so far; pieces of a body need it not.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn flush(&mut self) -> Result<()> {
        match &mut self.wire {
            Wire::H1(h1) => h1.flush().await,
            Wire::H2(_) => Ok(()),
        }
    }

    /// No request follows this one on its connection of HTTP/1: what is left of the body would be taken for it.
    pub fn close_after(&mut self) {
        if let Wire::H1(h1) = &mut self.wire {
            h1.close_after();
        }
    }

    /// The status of the answer, once it has begun.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The answer has left whole.
    pub fn answered(&self) -> bool {
        match &self.wire {
            Wire::H1(h1) => h1.answered(),
            Wire::H2(h2) => h2.answered(),
        }
    }

    /// Bytes of the answer's body that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of the request's body that were read.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Ends it: the connection's next request, or none.
    pub(super) fn finish(self) -> Option<Next> {
        match self.wire {
            Wire::H1(h1) => Some(h1.into_next()),
            Wire::H2(h2) => {
                h2.finish();
                None
            }
        }
    }
}
