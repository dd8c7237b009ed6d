//! Collection, retention, quotas, verification and counts, as operators order them.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Job, Works, failed, useless};
use crate::admin::Refusal;
use crate::admin::order::{GcRun, RetentionRun, Undelete, Verifying};
use crate::maintenance::gc::{self, Collector, GcError};
use crate::maintenance::pulls::WrittenPulls;
use crate::maintenance::retention::{self, Retention, RetentionError};
use crate::maintenance::stats::{self, Counting, Stats};
use crate::maintenance::verify::{self, Access, Source, SourceName, Sparse, Verifier};
use crate::oci::{Digest, RepositoryName};
use crate::registry::config::MissingReferences;
use crate::registry::quota;
use crate::remote::RemoteNames;
use crate::units::{Percent, Span};

/// How many of an order's steps are made before one is told: of blobs and repositories that are counted.
const TOLD_EVERY: u64 = 1000;
/// Digests of each kind that one step names; how many there are is told beside them. A repository may lose 200,000 at once.
const MAX_NAMED: usize = 50;

/// Steps of a collection and of a verification, told on.
struct On<'a, 'b>(&'a Job<'b>);

impl gc::Tell for On<'_, '_> {
    fn step(&self, step: &gc::Step) {
        match step {
            gc::Step::Condemned { repository, blobs, manifests } => {
                self.0.tell(&condemned(repository, blobs, manifests))
            }
            step => self.0.tell(step),
        }
    }
}

fn condemned(repository: &RepositoryName, blobs: &[Digest], manifests: &[Digest]) -> Value {
    let first = |digests: &[Digest]| digests.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "event": "condemned",
        "repository": repository.as_str(),
        "blobs": first(blobs),
        "blobs_count": blobs.len(),
        "manifests": first(manifests),
        "manifests_count": manifests.len(),
    })
}

impl verify::Tell for On<'_, '_> {
    fn step(&self, step: &verify::Step<'_>) {
        self.0.tell(step);
    }
}

impl Works {
    /// Counts what quotas hold by the way.
    pub(super) fn collector(&self) -> Collector {
        let (storage, fleet) = (self.stores.storage.clone(), self.stores.fleet.clone());
        let parts = gc::Parts { storage: storage.clone(), fleet, metrics: self.metrics.gc.clone() };
        let config = self.config.load();
        let collector = Collector::new(parts, config.gc.clone());
        collector.with_pulls(Arc::new(WrittenPulls(storage))).with_quotas(config.quota.clone())
    }

    pub(super) async fn gc_status(&self) -> Result<Value, Refusal> {
        told(self.collector().status().await.map_err(of_gc)?)
    }

    pub(super) async fn collect(&self, order: &GcRun, job: &Job<'_>) -> Result<Value, Refusal> {
        let untagged = order.untagged.as_ref().map(|text| text.parse::<Span>().map_err(useless)).transpose()?;
        let by = job.by.name.clone();
        let (dry, now, foreign_careful, empty) = (order.dry, order.now, order.careful, order.empty);
        let order = gc::Order { dry, now, untagged, by, foreign_careful, empty, ..gc::Order::default() };
        told(self.collect_by(order, &On(job)).await.map_err(of_gc)?)
    }

    pub(super) async fn collect_by(&self, order: gc::Order, tell: &dyn gc::Tell) -> Result<gc::Report, GcError> {
        self.collector().run(order, tell).await
    }

    pub(super) async fn undelete(&self, order: &Undelete, job: &Job<'_>) -> Result<Value, Refusal> {
        self.registry.may_be_written().map_err(failed)?;
        let what = match (&order.run, &order.repository, &order.digest) {
            (Some(run), None, None) => gc::Undelete::Run(run.clone()),
            (None, Some(name), None) => gc::Undelete::Repository(name.clone()),
            (None, None, Some(digest)) => gc::Undelete::Digest(*digest),
            _ => return Err(useless("one of run, repository and digest says what is to come back")),
        };
        let restored = self.collector().undelete(what, &On(job)).await;
        // Also if it failed half-way.
        if !matches!(restored, Err(GcError::Unknown(_))) {
            self.registry.recount_quotas();
        }
        told(restored.map_err(of_gc)?)
    }

    pub(super) async fn pause(&self, job: &Job<'_>) -> Result<Value, Refusal> {
        let paused = self.collector().pause(&job.by.name).await.map_err(of_gc)?;
        Ok(json!({ "paused": paused }))
    }

    pub(super) async fn resume(&self) -> Result<Value, Refusal> {
        let were_paused = self.collector().resume().await.map_err(of_gc)?;
        Ok(json!({ "paused": null, "changed": were_paused }))
    }

    pub(super) fn retention(&self) -> Result<Retention, RetentionError> {
        let parts = retention::Parts {
            registry: self.registry.clone(),
            fleet: self.stores.fleet.clone(),
            pulls: self.pulls.clone(),
            metrics: self.metrics.retention.clone(),
        };
        Retention::new(parts, &self.config.load().retention)
    }

    pub(super) async fn retain(&self, order: &RetentionRun, job: &Job<'_>) -> Result<Value, Refusal> {
        let retention = self.retention().map_err(of_retention)?;
        let wanted = retention::Order {
            policies: None,
            repositories: order.repositories.clone(),
            yes: order.yes,
            force: order.force,
            kept: order.kept,
            listener: job.listener(),
        };
        let tell = |step: &retention::Step| job.tell(step);
        let report = match order.dry {
            true => retention.plan(&wanted, &tell).await,
            false => retention.run(&wanted, &tell).await,
        };
        told(report.map_err(of_retention)?)
    }

    pub(super) async fn quotas(&self) -> Result<Value, Refusal> {
        let usage = quota::usage(&self.stores.storage, &self.config.load_full().quota).await.map_err(failed)?;
        Ok(json!({ "quotas": usage }))
    }

    pub(super) async fn recount(&self, job: &Job<'_>) -> Result<Value, Refusal> {
        let tell = |step: quota::Step| {
            job.tell(&match step {
                quota::Step::Links(links) => json!({ "event": "links", "links": links }),
                quota::Step::Sizes(done, of) => json!({ "event": "sizes", "done": done, "of": of }),
            });
        };
        let quotas = self.config.load().quota.clone();
        let counted = quota::count(&self.stores.storage, &quotas, &tell).await.map_err(failed)?;
        Ok(json!({ "counted": counted }))
    }

    pub(super) fn verifier(&self) -> Verifier {
        let config = self.config.load();
        let path = |remote: &crate::remote::Config| RemoteNames::new(&remote.registry, remote.path.as_deref()).path;
        let anywhere = config.registry.missing_references == MissingReferences::Accept;
        Verifier::new(verify::Parts {
            storage: self.stores.storage.clone(),
            uploads: Some(self.stores.uploads.clone()),
            fleet: self.stores.fleet.clone(),
            metrics: self.metrics.verify.clone(),
            sparse: Sparse { anywhere, below: config.remote.values().map(path).collect() },
        })
    }

    pub(super) async fn verify(&self, order: &Verifying, job: &Job<'_>) -> Result<Value, Refusal> {
        let sample = match &order.sample {
            Some(text) => text.parse::<Percent>().map_err(useless)?,
            None => Percent::of_hundred(100),
        };
        if verify::nothing(sample) {
            return Err(useless(format!("a sample of {sample} is nothing")));
        }
        let mut repair = Vec::new();
        if let Some(text) = &order.repair_from {
            self.registry.may_be_written().map_err(failed)?;
            let name = text.parse::<SourceName>().map_err(useless)?;
            let opened = Source::open(&name, &Access::default(), &self.stores.fleet).await;
            repair.push(opened.map_err(|error| useless(error.to_string()))?);
        }
        let order = verify::Order { sample, repair, rate: self.config.load().verify.rate, ..verify::Order::default() };
        let report = self.verifier().run(&order, &On(job)).await;
        told(report.map_err(|verify::VerifyError::Storage(error)| failed(error))?)
    }

    pub(super) async fn count(&self, job: &Job<'_>) -> Result<Value, Refusal> {
        let tell = |counting: Counting| match counting {
            Counting::Blobs(blobs) if blobs.is_multiple_of(TOLD_EVERY) => {
                job.tell(&json!({ "event": "blobs", "blobs": blobs }));
            }
            Counting::Repositories(count) if count.is_multiple_of(TOLD_EVERY) => {
                job.tell(&json!({ "event": "repositories", "repositories": count }));
            }
            _ => {}
        };
        let stats = Stats::gather(&self.stores.storage, &tell).await.map_err(failed)?;
        self.metrics.stats.show(&stats.measured);
        if self.registry.may_be_written().is_ok()
            && let Err(error) = stats.keep(&self.stores.storage).await
        {
            tracing::warn!(%error, "how much there is today is not kept");
        }
        told(stats)
    }

    /// What gauges tell of the largest repositories, at the pace of collections.
    pub(super) async fn measure(&self) {
        let rate = self.config.load().gc.rate;
        match stats::measure(&self.stores.storage, rate).await {
            Ok(measured) => self.metrics.stats.show(&measured),
            Err(error) => tracing::warn!(%error, "how much repositories hold could not be counted"),
        }
    }
}

fn told(report: impl Serialize) -> Result<Value, Refusal> {
    Ok(serde_json::to_value(report).unwrap_or_default())
}

fn of_gc(error: GcError) -> Refusal {
    let message = error.to_string();
    match error {
        GcError::Storage(error) => failed(error),
        GcError::Fleet(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message),
        GcError::Unknown(_) => Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message),
        GcError::Config(..) => useless(message),
        GcError::Foreign(_)
        | GcError::NoRepositories(_)
        | GcError::UnderWay { .. }
        | GcError::Overtaken
        | GcError::Paused { .. }
        | GcError::Slow => Refusal::new(StatusCode::CONFLICT, "DENIED", message),
    }
}

fn of_retention(error: RetentionError) -> Refusal {
    let message = error.to_string();
    match error {
        RetentionError::Storage(error) => failed(error),
        RetentionError::NoRepository(_) => Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message),
        RetentionError::Busy => Refusal::new(StatusCode::CONFLICT, "DENIED", message),
        RetentionError::NoPolicy
        | RetentionError::Unknown(_)
        | RetentionError::Pattern(_)
        | RetentionError::Invalid(_) => useless(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    /// One line of a command's, which reads none of more than some megabytes.
    #[test]
    fn a_step_is_short_however_much_a_repository_loses() {
        let blobs = vec![Digest::of(Algorithm::Sha256, b"x"); 200_000];
        let told = condemned(&"team/app".parse().unwrap(), &blobs, &[]);
        assert_eq!((&told["blobs_count"], &told["manifests_count"]), (&json!(200_000), &json!(0)));
        assert_eq!(told["blobs"].as_array().unwrap().len(), MAX_NAMED);
        assert!(told.to_string().len() < 8192);
    }
}
