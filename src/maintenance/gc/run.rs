//! One run from its beginning, or from where another was cut off, to its end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::FutureExt as _;
use futures::stream::TryStreamExt as _;
use prometheus::IntGauge;

use super::config::Untagged;
use super::error::GcError;
use super::evidence::Evidence;
use super::lease::{self, Lease};
use super::report::{MAX_TOLD, Order, Report, Tell, Trash};
use super::state::{self, Kept, Phase, State};
use super::time::{Stopwatch, Time, is_past};
use super::view::View;
use super::work::{Work, paused};
use super::{Collector, metrics};
use crate::maintenance::journal;
use crate::oci::RepositoryName;
use crate::storage::{Error, OwnKey, Version, layout};

/// A run that was begun longer ago is not gone on with: what it found is good, but hardly of use.
const RESUMED: Duration = Duration::from_secs(7 * 24 * 3600);
/// A journal is kept so many times longer at most because something waits.
const LONGER: u32 = 10;
/// How long after the last file of an upload another program is taken to push here.
const FOREIGN: Duration = Duration::from_secs(24 * 3600);

/// Counted as long as it is there: also of a run that is dropped, since whoever ordered it has left.
struct Running(IntGauge);

impl Running {
    fn begin(gauge: &IntGauge) -> Self {
        gauge.set(1);
        Running(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Collector {
    pub(super) async fn alone(&self, order: &Order, tell: &dyn Tell) -> Result<Report, GcError> {
        if let Some(paused) = paused(&self.tools.storage).await? {
            return Err(GcError::Paused { by: paused.by, since: lease::shown(paused.since) });
        }
        let lease = Lease::take(&self.tools, &order.by, self.lease_over()).await?;
        let outcome = self.with_lease(order, tell, &lease).boxed().await;
        lease.release().await;
        outcome
    }

    async fn with_lease(&self, order: &Order, tell: &dyn Tell, lease: &Lease<'_>) -> Result<Report, GcError> {
        let (kept, resumed) = self.begin(order, lease.nonce()).await?;
        let evidence = Evidence::gather(&self.tools.storage).boxed().await?;
        let mut work = Work::new((&self.tools, &self.config), order, tell, &kept, evidence);
        work.lease = Some(lease);
        let _running = Running::begin(&self.tools.metrics.running);
        let outcome = tokio::select! {
            outcome = work.go().boxed() => outcome,
            error = self.beats(lease, &kept).boxed() => Err(error),
        };
        self.finish(&work, outcome, resumed).boxed().await
    }

    /// Whatever others do.
    #[cfg(test)]
    pub(super) async fn without_lease(&self, order: &Order) -> Result<Report, GcError> {
        let holder = uuid::Uuid::new_v4().to_string();
        let (kept, resumed) = self.begin(order, &holder).await?;
        let evidence = Evidence::gather(&self.tools.storage).boxed().await?;
        let work = Work::new((&self.tools, &self.config), order, &(), &kept, evidence);
        let outcome = work.go().await;
        self.finish(&work, outcome, resumed).boxed().await
    }

    /// The state of a new run, or of one that was cut off and is gone on with; stored.
    async fn begin(&self, order: &Order, holder: &str) -> Result<(Kept, bool), GcError> {
        let begun = self.tools.clock.now(&self.tools.storage).await?;
        let untagged = match order.untagged.map_or(self.config.untagged, Untagged::After) {
            Untagged::Keep => None,
            Untagged::After(span) => Some(span.0.as_secs()),
        };
        let before: Option<(State, Version)> = state::read(&self.tools.storage).await?;
        let (before, version) = before.map_or((None, None), |(state, version)| (Some(state), Some(version)));
        let goes_on = |state: &State| {
            let same = (state.now, state.untagged) == (order.now, untagged);
            state.phase != Phase::Done && same && !state.begun.is_past(RESUMED, begun) && state.begun.get() <= begun
        };
        let (mut state, resumed) = match before {
            Some(before) if goes_on(&before) => (before, true),
            before => {
                let run = journal::run_id(journal::COLLECTION, begun);
                let mut state = State::new(run, order, untagged, Time::of(begun));
                if let Some(before) = before {
                    (state.foreign, state.last_good) = (before.foreign, before.last_good);
                }
                (state, false)
            }
        };
        if resumed {
            tracing::info!(run = state.run, phase = ?state.phase, "a collection that was cut off goes on");
            (state.by, state.ended, state.error) = (order.by.clone(), None, None);
            if state.phase == Phase::Mark {
                state.counts = state.marked_counts.clone();
            }
        }
        state.holder = holder.to_owned();
        let kept = Kept::new(state, version);
        kept.save(&self.tools.storage).await?;
        Ok((kept, resumed))
    }

    /// Says that this run is alive, until it is not the only one any more.
    async fn beats(&self, lease: &Lease<'_>, kept: &Kept) -> GcError {
        let mut heard = Stopwatch::start();
        loop {
            tokio::time::sleep(lease.every()).await;
            let beat = async {
                lease.beat().await?;
                kept.save(&self.tools.storage).await
            };
            match beat.await {
                Ok(()) => {
                    heard = Stopwatch::start();
                    self.tools.metrics.beats(kept.state.lock().beat);
                }
                // Storage does not answer now: so nobody else can take over either.
                Err(GcError::Storage(error @ (Error::Unavailable(_) | Error::Failed(_)))) => {
                    tracing::debug!(%error, "the lease of the collection could not be renewed");
                }
                Err(error) => return error,
            }
            if heard.elapsed() > self.lease_over() {
                return GcError::Overtaken;
            }
        }
    }

    async fn finish(&self, work: &Work<'_>, outcome: Result<(), GcError>, resumed: bool) -> Result<Report, GcError> {
        // By a clock that has gone on, also where the store does not answer any more.
        let now = match self.tools.clock.now(&self.tools.storage).await {
            Ok(now) => now,
            Err(_) => SystemTime::now().max(work.begun),
        };
        let report = {
            let mut state = work.kept.state.lock();
            state.largest(MAX_TOLD);
            state.ended = Some(Time::of(now));
            state.error = outcome.as_ref().err().map(ToString::to_string);
            if outcome.is_ok() {
                (state.phase, state.last_good) = (Phase::Done, state.ended);
            }
            report(&state, work.order, resumed)
        };
        let result = match &outcome {
            Ok(()) => metrics::ENDS[0],
            Err(GcError::Foreign(_) | GcError::NoRepositories(_)) => metrics::ENDS[2],
            Err(_) => metrics::ENDS[1],
        };
        self.tools.metrics.ended(result, report.begun, report.ended, &report.counts);
        // The epoch need not stay odd until the next run.
        let still = match outcome {
            // Another moves bytes, and says so by the same epoch.
            Err(GcError::Overtaken) => Ok(()),
            _ => work.still_at_last().await,
        };
        match (outcome, still) {
            (Ok(()), Ok(())) => work.save().await.map(|()| report),
            (Ok(()), Err(error)) => Err(error.into()),
            (Err(error), _) => {
                // Another's is not written over.
                if !matches!(error, GcError::Overtaken)
                    && let Err(why) = work.save().await
                {
                    tracing::debug!(%why, "the end of a collection could not be written down");
                }
                Err(error)
            }
        }
    }

    /// What a run would do.
    pub(super) async fn plan(&self, order: &Order, tell: &dyn Tell) -> Result<Report, GcError> {
        let storage = &self.tools.storage;
        let begun = match self.tools.clock.now(storage).await {
            // To learn the store's time, one has to be allowed to write to it.
            Err(Error::Refused(_)) => SystemTime::now(),
            other => other?,
        };
        let took = Stopwatch::start();
        let state = State::new("plan".into(), order, None, Time::of(begun));
        let kept = Kept::new(state, None);
        let evidence = Evidence::gather(storage).boxed().await?;
        let work = Work::new((&self.tools, &self.config), order, tell, &kept, evidence);
        let mark = work.mark(Default::default()).boxed().await?;
        work.unlinked(&mark).boxed().await?;
        let mut state = kept.state.lock();
        state.largest(MAX_TOLD);
        state.ended = Some(Time::of(begun).plus(took.elapsed()));
        Ok(report(&state, order, false))
    }
}

impl Work<'_> {
    async fn go(&self) -> Result<(), GcError> {
        self.mind_foreign().boxed().await?;
        let mut phase = self.kept.state.lock().phase;
        if phase != Phase::Look {
            let before = match self.marked_before().boxed().await? {
                Some(before) => before,
                None => {
                    tracing::warn!("what a collection found before it was cut off is lost: it begins again");
                    self.kept.state.lock().begin_again();
                    phase = Phase::Mark;
                    Default::default()
                }
            };
            // What is needed is known from here on, then bytes are gone through; then that is forgotten, and looked at anew.
            let mark = match phase {
                Phase::Mark => self.mark(before).boxed().await?,
                _ => before.0.settled(),
            };
            self.enter(Phase::Unlinked).await?;
            self.unlinked(&mark).boxed().await?;
            self.end_count().boxed().await;
            self.enter(Phase::Look).await?;
        }
        self.reap().boxed().await?;
        self.forget_old().boxed().await
    }

    /// Whether what this run moves is deleted by it too.
    pub fn at_once(&self) -> bool {
        let stays = match self.order.trash {
            Trash::Never => false,
            Trash::BesideOthers => {
                let state = self.kept.state.lock();
                state.foreign.as_ref().is_some_and(|(time, _)| !time.is_past(FOREIGN, self.begun))
            }
            Trash::Always => true,
        };
        self.order.now && !stays
    }

    async fn enter(&self, phase: Phase) -> Result<(), GcError> {
        self.kept.state.lock().phase = phase;
        self.save().await
    }

    /// If another program was seen in the last run, nothing begins before that is looked at: a run that refuses in its middle has
    /// condemned something already.
    async fn mind_foreign(&self) -> Result<(), GcError> {
        let seen = self.kept.state.lock().foreign.clone();
        let Some((_, name)) = seen.filter(|_| !self.careful) else { return Ok(()) };
        let Ok(name) = name.parse::<RepositoryName>() else { return Ok(()) };
        self.pace.take(1).await;
        let view = View::of(&self.storage, &name).await?;
        if view.upload.is_some_and(|upload| !is_past(upload, FOREIGN, self.begun)) {
            return Err(GcError::Foreign(name));
        }
        self.kept.state.lock().foreign = None;
        Ok(())
    }

    /// Journals of what can no longer be brought back, and what was written down on the way. As long as something waits that was
    /// unlinked so long ago, its journal may be needed yet: by a look that finds it named, or by who wants it back.
    async fn forget_old(&self) -> Result<(), GcError> {
        let now = self.now().await?;
        let lasts = self.config.reap_after.0 + self.grace() * 2;
        // A run takes its time between the two.
        let waits = self.waits_since.lock().and_then(|since| since.get().checked_sub(self.grace()));
        let (mut old, mut oldest) = (Vec::new(), now);
        let mut all = journal::all(&self.storage);
        while let Some(kept) = all.try_next().await? {
            let is_waited_for = waits.is_some_and(|waits| kept.changed >= waits);
            if is_past(kept.changed, lasts, now) && (!is_waited_for || is_past(kept.changed, lasts * LONGER, now)) {
                old.push(kept);
            } else {
                oldest = oldest.min(journal::began(&kept.run).unwrap_or(UNIX_EPOCH));
            }
        }
        for kept in old {
            self.pace.take(1).await;
            journal::forget(&self.storage, &kept.run, &kept.repository).await?;
        }
        self.forget_deleted(oldest).await?;
        let mut files = Vec::new();
        let mut marked = self.storage.below(layout::MARKED, None);
        while let Some(file) = marked.try_next().await? {
            let found =
                file.name.split_once('/').and_then(|(run, number)| Some((run.to_owned(), number.parse().ok()?)));
            files.extend(found);
        }
        for (run, number) in files {
            self.pace.take(1).await;
            self.storage.own_delete(&OwnKey::Marked(run, number)).await?;
        }
        Ok(())
    }

    /// That something was deleted of which no journal tells any more: they tell of what was taken since `oldest`. A run's name has the
    /// time of who began it, which may be another than the store's.
    async fn forget_deleted(&self, oldest: SystemTime) -> Result<(), GcError> {
        let mut old = Vec::new();
        let mut all = self.storage.deleted_all();
        while let Some(deleted) = all.try_next().await? {
            if is_past(deleted.at, self.grace(), oldest) {
                old.push(OwnKey::Deleted(deleted.name, deleted.digest));
            }
        }
        for key in old {
            self.pace.take(1).await;
            self.storage.own_delete(&key).await?;
        }
        Ok(())
    }
}

fn report(state: &State, order: &Order, resumed: bool) -> Report {
    Report {
        run: state.run.clone(),
        dry: order.dry,
        now: order.now,
        begun: state.begun,
        ended: state.ended.unwrap_or(state.beat),
        resumed,
        counts: state.counts.clone(),
        repositories: state.repositories.iter().take(MAX_TOLD).cloned().collect(),
        kept_whole: state.kept_whole_names.clone(),
        notes: notes(state, order),
    }
}

/// What should be known.
fn notes(state: &State, order: &Order) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((time, name)) = &state.foreign {
        notes.push(format!(
            "Another program pushes into this storage: something below {name}/_uploads is of {}. A collection beside it needs [gc] \
             foreign = \"careful\", or --careful for one run. Distribution must have no cache of blob descriptors (storage.cache), or be restarted after each \
             collection: what it once saw it believes to be there. And its own `registry garbage-collect` must never run meanwhile.",
            lease::shown(*time)
        ));
    }
    if state.counts.kept_whole > 0 {
        notes.push(format!(
            "{} repositories keep everything, because a manifest or a link of theirs cannot be read: `entrepot verify` tells which.",
            state.counts.kept_whole
        ));
    }
    if state.counts.lost > 0 {
        notes.push(format!("{} blobs are needed and gone: `entrepot verify` may repair them.", state.counts.lost));
    }
    if order.dry && !order.now && state.counts.condemned_blobs + state.counts.condemned_manifests > 0 {
        notes.push(
            "What is condemned can be brought back by `entrepot gc undelete` until its bytes are deleted.".to_owned(),
        );
    }
    notes
}
