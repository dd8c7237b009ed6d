//! What operators order of the registry, done: by the instance that serves (`admin`), or by a command without one (`standalone`).

mod care;
mod repositories;
mod scheduled;
mod steps;
mod told;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt as _};
use http::StatusCode;
use prometheus::Registry as Prometheus;
use serde_json::{Value, json};

use super::ledger::{Changes, Entry, Ledger};
use crate::admin::order::{CancelUploads, MAX_CANCELLED, MAX_REASON, SetMaintenance};
use crate::admin::{Done, Order, Refusal};
use crate::audit::{Deed, Outcome};
use crate::config::Config;
use crate::events::Listener;
use crate::maintenance::pulls::Pulls;
use crate::maintenance::{gc, retention, stats, verify};
use crate::registry::{Maintenance, Registry, Stores};
use crate::storage::{Error, Storage};
use crate::uploads::UploadId;
pub use scheduled::Scheduled;
pub use steps::Tell;

/// The open registry, as operators have it work.
pub struct Works {
    pub registry: Arc<Registry>,
    stores: Stores,
    /// What is configured now.
    config: ArcSwap<Config>,
    metrics: Metrics,
    /// Where pulls are recorded in this process, if they are.
    pulls: Option<Arc<Pulls>>,
}

/// Registered once per process.
#[derive(Clone)]
pub struct Metrics {
    gc: Arc<gc::Metrics>,
    retention: Arc<retention::Metrics>,
    verify: Arc<verify::Metrics>,
    stats: Arc<stats::Metrics>,
}

impl Metrics {
    pub fn new(prometheus: &Prometheus) -> prometheus::Result<Self> {
        Ok(Metrics {
            gc: Arc::new(gc::Metrics::new(prometheus)?),
            retention: Arc::new(retention::Metrics::new(prometheus)?),
            verify: Arc::new(verify::Metrics::new(prometheus)?),
            stats: Arc::new(stats::Metrics::new(prometheus)?),
        })
    }
}

/// Who orders something, and where that is written down.
#[derive(Clone)]
pub struct By {
    /// For people: `user:alice`, `uid 0 on a host`.
    pub name: String,
    pub ledger: Arc<dyn Ledger>,
    /// Who is told of each change, beside those who are told of all.
    pub listener: Option<Arc<dyn Listener>>,
}

/// An order under way.
struct Job<'a> {
    by: &'a By,
    changes: Arc<Changes>,
    tell: Tell,
}

impl Works {
    pub fn new(
        registry: Arc<Registry>,
        stores: Stores,
        config: &Config,
        (metrics, pulls): (Metrics, Option<Arc<Pulls>>),
    ) -> Arc<Self> {
        Arc::new(Works { registry, stores, config: ArcSwap::from_pointee(config.clone()), metrics, pulls })
    }

    /// Takes another configuration over (reload), for orders that come after.
    pub fn reconfigure(&self, config: &Config) {
        self.config.store(Arc::new(config.clone()));
    }

    fn storage(&self) -> &Arc<Storage> {
        &self.stores.storage
    }

    /// Does what was ordered, or begins to.
    pub async fn perform(self: &Arc<Self>, order: Order, by: By) -> Result<Done, Refusal> {
        let unrecorded = |why: String| {
            let message = format!("{why}; nothing is done");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
        };
        let entry = Entry::begin(by.ledger.clone(), deed(&order), by.listener.clone()).await.map_err(unrecorded)?;
        let works = self.clone();
        if order.call().steps {
            let steps = steps::told(move |tell| async move { works.recorded(&order, &by, entry, tell).await });
            return Ok(Done::Steps(steps));
        }
        self.recorded(&order, &by, entry, steps::to_nobody()).await.map(Done::Told)
    }

    async fn recorded(&self, order: &Order, by: &By, entry: Entry, tell: Tell) -> Result<Value, Refusal> {
        let job = Job { by, changes: entry.changes.clone(), tell };
        let outcome = self.work(order, &job).await;
        drop(job);
        match &outcome {
            Ok(_) => entry.end(Outcome::Ok, None),
            Err(refusal) => entry.end(Outcome::Failed, Some(refusal.message.clone())),
        }
        outcome
    }

    /// Boxed, so that it is decided here that it may change threads: the compiler cannot tell for whatever lifetimes.
    fn work<'a>(&'a self, order: &'a Order, job: &'a Job<'a>) -> BoxFuture<'a, Result<Value, Refusal>> {
        let work = async move {
            match order {
                Order::Status => Ok(self.status().await),
                Order::Uploads => self.uploads().boxed().await,
                Order::CancelUploads(order) => self.cancel_uploads(order).boxed().await,
                Order::Maintenance => Ok(json!({ "maintenance": self.maintenance().await? })),
                Order::SetMaintenance(order) => self.set_maintenance(order, job).boxed().await,
                Order::Tag(order) => self.tag(order, job).boxed().await,
                Order::Untag(order) => self.untag(order, job).boxed().await,
                Order::Remove(order) => self.remove(order, job).boxed().await,
                Order::Copy(order) => self.copy(order, job).boxed().await,
                Order::RemoveRepository(order) => self.remove_repository(order, job).boxed().await,
                Order::Gc => self.gc_status().boxed().await,
                Order::GcRun(order) => self.collect(order, job).boxed().await,
                Order::GcUndelete(order) => self.undelete(order, job).boxed().await,
                Order::GcPause => self.pause(job).boxed().await,
                Order::GcResume => self.resume().boxed().await,
                Order::Retention(order) => self.retain(order, job).boxed().await,
                Order::Quota => self.quotas().boxed().await,
                Order::QuotaRecount => self.recount(job).boxed().await,
                Order::Verify(order) => self.verify(order, job).boxed().await,
                Order::Stats => self.count(job).boxed().await,
                // The process's own: it is taken before it comes here, where there is one that serves.
                Order::Upgrade(_) => Err(super::upgrade::nobody_serves()),
            }
        };
        work.boxed()
    }

    async fn uploads(&self) -> Result<Value, Refusal> {
        let (open, more) = self.registry.uploads(told::MAX_UPLOADS).await.map_err(failed)?;
        let mut uploads: Vec<_> = open.iter().map(told::upload).collect();
        let others = self.registry.uploads_of_others(told::MAX_UPLOADS).boxed();
        let (more, unknown) = match tokio::time::timeout(told::OTHERS_PATIENCE, others).await {
            Ok(Ok((others, more_others))) => {
                uploads.extend(others.iter().map(told::upload_of_others));
                (more || more_others, None)
            }
            Ok(Err(error)) => (more, Some(error.to_string())),
            Err(_) => {
                (more, Some(format!("not all repositories were seen in {} seconds", told::OTHERS_PATIENCE.as_secs())))
            }
        };
        Ok(json!({ "uploads": uploads, "more": more, "foreign_unknown": unknown }))
    }

    async fn cancel_uploads(&self, order: &CancelUploads) -> Result<Value, Refusal> {
        if order.ids.is_empty() || order.ids.len() > MAX_CANCELLED {
            return Err(useless(format!("1 to {MAX_CANCELLED} uploads can be cancelled at once")));
        }
        // Other programs call theirs as they like.
        let parsed = |id: &String| match id.parse::<UploadId>() {
            Ok(own) => Ok((id.clone(), Some(own))),
            Err(_) if order.foreign => Ok((id.clone(), None)),
            Err(_) => Err(useless(format!("'{}' is no id of an upload", id.escape_debug()))),
        };
        let ids = order.ids.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        self.registry.may_be_written().map_err(failed)?;
        let (mut cancelled, mut absent) = (Vec::new(), Vec::new());
        for (id, own) in ids {
            let open = match own {
                Some(own) => self.registry.cancel_upload(&own).await.map_err(failed)?,
                None => None,
            };
            match open {
                Some(open) => cancelled.push(told::upload(&open)),
                None => absent.push(id),
            }
        }
        if order.foreign && !absent.is_empty() {
            let others = self.registry.cancel_uploads_of_others(&absent).boxed().await.map_err(failed)?;
            absent.retain(|id| others.iter().all(|other| other.id != *id));
            cancelled.extend(others.iter().map(told::upload_of_others));
        }
        Ok(json!({ "cancelled": cancelled, "absent": absent, "foreign": order.foreign }))
    }

    async fn maintenance(&self) -> Result<Value, Refusal> {
        let found = Maintenance::read(self.storage()).await.map_err(failed)?;
        Ok(found.map_or(Value::Null, |found| serde_json::to_value(found).unwrap_or_default()))
    }

    async fn set_maintenance(&self, order: &SetMaintenance, job: &Job<'_>) -> Result<Value, Refusal> {
        if order.reason.chars().count() > MAX_REASON || order.reason.contains(char::is_control) {
            return Err(useless(format!("a reason is one line of at most {MAX_REASON} characters")));
        }
        let before = Maintenance::read(self.storage()).await.map_err(failed)?;
        // Ordered again, it goes on; a note that could not be read says nothing of it.
        let since = before.as_ref().map(|before| before.since.clone()).filter(|since| !since.is_empty());
        let wanted = order.on.then(|| Maintenance {
            on: true,
            reason: order.reason.clone(),
            since: since.unwrap_or_else(|| told::time(SystemTime::now())),
            by: job.by.name.clone(),
        });
        Maintenance::switch(self.storage(), &self.stores.fleet, wanted.as_ref()).await.map_err(failed)?;
        // Here at once; other instances look within seconds.
        self.registry.mind_maintenance().await;
        Ok(json!({ "maintenance": wanted, "changed": before.is_some() != order.on }))
    }
}

impl Job<'_> {
    fn listener(&self) -> Option<Arc<dyn Listener>> {
        Some(self.changes.clone())
    }

    fn tell(&self, step: &impl serde::Serialize) {
        (self.tell)(serde_json::to_value(step).unwrap_or_default());
    }
}

/// The order as the audit has it; `None`: it changes nothing.
fn deed(order: &Order) -> Option<Deed> {
    let deed = Deed { action: order.action()?, ..Deed::default() };
    Some(match order {
        Order::Tag(order) | Order::Copy(order) => Deed {
            repository: Some(order.target.name().to_string()),
            reference: Some(order.target.to_string()),
            from: Some(order.source.to_string()),
            ..deed
        },
        Order::Untag(order) => {
            Deed { repository: Some(order.image.name.to_string()), reference: Some(order.image.to_string()), ..deed }
        }
        Order::Remove(order) => {
            Deed { repository: Some(order.image.name.to_string()), reference: Some(order.image.to_string()), ..deed }
        }
        Order::RemoveRepository(order) => Deed { repository: Some(order.repository.to_string()), ..deed },
        Order::CancelUploads(order) => Deed { reference: Some(order.ids.join(" ")), ..deed },
        Order::SetMaintenance(order) => Deed { reference: Some(order.reason.clone()), ..deed },
        Order::GcUndelete(order) => Deed {
            repository: order.repository.as_ref().map(ToString::to_string),
            reference: order.run.clone(),
            digest: order.digest.as_ref().map(ToString::to_string),
            ..deed
        },
        Order::Verify(order) => Deed { from: order.repair_from.as_deref().map(without_login), ..deed },
        _ => deed,
    })
}

/// An address as it may be written down: a login that somebody wrote into it, which is refused later, may not.
fn without_login(text: &str) -> String {
    match text.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}

/// What cannot be meant.
fn useless(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
}

/// Storage's words are for operators.
fn failed(error: Error) -> Refusal {
    let status = match &error {
        Error::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        Error::Unavailable(_) | Error::Closed(_) | Error::Conflict => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, "UNAVAILABLE", error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_login_is_written_down() {
        for (text, written) in [
            ("https://alice:hush@registry.example.com/x", "https://…@registry.example.com/x"),
            ("https://alice:hu/sh@x", "https://…@x"),
            ("https://registry.example.com", "https://registry.example.com"),
            ("/backup/a@b", "/backup/a@b"),
            ("trash", "trash"),
        ] {
            assert_eq!(super::without_login(text), written);
        }
    }
}
