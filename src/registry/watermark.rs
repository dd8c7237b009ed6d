//! How full the file system of the storage is. From `disk_warn` on the operator is told; from `disk_full` on nothing new is taken,
//! before a full disk breaks off what is under way. Pulls, deletions and collection go on: they are how it gets room again.
//!
//! Looked at with each probe of storage, so what is taken between two of them may lead a little beyond the mark.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;

use super::reply::Refusal;
use super::{Body, BodyError, Config};
use crate::oci::ErrorCode;
use crate::storage::Usage;
use crate::units::Percent;

/// A mark that was reached is left when this part of the whole is free below it: so pushes are not let in and thrown out in turns.
const EASE: Percent = Percent::of_hundred(1);

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Well,
    /// `disk_warn` is reached.
    Warned,
    /// `disk_full` is reached: writes are refused.
    Full,
}

impl Level {
    /// For /status.
    pub fn word(self) -> &'static str {
        match self {
            Level::Well => "well",
            Level::Warned => "warned",
            Level::Full => "full",
        }
    }
}

/// What the last probe saw. Object stores have no such thing: there it stays well.
pub(super) struct Watermark {
    level: AtomicU8,
    /// Bytes below `disk_full`.
    room: AtomicU64,
}

impl Default for Watermark {
    fn default() -> Self {
        Watermark { level: AtomicU8::new(Level::Well as u8), room: AtomicU64::new(u64::MAX) }
    }
}

impl Watermark {
    pub(super) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Well,
            1 => Level::Warned,
            _ => Level::Full,
        }
    }

    /// Takes over what a probe saw; the level before and now.
    pub(super) fn seen(&self, usage: Option<Usage>, config: &Config) -> (Level, Level) {
        let before = self.level();
        let (now, room) = usage.map_or((Level::Well, u64::MAX), |usage| judge(before, usage, config));
        self.level.store(now as u8, Ordering::Relaxed);
        self.room.store(room, Ordering::Relaxed);
        (before, now)
    }

    /// Whether so many bytes may be taken.
    fn has_room(&self, bytes: u64) -> bool {
        self.level() < Level::Full && bytes <= self.room.load(Ordering::Relaxed)
    }

    /// For a request that writes, with its body's announced length.
    pub(super) fn admit(&self, length: Option<u64>) -> Result<(), Refusal> {
        if self.has_room(length.unwrap_or(0)) { Ok(()) } else { Err(full()) }
    }
}

/// As `df` counts it: what only the system's administrator may use is neither used nor there.
fn judge(before: Level, usage: Usage, config: &Config) -> (Level, u64) {
    let whole = usage.total.saturating_sub(usage.reserved);
    let used = usage.used.saturating_sub(usage.reserved);
    let reached = |mark: Percent, level: Level| {
        let ease = if before >= level { EASE.of(whole) } else { 0 };
        !mark.is_whole() && whole > 0 && used >= mark.of(whole).saturating_sub(ease)
    };
    let room = if config.disk_full.is_whole() { u64::MAX } else { config.disk_full.of(whole).saturating_sub(used) };
    let level = if reached(config.disk_full, Level::Full) {
        Level::Full
    } else if reached(config.disk_warn, Level::Warned) {
        Level::Warned
    } else {
        Level::Well
    };
    (level, room)
}

/// The same answer as when the disk is full for good: clients treat both alike.
pub(super) fn full() -> Refusal {
    let message = "the disk of the registry's storage is nearly full: nothing can be pushed until there is space again \
                   ([registry] disk_full); pulls and deletions go on";
    Refusal::status(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unavailable, message)
}

/// A body that ends with an error once the mark is reached while it comes: one upload may be larger than what is left.
pub(super) struct Guarded<'a> {
    body: &'a mut dyn Body,
    watermark: &'a Watermark,
    /// It ended so.
    pub(super) cut: bool,
}

impl<'a> Guarded<'a> {
    pub(super) fn new(body: &'a mut dyn Body, watermark: &'a Watermark) -> Self {
        Guarded { body, watermark, cut: false }
    }
}

#[async_trait]
impl Body for Guarded<'_> {
    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.watermark.level() == Level::Full {
            self.cut = true;
            return Some(Err(BodyError("the disk is nearly full".into())));
        }
        self.body.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used: u64) -> Option<Usage> {
        // A tenth is the administrator's: of 900 bytes, `used` are taken.
        Some(Usage { used: used + 100, total: 1000, reserved: 100 })
    }

    #[test]
    fn marks_are_reached_and_left_with_some_ease() {
        let (watermark, config) = (Watermark::default(), Config::default());
        for (used, level, room) in [
            (0, Level::Well, 855),
            (764, Level::Well, 91),
            (765, Level::Warned, 90),
            (757, Level::Warned, 98),
            (755, Level::Well, 100),
            (855, Level::Full, 0),
            (900, Level::Full, 0),
            (847, Level::Full, 8),
            (845, Level::Warned, 10),
            (100, Level::Well, 755),
        ] {
            let (_, now) = watermark.seen(usage(used), &config);
            assert_eq!((now, watermark.room.load(Ordering::Relaxed)), (level, room), "{used}");
            assert_eq!(watermark.admit(None).is_ok(), level < Level::Full, "{used}");
            assert_eq!(watermark.admit(Some(room)).is_ok(), level < Level::Full, "{used}");
            assert!(watermark.admit(Some(room + 1)).is_err(), "{used}");
        }
        let (before, now) = watermark.seen(None, &config);
        assert_eq!((before, now), (Level::Well, Level::Well), "an object store has no end");
        assert!(watermark.admit(Some(u64::MAX)).is_ok());
    }

    #[test]
    fn the_whole_is_no_mark() {
        let watermark = Watermark::default();
        let off = Percent::of_hundred(100);
        let config = Config { disk_warn: off, disk_full: off, ..Config::default() };
        assert_eq!(watermark.seen(usage(900), &config).1, Level::Well);
        assert!(watermark.admit(Some(1 << 40)).is_ok());
    }

    struct Endless;

    #[async_trait]
    impl Body for Endless {
        fn length(&self) -> Option<u64> {
            None
        }

        async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
            Some(Ok(Bytes::from_static(b"x")))
        }
    }

    #[tokio::test]
    async fn a_body_is_cut_when_the_mark_is_reached_while_it_comes() {
        let (watermark, config) = (Watermark::default(), Config::default());
        let mut endless = Endless;
        let mut body = Guarded::new(&mut endless, &watermark);
        assert!(matches!(body.next().await, Some(Ok(_))) && !body.cut);
        watermark.seen(usage(899), &config);
        assert!(matches!(body.next().await, Some(Err(_))) && body.cut);
    }
}
