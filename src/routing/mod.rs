//! Who answers a request, a cluster, the integrated registry or a mirror: what one configuration makes of hosts and repositories.
//! Replaced whole on reload.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod names;
mod site;
mod table;
mod upstream_tls;

pub use names::Meaning;
pub use site::Site;
pub use table::{Answerer, REGISTRY, REMOTE, RouteSpec, RouteTold, RoutingTable, Target, Targets};
