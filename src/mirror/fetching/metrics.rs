//! Counters of what mirrors fetch and keep. Handles are resolved once.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Blobs only: manifests are small, and counted as questions to their remote.
pub struct Metrics {
    pub(in crate::mirror) remote: IntCounter,
    pub(in crate::mirror) instance: IntCounter,
    pub(in crate::mirror) pieces: IntCounter,
    pub(in crate::mirror) kept: IntCounter,
    pub(in crate::mirror) not_kept: IntCounter,
    pub(in crate::mirror) no_room: IntCounter,
    pub(in crate::mirror) ahead: IntCounter,
    pub(in crate::mirror) ahead_failed: IntCounter,
    pub(in crate::mirror) ahead_left_out: IntCounter,
}

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let family = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let streams = family(
            "entrepot_mirror_blob_fetches_total",
            "Blobs that began to come, again where they broke off",
            "from",
        )?;
        let kept = family(
            "entrepot_mirror_blobs_kept_total",
            "Blobs that came and were to stay, by what came of it",
            "result",
        )?;
        let ahead = family("entrepot_mirror_prefetch_total", "Blobs to be fetched ahead of clients", "result")?;
        let pieces = IntCounter::new(
            "entrepot_mirror_blob_pieces_total",
            "Ranges of blobs that were served straight from a remote",
        )?;
        registry.register(Box::new(pieces.clone()))?;
        Ok(Metrics {
            remote: streams.with_label_values(&["remote"]),
            instance: streams.with_label_values(&["fleet"]),
            pieces,
            kept: kept.with_label_values(&["kept"]),
            not_kept: kept.with_label_values(&["failed"]),
            no_room: kept.with_label_values(&["no_room"]),
            ahead: ahead.with_label_values(&["fetched"]),
            ahead_failed: ahead.with_label_values(&["failed"]),
            ahead_left_out: ahead.with_label_values(&["left_out"]),
        })
    }
}
