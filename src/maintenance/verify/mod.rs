//! Whether every blob is what its digest says, and everything that is named is there; and putting right what is not.
//!
//! A run lists all blobs ([`index`]), reads those that are picked ([`see`]), and then walks over all links ([`holdings`], [`links`],
//! [`named`]). What looks wrong is looked at again: what comes or goes meanwhile is no damage. With sources ([`source`]), what
//! is wrong is put right from them ([`repair`], [`bring`]). Nothing is written otherwise.
//!
//! - `run`: the two passes; `sample`, `pace`: what is picked, and how fast storage is asked
//! - `wrong`, `report`: what can be wrong, and how it is told
//!
//! Takes the memory of the index (40 bytes a blob), of the links of four repositories, and of four pieces of blobs.

mod bring;
mod config;
mod holdings;
mod index;
mod links;
mod metrics;
mod named;
mod pace;
mod repair;
mod report;
mod run;
mod sample;
mod see;
mod source;
#[cfg(test)]
mod tests;
mod wrong;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::fleet::Fleet;
use crate::limits::config::Rate;
use crate::storage::{Error, Storage};
use crate::units::Percent;
use crate::uploads::Uploads;
pub use config::{Config, nothing};
pub(in crate::maintenance) use holdings::{Holdings, grouped};
pub(in crate::maintenance) use index::Index;
pub use metrics::Metrics;
pub(in crate::maintenance) use pace::Pace;
use report::Findings;
pub use report::{Looked, Report, Silent, Step, Tell};
use run::Run;
pub use source::{Access, Login, Source, SourceError, SourceName};
#[cfg(test)]
pub use wrong::Kind;
pub use wrong::{Damage, State};

/// How long after a first look a second one decides: longer than any program takes between two steps of one push or deletion.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// Damages that a run by itself writes into the log, each; of further ones only how many there are.
const MOST_LOGGED: usize = 20;

/// Looks for damage in one storage.
pub struct Verifier {
    parts: Parts,
}

/// What a verifier works on.
pub struct Parts {
    pub storage: Arc<Storage>,
    /// Of the same storage: by them, bytes are put into their place. Needed to repair only.
    pub uploads: Option<Arc<Uploads>>,
    /// Who is told of what was repaired.
    pub fleet: Arc<Fleet>,
    pub metrics: Arc<Metrics>,
    pub sparse: Sparse,
}

/// Where images may lack blobs without being damaged.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    /// In all repositories: `missing_references = "accept"`.
    pub anywhere: bool,
    /// In those below these paths, which are mirrored.
    pub below: Vec<String>,
}

/// What a run is to do.
pub struct Order {
    /// Which part of the blobs, links, manifests and tags is looked at; what is linked and not there is found in any case.
    pub sample: Percent,
    /// Calls to storage, where each MiB that is read counts as one.
    pub rate: Option<Rate>,
    /// Where what is wrong is repaired from, in this order. Empty: it is only told.
    pub repair: Vec<Source>,
    /// How long after a first look a second one decides what is wrong.
    pub second_look: Duration,
}

/// Why a run came to no end: nobody knows what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Storage(#[from] Error),
}

impl Default for Order {
    /// Everything is looked at, nothing repaired.
    fn default() -> Self {
        Order { sample: Percent::of_hundred(100), rate: None, repair: Vec::new(), second_look: SECOND_LOOK }
    }
}

impl Verifier {
    pub fn new(parts: Parts) -> Self {
        Verifier { parts }
    }

    /// Looks for damage, and repairs it if there are sources. May be dropped at any time: what was repaired stays.
    pub async fn run(&self, order: &Order, tell: &dyn Tell) -> Result<Report, VerifyError> {
        let outcome = self.look(order, tell).await;
        self.parts.metrics.ended(&outcome);
        outcome
    }

    /// A run by itself, as `[verify]` says: what it finds is in the log, and in the metrics.
    pub async fn scheduled(&self, config: &Config) -> Result<Report, VerifyError> {
        let order = Order { sample: config.sample, rate: config.rate, ..Order::default() };
        let outcome = self.run(&order, &Silent).await;
        match &outcome {
            Ok(report) => log(report),
            Err(error) => tracing::error!(%error, "looking for damage in storage came to no end"),
        }
        outcome
    }

    async fn look(&self, order: &Order, tell: &dyn Tell) -> Result<Report, VerifyError> {
        let (began, start) = (SystemTime::now(), Instant::now());
        let run = Run::begin(&self.parts, order, tell).await?;
        let mut findings = Findings::default();
        run.blobs(&mut findings).await?;
        run.links(&mut findings).await?;
        if !order.repair.is_empty() {
            repair::repair(&run, &mut findings).await?;
        }
        let damages = findings.list.iter().map(|finding| finding.damage(&run.holders_of(&finding.wrong)));
        let (found, repaired, tally) = (findings.found(), findings.repaired(), &run.tally);
        Ok(Report {
            began: humantime::format_rfc3339_seconds(began).to_string(),
            seconds: start.elapsed().as_secs_f64(),
            sample: order.sample.to_string(),
            repositories: tally.repositories.load(Ordering::Relaxed),
            blobs: tally.blobs.so_far(),
            bytes: tally.bytes.so_far(),
            links: tally.links.so_far(),
            manifests: tally.manifests.so_far(),
            tags: tally.tags.so_far(),
            sparse: tally.sparse.load(Ordering::Relaxed),
            found,
            repaired,
            left: found - repaired,
            left_by_kind: findings.left_by_kind(),
            damages: damages.collect(),
        })
    }
}

fn log(report: &Report) {
    let left = report.damages.iter().filter(|damage| damage.state != State::Repaired);
    for damage in left.take(MOST_LOGGED) {
        let (kind, repositories) = (damage.kind.word(), damage.repositories.join(", "));
        tracing::error!(kind, key = damage.key, repositories, "storage is damaged: {}", damage.what);
    }
    let (blobs, bytes) = (report.blobs.looked_at, report.bytes.looked_at);
    match report.left {
        0 => tracing::info!(blobs, bytes, seconds = report.seconds, "storage was looked at, and nothing is wrong"),
        damages => tracing::error!(
            damages,
            blobs,
            bytes,
            "storage is damaged: `entrepot verify` shows it, and repairs it with --repair-from"
        ),
    }
}
