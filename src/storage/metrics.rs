//! What is seen of storage from outside; distribution's names where it has them.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::Error;
use super::config::DriverKind;
use crate::telemetry::spans;

/// Registered once per process.
pub struct Metrics {
    seconds: HistogramVec,
    errors: IntCounterVec,
}

/// What is asked of storage, by the names that distribution's drivers have for it.
#[derive(Clone, Copy)]
pub(super) enum Action {
    GetContent,
    PutContent,
    Stat,
    List,
    Delete,
    Move,
    Reader,
    Writer,
    RedirectUrl,
}

impl Action {
    fn word(self) -> &'static str {
        ACTIONS.get(self as usize).map_or("", |(_, word)| word)
    }
}

const ACTIONS: [(Action, &str); 9] = [
    (Action::GetContent, "GetContent"),
    (Action::PutContent, "PutContent"),
    (Action::Stat, "Stat"),
    (Action::List, "List"),
    (Action::Delete, "Delete"),
    (Action::Move, "Move"),
    (Action::Reader, "Reader"),
    (Action::Writer, "Writer"),
    (Action::RedirectUrl, "RedirectURL"),
];

/// One driver's part, its handles resolved once.
pub(super) struct DriverMetrics {
    seconds: [Histogram; ACTIONS.len()],
    errors: IntCounterVec,
}

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Time that storage took, in seconds";
        let seconds =
            HistogramVec::new(HistogramOpts::new("registry_storage_action_seconds", help), &["driver", "action"])?;
        let help = "What storage failed at, by who can act on it";
        let errors = IntCounterVec::new(Opts::new("entrepot_storage_errors_total", help), &["kind"])?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        Ok(Metrics { seconds, errors })
    }

    pub(super) fn of(&self, kind: DriverKind) -> DriverMetrics {
        let driver = match kind {
            DriverKind::Filesystem => "filesystem",
            DriverKind::S3 => "s3aws",
            DriverKind::Gcs => "gcs",
            DriverKind::Azure => "azure",
            DriverKind::Memory => "inmemory",
        };
        for kind in ["unavailable", "full", "refused", "damaged", "failed"] {
            self.errors.with_label_values(&[kind]); // so that it is there as 0
        }
        DriverMetrics {
            seconds: ACTIONS.map(|(_, action)| self.seconds.with_label_values(&[driver, action])),
            errors: self.errors.clone(),
        }
    }
}

impl DriverMetrics {
    /// Counts a call and its time.
    pub(super) fn took(&self, action: Action, time: std::time::Duration) {
        if let Some(seconds) = self.seconds.get(action as usize) {
            seconds.observe(time.as_secs_f64());
        }
    }

    /// Times `call` and counts what fails, but not what callers expect: a conflict, a limit of theirs.
    pub(super) async fn observe<T>(
        &self,
        action: Action,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let start = std::time::Instant::now();
        let mut waiting = spans::waiting(|| format!("storage {}", action.word()).into());
        let outcome = call.await;
        self.took(action, start.elapsed());
        if let Err(error) = &outcome {
            self.failed(error);
            if let Some(waiting) = waiting.as_mut().filter(|_| !matches!(error, Error::TooLarge(_) | Error::Conflict)) {
                waiting.fail(&error.to_string());
            }
        }
        outcome
    }

    pub(super) fn failed(&self, error: &Error) {
        let kind = match error {
            Error::Unavailable(_) => "unavailable",
            Error::Full(_) => "full",
            Error::Refused(_) => "refused",
            Error::Damaged(_) => "damaged",
            Error::Failed(_) | Error::Closed(_) | Error::Newer { .. } => "failed",
            Error::TooLarge(_) | Error::Conflict => return,
        };
        self.errors.with_label_values(&[kind]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_own_histogram() {
        for (place, (action, _)) in ACTIONS.into_iter().enumerate() {
            assert_eq!(action as usize, place);
        }
    }
}
