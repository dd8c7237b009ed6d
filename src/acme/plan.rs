//! When something is to be done about a certificate: pure, by a time that is given. What instances of a fleet have to agree on is
//! written down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Kind;
use super::failure::{Cause, Failure};
use crate::storage::format::Format;

/// No failure is followed by a longer pause.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Who only does not answer is asked again sooner.
const LONGEST_AWAY: Duration = Duration::from_secs(3600);
/// Nobody writes down that something is to wait for longer than this, unless its clock was wrong.
const BELIEVED: u64 = 2 * LONGEST.as_secs();
/// What an authority bears of one name that does not lead here, and for how long it remembers.
const MAX_UNPROVEN: usize = 5;
const REMEMBERED: u64 = 3600;
/// After so many proofs that failed it is tried where that does not count.
const UNPROVEN_BEFORE_STAGING: u32 = 2;
/// However late the authority wants it renewed: that much of its life is left for what may go wrong.
const LEAST_LEFT: u64 = 10;
/// An authority is not asked more often, whatever it says itself.
const SHORTEST_CHECK: Duration = Duration::from_secs(60);

/// What is known of one certificate, beside it. Times are seconds of Unix time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The certificate that the next four are about: its fingerprint.
    pub of: String,
    /// What the authority said of its renewal, and the instant that was chosen in it.
    pub window: Option<(u64, u64)>,
    pub renew_at: Option<u64>,
    /// When it is asked for that again.
    pub ask_at: u64,
    /// Failures since the last certificate, and of those the ones in which a name did not lead here.
    pub failures: u32,
    pub unproven: u32,
    /// It worked where it does not count.
    pub staged: bool,
    /// Nothing is ordered before.
    pub try_at: u64,
    pub last_error: Option<Told>,
    /// Names that did not lead here, in the last hour.
    pub remembered: Vec<(String, u64)>,
    /// Renewals one after the other that came before a third of a life had passed.
    pub early: u32,
    /// The way in which names were proven for the last certificate.
    pub way: Option<Kind>,
}

impl Format for Plan {
    const WHAT: &'static str = "the plan of a certificate";
    const VERSION: u32 = 1;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub at: u64,
    pub what: String,
}

/// What is known of the certificate itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub fingerprint: String,
    pub from: u64,
    pub until: u64,
    pub obtained: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before that.
    Wait(u64),
    /// The authority is asked when it wants the certificate renewed.
    Ask,
    Order,
}

impl Life {
    fn length(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }
}

impl Plan {
    /// What is to be done at `now`; `life`: of the certificate that there is.
    pub fn step(&self, life: Option<&Life>, now: u64) -> Step {
        let order_at = self.order_at(life, now);
        if order_at <= now {
            return Step::Order;
        }
        match life {
            None => Step::Wait(order_at),
            Some(life) if self.asks_at(life, now) <= now => Step::Ask,
            Some(life) => Step::Wait(order_at.min(self.asks_at(life, now))),
        }
    }

    fn asks_at(&self, life: &Life, now: u64) -> u64 {
        if self.of == life.fingerprint { believed(self.ask_at, now) } else { 0 }
    }

    /// When the next certificate is ordered.
    pub fn order_at(&self, life: Option<&Life>, now: u64) -> u64 {
        let due = life.map_or(0, |life| self.due(life));
        due.max(believed(self.try_at, now))
    }

    /// When it should be renewed: when the authority wants it, or else when a third of its life is left.
    fn due(&self, life: &Life) -> u64 {
        let third_left = life.until.saturating_sub(life.length() / 3);
        let last = life.until.saturating_sub(life.length() / LEAST_LEFT);
        match self.renew_at.filter(|_| self.of == life.fingerprint) {
            Some(at) => at.min(last),
            None => third_left,
        }
    }

    /// Another certificate came: what is known of the one before is of no use.
    pub fn begin(&mut self, life: &Life) {
        if self.of != life.fingerprint {
            (self.of, self.window, self.renew_at, self.ask_at) = (life.fingerprint.clone(), None, None, 0);
        }
    }

    /// The authority said when; `chance` is from 0 to 1. True: sooner than it said before, and now.
    pub fn told(&mut self, window: (u64, u64), chance: f64, now: u64) -> bool {
        let (start, end) = (window.0, window.1.max(window.0));
        if self.window == Some((start, end)) {
            return false;
        }
        let was = self.renew_at;
        let chosen = start + ((end - start) as f64 * chance.clamp(0.0, 1.0)) as u64;
        (self.window, self.renew_at) = (Some((start, end)), Some(chosen));
        chosen <= now && was.is_none_or(|was| was > now)
    }

    /// When it is asked again: when it said, within what we let it say.
    pub fn ask_after(&mut self, said: Option<Duration>, longest: Duration, now: u64) {
        let wait = said.unwrap_or(longest).max(SHORTEST_CHECK).min(longest);
        self.ask_at = now.saturating_add(wait.as_secs().max(1));
    }

    /// The authority's clock is known. What failed for a certificate that need not be renewed yet failed for nothing: it was tried by a
    /// clock that was wrong.
    pub fn clock_known(&mut self, life: Option<&Life>, now: u64) {
        if self.failures > 0 && life.is_some_and(|life| self.due(life) > now) {
            (self.failures, self.unproven, self.staged) = (0, 0, false);
            (self.try_at, self.last_error) = (0, None);
        }
    }

    /// It failed where it does not count. Where that is not because a name does not lead here, it says nothing of the authority that
    /// counts, which is asked next.
    pub fn rehearsal_failed(&mut self, cause: Cause) {
        self.staged = cause != Cause::Unproven;
    }

    /// It worked where it does not count: now in earnest.
    pub fn rehearsed(&mut self) {
        self.staged = true;
        self.try_at = 0;
    }

    /// A certificate came; `before` is the one that it replaces. What worked is what the next renewal begins with.
    pub fn done(&mut self, before: Option<&Life>, retry: Duration, now: u64) {
        let early = before.is_some_and(|life| now < life.obtained.saturating_add(life.length() / 3));
        let early = if early { self.early.saturating_add(1) } else { 0 };
        // An authority, or a clock, that makes each certificate look old at once must not be followed for ever.
        let try_at = now.saturating_add(doubled(retry, early.saturating_add(1), LONGEST).as_secs());
        let (of, remembered) = (std::mem::take(&mut self.of), std::mem::take(&mut self.remembered));
        *self = Plan { of, early, try_at, remembered, way: self.way, ..Plan::default() };
    }

    /// It did not work; `chance` is from 0 to 1.
    pub fn failed(&mut self, failure: &Failure, retry: Duration, chance: f64, now: u64) {
        self.failures = self.failures.saturating_add(1);
        self.staged = false;
        if failure.cause == Cause::Unproven {
            self.unproven = self.unproven.saturating_add(1);
        }
        self.remembered.retain(|(_, at)| *at <= now && at.saturating_add(REMEMBERED) > now);
        self.remembered.extend(failure.names.iter().map(|name| (name.clone(), now)));
        let longest = if failure.cause == Cause::Away { LONGEST_AWAY } else { LONGEST };
        let pause = doubled(retry, self.failures, longest).mul_f64(1.0 + 0.1 * chance.clamp(0.0, 1.0));
        let pause = pause.max(failure.wait.unwrap_or_default().min(LONGEST));
        self.try_at = now.saturating_add(pause.as_secs().max(1)).max(self.bearable_at());
        self.last_error = Some(Told { at: now, what: failure.what.clone() });
    }

    /// When the authority would look at each of the names again.
    fn bearable_at(&self) -> u64 {
        // In the order in which they failed.
        let rests = |name: &str| {
            let mut times = self.remembered.iter().rev().filter(|(known, _)| known == name);
            times.nth(MAX_UNPROVEN - 1).map(|(_, at)| at.saturating_add(REMEMBERED))
        };
        self.remembered.iter().filter_map(|(name, _)| rests(name)).max().unwrap_or(0)
    }

    /// Whether it is tried first where it does not count.
    pub fn rehearses(&self) -> bool {
        self.unproven >= UNPROVEN_BEFORE_STAGING && !self.staged
    }

    /// The way of the next try: the one that worked last, and another one after each proof that failed. What worked in a rehearsal is
    /// done in earnest.
    pub fn way(&self, ways: &[Kind]) -> Option<Kind> {
        let first = ways.iter().position(|way| Some(*way) == self.way).unwrap_or(0);
        ways.get(first.wrapping_add(self.unproven as usize) % ways.len().max(1)).copied()
    }
}

/// What another instance wrote down whose clock was wrong must not keep a certificate from being renewed.
fn believed(at: u64, now: u64) -> u64 {
    if at > now.saturating_add(BELIEVED) { 0 } else { at }
}

/// `first`, and twice as long for each one more.
fn doubled(first: Duration, count: u32, longest: Duration) -> Duration {
    let times = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(times).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const RETRY: Duration = Duration::from_secs(60);

    fn life(from: u64, days: u64) -> Life {
        Life { fingerprint: format!("{from}"), from, until: from + days * DAY, obtained: from }
    }

    fn failure(cause: Cause) -> Failure {
        Failure::new(cause, "no")
    }

    #[test]
    fn without_a_word_of_the_authority_a_third_of_its_life_is_left() {
        for (days, at) in [(90, 60), (6, 4)] {
            let life = life(1_000 * DAY, days);
            let mut plan = Plan::default();
            assert_eq!(plan.step(None, 0), Step::Order);
            assert_eq!(plan.step(Some(&life), life.from), Step::Ask);
            plan.begin(&life);
            plan.ask_after(None, Duration::from_secs(6 * 3600), life.from);
            assert_eq!(plan.step(Some(&life), life.from), Step::Wait(life.from + 6 * 3600));
            assert_eq!(plan.order_at(Some(&life), life.from), life.from + at * DAY);
        }
    }

    #[test]
    fn an_instant_of_the_window_is_chosen_once() {
        let life = life(1_000 * DAY, 90);
        let mut plan = Plan::default();
        plan.begin(&life);
        let window = (life.from + 50 * DAY, life.from + 52 * DAY);
        assert!(!plan.told(window, 0.5, life.from));
        assert_eq!(plan.order_at(Some(&life), life.from), life.from + 51 * DAY);
        assert!(!plan.told(window, 0.9, life.from), "the same window");
        assert_eq!(plan.order_at(Some(&life), life.from), life.from + 51 * DAY);
        // Certificates have to be replaced at once.
        assert!(plan.told((life.from - 2 * DAY, life.from - DAY), 0.5, life.from));
        assert_eq!(plan.step(Some(&life), life.from), Step::Order);
        // One that ends after the certificate does.
        plan.told((life.until, life.until + DAY), 1.0, life.from);
        assert_eq!(plan.order_at(Some(&life), life.from), life.from + 81 * DAY);
        let next = self::life(life.from + 1, 90);
        assert_eq!(
            plan.order_at(Some(&next), next.from),
            next.from + 60 * DAY,
            "the word was about another certificate"
        );
        // The end before the beginning, and numbers that are none.
        assert!(plan.told((u64::MAX, 0), f64::NAN, 0) || plan.renew_at == Some(u64::MAX));
    }

    #[test]
    fn the_authority_says_when_to_ask_within_bounds() {
        let mut plan = Plan::default();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (said, longest, at) in [
            (Some(hours(2)), hours(6), 2 * 3600),
            (Some(hours(48)), hours(6), 6 * 3600),
            (Some(Duration::ZERO), hours(6), 60),
            (None, hours(6), 6 * 3600),
            (Some(hours(6)), Duration::from_secs(1), 1),
        ] {
            plan.ask_after(said, longest, 0);
            assert_eq!(plan.ask_at, at, "{said:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_day() {
        for (cause, longest) in [(Cause::Refused, DAY), (Cause::Away, 3600)] {
            let mut plan = Plan::default();
            let mut pauses = Vec::new();
            for _ in 0..40 {
                plan.failed(&failure(cause), RETRY, 0.0, 0);
                pauses.push(plan.try_at);
            }
            assert_eq!(pauses[..4], [60, 120, 240, 480]);
            assert_eq!(pauses.last(), Some(&longest));
        }
        let mut plan = Plan::default();
        plan.failed(&Failure { wait: Some(Duration::from_secs(900)), ..failure(Cause::Refused) }, RETRY, 0.0, 0);
        assert_eq!(plan.try_at, 900);
    }

    #[test]
    fn after_five_failed_proofs_in_an_hour_a_name_rests() {
        let mut plan = Plan::default();
        let second = Duration::from_secs(1);
        let mut now = 10 * DAY;
        let first = now;
        for count in 1..=4 {
            plan.failed(&Failure::unproven("a.example", "no"), second, 0.0, now);
            assert!(plan.try_at < now + 60, "{count}");
            now = plan.try_at;
        }
        plan.failed(&Failure::unproven("a.example", "no"), second, 0.0, now);
        assert_eq!(plan.try_at, first + 3600);
        // Others' failures, and old ones, do not count.
        let mut plan = Plan::default();
        for name in ["a", "b", "c", "d", "e"] {
            plan.failed(&Failure::unproven(name, "no"), second, 0.0, now);
        }
        assert!(plan.try_at < now + 60);
        plan.failed(&Failure::unproven("a", "no"), second, 0.0, now + 3601);
        assert_eq!(plan.remembered.len(), 1);
    }

    #[test]
    fn after_failed_proofs_it_is_rehearsed_and_another_way_tried() {
        let ways = [Kind::Http, Kind::Tls];
        let mut plan = Plan::default();
        assert_eq!(plan.way(&ways), Some(Kind::Http));
        plan.failed(&failure(Cause::Away), RETRY, 0.0, 0);
        assert_eq!(plan.way(&ways), Some(Kind::Http), "that was not the way's fault");
        plan.failed(&failure(Cause::Unproven), RETRY, 0.0, 0);
        assert_eq!((plan.way(&ways), plan.rehearses()), (Some(Kind::Tls), false));
        plan.failed(&failure(Cause::Unproven), RETRY, 0.0, 0);
        assert_eq!((plan.way(&ways), plan.rehearses()), (Some(Kind::Http), true));
        plan.rehearsed();
        assert_eq!((plan.way(&ways), plan.rehearses(), plan.step(None, 0)), (Some(Kind::Http), false, Step::Order));
        plan.failed(&failure(Cause::Unproven), RETRY, 0.0, 0);
        assert!(plan.rehearses(), "it failed in earnest");
        plan.done(None, RETRY, 0);
        assert!(!plan.rehearses() && plan.failures == 0 && plan.last_error.is_none());
        assert_eq!(Plan::default().way(&[]), None);
    }

    #[test]
    fn an_authority_that_does_not_count_keeps_nobody_from_the_one_that_does() {
        let mut plan = Plan::default();
        (0..2).for_each(|_| plan.failed(&failure(Cause::Unproven), RETRY, 0.0, 0));
        assert!(plan.rehearses());
        for (cause, rehearses) in [(Cause::Away, false), (Cause::Refused, false), (Cause::Unproven, true)] {
            plan.failed(&failure(cause), RETRY, 0.0, 0);
            plan.rehearsal_failed(cause);
            assert_eq!(plan.rehearses(), rehearses, "{cause:?}");
        }
    }

    #[test]
    fn what_worked_is_what_the_next_renewal_begins_with() {
        let ways = [Kind::Http, Kind::Tls];
        let mut plan = Plan { way: Some(Kind::Tls), ..Plan::default() };
        plan.done(None, RETRY, 0);
        assert_eq!(plan.way(&ways), Some(Kind::Tls));
        plan.failed(&failure(Cause::Unproven), RETRY, 0.0, 0);
        assert_eq!(plan.way(&ways), Some(Kind::Http));
        assert_eq!((plan.way(&[Kind::Dns]), plan.way(&[])), (Some(Kind::Dns), None));
    }

    #[test]
    fn what_a_wrong_clock_wrote_down_is_not_waited_for() {
        let (now, life) = (1_000 * DAY, life(1_000 * DAY - 80 * DAY, 90));
        let mut plan = Plan::default();
        plan.failed(&failure(Cause::Refused), RETRY, 0.0, now + 100 * DAY);
        assert_eq!((plan.step(None, now), plan.step(Some(&life), now)), (Step::Order, Step::Order));
        plan.failed(&failure(Cause::Refused), Duration::from_secs(DAY), 1.0, now);
        assert!(matches!(plan.step(None, now), Step::Wait(_)), "a long pause is none of a wrong clock");
        let fresh = self::life(now, 90);
        let mut plan = Plan::default();
        plan.begin(&fresh);
        plan.ask_after(None, Duration::from_secs(3600), now + 100 * DAY);
        assert_eq!(plan.step(Some(&fresh), now), Step::Ask);
    }

    #[test]
    fn what_failed_for_a_certificate_that_is_not_due_is_forgotten() {
        let (now, life) = (1_000 * DAY, life(1_000 * DAY, 6));
        let mut plan = Plan::default();
        plan.begin(&life);
        // By a clock that is ten days ahead, it has ended, and nobody answers who would know better.
        plan.failed(&failure(Cause::Away), RETRY, 0.0, now + 10 * DAY);
        plan.clock_known(Some(&life), now);
        assert_eq!((plan.failures, plan.last_error.clone(), plan.try_at), (0, None, 0));
        // One that came early, whose successor has to wait.
        plan.done(Some(&life), RETRY, now);
        let waits = plan.try_at;
        plan.clock_known(Some(&life), now);
        assert!(waits > now && plan.try_at == waits);
        // One that has to be renewed, or was never there.
        plan.failed(&failure(Cause::Refused), RETRY, 0.0, now + 5 * DAY);
        plan.clock_known(Some(&life), now + 5 * DAY);
        plan.clock_known(None, now);
        assert_eq!(plan.failures, 1);
        assert!(plan.last_error.is_some() && plan.try_at > now + 5 * DAY);
    }

    #[test]
    fn certificates_that_look_old_at_once_are_not_renewed_for_ever() {
        let mut plan = Plan::default();
        let mut now = 100 * DAY;
        let mut orders = 0;
        // A clock that is ten days ahead, and certificates of six days.
        while now < 110 * DAY {
            let old = Life { obtained: now, ..life(now - 10 * DAY, 6) };
            now = plan.order_at(Some(&old), now).max(now);
            plan.done(Some(&old), RETRY, now);
            orders += 1;
        }
        assert!(orders < 25, "{orders}");
        plan.done(Some(&life(now - 90 * DAY, 90)), RETRY, now);
        assert_eq!(plan.early, 0);
    }
}
