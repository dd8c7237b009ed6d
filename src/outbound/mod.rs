//! The way out to addresses that others name: where a peer redirects to, and whatever else a stranger's answer points at.
//! A peer's own address is the operator's word and goes another way (`cluster`).
//!
//! What is named is resolved, every address that it has is judged, and the connection goes
//! to an address that was judged; nothing is resolved a second time in between (DNS rebinding).
//!
//! - [`Reach`]: which addresses may be gone to: none more private than those that we were told to trust, none of our own
//! - [`Way`]: HTTP clients that go nowhere else
//! - [`Home`]: a host that the operator named, which does not become more private than it was
//! - [`via`]: the mark by which a request that comes back is known
//! - [`OwnAddresses`]: where this process itself listens
//! - [`client()`]: what all HTTP clients of ours have in common
//! - [`hop`]: the fields of one connection
//! - [`program()`]: what all programs of others that we run have in common
//! - [`run`]: one that is run to its end, in bounded time
//! - [`tls`]: what is trusted and shown, for all who speak to others

mod address;
mod causes;
mod client;
mod home;
pub mod hop;
mod own;
mod program;
mod reach;
mod resolver;
pub mod run;
pub mod tls;
pub mod via;
mod way;

pub use causes::causes;
pub use client::client;
pub use home::{Home, HomeResolver, NotFound};
pub use own::{OwnAddresses, is_of_this_machine};
pub use program::program;
pub use reach::{Forbidden, Reach};
pub use resolver::{Lookup, system_lookup};
pub use way::{NoWay, Way};
