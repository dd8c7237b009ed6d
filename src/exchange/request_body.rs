//! A request's body as the integrated registry reads it: `100 Continue` when it is first wanted, the listener's pace.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use tokio::time::timeout;

use crate::listener::{Broken, Exchange, Result};
use crate::storage::{Body, BodyError};

/// A body that nobody wanted to its end is read and thrown away up to so many bytes, so that the connection lives on, and
/// old clients of h2, which take a reset for an error, see the answer.
const UNWANTED: u64 = 64 << 10;
/// … and for no longer than this: the answer waits for it.
const UNWANTED_TIME: Duration = Duration::from_secs(1);

/// The body of the request of `exchange`.
pub struct RequestBody<'a> {
    exchange: &'a mut Exchange,
    length: Option<u64>,
    /// The client sends nothing before it is told to.
    waits: bool,
    ended: bool,
    failed: Option<Broken>,
}

impl<'a> RequestBody<'a> {
    pub fn new(exchange: &'a mut Exchange) -> Self {
        let ended = exchange.body_done();
        let head = exchange.head();
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let length = if ended { Some(0) } else { field(CONTENT_LENGTH).and_then(|value| value.parse().ok()) };
        let expects = field(EXPECT).is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        // An HTTP/1.0 client knows no 100.
        let waits = !ended && expects && head.version != Version::HTTP_10;
        RequestBody { exchange, length, waits, ended, failed: None }
    }

    /// Called when the answer is known and not yet sent: what becomes of the rest of the body, and of the connection.
    ///
    /// # Errors
    /// Why the body could not be read, if so: the client is gone, or is to be told that.
    pub async fn settle(mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if !self.waits && self.length.is_none_or(|length| length <= UNWANTED) {
            let _ = timeout(UNWANTED_TIME, self.discard()).await;
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
        }
        if !self.exchange.body_done() {
            // What is still on its way would be read as the next request.
            self.exchange.close_after();
        }
        Ok(())
    }

    async fn discard(&mut self) {
        let mut left = UNWANTED;
        while let Some(Ok(bytes)) = self.next().await {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        if std::mem::take(&mut self.waits) {
            self.exchange.write_continue().await?;
        }
        self.exchange.read_body().await
    }
}

#[async_trait]
impl Body for RequestBody<'_> {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<std::result::Result<Bytes, BodyError>> {
        while !self.ended && self.failed.is_none() {
            match self.read().await {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => self.ended = true,
                Err(error) => self.failed = Some(error),
            }
        }
        let error = self.failed.as_ref()?;
        Some(Err(BodyError(error.words().to_owned())))
    }
}
