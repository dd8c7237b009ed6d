//! What one key cannot tell of itself: bounds with their reasons, keys that depend on each other,
//! names that must exist, files that must parse. Every fault is reported, not only the first.

mod acme;
mod auth;
mod cluster;
mod fleet;
mod limits;
mod listener;
mod maintenance;
mod names;
mod outside;
mod pem;
mod registry;
mod remote;
mod retention;
mod route;
mod tracing;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::model::Config;
use super::read::Finding;
use super::tree::Path;
use crate::audit;
use crate::units::{Size, Span, mebibytes, seconds};

const MILLISECOND: Span = Span(Duration::from_millis(1));
const HOUR: Span = seconds(3600);
const DAY: Span = seconds(24 * 3600);

/// Everything wrong with `config` that its types allow.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut report = Report::default();
    let root = Path::default();
    listener::check(config, &mut report);
    acme::check(config, &mut report);
    cluster::check(config, &mut report);
    registry::check(config, &mut report);
    remote::check(config, &mut report);
    fleet::check(config, &mut report);
    route::check(config, &mut report);
    auth::check(config, &mut report);
    limits::check(config, &mut report);
    retention::check(config, &mut report);
    maintenance::check(config, &mut report);
    tracing::check(config, &mut report);

    report.within(root.key("threads"), config.threads, 0..=1024);
    let drain = root.key("drain");
    report.within(drain.key("delay"), config.drain.delay, seconds(0)..=HOUR);
    report.within(drain.key("timeout"), config.drain.timeout, seconds(0)..=DAY);
    if let crate::telemetry::AccessTarget::File(file) = &config.log.access
        && file.as_os_str().is_empty()
    {
        report.say(root.key("log").key("access"), "is empty: write \"stdout\", \"off\" or the path of a file");
    }
    if let Some(audit::Config { to: audit::Target::File(file), .. }) = &config.audit
        && file.as_os_str().is_empty()
    {
        report.say(root.key("audit").key("to"), "is empty: write \"stdout\" or the path of a file");
    }
    cache(&config.cache, &mut report);
    report.findings
}

fn cache(cache: &crate::cache::Config, report: &mut Report) {
    let path = Path::default().key("cache");
    if cache.path.as_os_str().is_empty() {
        report.say(path.key("path"), "is empty: name the folder of the cache");
    }
    if cache.memory > Size(0) && cache.memory_max_object > cache.memory {
        let what = format!("is {}, more than the whole of cache.memory, {}", cache.memory_max_object, cache.memory);
        report.say(path.key("memory_max_object"), what);
    }
    if cache.disk > Size(0) && cache.disk < mebibytes(1) {
        report.say(path.key("disk"), format!("is {}; allowed: 0 for no disk tier, or 1MiB and more", cache.disk));
    }
    report.within(path.key("max_fills"), cache.max_fills, 1..=65_536);
}

/// Collects what is wrong.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn say(&mut self, path: Path, what: impl Into<String>) {
        self.findings.push((path, what.into()));
    }

    fn within<T: PartialOrd + Display>(&mut self, path: Path, value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            self.say(path, format!("is {value}; allowed: {} to {}", allowed.start(), allowed.end()));
        }
    }
}
