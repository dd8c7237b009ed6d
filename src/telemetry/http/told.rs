//! What was counted, as it is told: by our names, and by those that distribution has, so that its dashboards and alerts go on whoever
//! answers here: the integrated registry, a mirror, or registries behind us. Costs whoever looks, and no request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc, Metric as _};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::{CLASSES, CODES, Counts, KINDS, METHODS, SLOTS};

/// Name, what it says, labels.
type Family = (&'static str, &'static str, &'static [&'static str]);

const REQUESTS: Family = (
    "entrepot_requests_total",
    "Requests answered, by kind of route, method and status code.",
    &["code", "method", "route"],
);
const SECONDS: Family = (
    "entrepot_request_duration_seconds",
    "From a request's first byte to its answer's last, by kind of route.",
    &["route"],
);
const THEIR_REQUESTS: Family = (
    "registry_http_requests_total",
    "Requests answered, by distribution's handler, method and status code.",
    &["code", "handler", "method"],
);
const THEIR_SECONDS: Family = (
    "registry_http_request_duration_seconds",
    "From a request's first byte to its answer's last, by distribution's handler and method.",
    &["handler", "method"],
);
const THEIR_RECEIVED: Family =
    ("registry_http_request_size_bytes", "Bytes of requests' bodies, by distribution's handler.", &["handler"]);
const THEIR_SENT: Family =
    ("registry_http_response_size_bytes", "Bytes of answers' bodies, by distribution's handler.", &["handler"]);

/// The collector to register.
pub(super) struct Told {
    counts: Arc<Counts>,
    descriptions: Vec<Desc>,
}

impl Told {
    pub(super) fn new(counts: Arc<Counts>) -> prometheus::Result<Self> {
        let describe = |(name, help, labels): Family| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.into(), help.into(), labels, HashMap::new())
        };
        let families = [REQUESTS, SECONDS, THEIR_REQUESTS, THEIR_SECONDS, THEIR_RECEIVED, THEIR_SENT];
        Ok(Told { counts, descriptions: families.into_iter().map(describe).collect::<Result<_, _>>()? })
    }

    /// Both families of requests.
    fn requests(&self) -> [MetricFamily; 2] {
        let (mut ours, mut theirs) = (BTreeMap::<[&str; 3], u64>::new(), BTreeMap::<[&str; 3], u64>::new());
        let codes: Vec<String> = CODES.iter().map(u16::to_string).chain(CLASSES.map(str::to_owned)).collect();
        for (at, count) in self.counts.requests.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            let (code, asked) = (codes.get(at % SLOTS), at / SLOTS);
            let (kind, verb) = (KINDS.get(asked / METHODS.len()), asked % METHODS.len());
            let (Some(code), Some((route, handler)), Some(verb)) = (code, kind, METHODS.get(verb)) else { continue };
            if count == 0 {
                continue;
            }
            *ours.entry([code, verb, route]).or_default() += count;
            if let Some(handler) = handler {
                *theirs.entry([code, handler, method(verb)]).or_default() += count;
            }
        }
        let told = |family, counts: BTreeMap<[&str; 3], u64>| {
            let metrics = counts.into_iter().map(|(values, count)| {
                let mut counter = Counter::default();
                counter.set_value(count as f64);
                let mut metric = labelled(family, &values);
                metric.set_counter(counter);
                metric
            });
            named(family, MetricType::COUNTER, metrics.collect())
        };
        [told(REQUESTS, ours), told(THEIR_REQUESTS, theirs)]
    }

    /// Both families of durations. Of ours, each route has a series from the beginning.
    fn durations(&self) -> [MetricFamily; 2] {
        let mut ours = BTreeMap::<&str, Histogram>::new();
        let mut theirs = Vec::new();
        for ((route, handler), durations) in KINDS.iter().zip(self.counts.durations.chunks(METHODS.len())) {
            for (name, durations) in METHODS.iter().zip(durations) {
                let read = durations.metric().get_histogram().clone();
                match ours.get_mut(route) {
                    Some(sum) => add(sum, &read),
                    None => drop(ours.insert(*route, read.clone())),
                }
                if let Some(handler) = handler.filter(|_| read.get_sample_count() > 0) {
                    theirs.push(observed(THEIR_SECONDS, &[handler, method(name)], read));
                }
            }
        }
        let ours = ours.into_iter().map(|(route, sum)| observed(SECONDS, &[route], sum)).collect();
        [named(SECONDS, MetricType::HISTOGRAM, ours), named(THEIR_SECONDS, MetricType::HISTOGRAM, theirs)]
    }

    fn received(&self) -> MetricFamily {
        let counts = self.counts.received.iter().zip(&self.counts.at_hand).map(|(bodies, at_hand)| {
            let mut read = bodies.metric().get_histogram().clone();
            add_nothings(&mut read, at_hand.load(Ordering::Relaxed));
            read
        });
        sizes(THEIR_RECEIVED, counts)
    }

    fn sent(&self) -> MetricFamily {
        sizes(THEIR_SENT, self.counts.sent.iter().map(|bodies| bodies.metric().get_histogram().clone()))
    }
}

impl Collector for Told {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let [requests, theirs] = self.requests();
        let [seconds, their_seconds] = self.durations();
        vec![requests, theirs, seconds, their_seconds, self.received(), self.sent()]
    }
}

/// By kind, those that distribution knows and that were asked for.
fn sizes(family: Family, counts: impl Iterator<Item = Histogram>) -> MetricFamily {
    let handlers = KINDS.iter().map(|(_, handler)| handler);
    let used = handlers.zip(counts).filter(|(_, read)| read.get_sample_count() > 0);
    let metrics = used.filter_map(|(handler, read)| Some(observed(family, &[(*handler)?], read))).collect();
    named(family, MetricType::HISTOGRAM, metrics)
}

/// Adds what was observed elsewhere within the same bounds.
fn add(sum: &mut Histogram, other: &Histogram) {
    let both = sum.get_bucket().iter().zip(other.get_bucket());
    let buckets = both.map(|(one, other)| bucket(one, other.cumulative_count())).collect();
    sum.set_bucket(buckets);
    sum.set_sample_count(sum.get_sample_count() + other.get_sample_count());
    sum.set_sample_sum(sum.get_sample_sum() + other.get_sample_sum());
}

/// Adds so many observations of 0.
fn add_nothings(sum: &mut Histogram, count: u64) {
    sum.set_bucket(sum.get_bucket().iter().map(|one| bucket(one, count)).collect());
    sum.set_sample_count(sum.get_sample_count() + count);
}

fn bucket(one: &Bucket, more: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(one.upper_bound());
    bucket.set_cumulative_count(one.cumulative_count() + more);
    bucket
}

fn observed(family: Family, values: &[&str], read: Histogram) -> Metric {
    let mut metric = labelled(family, values);
    metric.set_histogram(read);
    metric
}

fn labelled((_, _, labels): Family, values: &[&str]) -> Metric {
    let pairs = labels.iter().zip(values).map(|(label, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*label).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn named((name, help, _): Family, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// As distribution writes it.
fn method(name: &str) -> &'static str {
    match name {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}
