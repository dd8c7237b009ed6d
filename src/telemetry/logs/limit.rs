//! What repeats is said a few times, then counted.
//!
//! Lines of one kind come from one place in the source: `a peer did not answer` is one kind, whichever peer it is. Of each
//! kind [`BURST`] lines a [`WINDOW`] are written; the rest is left out, and one line at the window's end says how many.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts};
use tracing::{Level, Metadata};

/// Lines of one kind in a window. An outage is clear long before, and a configuration's warnings all find room.
pub const BURST: u32 = 50;
/// So a kind that never stops fills no more than 3,000 lines an hour.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Kinds that are counted at once. A program has a few hundred places that log; whatever is beyond is written.
const MAX_KINDS: usize = 1024;
/// Characters of a line that the line about those left out repeats.
const MAX_ABOUT: usize = 120;

/// `entrepot_log_lines_total`: `written` or `left_out`, by level.
static LINES: LazyLock<prometheus::Result<IntCounterVec>> = LazyLock::new(|| {
    let opts =
        Opts::new("entrepot_log_lines_total", "Lines of our own log; left_out: too many of one kind in a minute.");
    IntCounterVec::new(opts, &["level", "outcome"])
});

/// The counter of all lines of this process, for its registry of metrics.
pub fn counter() -> prometheus::Result<IntCounterVec> {
    match &*LINES {
        Ok(lines) => Ok(lines.clone()),
        Err(error) => Err(prometheus::Error::Msg(error.to_string())),
    }
}

#[derive(Default)]
pub struct Limit(Mutex<HashMap<u64, Window>>);

/// One kind in its present window.
struct Window {
    since: Instant,
    written: u32,
    left_out: u64,
    level: Level,
    target: String,
    about: String,
}

/// How many lines of a kind were left out.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub count: u64,
    pub level: Level,
    pub target: String,
    /// The beginning of the first line of the window.
    pub about: String,
}

impl Limit {
    /// Whether a line may be written; `about` gives its text, for the line about those left out.
    pub fn admits(&self, metadata: &Metadata<'_>, now: Instant, about: impl FnOnce() -> String) -> bool {
        // Who asks for details gets all of them.
        let admitted = *metadata.level() > Level::INFO || self.counts(metadata, now, about);
        if let Ok(lines) = &*LINES {
            let outcome = if admitted { "written" } else { "left_out" };
            lines.with_label_values(&[metadata.level().as_str(), outcome]).inc();
        }
        admitted
    }

    fn counts(&self, metadata: &Metadata<'_>, now: Instant, about: impl FnOnce() -> String) -> bool {
        let mut kind = DefaultHasher::new();
        (metadata.target(), metadata.file(), metadata.line(), metadata.level().as_str()).hash(&mut kind);
        let mut kinds = self.0.lock();
        let full = kinds.len() >= MAX_KINDS;
        match kinds.entry(kind.finish()) {
            Entry::Vacant(_) if full => true,
            Entry::Vacant(entry) => {
                entry.insert(Window {
                    since: now,
                    written: 1,
                    left_out: 0,
                    level: *metadata.level(),
                    target: metadata.target().to_owned(),
                    about: about().chars().take(MAX_ABOUT).collect(),
                });
                true
            }
            Entry::Occupied(mut entry) => {
                let window = entry.get_mut();
                let admitted = window.written < BURST;
                match admitted {
                    true => window.written += 1,
                    false => window.left_out += 1,
                }
                admitted
            }
        }
    }

    /// Ends the windows that are over, and tells of what was left out in them. To be called now and then.
    pub fn end_windows(&self, now: Instant) -> Vec<LeftOut> {
        let mut told = Vec::new();
        self.0.lock().retain(|_, window| {
            let over = now.saturating_duration_since(window.since) >= WINDOW;
            if over && window.left_out > 0 {
                let (target, about) = (std::mem::take(&mut window.target), std::mem::take(&mut window.about));
                told.push(LeftOut { count: window.left_out, level: window.level, target, about });
            }
            !over
        });
        told
    }
}
