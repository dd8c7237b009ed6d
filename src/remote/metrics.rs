//! `entrepot_remote_*`. Gauges are read from the living remotes when somebody scrapes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::breaker::{Breaker, BreakerState};
use super::budget::Budget;
use super::error::{RemoteError, Throttle};
use super::question::What;

/// Seconds. A registry nearby answers in a millisecond, one across an ocean with a token and a redirect in a second.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The room's metrics; one for the process, shared by all remotes and kept over reloads.
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    tokens: IntCounterVec,
    gauges: Gauges,
}

/// What came of a question for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenResult {
    Given,
    /// 401 or 403.
    Refused,
    /// No answer, or none that is of use.
    Failed,
}

impl TokenResult {
    fn word(self) -> &'static str {
        match self {
            TokenResult::Given => "given",
            TokenResult::Refused => "refused",
            TokenResult::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let requests = counter(
            "entrepot_remote_requests_total",
            "Questions to remotes, and what came of them; exhausted and resting were not asked.",
            &["remote", "kind", "result"],
        )?;
        let seconds = HistogramOpts::new("entrepot_remote_seconds", "Time until the head of a remote's answer.");
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["remote", "kind"])?;
        let tokens =
            counter("entrepot_remote_token_requests_total", "Questions for tokens of remotes.", &["remote", "result"])?;
        let gauges = Gauges::new()?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Metrics { requests, seconds, tokens, gauges })
    }

    /// A question that has its answer, or has none.
    pub(super) fn asked<T>(&self, remote: &str, what: &What<'_>, result: &Result<T, RemoteError>, time: Duration) {
        let kind = kind(what);
        self.requests.with_label_values(&[remote, kind, word(result)]).inc();
        // What was not asked takes no time.
        if !matches!(result, Err(RemoteError::Resting { .. } | RemoteError::Exhausted { .. })) {
            self.seconds.with_label_values(&[remote, kind]).observe(time.as_secs_f64());
        }
    }

    pub(super) fn token(&self, remote: &str, result: TokenResult) {
        self.tokens.with_label_values(&[remote, result.word()]).inc();
    }

    /// From now on the gauges tell of these, as long as they live.
    pub(super) fn watch(&self, remote: &str, breaker: &Arc<Breaker>, budget: &Arc<Budget>) {
        let mut watched = self.gauges.watched.lock();
        watched.retain(|watched| watched.breaker.strong_count() > 0);
        let (breaker, budget) = (Arc::downgrade(breaker), Arc::downgrade(budget));
        watched.push(Watched { remote: remote.to_owned(), breaker, budget });
    }
}

pub(super) fn kind(what: &What<'_>) -> &'static str {
    match what {
        What::Manifest(_) => "manifest",
        What::Blob(_) => "blob",
        What::Tags(_) => "tags",
        What::Referrers(..) => "referrers",
        What::Catalog(_) => "catalog",
        What::Ping => "ping",
    }
}

fn word<T>(result: &Result<T, RemoteError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(RemoteError::Absent(_)) => "absent",
        Err(RemoteError::Denied(_)) => "denied",
        Err(RemoteError::Throttled(Throttle::Pulls { .. })) => "throttled",
        Err(RemoteError::Throttled(Throttle::Abuse { .. })) => "too_many",
        Err(RemoteError::Exhausted { .. }) => "exhausted",
        Err(RemoteError::Down(_)) => "down",
        Err(RemoteError::Resting { .. }) => "resting",
        Err(RemoteError::Useless(_)) => "useless",
        Err(RemoteError::Unsupported(_)) => "unsupported",
    }
}

struct Watched {
    remote: String,
    breaker: Weak<Breaker>,
    budget: Weak<Budget>,
}

/// In a reload the old remote of a name lives on for a while: the younger one speaks.
#[derive(Clone)]
struct Gauges {
    watched: Arc<Mutex<Vec<Watched>>>,
    up: IntGaugeVec,
    left: IntGaugeVec,
}

impl Gauges {
    fn new() -> prometheus::Result<Self> {
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        Ok(Gauges {
            watched: Arc::default(),
            up: gauge("entrepot_remote_up", "1 while a remote is asked, 0 while it rests or is tried.", &["remote"])?,
            left: gauge(
                "entrepot_remote_pulls_left",
                "Pulls that a remote said are left, for each credential of ours.",
                &["remote", "credential"],
            )?,
        })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [&self.up, &self.left].into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let watched = self.watched.lock(); // also keeps two scrapes apart
        let living = watched.iter().filter_map(|watched| {
            Some((watched.remote.as_str(), (watched.breaker.upgrade()?, watched.budget.upgrade()?)))
        });
        let youngest: HashMap<_, _> = living.collect();
        let vecs = [&self.up, &self.left];
        vecs.iter().for_each(|vec| vec.reset());
        for (remote, (breaker, budget)) in youngest {
            self.up.with_label_values(&[remote]).set(i64::from(breaker.state() == BreakerState::Closed));
            for pulls in budget.state().credentials {
                if let Some(left) = pulls.left {
                    let left = i64::try_from(left).unwrap_or(i64::MAX);
                    self.left.with_label_values(&[remote, &pulls.credential]).set(left);
                }
            }
        }
        vecs.iter().flat_map(|vec| vec.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::super::budget::Cost;
    use super::*;
    use crate::fleet::Fleet;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    async fn budget() -> Arc<Budget> {
        let metrics = crate::fleet::Metrics::new(&Registry::new()).unwrap();
        Budget::new("docker.io", Vec::new(), Fleet::open(None, true, Arc::new(metrics)).await, None)
    }

    #[tokio::test]
    async fn what_is_asked_and_how_it_is_are_seen() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let digest = crate::oci::Digest::of(crate::oci::Algorithm::Sha256, b"x");
        metrics.asked("hub", &What::Blob(&digest), &Ok(()), Duration::from_millis(2));
        let resting = Err::<(), _>(RemoteError::Resting { retry_after: Duration::from_secs(1) });
        metrics.asked("hub", &What::Tags(""), &resting, Duration::ZERO);
        let denied = Err::<(), _>(RemoteError::Denied(StatusCode::FORBIDDEN));
        metrics.asked("hub", &What::Tags(""), &denied, Duration::ZERO);
        metrics.token("hub", TokenResult::Refused);
        let (breaker, budget) = (Arc::new(Breaker::default()), budget().await);
        metrics.watch("hub", &breaker, &budget);
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-remaining", HeaderValue::from_static("76;w=21600"));
        budget.note(Some(0), Cost::Look, &headers, true);
        let seen = text(&registry);
        for line in [
            r#"entrepot_remote_requests_total{kind="blob",remote="hub",result="ok"} 1"#,
            r#"entrepot_remote_requests_total{kind="tags",remote="hub",result="resting"} 1"#,
            r#"entrepot_remote_seconds_count{kind="tags",remote="hub"} 1"#,
            r#"entrepot_remote_token_requests_total{remote="hub",result="refused"} 1"#,
            r#"entrepot_remote_up{remote="hub"} 1"#,
            r#"entrepot_remote_pulls_left{credential="anonymous",remote="hub"} 76"#,
        ] {
            assert!(seen.contains(line), "{line}\n{seen}");
        }
    }

    #[tokio::test]
    async fn a_remote_that_is_gone_is_told_of_no_more_and_the_younger_one_speaks() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let (old, budget) = (Arc::new(Breaker::default()), budget().await);
        for _ in 0..5 {
            old.admit().ok().unwrap().done(false);
        }
        metrics.watch("hub", &old, &budget);
        assert!(text(&registry).contains(r#"entrepot_remote_up{remote="hub"} 0"#));
        let new = Arc::new(Breaker::default());
        metrics.watch("hub", &new, &budget);
        assert!(text(&registry).contains(r#"entrepot_remote_up{remote="hub"} 1"#));
        drop((old, new));
        assert!(!text(&registry).contains("entrepot_remote_up{"));
    }
}
