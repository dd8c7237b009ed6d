//! What a reload replaces: clusters, mirrors and routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Failure;
use crate::auth::Policy;
use crate::cluster::{self, Cluster, PeerTable};
use crate::config::Config;
use crate::mirror::Mirror;
use crate::registry::Registry;
use crate::routing::Site;
use crate::routing::{RouteSpec, RoutingTable, Targets};

/// Whom routes may name beside clusters.
pub struct Others {
    pub mirrors: BTreeMap<String, Arc<Mirror>>,
    pub registry: Option<Arc<Registry>>,
}

/// Builds the site of a configuration. Counters and health of peers that were there before go on.
pub async fn of(
    config: &Config,
    peers: &PeerTable,
    metrics: &Arc<cluster::Metrics>,
    others: Others,
    policy: Option<Arc<Policy>>,
) -> Result<Site, Failure> {
    let mut clusters = BTreeMap::new();
    for (name, cluster) in &config.cluster {
        let started = Cluster::start(name, cluster, peers, metrics.clone()).await;
        clusters.insert(name.clone(), started.map_err(|error| format!("cluster.{name}: {error}"))?);
    }
    let routes = config.route.iter().map(|route| RouteSpec {
        hosts: route.hosts.as_deref(),
        repositories: &route.repositories,
        read: &route.read,
        write: route.write.as_deref(),
        ruled: config.is_ruled(route),
    });
    let Others { mirrors, registry } = others;
    Ok(Site::new(RoutingTable::new(routes, Targets { clusters, mirrors, registry })?, policy))
}
