//! Metrics of the requests that clients make. Every label's values are a fixed set, so a client cannot make series.
//!
//! A request costs a few atomic additions: the handle of each (route, method, code) is resolved once and kept in an array.

use std::sync::OnceLock;
use std::time::Duration;

use crate::oci::Resource;
use http::Method;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Which kind of path was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// `/v2/`.
    Ping,
    Catalog,
    Tags,
    Manifest,
    Blob,
    Upload,
    Referrers,
    /// A path outside `/v2/` that is handed to the peers.
    Forward,
    Health,
    /// Redirects to https, unknown paths, requests refused before they had a path.
    Other,
}

const ROUTES: [&str; 10] =
    ["ping", "catalog", "tags", "manifest", "blob", "upload", "referrers", "forward", "health", "other"];
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
const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

/// The front's metrics; one for the process.
pub struct Metrics {
    requests: IntCounterVec,
    /// `requests`, resolved: `[route][method][code]`.
    resolved: Box<[OnceLock<IntCounter>]>,
    durations: [Histogram; ROUTES.len()],
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    in_flight: IntGauge,
}

/// A request under way; dropped = over.
pub struct UnderWay(IntGauge);

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("entrepot_requests_total", "Requests answered, by kind of route, method and status code."),
            &["route", "method", "code"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "entrepot_request_duration_seconds",
                "From a request's first byte to its answer's last, by kind of route.",
            )
            .buckets(BUCKETS.to_vec()),
            &["route"],
        )?;
        let bytes_in = IntCounter::new("entrepot_request_bytes_total", "Bytes of request bodies read from clients.")?;
        let bytes_out = IntCounter::new("entrepot_response_bytes_total", "Bytes of answers' bodies sent to clients.")?;
        let in_flight = IntGauge::new("entrepot_requests_in_flight", "Requests under way.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(bytes_in.clone()))?;
        registry.register(Box::new(bytes_out.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Metrics {
            requests,
            resolved: (0..ROUTES.len() * METHODS.len() * SLOTS).map(|_| OnceLock::new()).collect(),
            durations: ROUTES.map(|route| durations.with_label_values(&[route])),
            bytes_in,
            bytes_out,
            in_flight,
        })
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn begin(&self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        usize::try_from(self.in_flight.get()).unwrap_or_default()
    }

    /// Counts a request that is over. `status` 0: the client left before there was an answer.
    pub fn end(&self, route: RouteKind, method: &Method, status: u16, duration: Duration) {
        let (method, code) = (method_index(method), code_index(status));
        let at = (route as usize * METHODS.len() + method) * SLOTS + code;
        if let Some(counter) = self.resolved.get(at) {
            counter.get_or_init(|| self.resolve(route, method, code)).inc();
        }
        if let Some(histogram) = self.durations.get(route as usize) {
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// Counts bytes of a request's body; may be called while it flows, so that rates show long uploads.
    pub fn request_bytes(&self, count: u64) {
        self.bytes_in.inc_by(count);
    }

    /// Counts bytes of an answer's body; may be called while it flows.
    pub fn response_bytes(&self, count: u64) {
        self.bytes_out.inc_by(count);
    }

    fn resolve(&self, route: RouteKind, method: usize, code: usize) -> IntCounter {
        let method = METHODS.get(method).copied().unwrap_or("other");
        let code = match CODES.get(code) {
            Some(code) => code.to_string(),
            None => CLASSES.get(code - CODES.len()).copied().unwrap_or("other").to_owned(),
        };
        self.requests.with_label_values(&[route.label(), method, &code])
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
            Resource::UploadStart { .. } | Resource::Upload { .. } => RouteKind::Upload,
            Resource::Referrers { .. } => RouteKind::Referrers,
            Resource::Outside => RouteKind::Forward,
        }
    }
}

impl RouteKind {
    /// The value of the label `route`.
    pub fn label(self) -> &'static str {
        ROUTES.get(self as usize).copied().unwrap_or("other")
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
    use crate::telemetry::metrics::expose;

    #[test]
    fn the_exposition_has_each_metric_with_its_labels() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let guard = metrics.begin();
        metrics.end(RouteKind::Blob, &Method::GET, 206, Duration::from_millis(3));
        metrics.end(RouteKind::Blob, &Method::GET, 206, Duration::from_millis(300));
        metrics.end(RouteKind::Other, &Method::from_bytes(b"BREW").unwrap(), 418, Duration::ZERO);
        metrics.request_bytes(5);
        metrics.response_bytes(u64::from(u32::MAX) + 1);
        let text = expose(&registry).unwrap();
        for line in [
            r#"entrepot_requests_total{code="206",method="GET",route="blob"} 2"#,
            r#"entrepot_requests_total{code="4xx",method="other",route="other"} 1"#,
            r#"entrepot_request_duration_seconds_bucket{route="blob",le="0.005"} 1"#,
            r#"entrepot_request_duration_seconds_count{route="blob"} 2"#,
            "entrepot_request_bytes_total 5",
            "entrepot_response_bytes_total 4294967296",
            "entrepot_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        drop(guard);
        assert!(expose(&registry).unwrap().contains("entrepot_requests_in_flight 0"));
    }

    #[test]
    fn every_status_and_route_has_one_series() {
        assert!(CODES.is_sorted());
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let label = |status| {
            let counter = metrics.resolve(RouteKind::Other, 0, code_index(status));
            let metric = prometheus::core::Metric::metric(&counter);
            metric.get_label().iter().find(|pair| pair.name() == "code").map(|pair| pair.value().to_owned())
        };
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
            assert_eq!(label(status).as_deref(), Some(code), "{status}");
        }
        assert_eq!(RouteKind::Other as usize, ROUTES.len() - 1);
        assert_eq!((RouteKind::Ping.label(), RouteKind::Referrers.label()), ("ping", "referrers"));
    }
}
