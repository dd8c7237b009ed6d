//! What is seen of mirrors from outside: `entrepot_mirror_*` by remote, and the proxy's counters of distribution for its dashboards.

use http::StatusCode;
use http::header::WARNING;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Reply;
use crate::cache::Source;
use crate::oci::{Action, Resource};

/// The room's metrics; one for the process, shared by all mirrors and kept over reloads.
pub struct Metrics {
    requests: IntCounterVec,
    stale: IntCounterVec,
    bytes: IntCounterVec,
    fills: IntGaugeVec,
    proxy: Proxy,
}

/// Distribution's, of all remotes together.
struct Proxy {
    requests: IntCounterVec,
    hits: IntCounterVec,
    misses: IntCounterVec,
    pulled: IntCounterVec,
    pushed: IntCounterVec,
}

/// Content, as distribution's counters tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    Remote,
    /// Another instance of ours, which fetches it or has it.
    Fleet,
    /// What was here.
    Kept,
}

/// Content that comes.
pub(super) struct Coming {
    bytes: IntCounter,
    /// Distribution's, of what comes from a remote.
    pulled: Option<IntCounter>,
}

impl Coming {
    /// So many bytes of it are here.
    pub(super) fn count(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
        if let Some(pulled) = &self.pulled {
            pulled.inc_by(bytes as u64);
        }
    }
}

/// A fill under way, until dropped.
pub(super) struct FillUnderWay(IntGauge);

impl Drop for FillUnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Manifest, Kind::Blob];

    fn word(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::Blob => "blob",
        }
    }
}

impl Giver {
    fn word(self) -> &'static str {
        match self {
            Giver::Remote => "remote",
            Giver::Fleet => "fleet",
            Giver::Kept => "kept",
        }
    }
}

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let counter = |name, help, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let fills = Opts::new("entrepot_mirror_fills", "Blobs that are being fetched for a mirror.");
        let fills = IntGaugeVec::new(fills, &["remote"])?;
        registry.register(Box::new(fills.clone()))?;
        let kind = ["type"];
        let proxy = Proxy {
            requests: counter("registry_proxy_requests_total", "Requests for content of remotes.", &kind)?,
            hits: counter("registry_proxy_hits_total", "Those answered with what was here.", &kind)?,
            misses: counter("registry_proxy_misses_total", "Those that the remote was asked for.", &kind)?,
            pulled: counter("registry_proxy_pulled_bytes_total", "Bytes of content from remotes.", &kind)?,
            pushed: counter("registry_proxy_pushed_bytes_total", "Bytes of that content to clients.", &kind)?,
        };
        // There from the start, as distribution has them.
        for counter in [&proxy.requests, &proxy.hits, &proxy.misses, &proxy.pulled, &proxy.pushed] {
            Kind::ALL.iter().for_each(|kind| drop(counter.with_label_values(&[kind.word()])));
        }
        Ok(Metrics {
            requests: counter(
                "entrepot_mirror_requests_total",
                "Requests for what is mirrored, by what came of them.",
                &["remote", "kind", "result"],
            )?,
            stale: counter(
                "entrepot_mirror_stale_total",
                "Answers as the remote gave them once, because it cannot speak.",
                &["remote"],
            )?,
            bytes: counter(
                "entrepot_mirror_bytes_total",
                "Bytes of content that came for mirrors, by from where.",
                &["remote", "from"],
            )?,
            fills,
            proxy,
        })
    }

    /// A request is answered.
    pub(super) fn answered(&self, remote: &str, action: &Action, reply: &Reply) {
        let result = result(reply);
        self.requests.with_label_values(&[remote, word(&action.resource), result]).inc();
        if result == "stale" {
            self.stale.with_label_values(&[remote]).inc();
        }
        let Some(kind) = kind(&action.resource) else { return };
        self.proxy.requests.with_label_values(&[kind.word()]).inc();
        match result {
            "hit" | "stale" => self.proxy.hits.with_label_values(&[kind.word()]).inc(),
            "miss" | "collapsed" => self.proxy.misses.with_label_values(&[kind.word()]).inc(),
            _ => {}
        }
    }

    /// Content begins to come.
    pub(super) fn coming(&self, remote: &str, kind: Kind, from: Giver) -> Coming {
        let pulled = (from == Giver::Remote).then(|| self.proxy.pulled.with_label_values(&[kind.word()]));
        Coming { bytes: self.bytes.with_label_values(&[remote, from.word()]), pulled }
    }

    /// So many bytes of content went to a client.
    pub(super) fn sent(&self, remote: &str, resource: &Resource, source: Option<Source>, bytes: u64) {
        let Some(kind) = kind(resource) else { return };
        self.proxy.pushed.with_label_values(&[kind.word()]).inc_by(bytes);
        if matches!(source, Some(Source::Memory | Source::Disk)) {
            self.bytes.with_label_values(&[remote, Giver::Kept.word()]).inc_by(bytes);
        }
    }

    /// A blob is being fetched.
    pub(super) fn fill(&self, remote: &str) -> FillUnderWay {
        let gauge = self.fills.with_label_values(&[remote]);
        gauge.inc();
        FillUnderWay(gauge)
    }
}

fn kind(resource: &Resource) -> Option<Kind> {
    match resource {
        Resource::Manifest { .. } => Some(Kind::Manifest),
        Resource::Blob { .. } => Some(Kind::Blob),
        _ => None,
    }
}

fn word(resource: &Resource) -> &'static str {
    match resource {
        Resource::Manifest { .. } => "manifest",
        Resource::Blob { .. } => "blob",
        Resource::Tags { .. } => "tags",
        Resource::Referrers { .. } => "referrers",
        Resource::Catalog { .. } => "catalog",
        _ => "other",
    }
}

fn result(reply: &Reply) -> &'static str {
    match reply.status {
        _ if reply.headers.contains_key(WARNING) => "stale",
        status if status.is_success() => match reply.source {
            Some(Source::Miss) => "miss",
            Some(Source::Collapsed) => "collapsed",
            Some(Source::Memory | Source::Disk) => "hit",
            // A piece straight from the remote.
            None => "piece",
        },
        StatusCode::NOT_FOUND => "absent",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "denied",
        StatusCode::TOO_MANY_REQUESTS => "throttled",
        status if status.is_server_error() => "unavailable",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::oci::ErrorCode;

    fn reply(source: Source) -> Reply {
        Reply { status: StatusCode::OK, source: Some(source), ..Reply::problem(ErrorCode::Unknown, "") }
    }

    #[test]
    fn distributions_counters_and_our_own_tell_the_same() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let action = |path: &str| Action::parse(&Method::GET, path, None).unwrap();
        let (manifest, tags) = (action("/v2/docker.io/a/manifests/x"), action("/v2/docker.io/a/tags/list"));
        metrics.answered("hub", &manifest, &reply(Source::Disk));
        metrics.answered("hub", &manifest, &reply(Source::Miss));
        let mut stale = reply(Source::Disk);
        super::super::stale::warn(&mut stale);
        metrics.answered("hub", &manifest, &stale);
        metrics.answered("hub", &manifest, &Reply::problem(ErrorCode::ManifestUnknown, ""));
        metrics.answered("hub", &tags, &reply(Source::Memory));
        metrics.coming("hub", Kind::Manifest, Giver::Remote).count(7);
        metrics.coming("hub", Kind::Blob, Giver::Fleet).count(9);
        metrics.sent("hub", &manifest.resource, Some(Source::Miss), 21);
        metrics.sent("hub", &manifest.resource, Some(Source::Disk), 2);
        metrics.sent("hub", &tags.resource, Some(Source::Disk), 5);
        let fill = metrics.fill("hub");
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"registry_proxy_requests_total{type="manifest"} 4"#,
            r#"registry_proxy_hits_total{type="manifest"} 2"#,
            r#"registry_proxy_misses_total{type="manifest"} 1"#,
            r#"registry_proxy_misses_total{type="blob"} 0"#,
            r#"registry_proxy_pulled_bytes_total{type="manifest"} 7"#,
            r#"registry_proxy_pulled_bytes_total{type="blob"} 0"#,
            r#"registry_proxy_pushed_bytes_total{type="manifest"} 23"#,
            r#"entrepot_mirror_bytes_total{from="kept",remote="hub"} 2"#,
            r#"entrepot_mirror_requests_total{kind="manifest",remote="hub",result="stale"} 1"#,
            r#"entrepot_mirror_requests_total{kind="manifest",remote="hub",result="absent"} 1"#,
            r#"entrepot_mirror_requests_total{kind="tags",remote="hub",result="hit"} 1"#,
            r#"entrepot_mirror_stale_total{remote="hub"} 1"#,
            r#"entrepot_mirror_bytes_total{from="fleet",remote="hub"} 9"#,
            r#"entrepot_mirror_fills{remote="hub"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop(fill);
        assert_eq!(metrics.fills.with_label_values(&["hub"]).get(), 0);
    }
}
