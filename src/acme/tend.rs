//! One certificate, looked after for as long as the configuration names it: taken over when another instance had it renewed, and
//! renewed by the one that has the lease.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::desk::Desk;
use super::failure::Failure;
use super::held::{Ready, ready};
use super::job::Job;
use super::kept::{self, Certificate};
use super::lease::{self, Lease, Seen};
use super::order::Records;
use super::plan::{Life, Plan, Step};
use super::renew::{ask, renew};
use super::shelf::{Item, Over};

/// Between two looks at what others did.
const LOOK: Duration = Duration::from_secs(60);
/// The same while there is none.
const MISSING: Duration = Duration::from_secs(5);
/// The same while another deals with it.
const BUSY: Duration = Duration::from_secs(2);
/// After our own storage failed.
const TROUBLE: Duration = Duration::from_secs(10);
/// Between two looks at what is read seldom.
const SELDOM: Duration = Duration::from_secs(3600);

/// What is there of a certificate.
pub struct Found {
    pub ready: Option<(Ready, Certificate)>,
    pub plan: Plan,
}

impl Found {
    pub fn life(&self) -> Option<&Life> {
        self.ready.as_ref().map(|(ready, _)| &ready.life)
    }

    pub fn step(&self, now: u64) -> Step {
        self.plan.step(self.life(), now)
    }

    pub fn names(&self) -> &[String] {
        self.ready.as_ref().map_or(&[], |(_, kept)| &kept.names)
    }
}

/// Never ends, whatever happens.
pub async fn look_after(desk: Arc<Desk>, job: Arc<Job>) -> Infallible {
    loop {
        let Err(error) = AbortOnDropHandle::new(tokio::spawn(tend(desk.clone(), job.clone()))).await;
        tracing::error!(names = ?job.names.list(), %error, "what looks after a certificate broke off, and begins anew");
        tokio::time::sleep(TROUBLE).await;
    }
}

/// Looks at what is read seldom: what is sealed with a former secret is sealed anew by whoever reads it. Never ends by itself.
pub async fn keep_sealed(desk: Arc<Desk>, jobs: Vec<Arc<Job>>) -> Infallible {
    loop {
        desk.look_at_accounts().await;
        for job in &jobs {
            if let Err(error) = desk.shelf.get(Item::Last(&job.names.id_of_any())).await {
                tracing::debug!(names = ?job.names.list(), %error, "the last certificate for these names cannot be read");
            }
        }
        tokio::time::sleep(SELDOM).await;
    }
}

/// Never ends by itself.
async fn tend(desk: Arc<Desk>, job: Arc<Job>) -> Infallible {
    let mut seen = Seen::default();
    loop {
        let turn = Box::pin(turn(&desk, &job, &mut seen)).await;
        let pause = match turn {
            Ok(pause) => {
                job.state.shown.lock().trouble = None;
                pause
            }
            Err(failure) => {
                tracing::warn!(names = ?job.names.list(), "a certificate cannot be looked after: {failure}");
                let mut shown = job.state.shown.lock();
                shown.ordering = false;
                shown.trouble = Some(failure.what);
                TROUBLE.max(failure.wait.unwrap_or_default())
            }
        };
        tokio::time::sleep(pause.mul_f64(1.0 + 0.1 * rand::random::<f64>())).await;
    }
}

/// Takes over what is there; for who is about to listen.
pub async fn first_look(desk: &Desk, job: &Job) -> Result<(), String> {
    let looked = look(desk, job).await;
    looked.map(drop).map_err(|failure| {
        tracing::warn!(names = ?job.names.list(), "a certificate cannot be read: {failure}");
        format!("the certificate for {} cannot be read: {failure}", job.names.first())
    })
}

/// How long to wait for the next one. Fails where storage does; what an authority says no to is written into the plan.
async fn turn(desk: &Arc<Desk>, job: &Arc<Job>, seen: &mut Seen) -> Result<Duration, Failure> {
    save(desk, job).await?;
    let found = look(desk, job).await?;
    let now = desk.clock.now();
    let step = found.step(now);
    if let Step::Wait(at) = step {
        let longest = if found.ready.is_some() { LOOK } else { MISSING };
        return Ok(Duration::from_secs(at.saturating_sub(now).max(1)).min(longest));
    }
    if let Some(why) = desk.shelf.closed() {
        return Err(Failure::ours(why));
    }
    let permit = match step {
        Step::Order => match permit(desk, job).await? {
            Some(permit) => Some(permit),
            None => return Ok(Duration::ZERO),
        },
        Step::Ask | Step::Wait(_) => None,
    };
    let alone = alone(desk.clone(), job.clone(), permit, std::mem::take(seen));
    // A task of its own: what a reload cut off would be lost, and others would wait for the lease.
    let ended = desk.ending.under_way.spawn(alone).await;
    let (after, done) = ended.map_err(|error| Failure::ours(format!("what was under way broke off: {error}")))?;
    *seen = after;
    done
}

/// Before the lease: who waits for an order of ours to end would only keep other instances from it. `None`: it is not due any more.
async fn permit(desk: &Desk, job: &Job) -> Result<Option<OwnedSemaphorePermit>, Failure> {
    let mut permit = std::pin::pin!(desk.orders.clone().acquire_owned());
    loop {
        if let Ok(permit) = tokio::time::timeout(LOOK, permit.as_mut()).await {
            return permit.map(Some).map_err(|error| Failure::ours(error.to_string()));
        }
        // Another instance may have had it renewed meanwhile.
        if look(desk, job).await?.step(desk.clock.now()) != Step::Order {
            return Ok(None);
        }
    }
}

/// What one instance does at a time, from the lease to its release.
async fn alone(
    desk: Arc<Desk>,
    job: Arc<Job>,
    permit: Option<OwnedSemaphorePermit>,
    mut seen: Seen,
) -> (Seen, Result<Duration, Failure>) {
    let done = match lease::take(&desk.shelf, &job.id, &mut seen).await {
        Ok(Some(lease)) => Box::pin(under_lease(&desk, &job, permit.is_some(), lease)).await,
        Ok(None) => Ok(BUSY),
        Err(error) => Err(error.into()),
    };
    drop(permit);
    (seen, done)
}

/// Why work under a lease is cut off.
enum Cut {
    Lost,
    Ended,
}

async fn under_lease(desk: &Desk, job: &Job, may_order: bool, lease: Lease) -> Result<Duration, Failure> {
    let records = Records::default();
    let cut = async {
        tokio::select! {
            () = lease.keep() => Cut::Lost,
            () = desk.ending.comes() => Cut::Ended,
        }
    };
    let done = tokio::select! {
        done = work(desk, job, &records, may_order) => Ok(done),
        cut = cut => Err(cut),
    };
    job.state.shown.lock().ordering = false;
    match done {
        Ok(done) => {
            lease.release().await;
            done.map(|()| Duration::ZERO)
        }
        Err(Cut::Ended) => {
            tidy_up(desk, job, &records).await;
            lease.release().await;
            Err(Failure::ours("the process ends"))
        }
        Err(Cut::Lost) => {
            // Whoever took it over may have set the same records, and takes them away.
            desk.challenges.forget(&job.id);
            let lost = Failure::ours("the lease was lost while it was ordered: another instance goes on");
            Err(Failure { wait: Some(desk.config.retry.0), ..lost })
        }
    }
}

/// What came and could not be written down, if there is such a thing.
pub async fn save(desk: &Desk, job: &Job) -> Result<(), Failure> {
    let Some(kept) = job.state.unsaved.lock().clone() else { return Ok(()) };
    kept::write(&*desk.shelf, Item::Certificate(&job.id), &kept, Over::Anything).await?;
    *job.state.unsaved.lock() = None;
    let last = job.names.id_of_any();
    if let Err(error) = kept::write(&*desk.shelf, Item::Last(&last), &kept, Over::Anything).await {
        tracing::debug!(names = ?job.names.list(), %error, "the last certificate for these names is not written down");
    }
    Ok(())
}

async fn look(desk: &Desk, job: &Job) -> Result<Found, Failure> {
    let certificate = kept::read::<Certificate>(&*desk.shelf, Item::Certificate(&job.id)).await?;
    let plan = kept::read::<Plan>(&*desk.shelf, Item::Plan(&job.id)).await?;
    let plan = plan.map(|(plan, _)| plan).unwrap_or_default();
    let ready = match certificate.map(|(kept, _)| (ready(&kept, &job.names), kept)) {
        Some((Ok(ready), kept)) => Some((ready, kept)),
        Some((Err(what), _)) => {
            tracing::warn!(names = ?job.names.list(), "the certificate that is kept is of no use: {what}");
            None
        }
        None => None,
    };
    match &ready {
        Some((ready, _)) => job.install(ready, desk.clock.now()),
        None => stand_in(desk, job).await,
    }
    let found = Found { ready, plan };
    show(desk, job, &found);
    Ok(found)
}

/// Where nothing is shown and there is none, the last one for the same names is: of another authority, or of another of its profiles.
async fn stand_in(desk: &Desk, job: &Job) {
    if job.slot.held().is_some() || job.state.last_sought.load(Ordering::Relaxed) {
        return;
    }
    let last = kept::read::<Certificate>(&*desk.shelf, Item::Last(&job.names.id_of_any())).await;
    match last {
        Ok(found) => {
            job.state.last_sought.store(true, Ordering::Relaxed);
            if let Some((kept, _)) = found
                && let Ok(ready) = ready(&kept, &job.names)
            {
                let directory = kept.directory.as_str();
                tracing::info!(names = ?job.names.list(), directory, "the last certificate for these names stands in for one to come");
                job.slot.put(ready.held);
            }
        }
        Err(error) => tracing::debug!(names = ?job.names.list(), %error, "no certificate can stand in"),
    }
}

fn show(desk: &Desk, job: &Job, found: &Found) {
    let next = found.plan.order_at(found.life(), desk.clock.now());
    let mut shown = job.state.shown.lock();
    shown.next = Some(next);
    shown.failures = found.plan.failures;
    shown.last_error = found.plan.last_error.clone();
    if job.is_in_force() {
        desk.metrics.tell(&job.names, next, found.plan.failures);
    }
}

/// What is to be done, by whoever has the lease.
async fn work(desk: &Desk, job: &Job, records: &Records, may_order: bool) -> Result<(), Failure> {
    // Another may have done it while we waited for the lease.
    let found = look(desk, job).await?;
    let plan = match found.step(desk.clock.now()) {
        Step::Wait(_) => return Ok(()),
        Step::Ask => ask(desk, &found).await,
        // It has become due meanwhile: the next turn's.
        Step::Order if !may_order => return Ok(()),
        Step::Order => {
            let plan = renew(desk, job, &found, records).await;
            tidy_up(desk, job, records).await;
            plan
        }
    };
    kept::write(&*desk.shelf, Item::Plan(&job.id), &plan, Over::Anything).await?;
    Ok(())
}

/// Nothing is left of an order that an authority could see.
async fn tidy_up(desk: &Desk, job: &Job, records: &Records) {
    records.cleanup(&desk.config).await;
    desk.challenges.take_down(&*desk.shelf, &job.id).await;
}
