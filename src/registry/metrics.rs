//! What is seen of the registry from outside, by distribution's names where it has them, so that its dashboards and alerts
//! go on. Times and sizes are those of the registry: sending a body to a client is the front's.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::events::{Change, Listener, What};
use crate::oci::{Action, Resource};

/// Registered once per process.
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    pub(super) storage_used: IntGauge,
    pub(super) storage_total: IntGauge,
    pub(super) disk_level: IntGauge,
    pub(super) maintenance: IntGauge,
    pub(super) repositories: IntGauge,
    pub(super) uploads: IntGauge,
    pub(super) purged: prometheus::IntCounter,
    changes: IntCounterVec,
    pub(super) quota: super::quota::Metrics,
    pub(super) rescued: IntCounterVec,
    pub(super) second_looks: IntCounterVec,
}

/// What [`Metrics::rescued`] counts, and how a second look ended.
const RESCUED: [&str; 3] = ["bytes", "layer", "revision"];
const SECOND_LOOKS: [&str; 3] = ["well", "missing", "failed"];

/// Distribution's buckets, in seconds.
const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>, labels: &[&str]| {
            let family = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        // 1 KiB to 2 GiB.
        let bytes = prometheus::exponential_buckets(1024.0, 2.0, 22)?;
        let requests = Opts::new("registry_http_requests_total", "Requests that the integrated registry answered");
        let requests = IntCounterVec::new(requests, &["handler", "code", "method"])?;
        registry.register(Box::new(requests.clone()))?;
        let in_flight = Opts::new("registry_http_in_flight_requests", "Requests that the registry is answering");
        let in_flight = IntGaugeVec::new(in_flight, &["handler"])?;
        registry.register(Box::new(in_flight.clone()))?;
        let purged = prometheus::IntCounter::new("entrepot_registry_uploads_purged_total", "Expired uploads removed")?;
        registry.register(Box::new(purged.clone()))?;
        let changes = Opts::new("entrepot_registry_changes_total", "Changes that requests to this instance made");
        let changes = IntCounterVec::new(changes, &["change"])?;
        registry.register(Box::new(changes.clone()))?;
        // There from the start, so that the first change of a kind is seen as one.
        What::NAMES.iter().for_each(|name| drop(changes.with_label_values(&[name])));
        let rescued = Opts::new(
            "entrepot_registry_rescued_total",
            "What a garbage collection took away and was brought back because somebody needs it",
        );
        let rescued = IntCounterVec::new(rescued, &["kind"])?;
        registry.register(Box::new(rescued.clone()))?;
        RESCUED.iter().for_each(|kind| drop(rescued.with_label_values(&[kind])));
        let second_looks = Opts::new(
            "entrepot_registry_second_looks_total",
            "Pushed manifests whose references were looked at again because a garbage collection was moving bytes",
        );
        let second_looks = IntCounterVec::new(second_looks, &["result"])?;
        registry.register(Box::new(second_looks.clone()))?;
        SECOND_LOOKS.iter().for_each(|result| drop(second_looks.with_label_values(&[result])));
        Ok(Metrics {
            requests,
            duration: histogram(
                "registry_http_request_duration_seconds",
                "Time until the answer was known",
                SECONDS.to_vec(),
                &["handler", "method"],
            )?,
            in_flight,
            request_size: histogram(
                "registry_http_request_size_bytes",
                "Announced size of requests",
                bytes.clone(),
                &["handler"],
            )?,
            response_size: histogram("registry_http_response_size_bytes", "Size of answers", bytes, &["handler"])?,
            storage_used: gauge("registry_storage_used_bytes", "Used bytes of the file system that holds the storage")?,
            storage_total: gauge("registry_storage_total_bytes", "Size of the file system that holds the storage")?,
            disk_level: gauge(
                "entrepot_registry_disk_level",
                "0: room, 1: disk_warn is reached, 2: writes are refused",
            )?,
            maintenance: gauge("entrepot_registry_maintenance", "1 while nothing is written at the operator's wish")?,
            repositories: gauge("entrepot_registry_repositories", "Repositories, counted every few minutes")?,
            uploads: gauge("entrepot_registry_uploads", "Uploads under way, counted every few minutes")?,
            purged,
            changes,
            quota: super::quota::Metrics::new(registry)?,
            rescued,
            second_looks,
        })
    }

    /// `kind` is one of [`RESCUED`].
    pub(super) fn rescued(&self, kind: &str) {
        self.rescued.with_label_values(&[kind]).inc();
    }

    /// `result` is one of [`SECOND_LOOKS`].
    pub(super) fn looked_twice(&self, result: &str) {
        self.second_looks.with_label_values(&[result]).inc();
    }

    /// Counts a request as under way until it is dropped.
    pub(super) fn begin(&self, resource: &Resource) -> UnderWay {
        let gauge = self.in_flight.with_label_values(&[handler(resource)]);
        gauge.inc();
        UnderWay(gauge)
    }

    pub(super) fn answered(&self, done: &Done<'_>) {
        let (handler, method) = (handler(&done.action.resource), method(&done.action.method));
        self.requests.with_label_values(&[handler, done.status.as_str(), method]).inc();
        self.duration.with_label_values(&[handler, method]).observe(done.time.as_secs_f64());
        self.request_size.with_label_values(&[handler]).observe(done.received as f64);
        self.response_size.with_label_values(&[handler]).observe(done.sent as f64);
    }
}

impl Listener for Metrics {
    fn changed(&self, change: &Change) {
        self.changes.with_label_values(&[change.what.name()]).inc();
    }
}

/// One answered request.
pub(super) struct Done<'a> {
    pub action: &'a Action,
    pub status: StatusCode,
    pub time: Duration,
    /// Bytes of the request's body, as announced.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
}

pub(super) struct UnderWay(IntGauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Distribution's names of its routes.
fn handler(resource: &Resource) -> &'static str {
    match resource {
        Resource::Base => "base",
        Resource::Catalog { .. } => "catalog",
        Resource::Tags { .. } => "tags",
        Resource::Manifest { .. } => "manifest",
        Resource::Blob { .. } => "blob",
        Resource::UploadStart { .. } => "blob_upload",
        Resource::Upload { .. } => "blob_upload_chunk",
        Resource::Referrers { .. } => "referrers",
        Resource::Outside => "forward",
    }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;
    use crate::oci::{Algorithm, Digest};
    use crate::telemetry::RequestId;

    #[test]
    fn requests_are_counted_by_distributions_names() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let action = Action::parse(&Method::PATCH, "/v2/a/blobs/uploads/x", None).unwrap();
        let in_flight = metrics.begin(&action.resource);
        let (actor, request, repository) = (Identity::Anonymous, RequestId::new(), "a".parse().unwrap());
        let what = What::ManifestDeleted { digest: Digest::of(Algorithm::Sha256, b"x") };
        metrics.changed(&Change { actor, request, repository, what });
        let status = StatusCode::ACCEPTED;
        metrics.answered(&Done { action: &action, status, time: Duration::from_millis(7), received: 9, sent: 0 });
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"registry_http_requests_total{code="202",handler="blob_upload_chunk",method="patch"} 1"#,
            r#"registry_http_in_flight_requests{handler="blob_upload_chunk"} 1"#,
            r#"registry_http_request_duration_seconds_bucket{handler="blob_upload_chunk",method="patch",le="0.01"} 1"#,
            r#"registry_http_request_size_bytes_sum{handler="blob_upload_chunk"} 9"#,
            r#"entrepot_registry_changes_total{change="manifest_deleted"} 1"#,
            r#"entrepot_registry_changes_total{change="tag_moved"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(in_flight);
        assert_eq!(metrics.in_flight.with_label_values(&["blob_upload_chunk"]).get(), 0);
    }
}
