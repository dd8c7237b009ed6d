//! A body whose every read has a time limit.
//!
//! The client library has one too, but its clock also runs while we wait for the head of the answer, where
//! `timeouts.first_byte` rules.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// Longer limits are this one: more would overflow the clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts the limit on the body of an answer.
pub(super) fn limit_reads(response: reqwest::Response, limit: Duration) -> reqwest::Response {
    let (parts, inner) = http::Response::from(response).into_parts();
    let body = ReadTimeout { inner, limit: limit.min(LONGEST), deadline: None };
    http::Response::from_parts(parts, reqwest::Body::wrap(body)).into()
}

struct ReadTimeout {
    inner: reqwest::Body,
    limit: Duration,
    /// Made at the first read that has to wait; kept, since moving a timer is cheaper than making one.
    deadline: Option<(Pin<Box<Sleep>>, bool)>,
}

impl Body for ReadTimeout {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            if let Some((_, running)) = &mut this.deadline {
                *running = false; // the clock stands while the reader is busy elsewhere
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = this.limit;
        let (deadline, running) = this.deadline.get_or_insert_with(|| (Box::pin(sleep(limit)), true));
        if !*running {
            deadline.as_mut().reset(Instant::now() + limit);
            *running = true;
        }
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "no byte of the body in time").into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
