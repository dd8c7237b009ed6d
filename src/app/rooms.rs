//! What lives as long as the process.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::acme::RegistryShelf;
use super::integrated::Integrated;
use super::mirrors::Mirroring;
use super::shelf::{Place, StorageShelf};
use super::site::Others;
use super::{Failure, site};
use crate::acme::{self, Acme};
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
use crate::telemetry::{AccessLog, HttpMetrics, Tracer};
use crate::verdicts::Verdicts;
use crate::{cache, cluster, telemetry, verdicts};

/// At the end, storage has this long to take the last pulls.
const LAST_PULLS: Duration = Duration::from_secs(2);
/// And the collector to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The rooms, built.
pub struct Rooms {
    pub registry: Registry,
    pub access_log: Arc<AccessLog>,
    pub tracer: Arc<Tracer>,
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
    /// Certificates that come by themselves.
    pub acme: Arc<Acme>,
    limits_metrics: Arc<limits::Metrics>,
    pub front: Arc<Front>,
    pub proxy: Arc<Proxy>,
}

impl Rooms {
    /// `beside` another process that has the cache's folder, until [`Self::take_over`]: nothing is written there meanwhile.
    pub async fn build(config: &Config, threads: usize, beside: bool) -> Result<Self, Failure> {
        let registry = telemetry::metrics::registry()?;
        let access_log = AccessLog::start(&config.log.access, &registry)?;
        let tracer = Arc::new(Tracer::new(&registry)?);
        tracer.commit(tracer.prepare(config.tracing.as_ref()).map_err(|error| format!("tracing: {error}"))?);
        let audit = Audit::start(config.audit.as_ref(), &registry).map_err(|error| format!("audit.to: {error}"))?;
        let (cache, verdicts) = in_folder(config, beside, &registry).await?;
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
        let certificates = Arc::new(RegistryShelf::new(integrated.clone(), secret.clone()));
        let acme = Acme::new(certificates, acme::Metrics::new(&registry)?, peers.own().clone());
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
            acme: acme.clone(),
            metrics: http_metrics,
            tracer: tracer.clone(),
        };
        let proxy = Arc::new(Proxy::new(shared, threads));
        Ok(Rooms {
            registry,
            access_log,
            tracer,
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
            acme,
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

    /// Writes down what is not yet in the cache's folder, so that little is left for [`Self::hand_over`].
    pub async fn write_down(&self) {
        self.mirroring.save_all().await;
        self.cache.save().await;
        let verdicts = self.verdicts.clone();
        let _ = tokio::task::spawn_blocking(move || verdicts.flush()).await;
    }

    /// Another process writes to the cache's folder from now on. False: this one may still write there, and nobody else may.
    pub async fn hand_over(&self) -> bool {
        self.mirroring.hand_over().await;
        self.cache.hand_over().await;
        let verdicts = self.verdicts.clone();
        tokio::task::spawn_blocking(move || verdicts.hand_over()).await.unwrap_or(false)
    }

    /// This process writes to the cache's folder from now on; what another one has left there counts.
    ///
    /// # Errors
    /// Some of it cannot be written, and the rest is.
    pub async fn take_over(&self, config: &Config) -> Result<(), Failure> {
        let cache = self.cache.take_over().await;
        let (verdicts, folder) = (self.verdicts.clone(), config.cache.path.clone());
        let remembered = tokio::task::spawn_blocking(move || verdicts.take_over(&folder)).await;
        self.mirroring.take_over().await;
        cache?;
        remembered??;
        Ok(())
    }

    /// Writes down what shall survive the process.
    pub async fn shutdown(&self) {
        self.acme.end().await;
        self.tracer.shutdown(LAST_SPANS).await;
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

/// What is in the cache's folder.
async fn in_folder(
    config: &Config,
    beside: bool,
    registry: &Registry,
) -> Result<(Arc<BlobCache>, Arc<Verdicts>), Failure> {
    let (of_cache, of_verdicts) =
        (Arc::new(cache::Metrics::new(registry)?), Arc::new(verdicts::Metrics::new(registry)?));
    Ok(match beside {
        true => {
            let cache = BlobCache::open_beside(&config.cache, of_cache).await;
            (cache, Verdicts::open_beside(&config.cache.path, of_verdicts)?)
        }
        false => {
            let cache = BlobCache::open(&config.cache, of_cache).await?;
            (cache, Verdicts::open(&config.cache.path, of_verdicts)?)
        }
    })
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
