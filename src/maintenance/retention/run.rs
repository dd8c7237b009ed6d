//! A run over all repositories: what would go is shown, or taken away.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use globset::GlobMatcher;

use super::evaluate::{Due, TooMany, too_many};
use super::look::{Look, Looked};
use super::metrics::Ended;
use super::policy::{Policy, fingerprints, glob};
use super::report::{Outcome, Report, Step, rfc3339};
use super::state::State;
use super::taking::{Taking, Took};
use super::verdict::{Ruling, Seen};
use super::{Retention, RetentionError};
use crate::events::Listener;
use crate::maintenance::day::Day;
use crate::maintenance::journal;
use crate::maintenance::pulls::recorded_since;
use crate::oci::RepositoryName;
use crate::storage::{Error, Storage};

/// How long a run may take before another instance may begin one, which then finds less to do.
const LEASE_TIME: Duration = Duration::from_secs(6 * 3600);
/// Job of which one instance of the fleet is enough.
const LEASE: &str = "retention";
/// Repositories that are looked at at once.
const AT_ONCE: usize = 4;

/// Who is told of a run's steps, as they are made.
pub type Tell<'a> = dyn Fn(&Step) + Send + Sync + 'a;

/// What is asked of a run.
#[derive(Clone, Default)]
pub struct Order {
    /// Places of the policies that may take something; `None`: all. What any policy keeps counts in any case.
    pub policies: Option<Vec<usize>>,
    /// Glob on the names of repositories that are looked at; `None`: all.
    pub repositories: Option<String>,
    /// Also policies that were not shown before may take something.
    pub yes: bool,
    /// Also where more would go than a policy's `most`.
    pub force: bool,
    /// Tells of tags that stay, too.
    pub kept: bool,
    /// Who is told of each change, beside those who are told of all.
    pub listener: Option<Arc<dyn Listener>>,
}

/// What a run works with.
struct Running<'a> {
    retention: &'a Retention,
    order: &'a Order,
    repositories: Option<GlobMatcher>,
    /// By the store's clock.
    now: SystemTime,
    recorded_since: Day,
    /// `None`: nothing is taken.
    run: Option<String>,
}

impl Retention {
    /// What would go now. Changes nothing.
    pub fn plan<'a>(&'a self, order: &'a Order, tell: &'a Tell<'a>) -> BoxFuture<'a, Result<Report, RetentionError>> {
        self.look_over(order, true, tell).boxed()
    }

    /// Takes away what goes, unless a policy that was not shown before is due: then this run shows it, and the next one acts.
    pub fn run<'a>(&'a self, order: &'a Order, tell: &'a Tell<'a>) -> BoxFuture<'a, Result<Report, RetentionError>> {
        let run = async move {
            let lease = self.parts.fleet.lease(LEASE, LEASE_TIME).await;
            let Some(_lease) = lease else { return Err(RetentionError::Busy) };
            let outcome = self.look_over(order, false, tell).await;
            self.parts.metrics.ended(match &outcome {
                Ok(report) => Ended::Well { report, now: SystemTime::now() },
                Err(_) => Ended::Failed,
            });
            outcome
        };
        run.boxed()
    }

    async fn look_over(&self, order: &Order, dry: bool, tell: &Tell<'_>) -> Result<Report, RetentionError> {
        let began = Instant::now();
        let repositories = order.repositories.as_deref().map(glob).transpose().map_err(RetentionError::Pattern)?;
        self.is_known(order)?;
        if let Some(pulls) = &self.parts.pulls {
            pulls.flush().await;
        }
        let storage = self.storage();
        let names = fingerprints(&self.configs, &self.parts.registry.immutable_tags());
        let state = State::read(storage).await?;
        let is_due = |index: usize| order.policies.as_ref().is_none_or(|due| due.contains(&index));
        let is_new = |index: usize| names.get(index).is_none_or(|name| !state.shown.contains_key(name));
        let mut report = Report::new(&self.policies, is_due, is_new);
        let unseen = self.policies.iter().any(|policy| is_due(policy.index) && is_new(policy.index));
        report.only_shown = dry || (unseen && !order.yes);
        let why = if repositories.is_none() { super::NEW } else { super::NEW_IN_PART };
        report.why = (!dry && report.only_shown).then(|| why.to_owned());
        if !report.only_shown {
            self.parts.registry.may_be_written()?;
        }
        let now = match storage.now().await {
            // Whoever may only read can be shown it all the same.
            Err(Error::Refused(_)) if dry => SystemTime::now(),
            now => now?,
        };
        report.begun = rfc3339(now);
        let run = (!report.only_shown).then(|| journal::run_id(LEASE, now));
        let recorded_since = recorded_since(storage, now).await?;
        let in_part = repositories.is_some();
        let running = Running { retention: self, order, repositories, now, recorded_since, run };
        let cut = running.over(&mut report, tell).boxed().await?;
        report.run = running.run.filter(|_| report.gone > 0 || cut);
        // What was shown of some repositories says nothing of what would go in all the others.
        if !dry && !in_part {
            let due: Vec<String> =
                names.iter().enumerate().filter(|(index, _)| is_due(*index)).map(|(_, name)| name.clone()).collect();
            shown(storage, &names, &due, now).await?;
        }
        report.seconds = began.elapsed().as_secs();
        Ok(report)
    }

    fn is_known(&self, order: &Order) -> Result<(), RetentionError> {
        if self.policies.is_empty() {
            return Err(RetentionError::NoPolicy);
        }
        let unknown = order.policies.iter().flatten().find(|index| **index >= self.policies.len());
        unknown.map_or(Ok(()), |index| Err(RetentionError::Unknown(*index)))
    }
}

/// Remembers that the policies that were due have been shown. Those of other configurations are forgotten: should they come back,
/// they are new.
async fn shown(storage: &Storage, names: &[String], due: &[String], now: SystemTime) -> Result<(), Error> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let change = |state: &mut State| {
        let before = state.shown.clone();
        state.shown.retain(|name, _| names.contains(name));
        for name in due {
            state.shown.entry(name.clone()).or_insert(seconds);
        }
        state.shown != before
    };
    State::change(storage, change).await.map(drop)
}

impl Running<'_> {
    /// Whether some repository failed while something was taken from it: then more may be gone than anybody has counted.
    async fn over(&self, report: &mut Report, tell: &Tell<'_>) -> Result<bool, RetentionError> {
        let mut names: Vec<RepositoryName> = Vec::new();
        let is_asked = |name: &RepositoryName| {
            let concerns = |policy: &Policy| policy.concerns(name);
            self.repositories.as_ref().is_none_or(|glob| glob.is_match(name.as_str()))
                && self.retention.policies.iter().any(concerns)
        };
        self.retention.storage().walk(|some| names.extend(some.into_iter().filter(&is_asked))).await?;
        let of = names.len();
        if let Some(pattern) = self.order.repositories.as_ref().filter(|_| of == 0) {
            return Err(RetentionError::NoRepository(pattern.escape_debug().to_string()));
        }
        tell(&Step::Begun { repositories: of, only_shown: report.only_shown });
        let mut outcomes = stream::iter(names).map(|name| self.one(name).boxed()).buffer_unordered(AT_ONCE);
        let (mut done, mut cut) = (0, false);
        while let Some(outcome) = outcomes.next().await {
            done += 1;
            cut |= outcome.error.is_some() && !outcome.tags.is_empty();
            let goes = outcome.tags.iter().filter(|(_, ruling)| ruling.is_gone()).count();
            let (repository, tags, gone) = (outcome.name.to_string(), outcome.tags.len(), outcome.gone);
            tell(&Step::Looked { repository, done, of, tags, goes, gone });
            report.add(outcome, self.order.kept);
        }
        Ok(cut)
    }

    /// What goes wrong in one repository does not keep others from theirs.
    async fn one(&self, name: RepositoryName) -> Outcome {
        let acts = |index: usize| self.order.policies.as_ref().is_none_or(|due| due.contains(&index));
        let concerned = self.retention.policies.iter().filter(|policy| policy.concerns(&name));
        let policies: Vec<Due<'_>> = concerned.map(|policy| Due { policy, acts: acts(policy.index) }).collect();
        let look = Look {
            registry: &self.retention.parts.registry,
            name: &name,
            policies: &policies,
            now: self.now,
            recorded_since: self.recorded_since,
        };
        let looked = match look.look().await {
            Ok(looked) => looked,
            Err(error) => return failed(name, &error),
        };
        let too_many = too_many(&policies, &looked.verdicts, looked.view.tags.len());
        let stopped = too_many.is_some() && !self.order.force;
        if let Some(TooMany { gone: goes, tags, most }) = too_many.filter(|_| stopped && self.run.is_some()) {
            tracing::warn!(%name, goes, tags, most, "retention takes nothing of a repository: too much of it would go");
        }
        let (mut took, mut error) = (Took::default(), None);
        if let Some(run) = self.run.as_deref().filter(|_| !stopped) {
            let (registry, listener) = (&self.retention.parts.registry, self.order.listener.as_ref());
            error = Taking { registry, name: &name, run, listener }.take(&looked, &mut took).await.err();
        }
        if let Some(error) = &error {
            tracing::warn!(%name, %error, "retention could not take all that goes");
        }
        let Took { gone, set_again } = took;
        let error = error.map(|error| error.to_string());
        Outcome { name, tags: told(looked), too_many, stopped, gone, set_again, error }
    }
}

fn failed(name: RepositoryName, error: &Error) -> Outcome {
    tracing::warn!(%name, %error, "retention could not look at a repository");
    let error = Some(error.to_string());
    Outcome { name, tags: Vec::new(), too_many: None, stopped: false, gone: 0, set_again: 0, error }
}

fn told(looked: Looked) -> Vec<(Seen, Ruling)> {
    let Looked { view, verdicts } = looked;
    let seen = view.tags.into_iter().chain(view.followers.into_iter().map(|(seen, _)| seen));
    seen.zip(verdicts.into_iter().map(|verdict| verdict.ruling)).collect()
}
