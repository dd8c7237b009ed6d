//! What nobody asks for: whether storage answers, expired uploads, gauges.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::changed::KeptLists;
use super::config::Purge;
use super::metrics::Access;
use super::{DiskLevel, Health, Metrics, Registry, Stores, catalog, maintenance};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};
use crate::uploads::Ages;

const PROBE_EVERY: Duration = Duration::from_secs(5);
/// One probe in so many also asks an object store whether it may be written to.
const WRITES_EVERY: u32 = 12;
/// A probe that takes longer has failed.
const PROBE_TIME: Duration = Duration::from_secs(10);
/// Counting needs a walk through storage.
const COUNT_EVERY: Duration = Duration::from_secs(300);
/// How soon an interval that a reload made shorter counts.
const INTERVAL_LOOK: Duration = Duration::from_secs(60);
/// The first purge comes after a while, not among the first requests. The lease keeps restarts from purging again and again.
const FIRST_PURGE: Duration = Duration::from_secs(20);
/// Instances do not wake in step: up to so much is added to every wait.
const JITTER: f64 = 0.2;
/// How long a purge may take before another instance takes over.
const LEASE_TIME: Duration = Duration::from_secs(1800);
const LEASE: &str = "purge";
/// Of the lease's file, in bytes.
const MAX_LEASE: u64 = 1024;

/// Each task waits for itself, so that a slow one delays no other.
pub(super) async fn run(registry: Arc<Registry>) -> Infallible {
    let probes = async {
        for number in 0_u32.. {
            probe(&registry.stores.storage, &registry.health).await;
            registry.metrics.probed(Access::Read, registry.trouble().is_none());
            probe_disk(&registry).await;
            probe_writes(&registry, number.is_multiple_of(WRITES_EVERY)).await;
            tokio::time::sleep(PROBE_EVERY).await;
        }
        std::future::pending().await
    };
    let counts = async {
        loop {
            count(&registry.stores, &registry.lists, &registry.metrics).await;
            tokio::time::sleep(jittered(COUNT_EVERY)).await;
        }
    };
    let purges = async {
        tokio::time::sleep(jittered(FIRST_PURGE)).await;
        loop {
            purge(&registry).await;
            until_next_purge(&registry).await;
        }
    };
    let watching = maintenance::watch(&registry);
    // Nothing is counted while nothing may be written.
    let quotas = registry.bounds.quotas.run(&registry.stores.fleet, || registry.may_be_written().is_err());
    let (never, ..): (Infallible, Infallible, Infallible, Infallible, Infallible) =
        tokio::join!(probes, counts, purges, watching, quotas);
    never
}

/// The same at once, for who cannot wait for its turn.
pub(super) async fn probe_now(registry: &Registry) {
    tokio::join!(probe(&registry.stores.storage, &registry.health), probe_writes(registry, true));
}

/// A reload may change the interval while it is waited for.
async fn until_next_purge(registry: &Registry) {
    let (began, jitter) = (Instant::now(), 1.0 + JITTER * rand::random::<f64>());
    loop {
        let interval = registry.settings.load().config.upload_purge_interval.0;
        match interval.mul_f64(jitter).checked_sub(began.elapsed()) {
            None | Some(Duration::ZERO) => return,
            Some(left) => tokio::time::sleep(left.min(INTERVAL_LOOK)).await,
        }
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * rand::random::<f64>())
}

async fn probe(storage: &Storage, health: &Health) {
    let trouble = match tokio::time::timeout(PROBE_TIME, storage.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("storage has not answered for {} seconds", PROBE_TIME.as_secs())),
    };
    let before = std::mem::replace(&mut *health.trouble.lock(), trouble.clone());
    match (before, trouble) {
        (None, Some(trouble)) => tracing::error!(trouble, "the registry cannot serve"),
        (Some(_), None) => tracing::info!("the registry's storage is well again"),
        _ => {}
    }
}

/// How much of its file system is in use.
async fn probe_disk(registry: &Registry) {
    let Ok(usage) = tokio::time::timeout(PROBE_TIME, registry.stores.storage.usage()).await else { return };
    if usage.is_none() && registry.stores.storage.is_local() {
        // A disk that does not tell is as full as it was.
        return;
    }
    if let Some(usage) = usage {
        registry.metrics.storage_used.set(i64::try_from(usage.used).unwrap_or(i64::MAX));
        registry.metrics.storage_total.set(i64::try_from(usage.total).unwrap_or(i64::MAX));
    }
    let settings = registry.settings.load();
    let (before, now) = registry.health.watermark.seen(usage, &settings.config);
    registry.metrics.disk_level.set(now as i64);
    let (warn, full) = (settings.config.disk_warn, settings.config.disk_full);
    match now {
        _ if now == before => {}
        DiskLevel::Full => {
            tracing::error!(disk_full = %full, "the disk of the registry's storage is nearly full: writes are refused");
        }
        DiskLevel::Warned if before == DiskLevel::Full => {
            tracing::warn!(disk_warn = %warn, "the disk of the registry's storage has some room again: writes are taken");
        }
        DiskLevel::Warned => {
            tracing::warn!(disk_warn = %warn, disk_full = %full, "the disk of the registry's storage fills up");
        }
        DiskLevel::Well => tracing::info!("the disk of the registry's storage has room again"),
    }
}

/// Whether it may be written to: of an object store less often, while all is well.
async fn probe_writes(registry: &Registry, due: bool) {
    let before = registry.write_trouble();
    if !due && before.is_none() && !registry.stores.storage.is_local() {
        return;
    }
    let read_only = registry.settings.load().config.read_only;
    let trouble = match tokio::time::timeout(PROBE_TIME, registry.stores.storage.check_writes()).await {
        _ if read_only => None,
        Ok(Err(error @ Error::Refused(_))) => Some(error.to_string()),
        Ok(Ok(())) => None,
        // Does not answer: `probe` tells.
        _ => before.clone(),
    };
    *registry.health.write_trouble.lock() = trouble.clone();
    registry.metrics.probed(Access::Write, trouble.is_none());
    match (before, trouble) {
        (None, Some(trouble)) => tracing::error!(trouble, "nothing can be pushed to the registry"),
        (Some(_), None) => tracing::info!("the registry's storage can be written to again"),
        _ => {}
    }
}

async fn count(stores: &Stores, lists: &KeptLists, metrics: &Metrics) {
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    match catalog::count(lists, &stores.storage).await {
        Ok(count) => metrics.repositories.set(gauge(count)),
        Err(error) => tracing::debug!(%error, "repositories could not be counted"),
    }
    match stores.uploads.count().await {
        Ok(count) => metrics.uploads.set(gauge(count)),
        Err(error) => tracing::debug!(%error, "uploads could not be counted"),
    }
}

/// Once per fleet: the lease in shared state keeps two instances from starting at once, the one in storage from doing it
/// again within the interval, with or without Redis.
async fn purge(registry: &Registry) {
    let settings = registry.settings.load_full();
    let config = &settings.config;
    let dry = config.upload_purge == Purge::Dry;
    let ages = Ages { begun: config.upload_expiry.0, idle: config.upload_idle.0, dry };
    if config.upload_purge == Purge::Off || registry.may_be_written().is_err() {
        return;
    }
    let Some(_lease) = registry.stores.fleet.lease(LEASE, LEASE_TIME).await else { return };
    let interval = config.upload_purge_interval.0;
    match take_lease(&registry.stores.storage, SystemTime::now(), interval).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return tracing::warn!(%error, "expired uploads could not be purged"),
    }
    match registry.stores.uploads.purge(ages).await {
        Ok(0) => {}
        Ok(count) if dry => tracing::info!(count, "expired uploads would be purged: upload_purge is \"dry-run\""),
        Ok(count) => {
            registry.metrics.purged.inc_by(count as u64);
            tracing::info!(count, "expired uploads were purged");
        }
        Err(error) => tracing::warn!(%error, "expired uploads could not be purged"),
    }
}

/// The lease as it is stored; by the clock of who took it, so clocks that differ cost a purge too many or too late.
#[derive(Serialize, Deserialize)]
struct PurgeLease {
    /// Seconds since 1970.
    until: u64,
    /// Random: tells whoever wrote it from another who did within the same second.
    #[serde(default)]
    nonce: u64,
}

impl Format for PurgeLease {
    const WHAT: &'static str = "the lease of the purge";
    const VERSION: u32 = 1;
}

async fn take_lease(storage: &Storage, now: SystemTime, interval: Duration) -> Result<bool, Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let found = storage.own(&OwnKey::Lease(LEASE), MAX_LEASE).await?;
    let held = match found.as_ref().map(|(bytes, _)| format::read::<PurgeLease>(bytes)) {
        Some(Err(error @ Error::Newer { .. })) => return Err(error),
        held => held.and_then(Result::ok),
    };
    let longest = now.saturating_add(interval.as_secs());
    // One that reaches further was taken by a wrong clock, or for a longer interval.
    if held.is_some_and(|lease| lease.until > now && lease.until <= longest) {
        return Ok(false);
    }
    let precondition = found.map_or(Precondition::Absent, |(_, version)| Precondition::Unchanged(version));
    let lease = PurgeLease { until: now.saturating_add(interval.as_secs() * 9 / 10), nonce: rand::random() };
    match storage.own_put(&OwnKey::Lease(LEASE), format::write(&lease)?.into(), precondition).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Config;
    use crate::registry::tests::harness::Harness;

    const EVERY: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn one_instance_purges_within_the_hour() {
        let one = Harness::new().await;
        let other = Harness::over(Config::default(), one.storage.clone()).await;
        let now = SystemTime::now();
        assert!(take_lease(&one.storage, now, EVERY).await.unwrap());
        assert!(!take_lease(&other.storage, now, EVERY).await.unwrap());
        assert!(!take_lease(&one.storage, now, EVERY).await.unwrap());
        assert!(take_lease(&other.storage, now + EVERY, EVERY).await.unwrap());
        // Taken by a clock that is ten years ahead.
        assert!(take_lease(&one.storage, now + EVERY * 24 * 3650, EVERY).await.unwrap());
        assert!(take_lease(&other.storage, now, EVERY).await.unwrap());
        // A reload made the interval shorter than what was taken.
        assert!(!take_lease(&one.storage, now, EVERY).await.unwrap());
        assert!(take_lease(&one.storage, now, EVERY / 60).await.unwrap());
    }

    /// One without a version is as good as ours; one of a newer version is nobody's to replace.
    #[tokio::test]
    async fn leases_of_other_versions_are_minded() {
        let harness = Harness::new().await;
        let now = SystemTime::now();
        let until = now.duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        let put = async |text: String| {
            let put = harness.storage.own_put(&OwnKey::Lease(LEASE), text.into(), Precondition::None).await;
            put.unwrap();
        };
        put(format!(r#"{{"until":{until}}}"#)).await;
        assert!(!take_lease(&harness.storage, now, EVERY).await.unwrap());
        let newer = format!(r#"{{"version":2,"until":{until}}}"#);
        put(newer.clone()).await;
        for late in [now, now + EVERY * 3] {
            assert!(matches!(take_lease(&harness.storage, late, EVERY).await, Err(Error::Newer { .. })));
        }
        let left = harness.storage.own(&OwnKey::Lease(LEASE), MAX_LEASE).await.unwrap().unwrap().0;
        assert_eq!(left, newer);
    }

    #[tokio::test]
    async fn of_two_who_take_the_lease_at_once_one_gets_it() {
        let one = Harness::new().await;
        let other = Harness::over(Config::default(), one.storage.clone()).await;
        let now = SystemTime::now();
        let (one, other) = tokio::join!(take_lease(&one.storage, now, EVERY), take_lease(&other.storage, now, EVERY));
        assert!(one.unwrap() != other.unwrap());
    }

    #[tokio::test]
    async fn what_is_counted_is_seen() {
        let harness = Harness::new().await;
        harness.push_image("a", "latest", "x").await;
        harness.status("POST", "/v2/a/blobs/uploads/").await;
        let Registry { stores, health, metrics, .. } = &*harness.registry;
        probe(&stores.storage, health).await;
        count(stores, &harness.registry.lists, metrics).await;
        assert_eq!(harness.registry.trouble(), None);
        assert_eq!((metrics.repositories.get(), metrics.uploads.get()), (1, 1));
    }
}
