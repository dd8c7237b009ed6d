//! A pool of peers: which one gets a request, whether it is well, and the connections to it. Knows no OCI.
//!
//! The reading order: [`Cluster`] is what others hold; `pool` chooses, `balance` is the arithmetic of the choice,
//! `queue` the bounded wait, [`InFlight`] the request under way. [`PeerState`](state::PeerState) is what the whole
//! process knows of an address and outlives a reload. `discovery` and `health` are the tasks that change the pool.

pub mod authorization;
mod balance;
mod budget;
#[allow(clippy::module_inception)] // the room is named for its main type
mod cluster;
pub mod config;
mod direct;
mod discovery;
mod error;
mod exchange;
pub mod forward;
mod health;
mod id;
mod in_flight;
mod metrics;
mod peer;
mod pool;
mod queue;
mod read_timeout;
mod state;
mod tls;

#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use config::Config;
pub use error::{Error, PickError, SendError};
pub use exchange::Resent;
pub use id::PeerId;
pub use in_flight::InFlight;
pub use metrics::Metrics;
pub use state::PeerTable;
pub use tls::{Material, PeerTls};
