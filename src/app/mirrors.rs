//! The mirrors of a configuration: each remote, and where what is kept of it stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prometheus::Registry as Prometheus;
use tokio::sync::OnceCell;

use super::Failure;
use super::integrated::Integrated;
use crate::cache::BlobCache;
use crate::config::Config;
use crate::mirror::{self, CacheKeep, Fetching, Keep, Mirror, Parts, StorageKeep};
use crate::outbound::OwnAddresses;
use crate::registry::Registry;
use crate::remote::config::KeepIn;
use crate::remote::{self, Remote, Surroundings};
use crate::routing::RoutingTable;

/// What mirrors are made of that lives as long as the process.
pub struct Mirroring {
    cache: Arc<BlobCache>,
    fetching: Arc<Fetching>,
    own: OwnAddresses,
    prometheus: Prometheus,
    /// There once a remote is declared.
    metrics: OnceCell<Metrics>,
    in_cache: OnceCell<Arc<CacheKeep>>,
    in_storage: OnceCell<Arc<StorageKeep>>,
}

struct Metrics {
    remotes: Arc<remote::Metrics>,
    mirrors: Arc<mirror::Metrics>,
}

impl Metrics {
    fn new(prometheus: &Prometheus) -> prometheus::Result<Self> {
        Ok(Metrics {
            remotes: Arc::new(remote::Metrics::new(prometheus)?),
            mirrors: Arc::new(mirror::Metrics::new(prometheus)?),
        })
    }
}

impl Mirroring {
    pub fn new(prometheus: &Prometheus, cache: &Arc<BlobCache>, fetching: &Arc<Fetching>, own: &OwnAddresses) -> Self {
        Mirroring {
            cache: cache.clone(),
            fetching: fetching.clone(),
            own: own.clone(),
            prometheus: prometheus.clone(),
            metrics: OnceCell::new(),
            in_cache: OnceCell::new(),
            in_storage: OnceCell::new(),
        }
    }

    /// The mirrors of `config`, by name of the remote. What those of `present` know of their remotes goes on.
    pub async fn for_config(
        &self,
        config: &Config,
        integrated: &Integrated,
        present: Option<&RoutingTable>,
    ) -> Result<BTreeMap<String, Arc<Mirror>>, Failure> {
        let mut mirrors = BTreeMap::new();
        if config.remote.is_empty() {
            return Ok(mirrors);
        }
        let registry = integrated.for_config(config).await?;
        let fleet = integrated.fleet(config).await?;
        let metrics = self.metrics.get_or_try_init(|| async { Metrics::new(&self.prometheus) }).await?;
        for (name, settings) in &config.remote {
            let (fleet, own) = (fleet.clone(), self.own.clone());
            let surroundings = Surroundings { fleet: fleet.clone(), own, metrics: metrics.remotes.clone() };
            let previous = present.and_then(|table| table.mirrors().find(|mirror| mirror.remote().name() == name));
            let remote = made(name, settings, surroundings, previous.map(|mirror| mirror.remote().clone())).await?;
            let parts = Parts {
                keep: self.keep(config.keeps(settings), &config.cache.path, registry.as_ref()).await?,
                cache: self.cache.clone(),
                fleet,
                fetching: self.fetching.clone(),
                registry: registry.clone(),
                metrics: metrics.mirrors.clone(),
            };
            mirrors.insert(name.clone(), Mirror::new(remote, parts));
        }
        Ok(mirrors)
    }

    /// Writes down what the cache holds of remotes.
    pub async fn save_all(&self) {
        if let Some(keep) = self.in_cache.get() {
            keep.save_all().await;
        }
    }

    /// Another process writes down from now on what the cache holds of remotes.
    pub async fn hand_over(&self) {
        if let Some(keep) = self.in_cache.get() {
            keep.hand_over().await;
        }
    }

    /// This process does, from now on.
    pub async fn take_over(&self) {
        if let Some(keep) = self.in_cache.get() {
            keep.take_over().await;
        }
    }

    /// One for all mirrors that keep there: what they hold of one digest is one thing.
    async fn keep(
        &self,
        place: KeepIn,
        cache: &Path,
        registry: Option<&Arc<Registry>>,
    ) -> Result<Arc<dyn Keep>, Failure> {
        match place {
            KeepIn::Cache => Ok(self.in_cache.get_or_init(|| CacheKeep::open(self.cache.clone(), cache)).await.clone()),
            KeepIn::Storage => {
                let registry = registry.ok_or("what is mirrored cannot be kept: the registry's storage is not open")?;
                let open = || async { Arc::new(StorageKeep::new(registry.clone())) };
                Ok(self.in_storage.get_or_init(open).await.clone())
            }
        }
    }
}

/// Reads files, so that it has a thread of its own.
async fn made(
    name: &str,
    config: &remote::Config,
    surroundings: Surroundings,
    previous: Option<Arc<Remote>>,
) -> Result<Arc<Remote>, Failure> {
    let (owned, config) = (name.to_owned(), config.clone());
    let making = move || Remote::new(&owned, &config, surroundings, previous.as_deref());
    let made = tokio::task::spawn_blocking(making).await?;
    Ok(made.map_err(|error| format!("remote.{name}: {error}"))?)
}
