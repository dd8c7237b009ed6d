//! Whether a remote is asked at all. One that did not answer several times in a row rests for a while; then one question tries it.
//! So nobody waits for what is known not to come, and a remote that is getting well is not run over.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// Failures in a row until it rests.
const FAILURES: u32 = 5;
/// How long it rests at first; doubled each time that the question after it fails too.
const REST: Duration = Duration::from_secs(5);
const MAX_REST: Duration = Duration::from_secs(60);
/// What those are told who come while one question tries it.
const TRYING: Duration = Duration::from_secs(1);

/// Of one remote, in one process.
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// It is asked; so many failures in a row.
    Closed { failures: u32 },
    /// It rests.
    Open { until: Instant, rest: Duration },
    /// One question is under way, known by its number.
    Trying { number: u64, rest: Duration },
}

/// As people are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// It is not asked.
    Open,
    /// Its time to rest is over: the next question tries it, or does so now.
    HalfOpen,
}

/// The right to ask once. Dropped without a word it says nothing of the remote, as when the asker went away.
#[must_use]
pub struct Pass {
    breaker: Arc<Breaker>,
    /// Of a question that tries whether it is well again.
    trying: Option<u64>,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker(Mutex::new(State::Closed { failures: 0 }))
    }
}

impl Breaker {
    /// Whether the remote may be asked now. The caller says with [`Pass::done`] what came of it.
    ///
    /// # Errors
    /// It rests: for so long.
    pub fn admit(self: &Arc<Self>) -> Result<Pass, Duration> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let trying = match *state {
            State::Closed { .. } => None,
            State::Open { until, .. } if now < until => return Err(until - now),
            State::Open { rest, .. } => {
                let number = rand::random();
                *state = State::Trying { number, rest };
                Some(number)
            }
            State::Trying { .. } => return Err(TRYING),
        };
        Ok(Pass { breaker: Arc::clone(self), trying })
    }

    pub fn state(&self) -> BreakerState {
        match *self.0.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } if Instant::now() < until => BreakerState::Open,
            State::Open { .. } | State::Trying { .. } => BreakerState::HalfOpen,
        }
    }

    /// How it is carried over by a reload: a remote that rests goes on resting.
    pub fn take_over(&self, previous: &Breaker) {
        let known = *previous.0.lock();
        *self.0.lock() = match known {
            // The question that tries it belongs to the old one.
            State::Trying { rest, .. } => State::Open { until: Instant::now(), rest },
            state => state,
        };
    }
}

/// What an answer, or none, has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It rests from now on.
    Rests,
    /// It is asked again.
    Well,
}

impl Pass {
    /// `well`: it answered, whatever it said; false: no connection, no answer in time, or a 5xx.
    pub fn done(mut self, well: bool) -> Option<Turn> {
        let trying = self.trying.take();
        let mut state = self.breaker.0.lock();
        if well {
            let rested = !matches!(*state, State::Closed { .. });
            // Also a question of before it rested: it has an answer now.
            *state = State::Closed { failures: 0 };
            return rested.then_some(Turn::Well);
        }
        match *state {
            State::Closed { failures } if failures + 1 < FAILURES => *state = State::Closed { failures: failures + 1 },
            State::Closed { .. } => {
                *state = State::Open { until: Instant::now() + REST, rest: REST };
                return Some(Turn::Rests);
            }
            State::Trying { number, rest } if trying == Some(number) => {
                let rest = rest.saturating_mul(2).min(MAX_REST);
                *state = State::Open { until: Instant::now() + rest, rest };
            }
            // Of before it rested: that is known.
            State::Open { .. } | State::Trying { .. } => {}
        }
        None
    }
}

impl Drop for Pass {
    /// The next one tries it.
    fn drop(&mut self) {
        let Some(ours) = self.trying else { return };
        let mut state = self.breaker.0.lock();
        if let State::Trying { number, rest } = *state
            && number == ours
        {
            *state = State::Open { until: Instant::now(), rest };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.admit().ok().unwrap().done(false);
        }
    }

    fn rest(breaker: &Arc<Breaker>) -> Option<Duration> {
        breaker.admit().err()
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_are_enough() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..10 {
            fail(&breaker, FAILURES - 1);
            breaker.admit().ok().unwrap().done(true);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, FAILURES);
        assert_eq!((rest(&breaker), breaker.state()), (Some(REST), BreakerState::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn that_it_rests_and_that_it_is_well_is_told_once() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, FAILURES - 1);
        let late = breaker.admit().ok().unwrap();
        assert_eq!(breaker.admit().ok().unwrap().done(false), Some(Turn::Rests));
        assert_eq!(late.done(false), None);
        advance(REST).await;
        assert_eq!(breaker.admit().ok().unwrap().done(false), None, "that is known");
        advance(REST * 2).await;
        assert_eq!(breaker.admit().ok().unwrap().done(true), Some(Turn::Well));
        assert_eq!(breaker.admit().ok().unwrap().done(true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_tries_it_and_the_rest_gets_longer() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, FAILURES);
        for seconds in [5, 10, 20, 40, 60, 60] {
            let time = Duration::from_secs(seconds);
            assert_eq!(rest(&breaker), Some(time));
            advance(time).await;
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            let pass = breaker.admit().ok().unwrap();
            assert_eq!(rest(&breaker), Some(TRYING), "one is enough");
            pass.done(false);
        }
        advance(MAX_REST).await;
        breaker.admit().ok().unwrap().done(true);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, FAILURES);
        assert_eq!(rest(&breaker), Some(REST), "that is over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_the_try_to_the_next() {
        let breaker = Arc::new(Breaker::default());
        fail(&breaker, FAILURES);
        advance(REST).await;
        drop(breaker.admit().ok().unwrap());
        let pass = breaker.admit().ok().unwrap();
        assert_eq!(rest(&breaker), Some(TRYING));
        drop(pass);
        breaker.admit().ok().unwrap().done(true);
        assert_eq!(rest(&breaker), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_does_not_speak_for_the_question_that_tries() {
        let breaker = Arc::new(Breaker::default());
        let late: Vec<_> = (0..10).map(|_| breaker.admit().ok().unwrap()).collect();
        fail(&breaker, FAILURES);
        advance(REST).await;
        let trying = breaker.admit().ok().unwrap();
        for pass in late {
            pass.done(false);
        }
        assert_eq!(rest(&breaker), Some(TRYING));
        trying.done(true);
        assert_eq!(rest(&breaker), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_an_answer() {
        let breaker = Arc::new(Breaker::default());
        let slow = breaker.admit().ok().unwrap();
        fail(&breaker, FAILURES);
        slow.done(true);
        assert_eq!(rest(&breaker), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_lets_it_rest_on() {
        let (old, new) = (Arc::new(Breaker::default()), Arc::new(Breaker::default()));
        fail(&old, FAILURES);
        advance(Duration::from_secs(2)).await;
        new.take_over(&old);
        assert_eq!(rest(&new), Some(Duration::from_secs(3)));
        advance(REST).await;
        let trying = old.admit().ok().unwrap();
        new.take_over(&old);
        trying.done(false);
        new.admit().ok().unwrap().done(true);
        assert_eq!(new.state(), BreakerState::Closed);
    }
}
