//! Pulls as they are answered: noted in memory, written down every minute.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use prometheus::{IntCounter, Registry};

use super::recording::Recording;
use super::stored::{self, Note};
use crate::maintenance::day::Day;
use crate::maintenance::retention::state::State;
use crate::storage::{Error, Storage};

/// Tags and digests that are noted at once: those of today, and what could not be written down yet.
const MOST_NOTED: usize = 100_000;
/// Each has a lock of its own, which is held for a look into two tables.
const SHARDS: usize = 64;
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// How often something was pulled is written down with a new day, and otherwise once in so many rounds.
const COUNTS_EVERY: u32 = 60;
/// Repositories that are written down at once.
const AT_ONCE: usize = 8;
/// Days without anybody who records, after which recording begins anew: another program, or an older version of this one, may have
/// answered.
const GAP: u32 = 7;

/// Registered once per process.
pub struct Metrics {
    lost: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let lost = IntCounter::new("entrepot_pulls_lost_total", "Pulls that could not be written down")?;
        registry.register(Box::new(lost.clone()))?;
        Ok(Metrics { lost })
    }
}

/// Notes pulls once it has a storage; before that, does nothing.
pub struct Pulls {
    storage: OnceLock<Arc<Storage>>,
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    noted: AtomicUsize,
    /// Something was pulled that could not be noted, or not be written down: from now on, everything counts as pulled.
    overflowed: AtomicBool,
    /// The last day that storage knows to be recorded; 0: none yet.
    recorded: AtomicU32,
    /// One round at a time.
    writing: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

/// By repository, and there by tag or digest.
#[derive(Default)]
struct Shard(HashMap<Box<str>, HashMap<Box<str>, Noted>>);

struct Noted {
    day: Day,
    /// Pulls that are not written down.
    count: u64,
    /// The day is not.
    new: bool,
}

impl Pulls {
    pub fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Pulls {
            storage: OnceLock::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            noted: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            recorded: AtomicU32::new(0),
            writing: tokio::sync::Mutex::default(),
            metrics,
        })
    }

    /// From now on pulls are recorded there; writes them down until dropped. Another storage than the first is not taken.
    pub async fn run(self: Arc<Self>, storage: Arc<Storage>) -> Infallible {
        let _ = self.storage.set(storage);
        for round in 0_u32.. {
            self.write(Day::today(), round.is_multiple_of(COUNTS_EVERY)).await;
            tokio::time::sleep(FLUSH_EVERY).await;
        }
        std::future::pending().await
    }

    /// Whether anybody wants to know.
    pub fn is_on(&self) -> bool {
        self.storage.get().is_some()
    }

    /// A manifest was asked for by `reference` (a tag, or a digest as text) and given. Without an allocation, and with one short lock,
    /// where that was noted today.
    pub fn pulled(&self, repository: &str, reference: &str) {
        if self.is_on() {
            self.note(repository, reference, Day::today());
        }
    }

    fn note(&self, repository: &str, reference: &str, day: Day) {
        let Some(shard) = self.shard(repository, reference) else { return };
        let mut shard = shard.lock();
        if let Some(noted) = shard.0.get_mut(repository).and_then(|entries| entries.get_mut(reference)) {
            noted.count += 1;
            (noted.new, noted.day) = (noted.new || day > noted.day, noted.day.max(day));
            return;
        }
        let noted = Noted { day, count: 1, new: true };
        self.insert(&mut shard, (repository, reference), noted);
    }

    /// A new one, if there is room.
    fn insert(&self, shard: &mut Shard, (repository, reference): (&str, &str), noted: Noted) {
        if self.noted.load(Ordering::Relaxed) >= MOST_NOTED {
            let swept = shard.sweep(|noted| noted.new || noted.count > 0);
            self.noted.fetch_sub(swept, Ordering::Relaxed);
            if swept == 0 {
                self.overflowed.store(true, Ordering::Release);
                self.metrics.lost.inc();
                return;
            }
        }
        self.noted.fetch_add(1, Ordering::Relaxed);
        shard.0.entry(repository.into()).or_default().insert(reference.into(), noted);
    }

    fn shard(&self, repository: &str, reference: &str) -> Option<&Mutex<Shard>> {
        self.shards.get(self.hasher.hash_one((repository, reference)) as usize % SHARDS)
    }

    /// Writes down what is not written down yet: before something is decided by it, and at the end.
    pub async fn flush(&self) {
        self.write(Day::today(), true).await;
    }

    /// One round. What cannot be written now is noted for the next.
    pub(super) async fn write(&self, today: Day, counts: bool) {
        let Some(storage) = self.storage.get() else { return };
        let _alone = self.writing.lock().await;
        if let Err(error) = self.beat(storage, today).await {
            tracing::debug!(%error, "that pulls are recorded could not be written down");
        }
        let waiting = self.take(today, counts);
        let mut written = stream::iter(waiting)
            .map(|(repository, notes)| async move {
                let outcome = match repository.parse() {
                    Ok(name) => stored::write(storage, &name, &notes).await,
                    Err(_) => Ok(()),
                };
                (repository, notes, outcome)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((repository, notes, outcome)) = written.next().await {
            match outcome {
                Ok(()) => {}
                // Nobody will be able to in a minute either. What was pulled meanwhile is not known then.
                Err(error @ (Error::Refused(_) | Error::Newer { .. })) => {
                    self.overflowed.store(true, Ordering::Release);
                    self.metrics.lost.inc_by(notes.iter().map(|note| note.count).sum());
                    tracing::warn!(%repository, %error, "pulls could not be written down");
                }
                Err(error) => {
                    tracing::debug!(%repository, %error, "pulls could not be written down yet");
                    self.give_back(&repository, notes);
                }
            }
        }
    }

    /// Tells all instances that pulls are recorded today, and since when without a gap.
    async fn beat(&self, storage: &Storage, today: Day) -> Result<(), Error> {
        let lost = self.overflowed.load(Ordering::Acquire);
        if !lost && self.recorded.load(Ordering::Relaxed) == today.0 {
            return Ok(());
        }
        let go_on = |before: Option<Recording>| {
            let whole = before.filter(|recording| today.since(recording.until) <= GAP && !lost);
            let since = whole.map_or(today, |recording| recording.since);
            let until = before.map_or(today, |recording| recording.until.max(today));
            Recording { since, until }
        };
        let (before, now) = Recording::change(storage, go_on).await?;
        if before.is_none_or(|before| before.since != now.since) {
            begun(storage, before, now.since).await?;
        }
        self.recorded.store(today.0, Ordering::Relaxed);
        if lost {
            self.overflowed.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// What is to be written down, by repository; from then on it counts as written. Forgets what is of no use any more.
    fn take(&self, today: Day, counts: bool) -> Vec<(Box<str>, Vec<Note>)> {
        let mut waiting: HashMap<Box<str>, Vec<Note>> = HashMap::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            for (repository, entries) in &mut shard.0 {
                let open = |noted: &Noted| noted.new || (counts && noted.count > 0);
                for (reference, noted) in entries.iter_mut().filter(|(_, noted)| open(noted)) {
                    let note = Note { reference: reference.clone(), day: noted.day, count: noted.count };
                    (noted.new, noted.count) = (false, 0);
                    match waiting.get_mut(repository) {
                        Some(notes) => notes.push(note),
                        None => drop(waiting.insert(repository.clone(), vec![note])),
                    }
                }
            }
            let swept = shard.sweep(|noted| noted.new || noted.count > 0 || noted.day >= today);
            self.noted.fetch_sub(swept, Ordering::Relaxed);
        }
        waiting.into_iter().collect()
    }

    fn give_back(&self, repository: &str, notes: Vec<Note>) {
        for Note { reference, day, count } in notes {
            let Some(shard) = self.shard(repository, &reference) else { continue };
            let mut shard = shard.lock();
            if let Some(noted) = shard.0.get_mut(repository).and_then(|entries| entries.get_mut(&reference)) {
                noted.count = noted.count.saturating_add(count);
                (noted.new, noted.day) = (true, noted.day.max(day));
                continue;
            }
            self.insert(&mut shard, (repository, &reference), Noted { day, count, new: true });
        }
    }
}

/// Recording begins, perhaps anew. What is remembered elsewhere tells whether there were records before.
async fn begun(storage: &Storage, before: Option<Recording>, today: Day) -> Result<(), Error> {
    let mut known = None;
    let remember = |state: &mut State| {
        known = state.recorded.replace(today);
        known != Some(today)
    };
    State::change(storage, remember).await?;
    match known.or(before.map(|before| before.since)) {
        None => tracing::info!(%today, "pulls are recorded from now on: what is here counts as pulled today"),
        Some(since) if before.is_none() => tracing::warn!(
            %since, %today,
            "the records of pulls are gone, or cannot be read: recording begins anew, and what is here counts as pulled today"
        ),
        Some(since) => tracing::warn!(
            %since, %today,
            "pulls were lost, or not recorded for a while: recording begins anew, and what is here counts as pulled today"
        ),
    }
    Ok(())
}

impl Shard {
    /// Leaves what is to be kept; how many went.
    fn sweep(&mut self, keep: impl Fn(&Noted) -> bool) -> usize {
        let mut swept = 0;
        self.0.retain(|_, entries| {
            let before = entries.len();
            entries.retain(|_, noted| keep(noted));
            swept += before - entries.len();
            !entries.is_empty()
        });
        swept
    }
}

#[cfg(test)]
impl Pulls {
    pub fn over(storage: Arc<Storage>) -> Arc<Self> {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let pulls = Pulls::new(metrics);
        assert!(pulls.storage.set(storage).is_ok());
        pulls
    }

    pub fn pulled_on(&self, repository: &str, reference: &str, day: Day) {
        self.note(repository, reference, day);
    }

    pub(super) fn noted(&self) -> usize {
        self.noted.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.metrics.lost.get()
    }
}
