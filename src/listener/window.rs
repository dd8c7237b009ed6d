//! Whether a client keeps up with the least pace, from samples of what it gave or took.

/// Progress of one direction of one exchange while we waited for the client, sampled.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Milliseconds of waiting in this window, and since the last byte.
    waited: u64,
    stalled: u64,
    /// Count of bytes at the last sample, and when this window began.
    bytes: u64,
    begun_at: Option<u64>,
}

impl Window {
    /// False when the client was too slow: nothing for a whole window, or less than `rate` over it.
    pub(super) fn judge(&mut self, waits: bool, bytes: u64, passed: u64, window: u64, rate: u64) -> bool {
        if !waits {
            self.stalled = 0;
            return true;
        }
        let Some(begun_at) = self.begun_at else {
            (self.begun_at, self.bytes) = (Some(bytes), bytes);
            return true;
        };
        self.waited += passed;
        self.stalled = if bytes == self.bytes { self.stalled + passed } else { 0 };
        self.bytes = bytes;
        if self.stalled >= window {
            return false;
        }
        if self.waited < window {
            return true;
        }
        let least = u128::from(self.waited) * u128::from(rate) / 1_000;
        let enough = u128::from(bytes.saturating_sub(begun_at)) >= least;
        (self.waited, self.begun_at) = (0, Some(bytes));
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 10_000;

    #[test]
    fn a_drip_below_the_rate_is_not_borne() {
        let mut window = Window::default();
        let verdicts: Vec<bool> =
            (0..=10).map(|second| window.judge(true, second * 100, 1_000, WINDOW, 1_000)).collect();
        assert_eq!(verdicts.iter().position(|enough| !enough), Some(10));
    }

    #[test]
    fn a_steady_client_is_borne_for_ever() {
        let mut window = Window::default();
        assert!((0..1_000).all(|second| window.judge(true, second * 1_000, 1_000, WINDOW, 1_000)));
    }

    #[test]
    fn time_in_which_we_did_not_wait_does_not_count() {
        let mut window = Window::default();
        assert!((0..1_000).all(|second| window.judge(second % 20 == 0, 0, 1_000, WINDOW, 0)));
    }

    #[test]
    fn a_stall_is_not_borne_even_without_a_rate() {
        let mut window = Window::default();
        let borne = (0..100).take_while(|_| window.judge(true, 7, 1_000, WINDOW, 0)).count();
        assert_eq!(borne, 10);
    }
}
