//! What the fetches of all mirrors of the process have in common: the other instances of the fleet, bounds, metrics. Made once.

mod metrics;
mod peers;

use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::fleet::FleetSecret;

pub use metrics::Metrics;
pub use peers::{Asked, PROOF, PeerError, Peers, TOTAL};

/// Blobs that are written to where they stay at once.
const MAX_KEEPING: usize = 4;
/// Blobs that are fetched ahead of anybody who asks at once.
const MAX_AHEAD: usize = 2;

/// Shared by all mirrors, and by whoever answers the other instances.
pub struct Fetching {
    pub peers: Peers,
    pub(super) metrics: Metrics,
    pub(super) keeping: Arc<Semaphore>,
    pub(super) ahead: Arc<Semaphore>,
}

impl Fetching {
    /// # Errors
    /// Something was registered twice, or no client can be made.
    pub fn new(
        registry: &Registry,
        secret: Arc<FleetSecret>,
    ) -> Result<Arc<Self>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Arc::new(Fetching {
            peers: Peers::new(secret)?,
            metrics: Metrics::new(registry)?,
            keeping: Arc::new(Semaphore::new(MAX_KEEPING)),
            ahead: Arc::new(Semaphore::new(MAX_AHEAD)),
        }))
    }
}
