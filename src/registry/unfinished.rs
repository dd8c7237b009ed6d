//! Bytes that unfinished uploads hold, by repository: `upload_unfinished` bounds them, so that bodies which are cut off again
//! and again do not fill the storage.
//!
//! What is held is known to storage only: several instances write, and each may be started anew. Asking it costs a question
//! for each upload, so each instance counts what it keeps itself, and asks when that has grown by a sixteenth of the bound
//! since it asked last, or before it refuses. So nobody is refused by a guess, and what is never asked for is at most a
//! sixteenth for each instance, beside what arrived while storage was being asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::reply::Refusal;
use super::shared_read::SharedReads;
use super::{Body, BodyError, Registry};
use crate::oci::{ErrorCode, RepositoryName};

/// A part of the bound that an instance keeps without asking storage.
const UNASKED: i64 = 16;
/// Storage is asked no more often, whoever is refused meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Of a body, so much is counted at once.
const STEP: u64 = 1 << 20;
/// Repositories that are counted here; beyond, those that nothing arrives for are forgotten until storage is asked.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Unfinished {
    known: Mutex<Known>,
    asks: SharedReads<(), ()>,
}

#[derive(Default)]
struct Known {
    /// What storage said, if it said anything when it was asked last.
    held: HashMap<String, u64>,
    said: bool,
    /// When it was asked last, whatever it said.
    asked: Option<Instant>,
    here: HashMap<RepositoryName, Here>,
}

/// Of one repository, by requests of this process.
#[derive(Clone, Copy, Default)]
struct Here {
    /// Kept since storage was asked, less what was finished or given up.
    kept: i64,
    /// Of bodies that have not ended yet.
    arriving: i64,
    /// As much of it as had come when storage was asked.
    seen: i64,
}

impl Here {
    fn news(&self) -> i64 {
        self.kept.saturating_add(self.arriving).saturating_sub(self.seen)
    }
}

impl Known {
    fn change(&mut self, name: &RepositoryName, change: impl FnOnce(&mut Here)) {
        if self.here.len() >= MOST && !self.here.contains_key(name) {
            self.here.retain(|_, here| here.arriving > 0);
        }
        let here = self.here.entry(name.clone()).or_default();
        change(here);
        if here.kept == 0 && here.arriving == 0 {
            self.here.remove(name);
        }
    }

    fn held(&self, name: &RepositoryName) -> i64 {
        let held = self.held.get(name.as_str()).map_or(0, |bytes| signed(*bytes));
        let here = self.here.get(name).copied().unwrap_or_default();
        held.saturating_add(here.kept).saturating_add(here.arriving)
    }

    /// What storage says now counts all that was kept until it was asked; what came meanwhile may be counted or not.
    fn take(&mut self, held: HashMap<String, u64>) {
        self.held = held;
        self.here.retain(|_, here| {
            (here.kept, here.seen) = (0, here.arriving);
            here.arriving > 0
        });
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Unfinished {
    /// An upload that held so many bytes is over.
    pub(super) fn ended(&self, name: &RepositoryName, bytes: u64) {
        self.known.lock().change(name, |here| here.kept = here.kept.saturating_sub(signed(bytes)));
    }

    /// Whether the repository may hold so many bytes more. Storage is asked if it might not.
    async fn has_room(&self, registry: &Registry, name: &RepositoryName, more: u64) -> bool {
        let limit = signed(registry.settings.load().config.upload_unfinished.0);
        let (more, fits) = (signed(more), |held: i64, more: i64| held.saturating_add(more) <= limit);
        let (held, news) = {
            let known = self.known.lock();
            (known.held(name), known.here.get(name).map_or(0, Here::news))
        };
        // Also what was taken away here may have been counted elsewhere: either way it is storage that knows.
        if limit == 0 || (fits(held, more) && news.saturating_abs() <= limit / UNASKED) {
            return true;
        }
        self.asks.get(&(), || self.ask(registry)).await;
        let known = self.known.lock();
        // Without storage's word, nobody is refused.
        !known.said || fits(known.held(name), more)
    }

    async fn ask(&self, registry: &Registry) {
        if self.known.lock().asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        let held = registry.stores.uploads.held().await;
        let mut known = self.known.lock();
        known.asked = Some(Instant::now());
        known.said = held.is_ok();
        match held {
            Ok(held) => known.take(held),
            Err(error) => tracing::debug!(%error, "what unfinished uploads hold could not be counted"),
        }
    }
}

/// A body whose bytes count while they come. It ends with an error where the bound is.
pub(super) struct Counted<'a> {
    registry: &'a Registry,
    name: &'a RepositoryName,
    body: &'a mut dyn Body,
    /// Bytes that came, and those that were counted.
    came: u64,
    counted: u64,
    pub(super) full: bool,
}

impl<'a> Counted<'a> {
    /// Refuses a body that is announced to be larger than what there is room for.
    pub(super) async fn new(
        registry: &'a Registry,
        name: &'a RepositoryName,
        body: &'a mut dyn Body,
    ) -> Result<Self, Refusal> {
        let announced = body.length().unwrap_or(0);
        if announced > 0 && !registry.bounds.unfinished.has_room(registry, name, announced).await {
            return Err(full());
        }
        Ok(Counted { registry, name, body, came: 0, counted: 0, full: false })
    }

    /// So many bytes are kept of what came.
    pub(super) fn kept(self, bytes: u64) {
        self.registry
            .bounds
            .unfinished
            .known
            .lock()
            .change(self.name, |here| here.kept = here.kept.saturating_add(signed(bytes)));
    }

    fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        self.registry.bounds.unfinished.known.lock().change(self.name, |here| here.arriving += signed(bytes));
    }
}

#[async_trait]
impl Body for Counted<'_> {
    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let piece = match self.body.next().await? {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        self.came = self.came.saturating_add(piece.len() as u64);
        if self.came > self.counted {
            let step = (self.came - self.counted).max(STEP);
            if !self.registry.bounds.unfinished.has_room(self.registry, self.name, step).await {
                self.full = true;
                return Some(Err(BodyError("the repository's unfinished uploads hold too much".into())));
            }
            self.count(step);
        }
        Some(Ok(piece))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let counted = signed(self.counted);
        self.registry.bounds.unfinished.known.lock().change(self.name, |here| {
            here.arriving -= counted;
            here.seen = here.seen.min(here.arriving);
        });
    }
}

/// 429, the specification's code for who is to wait: the same body may be taken once other uploads have ended, so 413 would
/// be untrue.
pub(super) fn full() -> Refusal {
    let message = "unfinished uploads of this repository hold as much as they may: finish or cancel some, or wait until \
                   those that nobody goes on with are removed ([registry] upload_unfinished, upload_idle)";
    Refusal::new(ErrorCode::TooManyRequests, message)
}
