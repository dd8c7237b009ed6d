//! One stream of HTTP/2: its body and its answer, by the `h2` library, under clocks of our own.
//!
//! A socket's sweeper cannot see one stream of many, so each wait for the client is timed here.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::error::{Broken, Result};
use crate::listener::date;
use crate::listener::pace::Pace;
use crate::outbound::hop::is_hop_by_hop;

/// Most of one piece that is handed to the library at once, when the client's window allows.
const PIECE: usize = 256 << 10;

pub(super) struct H2 {
    body: RecvStream,
    body_done: bool,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    answered: bool,
    /// The answer has no body, whatever its head announces.
    to_head: bool,
    /// What is left of the length that the answer's head announced, if it did.
    left: Option<u64>,
    reading: Pace,
    writing: Pace,
}

impl H2 {
    pub(super) fn new(body: RecvStream, respond: SendResponse<Bytes>, to_head: bool, pace: &Pace) -> H2 {
        let body_done = body.is_end_stream();
        let (reading, writing) = (pace.clone(), pace.clone());
        H2 { body, body_done, respond, send: None, answered: false, to_head, left: None, reading, writing }
    }

    pub(super) fn body_done(&self) -> bool {
        self.body_done
    }

    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// The next piece of the body that has bytes; `None` at its end. Cancel-safe, but for the time that was waited.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        if self.body_done {
            return Ok(None);
        }
        let begun = Instant::now();
        let left = self.reading.longest_wait();
        let Ok(read) = timeout(left, next_piece(&mut self.body)).await else {
            return Err(Broken::TooSlow("the request body stalled"));
        };
        let piece = read?;
        match &piece {
            None => self.body_done = true,
            Some(bytes) => {
                self.body_done = self.body.is_end_stream();
                if !self.reading.keeps_up(begun.elapsed(), bytes.len() as u64) {
                    return Err(Broken::TooSlow("the request body comes too slowly"));
                }
            }
        }
        Ok(piece)
    }

    pub(super) fn write_informational(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = end_to_end(headers.clone());
        self.respond.send_informational(response)?;
        Ok(())
    }

    pub(super) fn write_head(&mut self, status: StatusCode, headers: HeaderMap, end: bool) -> Result<()> {
        let bodiless = self.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let end = end || bodiless;
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.left = length.filter(|_| !bodiless);
        if end && self.left.is_some_and(|left| left > 0) {
            return Err(Broken::Content("it is shorter than was announced".into()));
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = end_to_end(headers);
        let headers = response.headers_mut();
        if !headers.contains_key(DATE)
            && let Some(date) = date::with(|date| HeaderValue::from_bytes(date).ok())
        {
            headers.insert(DATE, date);
        }
        self.send = Some(self.respond.send_response(response, end)?);
        self.answered = end;
        Ok(())
    }

    /// Writes a piece of the body as the client's windows allow, which the length that was announced has room for.
    pub(super) async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<()> {
        let Some(send) = self.send.as_mut().filter(|_| !self.answered) else { return Ok(()) };
        let mut short = false;
        if let Some(left) = &mut self.left {
            let rest = left.checked_sub(bytes.len() as u64);
            *left = rest.ok_or_else(|| Broken::Content("it is longer than was announced".into()))?;
            short = end && *left > 0;
        }
        write(send, &mut self.writing, bytes, end && !short).await?;
        if short {
            return Err(Broken::Content("it is shorter than was announced".into()));
        }
        self.answered = end;
        Ok(())
    }

    /// Waits until the client's windows have room for a byte of the body.
    pub(super) async fn room(&mut self) -> Result<()> {
        let Some(send) = self.send.as_mut().filter(|_| !self.answered) else { return Ok(()) };
        send.reserve_capacity(1);
        capacity(send, &mut self.writing).await.map(drop)
    }

    /// Resolves when the client gives the stream up.
    pub(super) async fn gone(&mut self) -> Broken {
        let reset = match &mut self.send {
            Some(send) => poll_fn(|context| send.poll_reset(context)).await,
            None => poll_fn(|context| self.respond.poll_reset(context)).await,
        };
        match reset {
            Ok(reason) => Broken::Gone(format!("the stream was reset: {reason}")),
            Err(error) => Broken::Gone(error.to_string()),
        }
    }

    /// Ends the stream: an answer that did not end is cut, so that nobody takes it for whole.
    pub(super) fn finish(mut self) {
        match &mut self.send {
            _ if self.answered => {}
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

/// Without fields of HTTP/1 connections, which HTTP/2 does not have (RFC 9113 §8.2.2).
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let hops: Vec<_> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    hops.iter().for_each(|name| drop(headers.remove(name)));
    headers
}

/// The next bytes, whose room in the windows is given back; empty pieces are passed over.
async fn next_piece(body: &mut RecvStream) -> Result<Option<Bytes>> {
    loop {
        match body.data().await.transpose()? {
            Some(bytes) if bytes.is_empty() && !body.is_end_stream() => {}
            Some(bytes) if bytes.is_empty() => return Ok(None),
            Some(bytes) => {
                body.flow_control().release_capacity(bytes.len())?;
                return Ok(Some(bytes));
            }
            None => {
                // Trailers mean nothing here; reading them finds out whether the stream broke instead.
                body.trailers().await?;
                return Ok(None);
            }
        }
    }
}

/// Writes all of `bytes` as the client's windows allow.
pub(in crate::listener) async fn write(
    send: &mut SendStream<Bytes>,
    pace: &mut Pace,
    mut bytes: Bytes,
    end: bool,
) -> Result<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len().min(PIECE));
        let room = capacity(send, pace).await?;
        let piece = bytes.split_to(room.min(bytes.len()));
        let last = end && bytes.is_empty();
        send.send_data(piece, last)?;
        if last {
            return Ok(());
        }
    }
    if end {
        send.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// How much of the client's windows is free for the stream, at least one byte.
async fn capacity(send: &mut SendStream<Bytes>, pace: &mut Pace) -> Result<usize> {
    if send.capacity() > 0 {
        return Ok(send.capacity());
    }
    let begun = Instant::now();
    let Ok(room) = timeout(pace.longest_wait(), poll_fn(|context| poll_room(send, context))).await else {
        return Err(Broken::TooSlow("the client takes the response body too slowly"));
    };
    let room = room?;
    match pace.keeps_up(begun.elapsed(), room as u64) {
        true => Ok(room),
        false => Err(Broken::TooSlow("the client takes the response body too slowly")),
    }
}

fn poll_room(send: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Result<usize>> {
    loop {
        match ready!(send.poll_capacity(context)) {
            Some(Ok(0)) => {}
            Some(room) => return Poll::Ready(Ok(room?)),
            None => return Poll::Ready(Err(Broken::Gone("the stream was reset".into()))),
        }
    }
}
