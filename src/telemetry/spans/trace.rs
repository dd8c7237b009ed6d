//! A request's place in its trace, and what is waited for because of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::exporter::Exporter;
use super::span::{Kind, Span, Value, add, cut};
use crate::telemetry::trace_parent::{TRACEPARENT, TraceParent};

/// Spans of one request; what it waits for beyond that is not told.
const MAX_SPANS: usize = 64;

tokio::task_local! {
    static HERE: Option<Arc<Recording>>;
}

/// A request of which spans are kept.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) exporter: Arc<Exporter>,
    /// The request's own span.
    request: TraceParent,
    begun: AtomicUsize,
}

/// A request's place in its trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Where the request said that it belongs.
    inbound: Option<TraceParent>,
    /// Our span, which is the parent of all that follows.
    own: TraceParent,
    recording: Option<Arc<Recording>>,
}

/// How a request ended, for its span.
pub struct Ended {
    pub name: Cow<'static, str>,
    pub started: Instant,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Trace {
    /// One of which nothing is kept.
    pub(super) fn passing(inbound: Option<TraceParent>) -> Self {
        let own = inbound.map_or_else(TraceParent::root, TraceParent::child);
        Trace { inbound, own, recording: None }
    }

    pub(super) fn recorded(inbound: Option<TraceParent>, own: TraceParent, exporter: Arc<Exporter>) -> Self {
        let recording = Arc::new(Recording { exporter, request: own, begun: AtomicUsize::new(0) });
        Trace { inbound, own, recording: Some(recording) }
    }

    /// `traceparent` for those whom we ask.
    pub fn header(&self) -> HeaderValue {
        self.own.header()
    }

    /// Whether the request brought a trace with it, to which its `tracestate` belongs.
    pub fn goes_on(&self) -> bool {
        self.inbound.is_some()
    }

    /// Its id, where somebody may look for it: the request brought it, or we record it.
    pub fn logged(&self) -> Option<u128> {
        (self.inbound.is_some() || self.recording.is_some()).then(|| self.own.trace())
    }

    /// Does `work` of the request, which what waits in it belongs to.
    pub fn along<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        HERE.scope(self.recording.clone(), work)
    }

    /// The request is over. `ended` is asked only if it is recorded.
    pub fn end(&self, ended: impl FnOnce() -> Ended) {
        let Some(recording) = &self.recording else { return };
        let Ended { name, started, attributes, error } = ended();
        let took = started.elapsed();
        let mut kept = Vec::with_capacity(attributes.len());
        attributes.into_iter().for_each(|(key, value)| add(&mut kept, key, value));
        recording.exporter.push(Span {
            trace: self.own.trace(),
            id: self.own.span(),
            parent: self.inbound.map(TraceParent::span),
            name: shortened(name),
            kind: Kind::Server,
            start: SystemTime::now() - took,
            took,
            attributes: kept,
            error: error.map(|error| cut(&error).to_owned()),
        });
    }
}

/// Something that a request waits for; it ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    recording: Arc<Recording>,
    own: TraceParent,
    name: Cow<'static, str>,
    start: SystemTime,
    began: Instant,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

/// Begins to wait for something of that name; `None` where the request that this task works for, if any, is not recorded.
pub fn waiting(name: impl FnOnce() -> Cow<'static, str>) -> Option<Waiting> {
    let recording = here()?;
    if recording.begun.fetch_add(1, Ordering::Relaxed) >= MAX_SPANS {
        recording.exporter.left_out();
        return None;
    }
    let own = recording.request.child();
    let (start, began) = (SystemTime::now(), Instant::now());
    Some(Waiting { own, name: name(), start, began, attributes: Vec::new(), error: None, recording })
}

impl Waiting {
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        add(&mut self.attributes, key, value.into());
    }

    /// It was in vain.
    pub fn fail(&mut self, why: &str) {
        self.error = Some(cut(why).to_owned());
    }

    /// `traceparent` for whoever is asked.
    pub fn header(&self) -> HeaderValue {
        self.own.header()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.recording.exporter.push(Span {
            trace: self.own.trace(),
            id: self.own.span(),
            parent: Some(self.recording.request.span()),
            name: shortened(std::mem::take(&mut self.name)),
            kind: Kind::Client,
            start: self.start,
            took: self.began.elapsed(),
            attributes: std::mem::take(&mut self.attributes),
            error: self.error.take(),
        });
    }
}

/// Tells whoever is asked of the request that this task works for, if it is recorded.
pub fn hand_on(headers: &mut HeaderMap) {
    if let Some(recording) = here() {
        headers.insert(HeaderName::from_static(TRACEPARENT), recording.request.header());
    }
}

/// Takes the request that this task works for along into work that is given to another.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    HERE.scope(here(), work)
}

fn here() -> Option<Arc<Recording>> {
    HERE.try_with(Clone::clone).ok().flatten()
}

fn shortened(name: Cow<'static, str>) -> Cow<'static, str> {
    match name {
        Cow::Owned(name) if cut(&name).len() < name.len() => cut(&name).to_owned().into(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const INBOUND: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn recorded() -> (Trace, mpsc::Receiver<Span>) {
        let (exporter, queue) = Exporter::to_a_test(1000);
        let inbound = TraceParent::parse(INBOUND).unwrap();
        (Trace::recorded(Some(inbound), inbound.child(), exporter), queue)
    }

    #[tokio::test]
    async fn what_a_request_waits_for_is_below_it_also_in_tasks_that_it_begins() {
        let (trace, mut queue) = recorded();
        let work = async {
            let mut one = waiting(|| "one".into()).unwrap();
            one.set("n", 1_u16);
            one.fail("no answer");
            drop(one);
            assert!(tokio::spawn(async { waiting(|| "elsewhere".into()).is_none() }).await.unwrap());
            tokio::spawn(carried(async { drop(waiting(|| "two".into())) })).await.unwrap();
            let mut headers = HeaderMap::new();
            hand_on(&mut headers);
            headers
        };
        let headers = trace.along(work).await;
        assert_eq!(headers[TRACEPARENT], trace.header());
        trace.end(|| Ended { name: "GET".into(), started: Instant::now(), attributes: Vec::new(), error: None });
        let (one, two, request) = (queue.try_recv().unwrap(), queue.try_recv().unwrap(), queue.try_recv().unwrap());
        assert_eq!((one.name.as_ref(), two.name.as_ref(), request.name.as_ref()), ("one", "two", "GET"));
        assert_eq!((one.error.as_deref(), &one.attributes[..]), (Some("no answer"), &[("n", Value::Number(1))][..]));
        assert_eq!((one.parent, two.parent), (Some(request.id), Some(request.id)));
        assert_eq!(request.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(one.trace == request.trace && two.trace == request.trace && one.id != two.id);
        assert_eq!((request.kind, one.kind), (Kind::Server, Kind::Client));
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_request_that_is_not_recorded() {
        let trace = Trace::passing(TraceParent::parse(INBOUND));
        let nothing = trace.along(async { waiting(|| unreachable!("nobody wants the name")).is_none() }).await;
        assert!(nothing && trace.goes_on() && trace.logged() == Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        trace.end(|| unreachable!("nobody wants to know"));
        let fresh = Trace::passing(None);
        assert!(!fresh.goes_on() && fresh.logged().is_none() && fresh.header().as_bytes().ends_with(b"-00"));
        assert!(waiting(|| unreachable!("outside of any request")).is_none());
    }

    #[tokio::test]
    async fn the_spans_of_a_request_are_bounded() {
        let (trace, mut queue) = recorded();
        trace.along(async { (0..MAX_SPANS + 9).for_each(|_| drop(waiting(|| "one".into()))) }).await;
        let count = std::iter::from_fn(|| queue.try_recv().ok()).count();
        assert_eq!((count, trace.recording.unwrap().exporter.counted("dropped")), (MAX_SPANS, 9));
    }
}
