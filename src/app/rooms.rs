//! What lives as long as the process.

use std::sync::Arc;

use prometheus::Registry;

use super::integrated::Integrated;
use super::{Failure, site};
use crate::cache::BlobCache;
use crate::cluster::PeerTable;
use crate::config::Config;
use crate::fleet::FleetSecret;
use crate::front::Front;
use crate::http::{Proxy, Shared};
use crate::listener::Metrics as ListenerMetrics;
use crate::routing::Site;
use crate::telemetry::{AccessLog, HttpMetrics};
use crate::verdicts::Verdicts;
use crate::{cache, cluster, telemetry, verdicts};

/// The rooms, built.
pub struct Rooms {
    pub registry: Registry,
    pub access_log: Arc<AccessLog>,
    pub cache: Arc<BlobCache>,
    pub verdicts: Arc<Verdicts>,
    pub peers: PeerTable,
    pub cluster_metrics: Arc<cluster::Metrics>,
    pub listener_metrics: Arc<ListenerMetrics>,
    pub secret: Arc<FleetSecret>,
    pub integrated: Arc<Integrated>,
    pub front: Arc<Front>,
    pub proxy: Arc<Proxy>,
}

impl Rooms {
    pub async fn build(config: &Config, threads: usize) -> Result<Self, Failure> {
        let registry = telemetry::metrics::registry()?;
        let access_log = AccessLog::start(&config.log.access, &registry)?;
        let cache = BlobCache::open(&config.cache, Arc::new(cache::Metrics::new(&registry)?)).await?;
        let verdicts = Verdicts::open(&config.cache.path, Arc::new(verdicts::Metrics::new(&registry)?))?;
        let cluster_metrics = Arc::new(cluster::Metrics::new(&registry)?);
        let listener_metrics = Arc::new(ListenerMetrics::new(&registry)?);
        let http_metrics = Arc::new(HttpMetrics::new(&registry)?);
        let peers = PeerTable::default();
        let secret = Arc::new(FleetSecret::default());
        secret.replace(super::secret::read(config).await?);
        let integrated = Arc::new(Integrated::new(&registry));
        let ours = integrated.for_config(config).await?;
        let site = site::of(config, &peers, &cluster_metrics, ours.as_ref()).await?;
        let front = Arc::new(Front::new(site, cache.clone(), verdicts.clone()));
        let shared = Shared { front: front.clone(), access_log: access_log.clone(), metrics: http_metrics };
        let proxy = Arc::new(Proxy::new(shared, threads));
        Ok(Rooms {
            registry,
            access_log,
            cache,
            verdicts,
            peers,
            cluster_metrics,
            listener_metrics,
            secret,
            integrated,
            front,
            proxy,
        })
    }

    /// The site of another configuration (reload).
    pub async fn site(&self, config: &Config) -> Result<Site, Failure> {
        let registry = self.integrated.for_config(config).await?;
        site::of(config, &self.peers, &self.cluster_metrics, registry.as_ref()).await
    }

    /// Writes down what shall survive the process.
    pub async fn shutdown(&self) {
        self.cache.shutdown().await;
        let verdicts = self.verdicts.clone();
        let _ = tokio::task::spawn_blocking(move || verdicts.flush()).await;
        let log = self.access_log.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || log.shutdown()).await {
            tracing::error!(%error, "the last lines of the access log are lost");
        }
    }
}
