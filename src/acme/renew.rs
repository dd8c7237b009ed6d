//! What is asked of an authority for one certificate, by whoever has its lease: when to renew it, and the next one.

use std::time::Duration;

use super::desk::Desk;
use super::failure::{Cause, Failure};
use super::held::ready;
use super::job::Job;
use super::kept::Certificate;
use super::metrics::Outcome;
use super::order::{self, Asked, Issued, Records};
use super::plan::{Life, Plan, Step};
use super::tend::{Found, save};

/// An authority that does not tell when to renew is asked again, in case it has learnt to.
const SILENT: Duration = Duration::from_secs(24 * 3600);
/// After a question about renewal that was not answered.
const UNANSWERED: Duration = Duration::from_secs(3600);

/// When the authority wants it renewed (RFC 9773).
pub async fn ask(desk: &Desk, found: &Found) -> Plan {
    let mut plan = found.plan.clone();
    let Some((ready, _)) = &found.ready else { return plan };
    let directory = &desk.config.directory;
    let longest = desk.config.renewal_check.0;
    plan.begin(&ready.life);
    let Some(identifier) = &ready.identifier else {
        plan.ask_after(None, SILENT, desk.clock.now());
        return plan;
    };
    let said = match desk.account(directory).await {
        Ok(account) => account.renewal_info(identifier).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let now = desk.clock.now();
    match said {
        Ok((told, after)) => {
            let second = |time: i64| u64::try_from(time).unwrap_or_default();
            let window = &told.suggested_window;
            let window = (second(window.start.unix_timestamp()), second(window.end.unix_timestamp()));
            if plan.told(window, rand::random(), now) {
                let why = told.explanation_url.as_deref().unwrap_or("it does not say why");
                tracing::warn!(names = ?found.names(), why, "the authority wants a certificate renewed now");
            }
            plan.ask_after(Some(after), longest, now);
        }
        Err(failure) => {
            let failure = desk.failed(directory, failure).await;
            tracing::debug!(names = ?found.names(), "the authority does not tell when to renew: {failure}");
            plan.ask_after(None, longest.min(UNANSWERED), now);
        }
    }
    if desk.clock.is_known() {
        plan.clock_known(found.life(), now);
    }
    plan
}

/// What to remember of it, however it ended.
pub async fn renew(desk: &Desk, job: &Job, found: &Found, records: &Records) -> Plan {
    let mut plan = found.plan.clone();
    let rehearsal = desk.config.tried_first().filter(|_| plan.rehearses());
    let directory = rehearsal.unwrap_or(&desk.config.directory);
    let outcome = match attempt(desk, job, found, (directory, rehearsal.is_some()), records).await {
        Ok(None) => {
            plan.clock_known(found.life(), desk.clock.now());
            return plan;
        }
        Ok(Some(_)) if rehearsal.is_some() => {
            tracing::info!(names = ?job.names.list(), directory, "an order worked where it does not count");
            plan.rehearsed();
            Outcome::Rehearsed
        }
        Ok(Some(issued)) => match take_over(desk, job, issued).await {
            Ok(life) => {
                plan.way = plan.way(&job.ways);
                plan.done(found.life(), desk.config.retry.0, desk.clock.now());
                plan.begin(&life);
                Outcome::Issued
            }
            Err(failure) => failed(desk, job, &mut plan, &failure),
        },
        Err(failure) => {
            let failure = desk.failed(directory, failure).await;
            let outcome = failed(desk, job, &mut plan, &failure);
            if rehearsal.is_some() {
                plan.rehearsal_failed(failure.cause);
            }
            outcome
        }
    };
    desk.metrics.ordered(outcome);
    plan
}

fn failed(desk: &Desk, job: &Job, plan: &mut Plan, failure: &Failure) -> Outcome {
    let now = desk.clock.now();
    plan.failed(failure, desk.config.retry.0, rand::random(), now);
    let pause = humantime::format_duration(Duration::from_secs(plan.try_at.saturating_sub(now)));
    tracing::warn!(names = ?job.names.list(), failures = plan.failures, "a certificate could not be had: {failure}; again in {pause}");
    Outcome::Failed
}

/// `None`: by the authority's clock it is not due. `directory`, and whether it is tried where it does not count.
async fn attempt(
    desk: &Desk,
    job: &Job,
    found: &Found,
    (directory, rehearsal): (&str, bool),
    records: &Records,
) -> Result<Option<Issued>, Failure> {
    let Some(way) = found.plan.way(&job.ways) else {
        return Err(Failure::ours("there is no way to prove these names: see challenges in [acme]"));
    };
    let account = desk.account_and_clock(directory).await?;
    if found.step(desk.clock.now()) != Step::Order {
        return Ok(None);
    }
    job.state.shown.lock().ordering = true;
    tracing::info!(names = ?job.names.list(), directory, way = way.word(), "a certificate is ordered");
    let before = found.ready.as_ref().filter(|_| !rehearsal);
    let asked = Asked {
        names: &job.names,
        id: &job.id,
        way,
        replaces: before.and_then(|(ready, _)| ready.identifier.clone()),
        config: &desk.config,
        shelf: &*desk.shelf,
        challenges: &desk.challenges,
    };
    match order::order(&account, &asked, records).await {
        Err(failure) if failure.cause == Cause::NoAccount => {
            desk.forget(directory, &account).await;
            // At once, with another one; once.
            let account = desk.account(directory).await?;
            Box::pin(order::order(&account, &asked, records)).await.map(Some)
        }
        done => done.map(Some),
    }
}

/// Written down, and then shown to clients; it is shown also if it cannot be written down yet.
async fn take_over(desk: &Desk, job: &Job, issued: Issued) -> Result<Life, Failure> {
    let kept = Certificate {
        directory: desk.config.directory.clone(),
        names: job.names.list().to_vec(),
        chain: issued.chain,
        key: issued.key,
        obtained: desk.clock.now(),
    };
    let unusable = |what| Failure::new(Cause::Refused, format!("the authority's certificate is of no use: {what}"));
    let ready = ready(&kept, &job.names).map_err(unusable)?;
    *job.state.unsaved.lock() = Some(kept);
    if let Err(failure) = save(desk, job).await {
        tracing::warn!(names = ?job.names.list(), "a certificate came and cannot be written down yet: {failure}");
    }
    job.install(&ready, desk.clock.now());
    Ok(ready.life)
}
