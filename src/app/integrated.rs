//! The integrated registry with its storage and shared state: opened when a route first names it, and then open until the
//! process ends.

use std::sync::Arc;

use prometheus::Registry as Prometheus;
use tokio::sync::OnceCell;

use super::Failure;
use crate::config::Config;
use crate::events;
use crate::fleet::{self, Fleet};
use crate::registry::{self, Registry, Stores};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::uploads::Uploads;

/// The registry, if any route has named it yet.
pub struct Integrated {
    prometheus: Prometheus,
    /// Apart from what uses them: opening may be tried again, registering may not.
    metrics: OnceCell<Metrics>,
    /// What the instances tell each other; also of limits, without a registry.
    fleet: OnceCell<Arc<Fleet>>,
    open: OnceCell<Opened>,
}

struct Opened {
    storage: Arc<Storage>,
    registry: Arc<Registry>,
}

struct Metrics {
    storage: Arc<storage::Metrics>,
    fleet: Arc<fleet::Metrics>,
    registry: Arc<registry::Metrics>,
}

impl Metrics {
    fn new(prometheus: &Prometheus) -> prometheus::Result<Self> {
        Ok(Metrics {
            storage: Arc::new(storage::Metrics::new(prometheus)?),
            fleet: Arc::new(fleet::Metrics::new(prometheus)?),
            registry: Arc::new(registry::Metrics::new(prometheus)?),
        })
    }
}

impl Integrated {
    pub fn new(prometheus: &Prometheus) -> Self {
        Integrated {
            prometheus: prometheus.clone(),
            metrics: OnceCell::new(),
            fleet: OnceCell::new(),
            open: OnceCell::new(),
        }
    }

    pub fn get(&self) -> Option<&Arc<Registry>> {
        self.open.get().map(|opened| &opened.registry)
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
        let registry = Registry::open(&config.registry, stores, metrics.registry.clone(), vec![Arc::new(events::Log)]);
        tokio::spawn(registry.clone().housekeeping());
        tracing::info!(driver = ?config.storage.driver, "the integrated registry is open");
        Ok(Opened { storage, registry })
    }
}
