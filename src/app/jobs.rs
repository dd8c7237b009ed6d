//! What a running server begins by itself: collection, retention and verification, each by its schedule, once for the fleet.
//!
//! One task looks at the clock; each kind of job runs in a task of its own, and of a kind one at a time: what is due meanwhile
//! follows it, once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::maintenance::schedule::{Minute, Schedule, Timetable, turn, zone};
use crate::storage::Storage;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Collect,
    Retain,
    Verify,
}

/// One line of the timetable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    pub kind: Kind,
    /// As it is configured: policies of retention that have the same one run together.
    pub schedule: String,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Collect, Kind::Retain, Kind::Verify];

    /// As logs and metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Collect => "gc",
            Kind::Retain => "retention",
            Kind::Verify => "verify",
        }
    }

    /// The file in storage that says whose turn it is.
    fn lease(self) -> &'static str {
        match self {
            Kind::Collect => "schedule-gc",
            Kind::Retain => "schedule-retention",
            Kind::Verify => "schedule-verify",
        }
    }
}

/// How often it is looked how collections stand that other processes did: a list, and a file for each part of what waits to go.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// The first time not among the first requests.
const FIRST_LOOK: Duration = Duration::from_secs(15);

/// How a job ended.
pub enum Outcome {
    /// A sentence of what came of it.
    Done(String),
    /// Another program or an operator does it, or has stopped it: a sentence.
    LeftOut(String),
    Failed(String),
}

/// Who does it.
#[async_trait]
pub trait Work: Send + Sync {
    /// Where it is done; `None` while no route names the registry.
    fn storage(&self) -> Option<Arc<Storage>>;

    /// Why nothing is to begin by itself now, such as a registry that is only read.
    async fn hindered(&self, kind: Kind) -> Option<String>;

    /// The schedules of one kind that have come: one, or of retention several.
    async fn run(&self, kind: Kind, schedules: &[String]) -> Outcome;

    /// Looks how it stands in storage, whoever did it, for the metrics.
    async fn look(&self);
}

/// The jobs of this process.
pub struct Jobs {
    state: Mutex<State>,
    changed: Notify,
    work: Arc<dyn Work>,
    metrics: Metrics,
}

struct State {
    table: Timetable<Job>,
    /// By what runs: since when, and what follows it.
    running: BTreeMap<Kind, Running>,
    /// How the last one of each kind ended here.
    last: BTreeMap<Kind, Last>,
}

struct Last {
    ended: SystemTime,
    /// As metrics have it.
    result: &'static str,
    what: String,
}

struct Running {
    since: SystemTime,
    follows: Vec<String>,
}

impl Jobs {
    /// Does nothing before [`Self::run`].
    pub fn new(
        config: &Config,
        work: Arc<dyn Work>,
        metrics: &Registry,
        now: SystemTime,
    ) -> prometheus::Result<Arc<Self>> {
        let state =
            State { table: Timetable::new(lines(config), now), running: BTreeMap::new(), last: BTreeMap::new() };
        let jobs = Jobs { state: Mutex::new(state), changed: Notify::new(), work, metrics: Metrics::new(metrics)? };
        jobs.tell_next(now);
        Ok(Arc::new(jobs))
    }

    /// Takes other schedules over. What runs goes on.
    pub fn reconfigure(&self, config: &Config, now: SystemTime) {
        self.state.lock().table.replace(lines(config), now);
        self.tell_next(now);
        self.changed.notify_one();
    }

    /// Until it is dropped, and then all that runs ends with it; `clock` is the time of day.
    pub async fn run(self: Arc<Self>, clock: impl Fn() -> SystemTime + Send + Sync) -> Infallible {
        let looks = async {
            tokio::time::sleep(FIRST_LOOK).await;
            loop {
                self.work.look().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let (never, _): (Infallible, Infallible) = tokio::join!(self.keep_time(clock), looks);
        never
    }

    async fn keep_time(self: &Arc<Self>, clock: impl Fn() -> SystemTime + Send + Sync) -> Infallible {
        let mut tasks = JoinSet::new();
        loop {
            for (underway, schedules) in self.turns(clock()).await {
                tasks.spawn(underway.work_off(schedules));
            }
            self.tell_next(clock());
            let wait = self.state.lock().table.wait(clock());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a job has broken off");
                    }
                }
            }
        }
    }

    /// What this instance begins now: kinds whose minute has come and was given to it.
    async fn turns(self: &Arc<Self>, now: SystemTime) -> Vec<(Underway, Vec<String>)> {
        let Some(storage) = self.work.storage() else { return Vec::new() };
        let mut due = self.state.lock().table.due(now);
        due.sort_by_key(|(job, minute)| (*minute, job.kind));
        let mut begun = Vec::new();
        // All of a kind that are due in one minute are one turn.
        for run in due.chunk_by(|(a, minute), (b, other)| (minute, a.kind) == (other, b.kind)) {
            let Some((Job { kind, .. }, minute)) = run.first().cloned() else { continue };
            let schedules: Vec<String> = run.iter().map(|(job, _)| job.schedule.clone()).collect();
            if let Some(why) = self.work.hindered(kind).await {
                tracing::info!(job = kind.word(), scheduled = %minute, why = why.as_str(), "a job is left out");
                self.metrics.runs(kind, "left_out");
                self.ended(kind, "left_out", why);
                self.done(run);
                continue;
            }
            match turn(&storage, kind.lease(), minute, now).await {
                Ok(true) => begun.extend(self.begin(kind, schedules)),
                Ok(false) => self.metrics.runs(kind, "elsewhere"),
                Err(error) => {
                    // It is asked for again as long as it is not too late.
                    tracing::warn!(job = kind.word(), scheduled = %minute, %error, "nobody can tell whose turn it is");
                    continue;
                }
            }
            self.done(run);
        }
        begun
    }

    fn done(&self, run: &[(Job, Minute)]) {
        let mut state = self.state.lock();
        run.iter().for_each(|(job, minute)| state.table.done(job, *minute));
    }

    fn ended(&self, kind: Kind, result: &'static str, what: String) {
        self.state.lock().last.insert(kind, Last { ended: SystemTime::now(), result, what });
    }

    /// `None`: one of the kind runs, and these follow it.
    fn begin(self: &Arc<Self>, kind: Kind, schedules: Vec<String>) -> Option<(Underway, Vec<String>)> {
        let mut state = self.state.lock();
        let Some(running) = state.running.get_mut(&kind) else {
            state.running.insert(kind, Running { since: SystemTime::now(), follows: Vec::new() });
            return Some((Underway { jobs: self.clone(), kind, over: false }, schedules));
        };
        tracing::info!(job = kind.word(), "a job is due while one of its kind runs, and follows it");
        for schedule in schedules {
            if !running.follows.contains(&schedule) {
                running.follows.push(schedule);
            }
        }
        None
    }

    fn tell_next(&self, now: SystemTime) {
        let next = self.state.lock().table.next(now);
        for kind in Kind::ALL {
            let of_kind = next.iter().filter(|(job, _)| job.kind == kind);
            let first = of_kind.filter_map(|(_, minute)| *minute).min();
            let seconds = first.map_or(0, |minute| seconds(minute.begins()));
            self.metrics.next.with_label_values(&[kind.word()]).set(seconds);
        }
    }

    /// For /status: each schedule, when it comes next, what runs here, and how what ran here last ended.
    pub fn told(&self, now: SystemTime) -> Value {
        let state = self.state.lock();
        let schedules: Vec<Value> = state
            .table
            .next(now)
            .into_iter()
            .map(|(job, next)| {
                json!({
                    "job": job.kind.word(),
                    "schedule": job.schedule,
                    "next": next.map(|minute| minute.to_string()),
                })
            })
            .collect();
        let running = state.running.iter().map(|(kind, running)| {
            json!({ "job": kind.word(), "since": humantime::format_rfc3339_seconds(running.since).to_string() })
        });
        let last = state.last.iter().map(|(kind, last)| {
            json!({
                "job": kind.word(),
                "ended": humantime::format_rfc3339_seconds(last.ended).to_string(),
                "result": last.result,
                "what": last.what,
            })
        });
        json!({ "schedules": schedules, "running": running.collect::<Vec<_>>(), "last": last.collect::<Vec<_>>() })
    }
}

/// Runs of one kind, as long as they are under way, however they end.
struct Underway {
    jobs: Arc<Jobs>,
    kind: Kind,
    over: bool,
}

impl Underway {
    /// One run, and what became due meanwhile.
    async fn work_off(mut self, mut schedules: Vec<String>) {
        let (kind, jobs) = (self.kind, self.jobs.clone());
        let metrics = &jobs.metrics;
        metrics.running.with_label_values(&[kind.word()]).set(1);
        while !schedules.is_empty() {
            metrics.begun.with_label_values(&[kind.word()]).set(seconds(SystemTime::now()));
            tracing::info!(job = kind.word(), "a scheduled job begins");
            let (result, what) = match jobs.work.run(kind, &schedules).await {
                Outcome::Done(what) => {
                    tracing::info!(job = kind.word(), what, "a scheduled job is done");
                    ("ok", what)
                }
                Outcome::LeftOut(why) => {
                    tracing::info!(job = kind.word(), why, "a job is left out");
                    ("left_out", why)
                }
                Outcome::Failed(error) => {
                    tracing::error!(job = kind.word(), error, "a scheduled job has failed");
                    ("failed", error)
                }
            };
            jobs.ended(kind, result, what);
            metrics.runs(kind, result);
            schedules = self.next();
        }
    }

    /// What follows; if nothing does, it is over.
    fn next(&mut self) -> Vec<String> {
        let mut state = self.jobs.state.lock();
        let Some(running) = state.running.get_mut(&self.kind) else { return Vec::new() };
        let follows = std::mem::take(&mut running.follows);
        running.since = SystemTime::now();
        if follows.is_empty() {
            state.running.remove(&self.kind);
            self.over = true;
            self.jobs.metrics.running.with_label_values(&[self.kind.word()]).set(0);
        }
        follows
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.over {
            self.jobs.state.lock().running.remove(&self.kind);
            self.jobs.metrics.running.with_label_values(&[self.kind.word()]).set(0);
        }
    }
}

/// The lines of a configuration that was checked: what cannot be read has none.
fn lines(config: &Config) -> Vec<(Job, Schedule)> {
    let Ok(zone) = zone(&config.gc.timezone) else { return Vec::new() };
    let mut jobs = vec![(Kind::Collect, &config.gc.schedule), (Kind::Verify, &config.verify.schedule)];
    jobs.extend(config.retention.iter().map(|policy| (Kind::Retain, &policy.schedule)));
    let mut lines: Vec<(Job, Schedule)> = Vec::new();
    for (kind, text) in jobs {
        let job = Job { kind, schedule: text.trim().to_owned() };
        if let Ok(Some(schedule)) = Schedule::parse(text, zone)
            && !lines.iter().any(|(known, _)| *known == job)
        {
            lines.push((job, schedule));
        }
    }
    lines
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Not `job`, which Prometheus has a label of its own for.
const LABEL: &str = "task";

struct Metrics {
    runs: IntCounterVec,
    running: IntGaugeVec,
    begun: IntGaugeVec,
    ended: IntGaugeVec,
    next: IntGaugeVec,
}

impl Metrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let family = IntGaugeVec::new(Opts::new(name, help), &[LABEL])?;
            registry.register(Box::new(family.clone()))?;
            Kind::ALL.iter().for_each(|kind| drop(family.with_label_values(&[kind.word()])));
            prometheus::Result::Ok(family)
        };
        let runs = Opts::new("entrepot_job_runs_total", "Scheduled minutes of jobs, by what came of them here");
        let runs = IntCounterVec::new(runs, &[LABEL, "result"])?;
        registry.register(Box::new(runs.clone()))?;
        for kind in Kind::ALL {
            for result in ["ok", "failed", "left_out", "elsewhere"] {
                runs.with_label_values(&[kind.word(), result]);
            }
        }
        Ok(Metrics {
            runs,
            running: gauge("entrepot_job_running", "1 while this instance does it by its schedule")?,
            begun: gauge("entrepot_job_begun_seconds", "When this instance began it last, in Unix time")?,
            ended: gauge("entrepot_job_ended_seconds", "When this instance ended it well last, in Unix time")?,
            next: gauge("entrepot_job_next_seconds", "When it is due next, in Unix time; 0: it has no schedule")?,
        })
    }

    fn runs(&self, kind: Kind, result: &str) {
        self.runs.with_label_values(&[kind.word(), result]).inc();
        if result == "ok" {
            self.ended.with_label_values(&[kind.word()]).set(seconds(SystemTime::now()));
        }
    }
}

#[cfg(test)]
mod tests;
