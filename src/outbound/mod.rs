//! The way out to addresses that others name: where a peer redirects to, and whatever else a stranger's answer points at.
//! A peer's own address is the operator's word and goes another way (`cluster`).
//!
//! What is named is resolved, every address that it has is judged, and the connection goes
//! to an address that was judged; nothing is resolved a second time in between (DNS rebinding).
//!
//! - [`Reach`]: which addresses may be gone to: none more private than those that we were told to trust, none of our own
//! - [`Way`]: HTTP clients that go nowhere else
//! - [`OwnAddresses`]: where this process itself listens
//! - [`hop`]: the fields of one connection
//! - [`tls`]: what is trusted and shown, for all who speak to others

mod address;
pub mod hop;
mod own;
mod reach;
mod resolver;
pub mod tls;
mod way;

pub use own::OwnAddresses;
pub use reach::Reach;
pub use resolver::{Lookup, system_lookup};
pub use way::{NoWay, Way};
