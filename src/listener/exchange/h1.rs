//! HTTP/1 on our own stream: the body as it comes, the answer's framing, keep-alive.

use std::fs::File;
use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, Method, StatusCode, Version};

use super::error::{Broken, Result};
use super::head::RequestHead;
use crate::listener::date;
use crate::listener::stream::ClientStream;
use crate::outbound::hop::is_hop_by_hop;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the answer's body is framed, and what of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The head has not been written.
    Unsaid,
    /// Bytes that are still to come.
    Length(u64),
    Chunked,
    /// Until the connection ends: all that HTTP/1.0 has for an unknown length.
    ToTheEnd,
    Done,
}

pub(super) struct H1 {
    pub(super) stream: Box<ClientStream>,
    version: Version,
    to_head: bool,
    keep_alive: bool,
    framing: Framing,
}

impl H1 {
    pub(super) fn new(stream: Box<ClientStream>, head: &RequestHead) -> H1 {
        let keep_alive = match (option(&head.headers, "close"), head.version) {
            (true, _) => false,
            (false, Version::HTTP_10) => option(&head.headers, "keep-alive"),
            _ => true,
        };
        let (version, to_head) = (head.version, head.method == Method::HEAD);
        H1 { stream, version, to_head, keep_alive, framing: Framing::Unsaid }
    }

    pub(super) fn close_after(&mut self) {
        self.keep_alive = false;
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        Ok(self.stream.read_body().await?)
    }

    pub(super) async fn write_continue(&mut self) -> Result<()> {
        self.stream.write_all(&[IoSlice::new(CONTINUE)]).await?;
        Ok(self.stream.flush().await?)
    }

    /// A `1xx` of a peer's.
    pub(super) async fn write_informational(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<()> {
        if self.version == Version::HTTP_10 {
            return Ok(());
        }
        let mut head = BytesMut::with_capacity(128);
        status_line(&mut head, status);
        let told = headers.iter().filter(|(name, _)| !is_hop_by_hop(name));
        told.for_each(|(name, value)| field(&mut head, name.as_str(), value.as_bytes()));
        head.extend_from_slice(b"\r\n");
        self.stream.write_all(&[IoSlice::new(&head)]).await?;
        Ok(self.stream.flush().await?)
    }

    /// Writes the head; it leaves with the body's first piece, or now if nothing follows.
    pub(super) async fn write_head(&mut self, status: StatusCode, headers: &HeaderMap, end: bool) -> Result<()> {
        let bodiless = self.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if !self.stream.body_done() {
            // What is still on its way would be read as the next request.
            self.keep_alive = false;
        }
        let mut head = BytesMut::with_capacity(512);
        status_line(&mut head, status);
        // Framing and the connection are told below, as they are here.
        for (name, value) in headers.iter().filter(|(name, _)| !is_hop_by_hop(name)) {
            field(&mut head, name.as_str(), value.as_bytes());
        }
        if !headers.contains_key(DATE) {
            date::with(|date| field(&mut head, "date", date));
        }
        self.framing = match length {
            _ if bodiless => Framing::Done,
            Some(0) => Framing::Done,
            Some(length) => Framing::Length(length),
            None if end => {
                field(&mut head, "content-length", b"0");
                Framing::Done
            }
            None if self.version == Version::HTTP_10 => {
                self.keep_alive = false;
                Framing::ToTheEnd
            }
            None => {
                field(&mut head, "transfer-encoding", b"chunked");
                Framing::Chunked
            }
        };
        field(&mut head, "connection", if self.keep_alive { b"keep-alive" } else { b"close" });
        head.extend_from_slice(b"\r\n");
        self.stream.write_all(&[IoSlice::new(&head)]).await?;
        match end || self.framing == Framing::Done {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Writes a piece of the body, which the length that was announced has room for.
    pub(super) async fn write_body(&mut self, bytes: &[u8], end: bool) -> Result<()> {
        match self.framing {
            // A HEAD's answer has none.
            Framing::Done | Framing::Unsaid => return self.flush().await,
            Framing::Length(left) => {
                let rest = left.checked_sub(bytes.len() as u64);
                let rest = rest.ok_or_else(|| Broken::Content("it is longer than was announced".into()))?;
                self.stream.write_all(&[IoSlice::new(bytes)]).await?;
                self.framing = if rest == 0 { Framing::Done } else { Framing::Length(rest) };
                if end && rest > 0 {
                    return Err(Broken::Content("it is shorter than was announced".into()));
                }
            }
            Framing::Chunked => {
                if !bytes.is_empty() {
                    let size = format!("{:x}\r\n", bytes.len());
                    let slices = [IoSlice::new(size.as_bytes()), IoSlice::new(bytes), IoSlice::new(b"\r\n")];
                    self.stream.write_all(&slices).await?;
                }
                if end {
                    self.stream.write_all(&[IoSlice::new(b"0\r\n\r\n")]).await?;
                    self.framing = Framing::Done;
                }
            }
            Framing::ToTheEnd => {
                self.stream.write_all(&[IoSlice::new(bytes)]).await?;
                if end {
                    self.framing = Framing::Done;
                }
            }
        }
        self.flush().await
    }

    /// Whether a piece of a file can be sent by [`Self::send_file`].
    pub(super) fn takes_files(&self) -> bool {
        matches!(self.framing, Framing::Length(_)) && self.stream.takes_files()
    }

    /// Some bytes of the body, straight from a file; how many.
    pub(super) async fn send_file(&mut self, file: &File, offset: u64, count: usize) -> Result<usize> {
        let Framing::Length(left) = self.framing else {
            return Err(Broken::Content("a file for an answer that has no length".into()));
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        let sent = self.stream.send_file(file, offset, most).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Broken::Content("the file is shorter than it was".into()),
            _ => error.into(),
        })?;
        self.framing = match left.saturating_sub(sent as u64) {
            0 => Framing::Done,
            rest => Framing::Length(rest),
        };
        Ok(sent)
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        Ok(self.stream.flush().await?)
    }

    /// The answer has left whole.
    pub(super) fn answered(&self) -> bool {
        self.framing == Framing::Done
    }

    /// What becomes of the connection now.
    pub(super) fn into_next(mut self) -> Next {
        match self.framing {
            Framing::Done if self.keep_alive && self.stream.body_done() => Next::Request(self.stream),
            Framing::Done => Next::Close(self.stream),
            Framing::ToTheEnd => {
                // An end in order would say that this was all.
                self.stream.reset();
                Next::Abort
            }
            _ => Next::Abort,
        }
    }
}

/// What becomes of a connection after an exchange.
pub(in crate::listener) enum Next {
    Request(Box<ClientStream>),
    /// Closed in order.
    Close(Box<ClientStream>),
    /// Cut off: the answer did not end.
    Abort,
}

/// Whether `Connection` has this option.
fn option(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
}

fn status_line(head: &mut BytesMut, status: StatusCode) {
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// A field, its name written as people do: `content-type` as `Content-Type`.
pub(in crate::listener) fn field(head: &mut impl BufMut, name: &str, value: &[u8]) {
    let mut starts = true;
    for byte in name.bytes() {
        head.put_u8(if starts { byte.to_ascii_uppercase() } else { byte });
        starts = byte == b'-';
    }
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}
