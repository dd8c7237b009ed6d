//! Certificates that come by themselves, from an authority that speaks ACME (RFC 8555), for the names of the configuration and no
//! others.
//!
//! - [`Acme`]: the door: what listeners ask it for ([`Issuer`]), what is answered to an authority
//! - `tend`: one certificate (`job`), looked after; `plan`: when what is to be done; `lease`: by which instance
//! - `renew`: what is asked of an authority; `order`: one order, over `client` and `account`; `hook`: records in DNS
//! - `challenges`: what an authority sees that asks whether a name leads here
//! - `shelf`: where it is all kept, for all instances; `folder` is one, `kept` what is written there, `held` what handshakes need of it

mod account;
mod challenges;
mod client;
pub mod config;
mod desk;
mod failure;
mod folder;
mod held;
mod hook;
mod job;
mod kept;
mod lease;
mod metrics;
mod names;
mod order;
mod plan;
mod renew;
pub mod shelf;
mod tend;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat};
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::listener::{Issuer, Slot};
use crate::outbound::OwnAddresses;
use config::Storage;
use desk::{Desk, Ending, Lasting};
use folder::Folder;
use job::Job;
use shelf::Shelf;

pub use account::hmac;
pub use challenges::PATH;
pub use config::{Config, LETS_ENCRYPT};
pub use metrics::Metrics;
pub use names::{Names, can_be_proven};

/// Before listeners open, what is kept is waited for so long.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// At the end of the process, what is under way has so long to end and to leave nothing behind.
const LAST_ORDERS: Duration = Duration::from_secs(5);

/// What a configuration wants of this room.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub config: Config,
    pub certificates: Vec<Names>,
    /// The registry's storage is there, and a secret to seal with.
    pub sealed: bool,
    /// Some listener speaks plain HTTP.
    pub plain: bool,
}

/// What is wanted, with the roots of the authority's own certificate as they were read.
type Read = (Wanted, Option<Vec<u8>>);

/// All certificates of this process that come by themselves.
pub struct Acme {
    registry: Arc<dyn Shelf>,
    lasting: Lasting,
    slots: Mutex<BTreeMap<Names, Arc<Slot>>>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    wanted: Option<Read>,
    desk: Option<Arc<Desk>>,
    /// Each with the task that looks after it, which ends with this.
    tended: Vec<(Arc<Job>, AbortOnDropHandle<Infallible>)>,
    keeping: Option<AbortOnDropHandle<Infallible>>,
}

impl Running {
    /// The desk of what runs, if `wanted` is of the same authority in the same way.
    fn desk_of(&self, wanted: Option<&Read>) -> Option<Arc<Desk>> {
        let ((known, known_ca), (wanted, ca)) = (self.wanted.as_ref()?, wanted?);
        let is_same = known.config == wanted.config && known.sealed == wanted.sealed && known_ca == ca;
        self.desk.clone().filter(|_| is_same)
    }
}

/// What a configuration wants, built and not yet begun. `None`: it is what runs already.
pub struct Prepared(Option<Next>);

struct Next {
    wanted: Option<Read>,
    desk: Option<Arc<Desk>>,
    jobs: Vec<Arc<Job>>,
}

impl Acme {
    /// `registry` keeps things beside the registry's content, once a route has named it.
    pub fn new(registry: Arc<dyn Shelf>, metrics: Metrics, own: OwnAddresses) -> Arc<Self> {
        let lasting =
            Lasting { challenges: Arc::default(), metrics: Arc::new(metrics), own, ending: Ending::default() };
        Arc::new(Acme { registry, lasting, slots: Mutex::default(), running: Mutex::default() })
    }

    /// Builds what can fail. Blocks on the disk.
    pub fn prepare(&self, wanted: Option<Wanted>) -> Result<Prepared, String> {
        let wanted = match wanted.filter(|wanted| !wanted.certificates.is_empty()) {
            Some(wanted) => {
                let ca = wanted.config.ca.as_deref().map(read).transpose()?;
                Some((wanted, ca))
            }
            None => None,
        };
        let (present, known) = {
            let running = self.running.lock();
            if running.wanted == wanted {
                return Ok(Prepared(None));
            }
            let jobs: Vec<Arc<Job>> = running.tended.iter().map(|(job, _)| job.clone()).collect();
            (running.desk_of(wanted.as_ref()), jobs)
        };
        let Some((Wanted { config, certificates, sealed, plain }, _)) = &wanted else {
            return Ok(Prepared(Some(Next { wanted: None, desk: None, jobs: Vec::new() })));
        };
        let goes_on = present.is_some();
        let desk = match present {
            Some(desk) => desk,
            None => Arc::new(Desk::new(config.clone(), self.shelf(config, *sealed), self.lasting.clone())?),
        };
        let ways = config.ways(*plain);
        let job = |names: &Names| {
            let id = names.id(&config.directory, config.profile.as_deref());
            let ways = names.ways(&ways);
            match known.iter().find(|job| job.id == id) {
                Some(job) if goes_on && job.ways == ways => job.clone(),
                Some(job) => Arc::new(job.anew(ways)),
                None => Arc::new(Job::new(names.clone(), id, ways, self.slot(names.list()))),
            }
        };
        let jobs = certificates.iter().map(job).collect();
        Ok(Prepared(Some(Next { wanted, desk: Some(desk), jobs })))
    }

    fn shelf(&self, config: &Config, sealed: bool) -> Arc<dyn Shelf> {
        match config.place(sealed) {
            Storage::Registry => self.registry.clone(),
            Storage::Folder(folder) => Arc::new(Folder::new(folder)),
        }
    }

    /// Takes over the certificates that are kept where none is shown yet, so that the first clients are shown one.
    ///
    /// # Errors
    /// For people: what is kept could not be read. Whoever takes nobody's place goes on all the same.
    pub async fn load(&self, prepared: &Prepared) -> Result<(), String> {
        let Some(Next { desk: Some(desk), jobs, .. }) = &prepared.0 else { return Ok(()) };
        let new: Vec<&Arc<Job>> = jobs.iter().filter(|job| !job.is_in_force()).collect();
        let looks = futures::future::join_all(new.into_iter().map(|job| tend::first_look(desk, job)));
        match tokio::time::timeout(FIRST_LOOK, looks).await {
            Ok(looked) => looked.into_iter().collect(),
            Err(_) => {
                let what = "storage does not answer: which certificates there are is not known yet";
                tracing::warn!("{what}");
                Err(what.to_owned())
            }
        }
    }

    /// From now on these are looked after, and no others. Those that were wanted before in the same way go on as they are; orders
    /// under way end by themselves.
    pub fn commit(&self, prepared: Prepared) {
        let Some(Next { wanted, desk, jobs }) = prepared.0 else { return };
        let metrics = &self.lasting.metrics;
        let mut running = self.running.lock();
        let mut before = std::mem::take(&mut running.tended);
        let gone = before.iter().filter(|(known, _)| !jobs.iter().any(|job| job.id == known.id));
        gone.for_each(|(job, _)| job.retire(metrics));
        let places = desk.as_ref().map(|desk| (desk.shelf.clone(), jobs.iter().map(|job| job.id.clone()).collect()));
        self.lasting.challenges.follow(places);
        self.slots.lock().retain(|names, _| jobs.iter().any(|job| job.names == *names));
        let Some(desk) = desk else {
            *running = Running::default();
            return;
        };
        let with_task = |job: &Arc<Job>| match before.iter().position(|(known, _)| Arc::ptr_eq(known, job)) {
            Some(index) => before.swap_remove(index),
            None => {
                job.begin(metrics);
                let task = tokio::spawn(tend::look_after(desk.clone(), job.clone()));
                (job.clone(), AbortOnDropHandle::new(task))
            }
        };
        let tended = jobs.iter().map(with_task).collect();
        let keeping = Some(AbortOnDropHandle::new(tokio::spawn(tend::keep_sealed(desk.clone(), jobs))));
        *running = Running { wanted, desk: Some(desk), tended, keeping };
    }

    /// The process ends: nothing is begun any more, and what is under way leaves nothing behind.
    pub async fn end(&self) {
        let Running { tended, keeping, .. } = std::mem::take(&mut *self.running.lock());
        drop((tended, keeping));
        let Ending { under_way, told } = &self.lasting.ending;
        told.cancel();
        under_way.close();
        if tokio::time::timeout(LAST_ORDERS, under_way.wait()).await.is_err() {
            tracing::warn!(
                "an order of a certificate was cut off: another instance goes on with it, or the next process"
            );
        }
    }

    /// What an authority is told that asks for this path; `None`: nobody here has ordered that.
    pub async fn answer(&self, path: &str) -> Option<String> {
        self.lasting.challenges.over_http(path).await
    }

    /// For operators: each certificate, until when it lasts, when it is ordered next, and what went wrong last.
    pub fn told(&self) -> Vec<Value> {
        let time = |seconds: u64| {
            let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
        };
        let of = |job: &Arc<Job>| {
            let shown = job.shown();
            json!({
                "names": job.names.list(),
                "until": shown.life.and_then(|life| time(life.until)),
                "next": shown.next.filter(|next| *next > 0).and_then(time),
                "ordering": shown.ordering,
                "failures": shown.failures,
                "last_error": shown.last_error.map(|told| json!({ "at": time(told.at), "what": told.what })),
                "trouble": shown.trouble,
            })
        };
        self.running.lock().tended.iter().map(|(job, _)| of(job)).collect()
    }
}

fn read(ca: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(ca).map_err(|error| format!("{}: {error}", ca.display()))
}

#[async_trait]
impl Issuer for Acme {
    fn slot(&self, names: &[String]) -> Arc<Slot> {
        self.slots.lock().entry(Names::new(names)).or_default().clone()
    }

    async fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.lasting.challenges.in_handshake(name).await
    }
}
