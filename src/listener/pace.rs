//! The least pace of bodies on h2, whose streams share one socket.
//!
//! On HTTP/1 the sweeper watches the socket itself and this only passes through. On h2 the socket
//! says nothing of one stream, so whoever reads or writes a body does it through here.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::config::Config;

/// The pace of one request's bodies.
#[derive(Debug)]
pub struct Pace {
    /// `timeouts.body`: longest wait, and the window of `rate`.
    window: Duration,
    /// Bytes per second; 0 bears any.
    rate: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(settings: &Config) -> Pace {
        Pace { window: settings.timeouts.body.0, rate: settings.min_body_rate.0, waited: Duration::ZERO, bytes: 0 }
    }

    /// The next piece of the request's body; `None` at its end.
    ///
    /// # Errors
    /// Those of the session, and `ReadTimedout` for a client below the least pace.
    pub async fn read(&mut self, session: &mut ServerSession) -> Result<Option<Bytes>> {
        if !session.is_http2() {
            return session.read_request_body().await;
        }
        let begun = Instant::now();
        let Ok(read) = timeout(self.window, session.read_request_body()).await else {
            return Error::e_explain(ErrorType::ReadTimedout, "the request body stalled");
        };
        let read = read?;
        let received = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if read.is_some() && !self.keeps_up(begun.elapsed(), received) {
            return Error::e_explain(ErrorType::ReadTimedout, "the request body comes too slowly");
        }
        Ok(read)
    }

    /// Writes a piece of the response's body.
    ///
    /// # Errors
    /// Those of the session, and `WriteTimedout` for a client below the least pace.
    pub async fn write(&mut self, session: &mut ServerSession, bytes: Bytes, end: bool) -> Result<()> {
        if !session.is_http2() || self.rate == 0 {
            return session.write_response_body(bytes, end).await;
        }
        let seconds = bytes.len() as u64 / self.rate;
        match timeout(self.window.saturating_add(Duration::from_secs(seconds)), session.write_response_body(bytes, end))
            .await
        {
            Ok(written) => written,
            Err(_) => Error::e_explain(ErrorType::WriteTimedout, "the client takes the response body too slowly"),
        }
    }

    /// Counts a wait for the client; false when it was too slow over a whole window of waiting.
    fn keeps_up(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return true;
        }
        let least = self.waited.as_millis().saturating_mul(u128::from(self.rate)) / 1_000;
        let enough = u128::from(self.bytes) >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_window_of_waiting_is_judged() {
        let mut pace = Pace { window: Duration::from_secs(10), rate: 100, waited: Duration::ZERO, bytes: 0 };
        assert!(pace.keeps_up(Duration::from_secs(9), 1));
        assert!(!pace.keeps_up(Duration::from_secs(1), 1));
        assert!(pace.keeps_up(Duration::from_secs(10), 1_000));
        assert!(!pace.keeps_up(Duration::from_secs(11), 1_000));
    }
}
