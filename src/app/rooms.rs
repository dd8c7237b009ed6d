//! What lives as long as the process.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::integrated::Integrated;
use super::mirrors::Mirroring;
use super::shelf::{Place, StorageShelf};
use super::site::Others;
use super::{Failure, site};
use crate::audit::Audit;
use crate::auth::{self, Authenticator, Prepared};
use crate::cache::BlobCache;
use crate::cluster::PeerTable;
use crate::config::Config;
use crate::cors::Cors;
use crate::fleet::FleetSecret;
use crate::front::Front;
use crate::http::{Admitted, Proxy, Shared};
use crate::limits::{self, Limits};
use crate::listener::Metrics as ListenerMetrics;
use crate::mirror::Fetching;
use crate::routing::Site;
use crate::telemetry::{AccessLog, HttpMetrics};
use crate::verdicts::Verdicts;
use crate::{cache, cluster, telemetry, verdicts};

/// At the end, storage has this long to take the last pulls.
const LAST_PULLS: Duration = Duration::from_secs(2);

/// The rooms, built.
pub struct Rooms {
    pub registry: Registry,
    pub access_log: Arc<AccessLog>,
    pub audit: Arc<Audit>,
    pub cache: Arc<BlobCache>,
    pub verdicts: Arc<Verdicts>,
    pub peers: PeerTable,
    pub cluster_metrics: Arc<cluster::Metrics>,
    pub listener_metrics: Arc<ListenerMetrics>,
    pub secret: Arc<FleetSecret>,
    pub fetching: Arc<Fetching>,
    pub integrated: Arc<Integrated>,
    mirroring: Mirroring,
    pub authenticator: Arc<Authenticator>,
    limits_metrics: Arc<limits::Metrics>,
    pub front: Arc<Front>,
    pub proxy: Arc<Proxy>,
}

impl Rooms {
    pub async fn build(config: &Config, threads: usize) -> Result<Self, Failure> {
        let registry = telemetry::metrics::registry()?;
        let access_log = AccessLog::start(&config.log.access, &registry)?;
        let audit = Audit::start(config.audit.as_ref(), &registry).map_err(|error| format!("audit.to: {error}"))?;
        let cache = BlobCache::open(&config.cache, Arc::new(cache::Metrics::new(&registry)?)).await?;
        let verdicts = Verdicts::open(&config.cache.path, Arc::new(verdicts::Metrics::new(&registry)?))?;
        let cluster_metrics = Arc::new(cluster::Metrics::new(&registry)?);
        let listener_metrics = Arc::new(ListenerMetrics::new(&registry)?);
        let http_metrics = Arc::new(HttpMetrics::new(&registry)?);
        let peers = PeerTable::default();
        let secret = Arc::new(FleetSecret::default());
        secret.replace(super::secret::read(config).await?);
        let fetching = Fetching::new(&registry, secret.clone())?;
        fetching.peers.advertise(config.fleet.advertise.as_ref());
        let integrated = Arc::new(Integrated::new(&registry)?);
        let mirroring = Mirroring::new(&registry, &cache, &fetching, peers.own());
        let shelf = Arc::new(StorageShelf::new(Place::Registry(integrated.clone()), secret.clone()));
        let auth_metrics = Arc::new(auth::Metrics::new(&registry)?);
        let authenticator = Arc::new(Authenticator::new(Some(shelf), peers.own().clone(), auth_metrics));
        let others = Others {
            mirrors: mirroring.for_config(config, &integrated, None).await?,
            registry: integrated.for_config(config).await?,
        };
        // Where the registry keeps them, the keys of tokens can be read now.
        let prepared = authenticator.prepare(config.auth.as_ref()).await?;
        let site = site::of(config, &peers, &cluster_metrics, others, prepared.policy()).await?;
        let limits_metrics = Arc::new(limits::Metrics::new(&registry)?);
        let limits = new_limits(config, &integrated, &limits_metrics).await?;
        let site = site.with(limits, config.cors.as_ref().map(Cors::new));
        authenticator.commit(prepared);
        tokio::spawn(authenticator.clone().watch());
        let front = Arc::new(Front::new(site, cache.clone(), verdicts.clone()));
        let shared = Shared {
            front: front.clone(),
            fetching: fetching.clone(),
            authenticator: authenticator.clone(),
            admitted: Admitted::default(),
            access_log: access_log.clone(),
            audit: audit.clone(),
            pulls: integrated.pulls().clone(),
            metrics: http_metrics,
        };
        let proxy = Arc::new(Proxy::new(shared, threads));
        Ok(Rooms {
            registry,
            access_log,
            audit,
            cache,
            verdicts,
            peers,
            cluster_metrics,
            listener_metrics,
            secret,
            fetching,
            integrated,
            mirroring,
            authenticator,
            limits_metrics,
            front,
            proxy,
        })
    }

    /// The site of another configuration (reload), and who may do what on it.
    pub async fn site(&self, config: &Config) -> Result<(Site, Prepared), Failure> {
        let present = self.front.site();
        let others = Others {
            mirrors: self.mirroring.for_config(config, &self.integrated, Some(&present.table)).await?,
            registry: self.integrated.for_config(config).await?,
        };
        let prepared = self.authenticator.prepare(config.auth.as_ref()).await?;
        let (peers, metrics) = (&self.peers, &self.cluster_metrics);
        let site = site::of(config, peers, metrics, others, prepared.policy()).await?;
        // What was counted goes on, unless it is counted otherwise now.
        let limits = match (present.limits.clone(), &config.limits) {
            (Some(present), Some(config)) if present.is_of(config) => Some(present),
            _ => new_limits(config, &self.integrated, &self.limits_metrics).await?,
        };
        Ok((site.with(limits, config.cors.as_ref().map(Cors::new)), prepared))
    }

    /// Writes down what shall survive the process.
    pub async fn shutdown(&self) {
        if tokio::time::timeout(LAST_PULLS, self.integrated.pulls().flush()).await.is_err() {
            tracing::warn!("storage does not answer: the last pulls are not remembered");
        }
        if let Some(registry) = self.integrated.get() {
            registry.close().await;
        }
        self.cache.shutdown().await;
        let verdicts = self.verdicts.clone();
        let _ = tokio::task::spawn_blocking(move || verdicts.flush()).await;
        let log = self.access_log.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || log.shutdown()).await {
            tracing::error!(%error, "the last lines of the access log are lost");
        }
        let audit = self.audit.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || audit.shutdown()).await {
            tracing::error!(%error, "the last lines of the audit are lost");
        }
    }
}

/// The limits of a configuration; counted by all instances together where they share a Redis.
async fn new_limits(
    config: &Config,
    integrated: &Integrated,
    metrics: &Arc<limits::Metrics>,
) -> Result<Option<Arc<Limits>>, Failure> {
    let Some(limits) = &config.limits else { return Ok(None) };
    let fleet = match &config.redis {
        Some(_) => Some(integrated.fleet(config).await?),
        None => None,
    };
    Ok(Some(Limits::new(limits, fleet, metrics.clone())))
}
