//! A request's body as the integrated registry reads it: `100 Continue` when it is first wanted, the listener's pace.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use super::context::RequestContext;
use crate::listener::Pace;
use crate::storage::{Body, BodyError};

/// A body that nobody wanted to its end is read and thrown away up to so many bytes, so that the connection lives on, and
/// old clients of h2, which take a reset for an error, see the answer.
const UNWANTED: u64 = 64 << 10;
/// … and for no longer than this: the answer waits for it.
const UNWANTED_TIME: Duration = Duration::from_secs(1);

/// The body of the request of `session`.
pub struct RequestBody<'a> {
    session: &'a mut Session,
    pace: Option<Pace>,
    length: Option<u64>,
    /// The client sends nothing before it is told to.
    waits: bool,
    ended: bool,
    failed: Option<Box<Error>>,
}

impl<'a> RequestBody<'a> {
    pub fn new(session: &'a mut Session, ctx: &RequestContext) -> Self {
        let ended = session.is_body_done();
        let request = session.req_header();
        let field = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let length = if ended { Some(0) } else { field(CONTENT_LENGTH).and_then(|value| value.parse().ok()) };
        let expects = field(EXPECT).is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        // An HTTP/1.0 client knows no 100, and on h2 pingora leaves it out: nobody waits for it there.
        let waits = !ended && expects && request.version == Version::HTTP_11;
        // Sending 100 must not close the connection after the answer; `settle` does when it has to.
        session.set_close_on_response_before_downstream_finish(false);
        let pace = ctx.connection.as_ref().map(|connection| connection.pace());
        RequestBody { session, pace, length, waits, ended, failed: None }
    }

    /// Called when the answer is known and not yet sent: what becomes of the rest of the body, and of the connection.
    ///
    /// # Errors
    /// Why the body could not be read, if so: the client is gone, or is to be told that.
    pub async fn settle(mut self) -> pingora::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if !self.waits && self.length.is_none_or(|length| length <= UNWANTED) {
            let _ = timeout(UNWANTED_TIME, self.discard()).await;
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
        }
        if !self.session.is_body_done() {
            // What is still on its way would be read as the next request.
            self.session.set_keepalive(None);
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

    async fn read(&mut self) -> pingora::Result<Option<Bytes>> {
        if std::mem::take(&mut self.waits) {
            self.session.write_continue_response().await?;
        }
        match &mut self.pace {
            Some(pace) => pace.read(self.session).await,
            None => self.session.read_request_body().await,
        }
    }
}

#[async_trait]
impl Body for RequestBody<'_> {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        while !self.ended && self.failed.is_none() {
            match self.read().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => self.ended = true,
                Err(error) => self.failed = Some(error.into_down()),
            }
        }
        let error = self.failed.as_ref()?;
        Some(Err(BodyError(words(error).to_owned())))
    }
}

/// The listener refused the body's framing.
pub fn is_malformed(error: &Error) -> bool {
    let cause = error.cause.as_deref();
    cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

/// For the log: pingora's own words may quote what the client sent.
fn words(error: &Error) -> &'static str {
    match error.etype() {
        _ if is_malformed(error) => "its framing is broken",
        ErrorType::ReadTimedout => "it came too slowly",
        ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::H2Error => "the client went away",
        ErrorType::WriteError | ErrorType::WriteTimedout => "the client does not take '100 Continue'",
        _ => "its framing is broken",
    }
}
