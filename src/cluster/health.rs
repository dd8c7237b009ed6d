//! Active checks: every peer is asked for `health.path` now and then; 200 and 401 are good answers.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::config::Health;
use super::peer::Peer;
use super::state::now;

/// The first check comes within this: soon, but not all peers' at once.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// A longer interval is this one.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Checks until the handle is dropped.
pub(super) fn spawn(peer: Arc<Peer>, health: Health) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(watch(peer, health)))
}

async fn watch(peer: Arc<Peer>, health: Health) {
    let interval = health.interval.0.min(LONGEST);
    let mut tally = Tally::default();
    let mut pause = interval.min(FIRST_WITHIN).mul_f64(rand::rng().random_range(0.0..1.0));
    loop {
        tokio::time::sleep(pause).await;
        let good = peer.answers_well(&health).await;
        if let Some(up) = tally.count(good, peer.probe.up(), &health) {
            peer.probe.set(up, now());
            if up {
                info!(peer = %peer.address(), authority = peer.authority(), "peer is up");
            } else {
                warn!(peer = %peer.address(), authority = peer.authority(), path = health.path, "peer is down");
            }
        }
        // Jitter keeps many Entrepots before the same peers from asking in step.
        pause = interval.mul_f64(rand::rng().random_range(0.9..1.1));
    }
}

/// Answers in a row that speak against the present verdict.
#[derive(Default)]
struct Tally(u32);

impl Tally {
    /// The new verdict, if this answer changes it.
    fn count(&mut self, good: bool, up: bool, health: &Health) -> Option<bool> {
        if good == up {
            self.0 = 0;
            return None;
        }
        self.0 = self.0.saturating_add(1);
        let needed = if up { health.fall } else { health.rise };
        if self.0 < needed {
            return None;
        }
        self.0 = 0;
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_change_the_verdict() {
        let health = Health { rise: 2, fall: 3, ..Health::default() };
        let (mut tally, mut up, mut verdicts) = (Tally::default(), true, Vec::new());
        for good in [false, false, true, false, false, false, false, true, false, true, true, true] {
            up = tally.count(good, up, &health).unwrap_or(up);
            verdicts.push(up);
        }
        assert_eq!(verdicts, [true, true, true, true, true, false, false, false, false, false, true, true]);
    }
}
