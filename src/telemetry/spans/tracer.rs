//! Which requests are recorded.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::exporter::{Exporter, Metrics};
use super::otlp::Source;
use super::sender::Sender;
use super::trace::Trace;
use crate::telemetry::trace_parent::TraceParent;
use crate::units::Percent;

/// One for the process.
pub struct Tracer {
    active: ArcSwapOption<Active>,
    running: Mutex<Option<Running>>,
    metrics: Metrics,
    /// What this process is called among those of its service.
    instance: String,
}

/// What is needed for each request.
struct Active {
    exporter: Arc<Exporter>,
    sample: Percent,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A configuration that can be used; `None` in it: nothing is recorded.
pub struct Prepared(Option<(Sender, Config)>);

impl Tracer {
    /// Records nothing yet.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let instance = uuid::Uuid::new_v4().to_string();
        let metrics = Metrics::new(registry)?;
        Ok(Tracer { active: ArcSwapOption::empty(), running: Mutex::default(), metrics, instance })
    }

    /// Reads what a configuration names. Blocks on the disk.
    pub fn prepare(&self, config: Option<&Config>) -> Result<Prepared, String> {
        let sender = config.map(|config| Sender::new(config).map(|sender| (sender, config.clone())));
        Ok(Prepared(sender.transpose()?))
    }

    /// Uses it for requests that come from now on. Needs a tokio runtime.
    pub fn commit(&self, prepared: Prepared) {
        let begun = prepared.0.map(|(sender, config)| {
            let stop = CancellationToken::new();
            let source =
                Source { service: config.service, version: env!("CARGO_PKG_VERSION"), instance: self.instance.clone() };
            let (exporter, work) = Exporter::start(sender, source, self.metrics.clone(), stop.clone());
            let active = Arc::new(Active { exporter, sample: config.sample });
            (active, Running { stop, task: tokio::spawn(work) })
        });
        let (active, running) = begun.unzip();
        self.active.store(active);
        if let Some(before) = std::mem::replace(&mut *self.running.lock(), running) {
            // It ends by itself, with what waits there.
            before.stop.cancel();
        }
    }

    /// The place of a request in the trace that it brought, or in a new one. Recorded are those whose parent is, and of those without a
    /// parent the share that the configuration wants.
    pub fn begin(&self, inbound: Option<TraceParent>) -> Trace {
        let active = self.active.load();
        let Some(active) = active.as_ref() else { return Trace::passing(inbound) };
        let own = match inbound {
            Some(parent) if parent.is_sampled() => parent.child(),
            Some(_) => return Trace::passing(inbound),
            None => {
                let root = TraceParent::root();
                if !chosen(root.trace(), active.sample) {
                    return Trace::passing(None);
                }
                root.sampled()
            }
        };
        Trace::recorded(inbound, own, active.exporter.clone())
    }

    /// The same for a request that is answered at once; `None`: it has no place in any trace.
    pub fn begin_plain(&self, inbound: Option<&[u8]>) -> Option<Trace> {
        let inbound = inbound.and_then(TraceParent::parse);
        if inbound.is_none() && self.active.load().is_none() {
            return None;
        }
        Some(self.begin(inbound))
    }

    /// Sends what waits, for as long as that may take.
    pub async fn shutdown(&self, within: Duration) {
        self.active.store(None);
        let Some(running) = self.running.lock().take() else { return };
        running.stop.cancel();
        if tokio::time::timeout(within, running.task).await.is_err() {
            tracing::warn!("the collector does not answer: the last spans are lost");
        }
    }
}

/// Whether a new trace is one of the share that is recorded: the same for everybody who looks at its id.
fn chosen(trace: u128, sample: Percent) -> bool {
    const PLACES: u64 = 1 << 56;
    let place = (trace & u128::from(PLACES - 1)) as u64;
    place < sample.of(PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn recording(sample: Percent) -> Tracer {
        let tracer = Tracer::new(&Registry::new()).unwrap();
        let (exporter, _queue) = Exporter::to_a_test(10);
        tracer.active.store(Some(Arc::new(Active { exporter, sample })));
        tracer
    }

    async fn is_recorded(trace: &Trace) -> bool {
        trace.along(async { super::super::waiting(|| "one".into()).is_some() }).await
    }

    #[tokio::test]
    async fn the_parent_decides_and_else_the_share() {
        let (all, none) = (recording(Percent::of_hundred(100)), recording(Percent::of_hundred(0)));
        for tracer in [&all, &none] {
            assert!(is_recorded(&tracer.begin(TraceParent::parse(SAMPLED))).await);
            assert!(!is_recorded(&tracer.begin(TraceParent::parse(UNSAMPLED))).await);
        }
        let (begun, left) = (all.begin(None), none.begin(None));
        assert!(is_recorded(&begun).await && begun.header().as_bytes().ends_with(b"-01") && !begun.goes_on());
        assert!(!is_recorded(&left).await && left.header().as_bytes().ends_with(b"-00"));
        assert!(all.begin_plain(None).is_some() && all.begin_plain(Some(b"nothing")).is_some());
    }

    #[tokio::test]
    async fn off_means_that_nothing_is_recorded_and_a_trace_goes_on() {
        let tracer = Tracer::new(&Registry::new()).unwrap();
        let trace = tracer.begin(TraceParent::parse(SAMPLED));
        assert!(!is_recorded(&trace).await && trace.goes_on() && trace.header().as_bytes().ends_with(b"-01"));
        assert!(tracer.begin_plain(None).is_none() && tracer.begin_plain(Some(b"nothing")).is_none());
        assert!(tracer.begin_plain(Some(SAMPLED)).is_some());
        assert!(tracer.prepare(None).is_ok_and(|prepared| prepared.0.is_none()));
    }

    #[test]
    fn a_share_is_a_share() {
        let count = (0..10_000).filter(|_| chosen(rand::random(), Percent::of_hundred(25))).count();
        assert!((2_000..3_000).contains(&count), "{count}");
        assert!(chosen(u128::MAX, Percent::of_hundred(100)) && !chosen(0, Percent::of_hundred(0)));
    }
}
