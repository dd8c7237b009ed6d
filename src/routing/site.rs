//! What one configuration makes of the proxy: its routes. Replaced whole on reload.

use std::sync::Arc;

use super::table::RoutingTable;
use super::upstream_tls::UpstreamTlsTable;
use crate::auth::Policy;
use crate::cors::Cors;
use crate::limits::Limits;

/// A request keeps the site that it began with, so a reload never changes rules under it.
pub struct Site {
    pub table: RoutingTable,
    pub tls: UpstreamTlsTable,
    /// The rules of who may do what, where there are any.
    pub policy: Option<Arc<Policy>>,
    /// What one client may ask for, where that is limited.
    pub limits: Option<Arc<Limits>>,
    /// What browsers are told, where they are.
    pub cors: Option<Cors>,
}

impl Site {
    pub fn new(table: RoutingTable, policy: Option<Arc<Policy>>) -> Self {
        let tls = UpstreamTlsTable::new(table.clusters().map(|cluster| cluster.name()));
        Site { table, tls, policy, limits: None, cors: None }
    }

    /// With limits, and with words for browsers.
    pub fn with(self, limits: Option<Arc<Limits>>, cors: Option<Cors>) -> Self {
        Site { limits, cors, ..self }
    }
}
