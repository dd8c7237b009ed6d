//! What is seen of collections from outside.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::report::{Counts, Status};
use super::state::Phase;
use super::time::Time;

/// Registered once per process. Counters are of the runs of this process; gauges are also told from what is stored, so that a run
/// by a command is seen where it was not made.
pub struct Metrics {
    runs: IntCounterVec,
    pub(super) running: IntGauge,
    last: IntGauge,
    last_good: IntGauge,
    beat: IntGauge,
    duration: IntGauge,
    pub(super) condemned: IntCounterVec,
    pub(super) moved: IntCounter,
    pub(super) deleted: IntCounter,
    pub(super) freed: IntCounter,
    pub(super) healed: IntCounterVec,
    pub(super) rescued: IntCounter,
    pub(super) unreadable: IntCounter,
    pub(super) lost: IntCounter,
    unlinked: IntGauge,
    unlinked_bytes: IntGauge,
    trash: IntGauge,
    trash_bytes: IntGauge,
    paused: IntGauge,
}

/// How runs end.
pub const ENDS: [&str; 3] = ["done", "failed", "refused"];
/// What is condemned and healed.
pub const KINDS: [&str; 2] = ["blob", "manifest"];

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let family = |name: &str, help: &str, label: &str, values: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            // There from the start, so that the first of a kind is seen as one.
            values.iter().for_each(|value| drop(family.with_label_values(&[value])));
            prometheus::Result::Ok(family)
        };
        Ok(Metrics {
            runs: family("entrepot_gc_runs_total", "Collections of this process, by how they ended", "result", &ENDS)?,
            running: gauge("entrepot_gc_running", "1 while this process collects")?,
            last: gauge("entrepot_gc_last_run_seconds", "When the last collection ended, in Unix time")?,
            last_good: gauge("entrepot_gc_last_success_seconds", "When a collection last ended well, in Unix time")?,
            beat: gauge(
                "entrepot_gc_beat_seconds",
                "When the run that has not ended was last heard of, in Unix time; 0: none is",
            )?,
            duration: gauge("entrepot_gc_last_duration_seconds", "How long the last collection took")?,
            condemned: family("entrepot_gc_condemned_total", "Links that nobody needed", "kind", &KINDS)?,
            moved: counter("entrepot_gc_moved_bytes_total", "Bytes moved to the trash")?,
            deleted: counter("entrepot_gc_deleted_blobs_total", "Blobs deleted for good")?,
            freed: counter("entrepot_gc_freed_bytes_total", "Bytes deleted for good")?,
            healed: family("entrepot_gc_healed_total", "Condemned, and needed after all", "kind", &KINDS)?,
            rescued: counter("entrepot_gc_rescued_total", "Blobs in the trash that were needed after all")?,
            unreadable: counter("entrepot_gc_unreadable_manifests_total", "Manifests that nobody can read")?,
            lost: counter("entrepot_gc_lost_blobs_total", "Blobs that are needed and nowhere to be found")?,
            unlinked: gauge("entrepot_gc_unlinked_blobs", "Blobs in place that no repository links")?,
            unlinked_bytes: gauge("entrepot_gc_unlinked_bytes", "Bytes of blobs in place that no repository links")?,
            trash: gauge("entrepot_gc_trash_blobs", "What is in the trash")?,
            trash_bytes: gauge("entrepot_gc_trash_bytes", "Bytes in the trash")?,
            paused: gauge("entrepot_gc_paused", "1 while collections are paused")?,
        })
    }

    pub(super) fn ended(&self, result: &str, begun: Time, ended: Time, counts: &Counts) {
        self.runs.with_label_values(&[result]).inc();
        self.running.set(0);
        self.beat.set(0);
        self.last.set(ended.seconds());
        self.duration.set((ended.seconds() - begun.seconds()).max(0));
        if result == "done" {
            self.last_good.set(ended.seconds());
            self.heaps((counts.unlinked, counts.unlinked_bytes), (counts.trash, counts.trash_bytes));
        }
    }

    pub(super) fn refused(&self) {
        self.runs.with_label_values(&["refused"]).inc();
    }

    pub(super) fn beats(&self, beat: Time) {
        self.beat.set(beat.seconds());
    }

    /// Tells what is stored, whoever did it.
    pub fn show(&self, status: &Status, last_good: Option<Time>) {
        self.paused.set(i64::from(status.paused.is_some()));
        // Also one that was cut off, whose lease is over: until somebody goes on with it, it stands still.
        let cut_off = status.last.as_ref().filter(|run| run.ended.is_none() && run.phase != Phase::Done);
        self.beat.set(status.running.as_ref().or(cut_off).map_or(0, |run| run.beat.seconds()));
        if let Some(last) = &status.last {
            let ended = last.ended.unwrap_or(last.beat);
            self.last.set(ended.seconds());
            self.duration.set((ended.seconds() - last.begun.seconds()).max(0));
        }
        if let Some(last_good) = last_good {
            self.last_good.set(last_good.seconds());
        }
        self.heaps((status.unlinked.blobs, status.unlinked.bytes), (status.trash.blobs, status.trash.bytes));
    }

    fn heaps(&self, unlinked: (u64, u64), trash: (u64, u64)) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.unlinked.set(number(unlinked.0));
        self.unlinked_bytes.set(number(unlinked.1));
        self.trash.set(number(trash.0));
        self.trash_bytes.set(number(trash.1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::report::RunStatus;
    use super::*;

    /// What an alert rests on.
    #[test]
    fn a_run_that_was_cut_off_stands_still_and_one_that_ended_is_none() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let beat = Time::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let run = RunStatus {
            run: "gc-1".into(),
            by: "a test".into(),
            now: false,
            begun: beat,
            beat,
            ended: None,
            phase: Phase::Look,
            error: None,
            counts: Counts::default(),
            repositories: Vec::new(),
        };
        let (unlinked, due, trash) = Default::default();
        let none = Status { running: None, last: None, unlinked, due, next_due: None, trash, paused: None };
        let ended = RunStatus { ended: Some(beat), ..run.clone() };
        let done = RunStatus { phase: Phase::Done, ..ended.clone() };
        for (running, last, told) in [
            (Some(&run), None, 1_700_000_000),
            (None, Some(&run), 1_700_000_000),
            (None, Some(&ended), 0),
            (None, Some(&done), 0),
            (None, None, 0),
        ] {
            metrics.show(&Status { running: running.cloned(), last: last.cloned(), ..none.clone() }, None);
            assert_eq!(metrics.beat.get(), told, "{running:?} {last:?}");
        }
    }
}
