//! `[tracing]`: the collector's address, a share, files.

use super::{Report, pem};
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::telemetry::spans;

pub fn check(config: &Config, report: &mut Report) {
    let Some(tracing) = &config.tracing else { return };
    let path = Path::default().key("tracing");
    if let Err(what) = tracing.endpoint() {
        report.say(path.key("otlp"), what);
    }
    if tracing.service.is_empty() || tracing.service.len() > spans::MAX_SERVICE {
        let what = format!("has {} bytes; allowed: 1 to {}", tracing.service.len(), spans::MAX_SERVICE);
        report.say(path.key("service"), what);
    }
    if let Some(Err(what)) = tracing.headers_file.as_deref().map(spans::read_headers) {
        report.say(path.key("headers_file"), what);
    }
    if let Some(Err(what)) = tracing.ca.as_deref().map(pem::authorities) {
        report.say(path.key("ca"), what);
    }
}
