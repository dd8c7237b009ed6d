//! Who answers a request, a cluster or the integrated registry: what one configuration makes of hosts and repositories.
//! Replaced whole on reload.

mod site;
mod table;
mod upstream_tls;

pub use site::Site;
pub use table::{REGISTRY, RouteSpec, RoutingTable, Target};
