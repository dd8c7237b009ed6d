//! Trying again. The library tries reads again, and the rest only when it cannot have been carried out; here every call is
//! tried again, and what became of a try whose answer was lost is found out by reading.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::Remote;
use super::errors::says_no_bucket;
use crate::storage::driver::{Driver as _, too_slow};
use crate::storage::{Error, Version};

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What a try knows of those before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It is the first.
    Nothing,
    /// The answer of another one is not known: it may have been carried out, or may yet be.
    Doubt,
}

impl Remote {
    /// One call with its tries, all within `limit`, as many as `storage.retries` says: one further always, so that a long
    /// body whose answer was lost is sent again, the others in the first half of `timeouts.request`.
    pub(super) async fn tried<T, F>(&self, limit: Duration, mut call: impl FnMut(Before) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begin = Instant::now();
        let (mut before, mut pause) = (Before::Nothing, FIRST_PAUSE);
        for left in (0..=self.retries).rev() {
            let error = match timeout_at(begin + limit, call(before)).await {
                Ok(Err(error @ Error::Unavailable(_))) => error,
                Ok(outcome) => {
                    if let Err(Error::Refused(why)) = &outcome
                        && says_no_bucket(why)
                    {
                        self.bucket_missing.store(true, Ordering::Relaxed);
                    }
                    return outcome;
                }
                Err(_) => return Err(too_slow(limit)),
            };
            let is_late = before == Before::Doubt && begin.elapsed() + pause > self.limit / 2;
            if left == 0 || is_late || begin.elapsed() + pause > limit {
                return Err(error);
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            (before, pause) = (Before::Doubt, (pause * 2).min(self.limit / 8));
        }
        Err(Error::Unavailable("no try left".to_owned()))
    }

    /// After a condition that was not met though nobody may have written but ourselves: the object's version if it holds what
    /// we wrote. Whoever must not take another's write for their own writes something that nobody else would (a nonce).
    pub(super) async fn ours(&self, key: &str, bytes: &Bytes) -> Result<Option<Version>, Error> {
        match self.get(key, bytes.len() as u64).await {
            Ok(Some((found, version))) if found == *bytes => Ok(Some(version)),
            Ok(_) | Err(Error::TooLarge(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
