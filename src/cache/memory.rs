//! The memory tier: whole contents, weighed in bytes, entry overhead included. Holds only what was verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::config::Config;
use super::digest_hash::DigestHash;
use super::metrics::{Metrics, TierMetrics};
use crate::oci::Digest;

/// What an entry costs beside its bytes: digest, handle, moka's node and its place in the policy's queues.
const ENTRY_OVERHEAD: usize = 400;

/// One content with what the origin called it.
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) media_type: Option<Box<str>>,
}

impl Object {
    /// `bytes` must own exactly their allocation: a slice of a large receive buffer would keep all of that alive.
    pub(super) fn new(bytes: Bytes, media_type: Option<&str>) -> Self {
        Object { bytes, media_type: media_type.map(Box::from) }
    }

    fn weight(&self) -> u32 {
        let bytes = self.bytes.len() + self.media_type.as_deref().map_or(0, str::len) + ENTRY_OVERHEAD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// The tier. Its size can change: then the entries move to a new moka cache, which has no resize.
pub(super) struct MemoryTier {
    tier: ArcSwap<Tier>,
    capacity: AtomicU64,
    max_object: AtomicU64,
    /// Bytes of fills and promotions on their way in, apart from the tier's own weight.
    pub(super) filling: Arc<Budget>,
    pub(super) promoting: Arc<Budget>,
    metrics: Arc<Metrics>,
}

struct Tier {
    cache: Cache<Digest, Arc<Object>, DigestHash>,
    /// Cleared when a successor took over, so that the old one's removals are not counted.
    live: Arc<AtomicBool>,
}

impl MemoryTier {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        MemoryTier {
            tier: ArcSwap::from_pointee(Tier::new(config.memory.0, metrics.memory.clone())),
            capacity: AtomicU64::new(config.memory.0),
            max_object: AtomicU64::new(config.memory_max_object.0),
            filling: Arc::new(Budget::new(config.memory.0 / 4)),
            promoting: Arc::new(Budget::new(config.memory.0 / 4)),
            metrics,
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Object>> {
        self.tier.load().cache.get(digest)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.tier.load().cache.contains_key(digest)
    }

    /// Whether content of `len` bytes belongs here.
    pub(super) fn takes(&self, len: u64) -> bool {
        let whole = len.saturating_add(ENTRY_OVERHEAD as u64 * 2);
        len <= self.max_object.load(Ordering::Relaxed)
            && whole <= self.capacity.load(Ordering::Relaxed)
            && whole < u64::from(u32::MAX)
    }

    pub(super) fn insert(&self, digest: Digest, object: Arc<Object>) {
        if !self.takes(object.bytes.len() as u64) {
            return;
        }
        // Added first: the listener subtracts what was replaced, or this very entry when it is not admitted.
        self.metrics.memory.bytes.add(i64::from(object.weight()));
        self.metrics.memory.entries.inc();
        self.tier.load().cache.insert(digest, object);
    }

    pub(super) fn remove(&self, digest: &Digest) -> bool {
        self.tier.load().cache.remove(digest).is_some()
    }

    pub(super) fn reconfigure(&self, config: &Config) {
        self.max_object.store(config.memory_max_object.0, Ordering::Relaxed);
        if self.capacity.swap(config.memory.0, Ordering::Relaxed) == config.memory.0 {
            return;
        }
        self.filling.limit.store(config.memory.0 / 4, Ordering::Relaxed);
        self.promoting.limit.store(config.memory.0 / 4, Ordering::Relaxed);
        let old = self.tier.swap(Arc::new(Tier::new(config.memory.0, self.metrics.memory.clone())));
        old.live.store(false, Ordering::Relaxed);
        self.metrics.memory.bytes.set(0);
        self.metrics.memory.entries.set(0);
        for (digest, object) in old.cache.iter() {
            self.insert(*digest, object);
        }
        old.cache.invalidate_all();
    }
}

impl Tier {
    fn new(capacity: u64, metrics: TierMetrics) -> Self {
        let live = Arc::new(AtomicBool::new(true));
        let counted = live.clone();
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, object: &Arc<Object>| object.weight())
            .eviction_listener(move |_, object: Arc<Object>, cause| {
                if counted.load(Ordering::Relaxed) {
                    metrics.bytes.sub(i64::from(object.weight()));
                    metrics.entries.dec();
                    if cause == RemovalCause::Size {
                        metrics.evictions.inc();
                    }
                }
            })
            .build_with_hasher(DigestHash::default());
        Tier { cache, live }
    }
}

/// Bytes that may be under way at once.
pub(super) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
}

/// A part of a budget; returned when dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    fn new(limit: u64) -> Self {
        Budget { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    /// `bytes` of it, or `None` when so much is not left.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let mut share = Share { budget: self.clone(), bytes: 0 };
        share.grow(bytes).then_some(share)
    }
}

impl Share {
    /// Grows to `bytes`; false, and unchanged, when so much is not left.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.budget.limit.load(Ordering::Relaxed);
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= limit)
        });
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::units::Size;

    fn memory(bytes: u64) -> MemoryTier {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        MemoryTier::new(&Config { memory: Size(bytes), ..Config::default() }, metrics)
    }

    fn put(memory: &MemoryTier, n: u32, len: usize) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, &n.to_le_bytes());
        memory.insert(digest, Arc::new(Object::new(Bytes::from(vec![1; len]), None)));
        digest
    }

    #[test]
    fn the_tier_stays_within_its_bytes_and_the_gauges_follow() {
        let memory = memory(1 << 20);
        for n in 0..200 {
            put(&memory, n, 10_000);
        }
        memory.tier.load().cache.run_pending_tasks();
        let cache = memory.tier.load().cache.clone();
        assert!(cache.weighted_size() <= 1 << 20);
        assert!(cache.entry_count() > 50);
        assert_eq!(memory.metrics.memory.bytes.get() as u64, cache.weighted_size());
        assert_eq!(memory.metrics.memory.entries.get() as u64, cache.entry_count());
        assert!(memory.metrics.memory.evictions.get() > 0);
    }

    #[test]
    fn a_new_size_keeps_the_entries_that_fit() {
        let memory = memory(1 << 20);
        let digests: Vec<_> = (0..50).map(|n| put(&memory, n, 10_000)).collect();
        memory.reconfigure(&Config { memory: Size(2 << 20), ..Config::default() });
        assert!(digests.iter().all(|digest| memory.get(digest).is_some()));
        assert_eq!(memory.metrics.memory.entries.get(), 50);
        memory.reconfigure(&Config { memory: Size(0), ..Config::default() });
        assert!(digests.iter().all(|digest| memory.get(digest).is_none()));
        assert_eq!(memory.metrics.memory.bytes.get(), 0);
    }

    #[test]
    fn a_budget_is_never_exceeded() {
        let budget = Arc::new(Budget::new(100));
        let mut share = budget.take(60).unwrap();
        assert!(budget.take(50).is_none());
        assert!(!share.grow(101));
        assert!(share.grow(100));
        drop(share);
        assert!(budget.take(100).is_some());
    }
}
