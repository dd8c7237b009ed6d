//! An exchange as pingora sees it while it streams a request to a peer: pingora's trait for sessions of protocols that are not
//! its own. So its HTTP servers are not used: heads, bodies, framing, pace and answers stay the listener's on both protocols.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::HeaderMap;
use http::header::HOST;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::Result;
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType};

use super::passing;
use crate::listener::{Broken, Exchange};

/// What of a body is kept to be sent once more, to another peer.
const RETRY: usize = 64 << 10;

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// Gives the exchange back to [`passing`] when pingora drops it.
pub struct Bridge {
    exchange: Option<Box<Exchange>>,
    request: RequestHeader,
    /// The request has no body.
    empty: bool,
    written: Option<ResponseHeader>,
    retry: Option<BytesMut>,
    /// More of the body came than is kept.
    truncated: bool,
}

impl Bridge {
    /// # Errors
    /// The head cannot be written as one of pingora's.
    pub fn new(exchange: Box<Exchange>) -> Result<Bridge> {
        let request = request(&exchange)?;
        let empty = exchange.body_done();
        Ok(Bridge { exchange: Some(exchange), request, empty, written: None, retry: None, truncated: false })
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        let lost = || Error::explain(ErrorType::InternalError, "the exchange is over");
        self.exchange.as_deref_mut().ok_or_else(lost)
    }

    async fn finish_answer(&mut self) -> Result<()> {
        let exchange = self.exchange()?;
        match exchange.status().is_some() && !exchange.answered() {
            true => exchange.write_body(Bytes::new(), true).await.map_err(taking),
            false => Ok(()),
        }
    }

    async fn write(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => {
                let done = end && !head.status.is_informational();
                self.write_response_header(head, end).await?;
                Ok(done)
            }
            HttpTask::Body(piece, end) | HttpTask::UpgradedBody(piece, end) => {
                self.write_body(piece.unwrap_or_default(), end).await?;
                Ok(end)
            }
            // Trailers mean nothing to clients of registries.
            HttpTask::Trailer(_) | HttpTask::Done => {
                self.finish_answer().await?;
                Ok(true)
            }
            HttpTask::Failed(error) => Err(error),
        }
    }
}

fn request(exchange: &Exchange) -> Result<RequestHeader> {
    let head = exchange.head();
    let target = head.target.as_str().as_bytes();
    let mut request = RequestHeader::build(head.method.clone(), target, Some(head.headers.len() + 8))?;
    request.set_version(head.version);
    for (name, value) in &head.headers {
        request.append_header(name.clone(), value.clone())?;
    }
    if !head.headers.contains_key(HOST) {
        // On HTTP/2 the authority stands beside the fields; who speaks HTTP/1.0 may name none, and then it is empty
        // (RFC 9112 §3.2).
        let authority = head.authority.as_deref().unwrap_or_default();
        request.insert_header(HOST, authority)?;
    }
    Ok(request)
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            passing::give_back(exchange);
        }
    }
}

/// What broke while the client's body was read, in pingora's words.
fn reading(broken: Broken) -> Box<Error> {
    let error = match broken {
        Broken::Gone(why) => Error::explain(ErrorType::ReadError, why),
        Broken::TooSlow(why) => Error::explain(ErrorType::ReadTimedout, why),
        Broken::Malformed(why) => Error::because(ErrorType::ReadError, why, passing::MalformedBody),
        Broken::Content(why) => Error::explain(ErrorType::ReadError, why),
    };
    error.into_down()
}

/// What broke while the client was answered.
fn taking(broken: Broken) -> Box<Error> {
    match broken {
        Broken::TooSlow(why) => Error::explain(ErrorType::WriteTimedout, why).into_down(),
        Broken::Content(why) => Error::explain(ErrorType::ReadError, why).into_up(),
        broken => Error::explain(ErrorType::WriteError, broken.to_string()).into_down(),
    }
}

#[async_trait]
impl Session for Bridge {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let piece = self.exchange()?.read_body().await.map_err(reading)?;
        if let (Some(bytes), Some(kept), false) = (&piece, &mut self.retry, self.truncated) {
            match kept.len() + bytes.len() <= RETRY {
                true => kept.extend_from_slice(bytes),
                false => (self.truncated, *kept) = (true, BytesMut::new()),
            }
        }
        Ok(piece)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        // What is left of a body is the listener's affair.
        Ok(())
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_response_header_ref(&response, end).await
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, end: bool) -> Result<()> {
        let exchange = self.exchange()?;
        if response.status.is_informational() {
            return exchange.write_informational(response.status, &response.headers).await.map_err(taking);
        }
        exchange.write_head(response.status, response.headers.clone(), end).await.map_err(taking)?;
        self.written = Some(response.clone());
        Ok(())
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> Result<()> {
        if piece.is_empty() && !end {
            return Ok(());
        }
        self.exchange()?.write_body(piece, end).await.map_err(taking)
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= self.write(task).await?;
        }
        // A head whose body is not here yet leaves alone.
        self.exchange()?.flush().await.map_err(taking)?;
        Ok(ended)
    }

    // The listener keeps the time.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        // No URL: it may carry upload states and signatures.
        self.request.method.to_string()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_ref()
    }

    /// Nothing to do: an exchange whose answer has not ended is cut when it is given back.
    async fn shutdown(&mut self, _code: u32, _why: &str) {}

    fn is_body_done(&mut self) -> bool {
        self.exchange.as_ref().is_none_or(|exchange| exchange.body_done())
    }

    async fn finish(&mut self) -> Result<()> {
        self.finish_answer().await
    }

    /// Also of a body that turned out to have nothing: a further try has to be told its end as well.
    fn is_body_empty(&mut self) -> bool {
        self.empty || (self.is_body_done() && self.body_bytes_read() == 0)
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.read_body_bytes().await;
        }
        let gone = self.exchange()?.gone().await;
        Err(Error::explain(ErrorType::ConnectionClosed, gone.to_string()).into_down())
    }

    fn body_bytes_sent(&self) -> usize {
        self.exchange.as_ref().map_or(0, |exchange| usize::try_from(exchange.sent()).unwrap_or(usize::MAX))
    }

    fn body_bytes_read(&self) -> usize {
        self.exchange.as_ref().map_or(0, |exchange| usize::try_from(exchange.received()).unwrap_or(usize::MAX))
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.retry.get_or_insert_default();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.truncated
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let kept = self.retry.as_ref().filter(|kept| !self.truncated && !kept.is_empty())?;
        Some(Bytes::copy_from_slice(kept))
    }

    // Messages beside request and answer: HTTP has none.
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
