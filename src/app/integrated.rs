//! The integrated registry with its storage and shared state: opened when a route first names it, and then open until the
//! process ends.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry as Prometheus;
use tokio::sync::OnceCell;

use super::Failure;
use super::maintenance::{self, Works};
use crate::config::Config;
use crate::events;
use crate::fleet::{self, Fleet};
use crate::maintenance::pulls::{self, Pulls};
use crate::registry::{self, Registry, Stores};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::uploads::Uploads;

/// Before anything is asked of it, it is looked so long whether it is under maintenance; then it goes on to be looked behind.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The registry, if any route has named it yet.
pub struct Integrated {
    prometheus: Prometheus,
    /// Apart from what uses them: opening may be tried again, registering may not.
    metrics: OnceCell<Metrics>,
    /// What the instances tell each other; also of limits, without a registry.
    fleet: OnceCell<Arc<Fleet>>,
    open: OnceCell<Opened>,
    /// Notes nothing before the registry is open.
    pulls: Arc<Pulls>,
}

struct Opened {
    storage: Arc<Storage>,
    registry: Arc<Registry>,
    works: Arc<Works>,
}

struct Metrics {
    storage: Arc<storage::Metrics>,
    fleet: Arc<fleet::Metrics>,
    registry: Arc<registry::Metrics>,
    maintenance: maintenance::Metrics,
}

impl Metrics {
    fn new(prometheus: &Prometheus) -> prometheus::Result<Self> {
        Ok(Metrics {
            storage: Arc::new(storage::Metrics::new(prometheus)?),
            fleet: Arc::new(fleet::Metrics::new(prometheus)?),
            registry: Arc::new(registry::Metrics::new(prometheus)?),
            maintenance: maintenance::Metrics::new(prometheus)?,
        })
    }
}

impl Integrated {
    pub fn new(prometheus: &Prometheus) -> prometheus::Result<Self> {
        Ok(Integrated {
            prometheus: prometheus.clone(),
            metrics: OnceCell::new(),
            fleet: OnceCell::new(),
            open: OnceCell::new(),
            pulls: Pulls::new(pulls::Metrics::new(prometheus)?),
        })
    }

    pub fn get(&self) -> Option<&Arc<Registry>> {
        self.open.get().map(|opened| &opened.registry)
    }

    /// What operators order of it, if it is open.
    pub fn works(&self) -> Option<&Arc<Works>> {
        self.open.get().map(|opened| &opened.works)
    }

    /// When manifests were pulled last.
    pub fn pulls(&self) -> &Arc<Pulls> {
        &self.pulls
    }

    /// Where its content is, if it is open.
    pub fn storage(&self) -> Option<&Arc<Storage>> {
        self.open.get().map(|opened| &opened.storage)
    }

    /// The registry that the routes of `config` name; opened if it is not yet. `None` when they name none.
    pub async fn for_config(&self, config: &Config) -> Result<Option<Arc<Registry>>, Failure> {
        if !config.uses_registry() {
            return Ok(None);
        }
        Ok(Some(self.open.get_or_try_init(|| self.open(config)).await?.registry.clone()))
    }

    /// What the instances tell each other; opened if it is not yet.
    pub async fn fleet(&self, config: &Config) -> Result<Arc<Fleet>, Failure> {
        let metrics = self.metrics().await?.fleet.clone();
        // Another process may write to anything but this process's own memory.
        let alone = config.storage.driver == DriverKind::Memory;
        Ok(self.fleet.get_or_init(|| Fleet::open(config.redis.as_ref(), alone, metrics)).await.clone())
    }

    async fn metrics(&self) -> Result<&Metrics, Failure> {
        Ok(self.metrics.get_or_try_init(|| async { Metrics::new(&self.prometheus) }).await?)
    }

    async fn open(&self, config: &Config) -> Result<Opened, Failure> {
        let metrics = self.metrics().await?;
        let storage = Storage::open(&config.storage, metrics.storage.clone()).await;
        let storage = storage.map_err(|error| format!("storage: {error}"))?;
        let fleet = self.fleet(config).await?;
        let uploads = Uploads::open(&storage, config.registry.upload_limits()).await;
        let uploads = uploads.map_err(|error| format!("registry: {error}"))?;
        let stores = Stores { storage: storage.clone(), uploads, fleet };
        let listeners: Vec<Arc<dyn events::Listener>> = vec![Arc::new(events::Log)];
        let registry = Registry::open(&config.registry, stores.clone(), metrics.registry.clone(), listeners);
        registry.bound(&config.quota);
        if tokio::time::timeout(FIRST_LOOK, registry.mind_maintenance()).await.is_err() {
            tracing::warn!("storage does not answer: whether the registry is under maintenance is not known yet");
        }
        tokio::spawn(registry.clone().housekeeping());
        tokio::spawn(self.pulls.clone().run(storage.clone()));
        tracing::info!(driver = ?config.storage.driver, "the integrated registry is open");
        let care = (metrics.maintenance.clone(), Some(self.pulls.clone()));
        let works = Works::new(registry.clone(), stores, config, care);
        Ok(Opened { storage, registry, works })
    }
}
