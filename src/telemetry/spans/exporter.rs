//! The queue of spans, and who takes them from it to the collector.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::otlp::{self, Source};
use super::sender::Sender;
use super::span::Span;

/// Spans that wait for the collector: of usual ones 4 MiB, of the largest 16 MiB. Further ones are dropped.
const QUEUE: usize = 8_192;
/// Spans of one message to the collector, and how long the first of them waits for others.
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(2);

const RESULTS: [&str; 3] = ["sent", "dropped", "failed"];

/// What became of spans; one for the process.
#[derive(Clone, Debug)]
pub(super) struct Metrics(IntCounterVec);

impl Metrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new("entrepot_trace_spans_total", "Spans of recorded requests, and what became of them.");
        let spans = IntCounterVec::new(options, &["result"])?;
        RESULTS.iter().for_each(|result| drop(spans.with_label_values(&[result])));
        registry.register(Box::new(spans.clone()))?;
        Ok(Metrics(spans))
    }

    fn count(&self, result: &str, spans: u64) {
        self.0.with_label_values(&[result]).inc_by(spans);
    }
}

/// Takes spans, and never waits.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Sender<Span>,
    metrics: Metrics,
}

impl Exporter {
    /// Begins to send; ends some time after `stop`, with what waits then.
    pub(super) fn start(
        sender: Sender,
        source: Source,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let exporter = Arc::new(Exporter { queue, metrics: metrics.clone() });
        (exporter, run(waiting, Batches { sender, source, metrics, stop }))
    }

    pub(super) fn push(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.count("dropped", 1);
        }
    }

    /// A span that there is no room for.
    pub(super) fn left_out(&self) {
        self.metrics.count("dropped", 1);
    }

    #[cfg(test)]
    pub(super) fn to_a_test(room: usize) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (queue, waiting) = mpsc::channel(room);
        (Arc::new(Exporter { queue, metrics: Metrics::new(&Registry::new()).unwrap() }), waiting)
    }

    #[cfg(test)]
    pub(super) fn counted(&self, result: &str) -> u64 {
        self.metrics.0.with_label_values(&[result]).get()
    }
}

struct Batches {
    sender: Sender,
    source: Source,
    metrics: Metrics,
    stop: CancellationToken,
}

async fn run(mut waiting: mpsc::Receiver<Span>, mut batches: Batches) {
    let mut batch = Vec::with_capacity(BATCH);
    while !batches.stop.is_cancelled() {
        batches.gather(&mut waiting, &mut batch).await;
        batches.send(&mut batch).await;
    }
    // What is still pushed by requests that outlive this is counted as dropped.
    waiting.close();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        batches.send(&mut batch).await;
    }
}

impl Batches {
    /// Until there are enough, or the first has waited long enough, or it is told to stop.
    async fn gather(&self, waiting: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
        let mut until = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let more = async {
                match until {
                    None => Some(waiting.recv_many(batch, room).await),
                    Some(until) => timeout_at(until, waiting.recv_many(batch, room)).await.ok(),
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                more = more => match more {
                    Some(1..) => until = until.or_else(|| Some(Instant::now() + EVERY)),
                    // Nobody is left who could push any.
                    Some(0) => return self.stop.cancel(),
                    None => return,
                },
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let message = otlp::request(&self.source, batch);
        batch.clear();
        match self.sender.send(message.into(), &self.stop).await {
            Ok(answer) => {
                let rejected = otlp::rejected(&answer).min(count);
                self.metrics.count("sent", count - rejected);
                self.metrics.count("failed", rejected);
            }
            Err(()) => self.metrics.count("failed", count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::span::Kind;
    use super::*;

    #[test]
    fn a_queue_that_is_full_costs_spans_and_nobody_s_time() {
        let (exporter, mut queue) = Exporter::to_a_test(2);
        let span = Span {
            trace: 1,
            id: 1,
            parent: None,
            name: "a".into(),
            kind: Kind::Client,
            start: SystemTime::now(),
            took: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        };
        (0..5).for_each(|_| exporter.push(span.clone()));
        assert_eq!((exporter.counted("dropped"), std::iter::from_fn(|| queue.try_recv().ok()).count()), (3, 2));
    }
}
