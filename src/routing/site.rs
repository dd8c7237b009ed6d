//! What one configuration makes of the proxy: its routes. Replaced whole on reload.

use super::table::RoutingTable;
use super::upstream_tls::UpstreamTlsTable;

/// A request keeps the site that it began with, so a reload never changes rules under it.
pub struct Site {
    pub table: RoutingTable,
    pub tls: UpstreamTlsTable,
}

impl Site {
    pub fn new(table: RoutingTable) -> Self {
        let tls = UpstreamTlsTable::new(table.clusters().map(|cluster| cluster.name()));
        Site { table, tls }
    }
}
