//! The least pace of one body on HTTP/2, whose streams share one socket.
//!
//! On HTTP/1 the sweeper watches the socket itself. A socket says nothing of one stream of many, so each wait of a stream for
//! its client is measured, and judged over windows as the sweeper does.

use std::time::Duration;

use super::config::Config;

/// One direction of one exchange.
#[derive(Clone, Debug)]
pub(super) struct Pace {
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

    /// How long one wait may last.
    pub(super) fn longest_wait(&self) -> Duration {
        self.window
    }

    /// Counts a wait for the client; false when it was too slow over a whole window of waiting.
    pub(super) fn keeps_up(&mut self, waited: Duration, bytes: u64) -> bool {
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
