//! One budget at a remote, as far as it is known: what it told us, less what we asked for since.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fields::{MAX_WINDOW, Told, since_1970};

/// Where the remote does not say: what was told so long ago tells nothing any more.
const WINDOW: Duration = Duration::from_secs(6 * 3600);
/// Without a word of when there are pulls again, the next one is tried after the time in which the whole budget gives one back, but
/// not sooner and not later than this.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(3600);

/// A budget that nothing was told of, or nothing lately, is full.
pub(super) const FULL: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) limit: Option<u64>,
    pub(super) window: Option<Duration>,
    /// `None`: nothing is known of it.
    left: Option<u64>,
    told: Instant,
    /// The same in seconds since 1970: for other instances.
    told_at: u64,
    /// Nothing is left until then.
    shut: Option<Instant>,
}

/// A bucket as instances tell each other of it. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hint {
    limit: Option<u64>,
    window: Option<u64>,
    left: Option<u64>,
    told: u64,
    shut: Option<u64>,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Bucket { limit: None, window: None, left: None, told: now, told_at: 0, shut: None }
    }

    /// Pulls left now; [`FULL`] where nothing is known.
    pub(super) fn left(&mut self, now: Instant) -> u64 {
        self.wear_off(now);
        self.left.unwrap_or(FULL)
    }

    /// How many of them are for clients only.
    pub(super) fn reserve(&self) -> u64 {
        self.limit.map_or(0, |limit| limit.div_ceil(super::RESERVE))
    }

    /// After how long there may be pulls again, if there are none now.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.shut.map(|shut| shut.saturating_duration_since(now))
    }

    /// A pull is asked for. If the remote counted otherwise, its answer says so.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.shut.get_or_insert(now + self.estimate());
            }
        }
    }

    pub(super) fn tell(&mut self, told: &Told, now: Instant) {
        self.limit = told.limit.or(self.limit);
        self.window = told.window.or(self.window);
        let Some(left) = told.left else { return };
        let left = self.limit.map_or(left, |limit| left.min(limit));
        (self.left, self.told, self.told_at) = (Some(left), now, since_1970().as_secs());
        self.shut = match left {
            0 => Some(now + told.reset.unwrap_or_else(|| self.estimate())),
            _ => None,
        };
    }

    /// A pull was answered without a word of budgets: there is none.
    pub(super) fn forget(&mut self) {
        (self.left, self.limit, self.shut) = (None, None, None);
    }

    /// A pull was refused. True: that is news.
    pub(super) fn refused(&mut self, after: Option<Duration>, now: Instant) -> bool {
        let news = self.shut.is_none();
        let wait = after.unwrap_or_else(|| self.estimate()).min(self.window.unwrap_or(WINDOW));
        (self.left, self.told, self.told_at) = (Some(0), now, since_1970().as_secs());
        self.shut = Some(now + wait);
        news
    }

    fn estimate(&self) -> Duration {
        match (self.window, self.limit) {
            (Some(window), Some(limit)) => {
                (window / u32::try_from(limit).unwrap_or(u32::MAX).max(1)).clamp(SOONEST, LATEST)
            }
            _ => SOONEST,
        }
    }

    fn wear_off(&mut self, now: Instant) {
        if now.saturating_duration_since(self.told) >= self.window.unwrap_or(WINDOW) {
            (self.left, self.shut) = (None, None);
        } else if self.shut.is_some_and(|shut| shut <= now) {
            // One is tried; its answer tells how many there are.
            (self.left, self.shut) = (self.left.map(|left| left.max(1)), None);
        }
    }

    /// For the other instances; `None` where nothing is known.
    pub(super) fn hint(&self, now: Instant) -> Option<Hint> {
        let shut = self.shut.map(|shut| (since_1970() + shut.saturating_duration_since(now)).as_secs());
        let window = self.window.map(|window| window.as_secs());
        self.left.map(|left| Hint { limit: self.limit, window, left: Some(left), told: self.told_at, shut })
    }

    /// How long a hint is good for.
    pub(super) fn worn_off_after(&self) -> Duration {
        self.window.unwrap_or(WINDOW)
    }

    /// Takes over what another instance was told after us.
    pub(super) fn learn(&mut self, hint: &Hint, now: Instant) {
        let clock = since_1970().as_secs();
        let Some(left) = hint.left.filter(|_| hint.told > self.told_at) else { return };
        let span =
            |seconds: u64| Some(Duration::from_secs(seconds)).filter(|span| !span.is_zero() && *span <= MAX_WINDOW);
        let age = Duration::from_secs(clock.saturating_sub(hint.told)).min(MAX_WINDOW);
        self.limit = hint.limit.filter(|limit| *limit > 0);
        self.window = hint.window.and_then(span);
        (self.left, self.told_at) = (Some(left), hint.told.min(clock));
        self.told = now.checked_sub(age).unwrap_or(now);
        self.shut = hint.shut.and_then(|shut| shut.checked_sub(clock)).and_then(span).map(|wait| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(limit: u64, left: u64, window: u64) -> Told {
        let window = Some(Duration::from_secs(window));
        Told { limit: Some(limit), left: Some(left), window, ..Told::default() }
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_is_left_no_more() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert_eq!(bucket.left(now), FULL);
        bucket.take(now);
        assert_eq!(bucket.left(now), FULL);
        bucket.tell(&told(100, 2, 21_600), now);
        bucket.take(now);
        assert_eq!((bucket.left(now), bucket.wait(now)), (1, None));
        bucket.take(now);
        assert_eq!((bucket.left(now), bucket.wait(now)), (0, Some(after(216))));
        assert_eq!(bucket.left(now + after(215)), 0);
        assert_eq!(bucket.left(now + after(216)), 1, "then one is tried");
        bucket.tell(&told(100, 500, 21_600), now);
        assert_eq!(bucket.left(now), 100, "never more than there are");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_holds_as_long_as_it_says_but_no_longer_than_the_window() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert!(bucket.refused(Some(after(90)), now));
        assert!(!bucket.refused(Some(after(90)), now), "that is known");
        assert_eq!((bucket.left(now + after(89)), bucket.left(now + after(90))), (0, 1));
        bucket.tell(&told(10, 3, 600), now);
        bucket.refused(Some(after(86_400)), now);
        assert_eq!(bucket.wait(now), Some(after(600)));
        assert_eq!(bucket.left(now + after(600)), FULL, "all has worn off");
        let mut bucket = Bucket::new(now);
        bucket.refused(None, now);
        assert_eq!(bucket.wait(now), Some(SOONEST));
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_takes_over_what_another_was_told_later() {
        let now = Instant::now();
        let (mut one, mut other) = (Bucket::new(now), Bucket::new(now));
        assert_eq!(one.hint(now), None);
        one.tell(&told(100, 0, 21_600), now);
        let hint = one.hint(now).unwrap();
        let text = serde_json::to_string(&hint).unwrap();
        other.learn(&serde_json::from_str(&text).unwrap(), now);
        assert_eq!((other.left(now), other.limit), (0, Some(100)));
        assert!(other.wait(now).is_some_and(|wait| wait <= after(216) && wait >= after(200)));
        other.tell(&told(100, 7, 21_600), now);
        other.learn(&hint, now);
        assert_eq!(other.left(now), 7, "that was told before");
    }

    #[tokio::test(start_paused = true)]
    async fn absurd_hints_do_no_harm() {
        let now = Instant::now();
        let huge = Some(u64::MAX);
        for hint in [
            Hint { limit: huge, window: huge, left: huge, told: u64::MAX, shut: huge },
            Hint { limit: Some(0), window: Some(0), left: Some(0), told: 1, shut: Some(0) },
        ] {
            let mut bucket = Bucket::new(now);
            bucket.learn(&hint, now);
            bucket.take(now);
            bucket.refused(Some(Duration::MAX), now);
            let _ = (bucket.left(now), bucket.reserve(), bucket.hint(now));
            assert!(bucket.wait(now).is_none_or(|wait| wait <= WINDOW));
        }
    }
}
