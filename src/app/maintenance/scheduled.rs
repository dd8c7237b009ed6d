//! What a server begins by itself, done.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;

use super::Works;
use crate::app::integrated::Integrated;
use crate::app::jobs::{Kind, Outcome, Work};
use crate::maintenance::gc::{self, GcError};
use crate::maintenance::retention::{self, RetentionError};
use crate::storage::Storage;

/// As files in storage name who began it.
const BY: &str = "its schedule";

/// The registry's jobs, once a route has named it.
pub struct Scheduled(pub Arc<Integrated>);

#[async_trait]
impl Work for Scheduled {
    fn storage(&self) -> Option<Arc<Storage>> {
        self.0.storage().cloned()
    }

    async fn hindered(&self, kind: Kind) -> Option<String> {
        let works = self.0.works()?;
        match kind {
            // It only reads.
            Kind::Verify => None,
            Kind::Collect | Kind::Retain => works.registry.may_be_written().err().map(|error| error.to_string()),
        }
    }

    async fn run(&self, kind: Kind, schedules: &[String]) -> Outcome {
        let Some(works) = self.0.works() else { return Outcome::LeftOut("there is no registry".into()) };
        match kind {
            Kind::Collect => works.collect_scheduled().boxed().await,
            Kind::Retain => works.retain_scheduled(schedules).boxed().await,
            Kind::Verify => works.verify_scheduled().boxed().await,
        }
    }

    async fn look(&self) {
        if let Some(works) = self.0.works()
            && let Err(error) = works.collector().status().boxed().await
        {
            tracing::debug!(%error, "how collections stand is not known");
        }
    }
}

impl Works {
    async fn collect_scheduled(&self) -> Outcome {
        let order = gc::Order { by: BY.into(), scheduled: true, ..gc::Order::default() };
        match self.collect_by(order, &()).boxed().await {
            Ok(report) => {
                self.measure().boxed().await;
                let counts = &report.counts;
                let condemned = counts.condemned_blobs + counts.condemned_manifests;
                Outcome::Done(format!(
                    "{condemned} links condemned, {} blobs moved, {} deleted, {} bytes freed",
                    counts.moved, counts.deleted, counts.freed_bytes
                ))
            }
            Err(error @ (GcError::UnderWay { .. } | GcError::Paused { .. } | GcError::Foreign(_))) => {
                Outcome::LeftOut(error.to_string())
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn retain_scheduled(&self, schedules: &[String]) -> Outcome {
        let config = self.config.load_full();
        let is_due = |policy: &retention::Config| schedules.iter().any(|schedule| schedule == policy.schedule.trim());
        let due = config.retention.iter().enumerate().filter(|(_, policy)| is_due(policy)).map(|(index, _)| index);
        let order = retention::Order { policies: Some(due.collect()), ..retention::Order::default() };
        let retention = match self.retention() {
            Ok(retention) => retention,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        match retention.run(&order, &|_| ()).boxed().await {
            Ok(report) if report.only_shown => {
                Outcome::Done(format!("{} tags would go: {}", report.goes, report.why.unwrap_or_default()))
            }
            Ok(report) if !report.failed.is_empty() => {
                Outcome::Failed(format!("{} tags went, {} repositories failed", report.gone, report.failed.len()))
            }
            Ok(report) => Outcome::Done(format!("{} tags went, of {}", report.gone, report.tags)),
            Err(error @ RetentionError::Busy) => Outcome::LeftOut(error.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn verify_scheduled(&self) -> Outcome {
        let config = self.config.load().verify.clone();
        match self.verifier().scheduled(&config).boxed().await {
            Ok(report) if report.is_well() => Outcome::Done(format!("{} blobs are well", report.blobs.looked_at)),
            Ok(report) => Outcome::Failed(format!("storage is damaged in {} places: `entrepot verify`", report.left)),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}
