//! What was refused because it came too often.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::Kind;

/// Made once for the process.
pub struct Metrics {
    requests: IntCounter,
    logins: IntCounter,
    uploads: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let limited = Opts::new("entrepot_limited_total", "Requests refused because a client was over a limit.");
        let limited = IntCounterVec::new(limited, &["limit"])?;
        registry.register(Box::new(limited.clone()))?;
        let of = |kind: Kind| limited.with_label_values(&[kind.word()]);
        Ok(Metrics { requests: of(Kind::Requests), logins: of(Kind::Logins), uploads: of(Kind::Uploads) })
    }

    pub(super) fn limited(&self, kind: Kind) {
        match kind {
            Kind::Requests => self.requests.inc(),
            Kind::Logins => self.logins.inc(),
            Kind::Uploads => self.uploads.inc(),
        }
    }
}
