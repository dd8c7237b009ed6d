//! The registry, opened by a command where no server answers: the same storage, the same verbs, another process.

use std::sync::Arc;

use prometheus::Registry as Prometheus;

use super::Failure;
use super::maintenance::{self, Works};
use crate::config::Config;
use crate::events;
use crate::fleet::{self, Fleet};
use crate::registry::{self, Registry, Stores};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::uploads::{Limits, Uploads};

/// Memory for what a command uploads, which is nothing: the least that there can be.
const MEMORY: u64 = 32 << 20;

/// Opens what a configuration says. Nothing runs beside: no purge, no probes.
///
/// # Errors
/// A sentence for people.
pub async fn open(config: &Config) -> Result<Arc<Works>, String> {
    if !config.uses_registry() {
        return Err("no route of this configuration leads to the registry: there is nothing to look after".into());
    }
    if config.storage.driver == DriverKind::Memory {
        let what = "the storage is the memory of the process that serves, which a command cannot reach: it has to run, with an \
                    [admin] address";
        return Err(what.into());
    }
    if config.storage.driver == DriverKind::Filesystem && !config.storage.root.is_dir() {
        // Opening it would make it.
        let root = config.storage.root.display();
        return Err(format!("there is no folder {root} (storage.root): nothing was ever kept there"));
    }
    opened(config).await.map_err(|error| error.to_string())
}

async fn opened(config: &Config) -> Result<Arc<Works>, Failure> {
    // Nobody asks this process for its metrics.
    let metrics = Prometheus::new();
    let storage = Storage::open(&config.storage, Arc::new(storage::Metrics::new(&metrics)?)).await;
    let storage = storage.map_err(|error| format!("storage: {error}"))?;
    storage.check().await.map_err(|error| format!("storage: {error}"))?;
    let fleet = Fleet::open(config.redis.as_ref(), false, Arc::new(fleet::Metrics::new(&metrics)?)).await;
    // The spool is the server's: what is there is none of ours to sweep.
    let limits = Limits { memory: MEMORY, spool: config.registry.spool.clone(), spool_size: 0 };
    let uploads = Uploads::open(&storage, limits).await.map_err(|error| format!("storage: {error}"))?;
    let stores = Stores { storage, uploads, fleet };
    let registry = Registry::open(
        &config.registry,
        stores.clone(),
        Arc::new(registry::Metrics::new(&metrics)?),
        vec![Arc::new(events::Log)],
    );
    registry.bound(&config.quota);
    registry.mind_maintenance().await;
    let care = (maintenance::Metrics::new(&metrics)?, None);
    Ok(Works::new(registry, stores, config, care))
}
