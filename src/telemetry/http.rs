//! Metrics of the requests that clients make. Every label's values are a fixed set, so a client cannot make series.
//!
//! A request costs a few atomic additions. It is counted once; under our names and under distribution's it is told of when somebody
//! looks ([`told`]).

mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::oci::Resource;
use http::Method;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use told::Told;

/// Which kind of path was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// `/v2/`.
    Ping,
    Catalog,
    Tags,
    Manifest,
    Blob,
    /// Where an upload begins.
    UploadStart,
    Upload,
    Referrers,
    /// A path outside `/v2/` that is handed to the peers.
    Forward,
    Health,
    /// Redirects to https, unknown paths, requests refused before they had a path.
    Other,
}

/// The value of our label `route`, and of distribution's `handler`, which has the registry's own paths only.
const KINDS: [(&str, Option<&str>); 11] = [
    ("ping", Some("base")),
    ("catalog", Some("catalog")),
    ("tags", Some("tags")),
    ("manifest", Some("manifest")),
    ("blob", Some("blob")),
    ("upload", Some("blob_upload")),
    ("upload", Some("blob_upload_chunk")),
    ("referrers", Some("referrers")),
    ("forward", None),
    ("health", None),
    ("other", None),
];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// The codes that get a series of their own; any other that a peer thinks of is told by its class (`2xx`).
/// 0 stands for a client that left before there was an answer; nginx calls it 499.
const CODES: [u16; 42] = [
    0, 200, 201, 202, 203, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
    412, 413, 414, 415, 416, 417, 421, 422, 426, 428, 429, 431, 500, 501, 502, 503, 504, 505, 507,
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
const SLOTS: usize = CODES.len() + CLASSES.len();

/// Seconds; from an answer out of memory to a large blob over a slow line.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];
/// Bytes of bodies: 1 KiB to 2 GiB.
const BYTES: (f64, f64, usize) = (1024.0, 2.0, 22);

/// The front's metrics; one for the process.
pub struct Metrics {
    counts: Arc<Counts>,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    in_flight: IntGauge,
    /// By kind; none of those that distribution has not.
    asked: [Option<IntGauge>; KINDS.len()],
}

/// All that is counted of requests that are over.
struct Counts {
    /// `[kind][method][code]`
    requests: Box<[AtomicU64]>,
    /// `[kind][method]`
    durations: Box<[Histogram]>,
    /// Bytes of requests' bodies, by kind, but for requests that were answered at hand.
    received: Box<[Histogram]>,
    /// Requests that were answered at hand, by kind: they have no body.
    at_hand: Box<[AtomicU64]>,
    /// Bytes of answers' bodies, by kind.
    sent: Box<[Histogram]>,
}

/// A request that is over.
pub struct Ended<'a> {
    pub kind: RouteKind,
    pub method: &'a Method,
    /// 0: the client left before there was an answer.
    pub status: u16,
    pub duration: Duration,
    /// Bytes of its body; none for what was answered at hand.
    pub received: Option<u64>,
    /// Bytes of the answer's body.
    pub sent: u64,
}

/// A request under way; dropped = over.
pub struct UnderWay(IntGauge);

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counts = Arc::new(Counts::new()?);
        registry.register(Box::new(Told::new(counts.clone())?))?;
        let bytes_in = IntCounter::new("entrepot_request_bytes_total", "Bytes of request bodies read from clients.")?;
        let bytes_out = IntCounter::new("entrepot_response_bytes_total", "Bytes of answers' bodies sent to clients.")?;
        let in_flight = IntGauge::new("entrepot_requests_in_flight", "Requests under way.")?;
        let asked = Opts::new("registry_http_in_flight_requests", "Requests under way, by distribution's handler.");
        let asked = IntGaugeVec::new(asked, &["handler"])?;
        registry.register(Box::new(bytes_in.clone()))?;
        registry.register(Box::new(bytes_out.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(asked.clone()))?;
        let asked = KINDS.map(|(_, handler)| handler.map(|handler| asked.with_label_values(&[handler])));
        Ok(Metrics { counts, bytes_in, bytes_out, in_flight, asked })
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn begin(&self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// Counts it by what it asks about too, once that is known.
    pub fn asks(&self, resource: &Resource) -> Option<UnderWay> {
        let gauge = self.asked.get(RouteKind::from(resource) as usize)?.clone()?;
        gauge.inc();
        Some(UnderWay(gauge))
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        usize::try_from(self.in_flight.get()).unwrap_or_default()
    }

    /// Counts a request that is over.
    pub fn end(&self, ended: &Ended<'_>) {
        self.bytes_in.inc_by(ended.received.unwrap_or_default());
        self.bytes_out.inc_by(ended.sent);
        self.counts.add(ended);
    }
}

impl Counts {
    fn new() -> prometheus::Result<Self> {
        let (from, factor, count) = BYTES;
        let bytes = prometheus::exponential_buckets(from, factor, count)?;
        let histograms = |name: &str, bounds: &[f64], count: usize| -> prometheus::Result<Box<[Histogram]>> {
            let one =
                || Histogram::with_opts(HistogramOpts::new(name, "See where it is told.").buckets(bounds.to_vec()));
            (0..count).map(|_| one()).collect()
        };
        let numbers = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        Ok(Counts {
            requests: numbers(KINDS.len() * METHODS.len() * SLOTS),
            durations: histograms("seconds", &SECONDS, KINDS.len() * METHODS.len())?,
            received: histograms("received", &bytes, KINDS.len())?,
            at_hand: numbers(KINDS.len()),
            sent: histograms("sent", &bytes, KINDS.len())?,
        })
    }

    fn add(&self, ended: &Ended<'_>) {
        let kind = ended.kind as usize;
        let asked = kind * METHODS.len() + method_index(ended.method);
        if let Some(requests) = self.requests.get(asked * SLOTS + code_index(ended.status)) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(durations) = self.durations.get(asked) {
            durations.observe(ended.duration.as_secs_f64());
        }
        if ended.kind.handler().is_none() {
            return;
        }
        if let (Some(bytes), Some(received)) = (ended.received, self.received.get(kind)) {
            received.observe(bytes as f64);
        }
        if let (None, Some(at_hand)) = (ended.received, self.at_hand.get(kind)) {
            at_hand.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sent) = self.sent.get(kind) {
            sent.observe(ended.sent as f64);
        }
    }
}

impl From<&Resource> for RouteKind {
    fn from(resource: &Resource) -> Self {
        match resource {
            Resource::Base => RouteKind::Ping,
            Resource::Catalog { .. } => RouteKind::Catalog,
            Resource::Tags { .. } => RouteKind::Tags,
            Resource::Manifest { .. } => RouteKind::Manifest,
            Resource::Blob { .. } => RouteKind::Blob,
            Resource::UploadStart { .. } => RouteKind::UploadStart,
            Resource::Upload { .. } => RouteKind::Upload,
            Resource::Referrers { .. } => RouteKind::Referrers,
            Resource::Outside => RouteKind::Forward,
        }
    }
}

impl RouteKind {
    /// The value of distribution's label `handler`.
    fn handler(self) -> Option<&'static str> {
        KINDS.get(self as usize).and_then(|(_, handler)| *handler)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn code_index(status: u16) -> usize {
    match CODES.binary_search(&status) {
        Ok(at) => at,
        Err(_) => CODES.len() + usize::from(status / 100).wrapping_sub(1).min(CLASSES.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Action;
    use crate::telemetry::metrics::expose;

    fn ended(kind: RouteKind, method: &Method, status: u16) -> Ended<'_> {
        Ended { kind, method, status, duration: Duration::from_millis(3), received: Some(0), sent: 0 }
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_exposition_has_each_metric_with_its_labels() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let guard = metrics.begin();
        metrics.end(&ended(RouteKind::Blob, &Method::GET, 206));
        let slow = Duration::from_millis(300);
        let sent = u64::from(u32::MAX) + 1;
        metrics.end(&Ended { duration: slow, received: Some(5), sent, ..ended(RouteKind::Blob, &Method::GET, 206) });
        metrics.end(&ended(RouteKind::Other, &Method::from_bytes(b"BREW").unwrap(), 418));
        metrics.end(&ended(RouteKind::UploadStart, &Method::POST, 202));
        metrics.end(&ended(RouteKind::Upload, &Method::POST, 202));
        let text = expose(&registry).unwrap();
        has(
            &text,
            &[
                r#"entrepot_requests_total{code="206",method="GET",route="blob"} 2"#,
                r#"entrepot_requests_total{code="4xx",method="other",route="other"} 1"#,
                r#"entrepot_requests_total{code="202",method="POST",route="upload"} 2"#,
                r#"entrepot_request_duration_seconds_bucket{route="blob",le="0.005"} 1"#,
                r#"entrepot_request_duration_seconds_count{route="blob"} 2"#,
                r#"entrepot_request_duration_seconds_count{route="upload"} 2"#,
                r#"entrepot_request_duration_seconds_count{route="health"} 0"#,
                "entrepot_request_bytes_total 5",
                "entrepot_response_bytes_total 4294967296",
                "entrepot_requests_in_flight 1",
            ],
        );
        drop(guard);
        assert!(expose(&registry).unwrap().contains("entrepot_requests_in_flight 0"));
    }

    #[test]
    fn requests_are_told_of_by_distributions_names_too() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let upload = Action::parse(&Method::PATCH, "/v2/a/blobs/uploads/x", None).unwrap().resource;
        let guard = metrics.asks(&upload);
        assert!(metrics.asks(&Resource::Outside).is_none());
        metrics.end(&Ended { received: Some(3000), ..ended(RouteKind::Upload, &Method::PATCH, 202) });
        metrics.end(&ended(RouteKind::UploadStart, &Method::POST, 202));
        metrics.end(&ended(RouteKind::Health, &Method::GET, 200));
        // At hand: no body came, and nothing is known of one.
        metrics.end(&Ended { received: None, sent: 1500, ..ended(RouteKind::Blob, &Method::GET, 200) });
        let text = expose(&registry).unwrap();
        has(
            &text,
            &[
                r#"registry_http_requests_total{code="202",handler="blob_upload_chunk",method="patch"} 1"#,
                r#"registry_http_requests_total{code="202",handler="blob_upload",method="post"} 1"#,
                r#"registry_http_requests_total{code="200",handler="blob",method="get"} 1"#,
                r#"registry_http_in_flight_requests{handler="blob_upload_chunk"} 1"#,
                r#"registry_http_in_flight_requests{handler="base"} 0"#,
                r#"registry_http_request_duration_seconds_bucket{handler="blob",method="get",le="0.005"} 1"#,
                r#"registry_http_request_size_bytes_sum{handler="blob_upload_chunk"} 3000"#,
                r#"registry_http_request_size_bytes_bucket{handler="blob_upload_chunk",le="2048"} 0"#,
                r#"registry_http_request_size_bytes_bucket{handler="blob",le="1024"} 1"#,
                r#"registry_http_request_size_bytes_count{handler="blob"} 1"#,
                r#"registry_http_response_size_bytes_bucket{handler="blob",le="1024"} 0"#,
                r#"registry_http_response_size_bytes_sum{handler="blob"} 1500"#,
            ],
        );
        assert!(!text.contains(r#"handler="health""#) && !text.contains(r#"handler="forward""#), "{text}");
        drop(guard);
        has(&expose(&registry).unwrap(), &[r#"registry_http_in_flight_requests{handler="blob_upload_chunk"} 0"#]);
    }

    #[test]
    fn every_status_and_route_has_one_series() {
        assert!(CODES.is_sorted());
        for (status, code) in [
            (0, "0"),
            (1, "other"),
            (99, "other"),
            (100, "1xx"),
            (299, "2xx"),
            (507, "507"),
            (599, "5xx"),
            (999, "other"),
        ] {
            let registry = Registry::new();
            let metrics = Metrics::new(&registry).unwrap();
            metrics.end(&ended(RouteKind::Other, &Method::GET, status));
            let line = format!(r#"entrepot_requests_total{{code="{code}",method="GET",route="other"}} 1"#);
            has(&expose(&registry).unwrap(), &[&line]);
        }
        assert_eq!(RouteKind::Other as usize, KINDS.len() - 1);
        assert_eq!((KINDS[RouteKind::Ping as usize].0, KINDS[RouteKind::Referrers as usize].0), ("ping", "referrers"));
    }
}
