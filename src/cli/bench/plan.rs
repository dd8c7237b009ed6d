//! What a run does, and the bounds of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::words::size;
use crate::units::{Size, Span};

/// Images that are pushed to each address.
pub const MAX_PUSHES: i64 = 1_000;
/// Pulls of each kind: one after another, and at once.
pub const MAX_PULLS: i64 = 10_000;
/// Requests of each kind.
pub const MAX_REQUESTS: i64 = 100_000;
/// Pulls at once.
pub const MAX_CONCURRENCY: i64 = 64;
/// Layers of one image.
pub const MAX_LAYERS: i64 = 64;
/// Bytes of one layer.
const MAX_LAYER: u64 = 1 << 30;
/// Bytes that are pushed to each address.
const MAX_PUSHED: u64 = 64 << 30;
/// The longest run.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What is done with each address.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub pushes: u32,
    pub pulls: u32,
    /// Of each kind.
    pub requests: u32,
    /// Pulls at once.
    pub concurrency: u32,
    pub layers: u32,
    /// Bytes of each layer.
    pub layer: u64,
    /// All of it, but what is cleaned up afterwards.
    pub time: Duration,
}

/// Why a plan is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("--layer: a layer has 1 byte to {}", size(Some(MAX_LAYER)))]
    Layer,
    #[error("--pushes, --layers and --layer make {} together: {} is the most", size(Some(*.0)), size(Some(MAX_PUSHED)))]
    Pushed(u64),
    #[error("--time: a run takes 1s to 24h")]
    Time,
}

impl Plan {
    /// What the options of counts say is within their bounds by now.
    ///
    /// # Errors
    /// It is too large.
    pub fn checked(self, layer: Size, time: Span) -> Result<Self, PlanError> {
        if !(1..=MAX_LAYER).contains(&layer.0) {
            return Err(PlanError::Layer);
        }
        if !(Duration::from_secs(1)..=MAX_TIME).contains(&time.0) {
            return Err(PlanError::Time);
        }
        let plan = Plan { layer: layer.0, time: time.0, ..self };
        let pushed = plan.image().saturating_mul(u64::from(plan.pushes));
        if pushed > MAX_PUSHED { Err(PlanError::Pushed(pushed)) } else { Ok(plan) }
    }

    /// Bytes of an image's layers.
    pub fn image(&self) -> u64 {
        self.layer.saturating_mul(u64::from(self.layers))
    }

    /// How often `concurrency` pulls begin together: as often as makes `pulls` of them, or some more.
    pub fn waves(&self) -> u32 {
        self.pulls.div_ceil(self.concurrency.max(1))
    }

    pub fn json(&self) -> Value {
        json!({
            "pushes": self.pushes,
            "pulls": self.pulls,
            "requests": self.requests,
            "concurrency": self.concurrency,
            "layers": self.layers,
            "layer_bytes": self.layer,
            "time_seconds": self.time.as_secs(),
        })
    }

    #[cfg(test)]
    pub fn small() -> Self {
        let time = Duration::from_secs(60);
        Plan { pushes: 1, pulls: 1, requests: 1, concurrency: 1, layers: 1, layer: 1, time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_bounds() {
        let span = |seconds: u64| Span(Duration::from_secs(seconds));
        let of = |layer: u64, time: u64| Plan { pushes: 1000, ..Plan::small() }.checked(Size(layer), span(time));
        assert_eq!(of(4 << 20, 300).unwrap().image(), 4 << 20);
        assert_eq!(of(0, 300).unwrap_err(), PlanError::Layer);
        assert_eq!(of(2 << 30, 300).unwrap_err(), PlanError::Layer);
        assert_eq!(of(1, 0).unwrap_err(), PlanError::Time);
        assert_eq!(of(1, 100_000).unwrap_err(), PlanError::Time);
        assert_eq!(
            of(1 << 30, 300).unwrap_err().to_string(),
            "--pushes, --layers and --layer make 1000.0 GiB together: 64.0 GiB is the most"
        );
    }

    #[test]
    fn pulls_at_once_are_as_many_as_others_or_some_more() {
        let of = |pulls, concurrency| Plan { pulls, concurrency, ..Plan::small() }.waves();
        assert_eq!((of(10, 5), of(11, 5), of(0, 5), of(1, 5)), (2, 3, 0, 1));
    }
}
