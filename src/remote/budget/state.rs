//! What is known of all credentials together: which of them to ask with, and whether to ask at all.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{Bucket, FULL};
use super::{Cost, PullsLeft};
use crate::remote::error::{RemoteError, Throttle};

/// Too many requests of any kind: how long nothing is asked where the remote does not say, doubled each time in a row.
const PAUSE: Duration = Duration::from_secs(10);
/// And never longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) credentials: Vec<Credential>,
    /// By whom the remote counts, as far as it told, else by credential. As many as there are credentials.
    pub(super) buckets: HashMap<String, Bucket>,
    pub(super) paused: Option<Instant>,
    /// Pauses in a row.
    pub(super) pauses: u32,
}

#[derive(Clone)]
pub(super) struct Credential {
    pub(super) name: String,
    /// Whose budget it is, as the remote calls it.
    pub(super) source: Option<String>,
    /// When other instances were last asked and told.
    pub(super) heard: Option<Instant>,
    pub(super) said: Option<Instant>,
}

impl State {
    pub(super) fn choose(&mut self, cost: Cost, now: Instant) -> Result<usize, RemoteError> {
        let credential = self.best(cost, now)?;
        if cost.is_pull()
            && let Some(bucket) = self.bucket(credential, None, now)
        {
            bucket.take(now);
        }
        Ok(credential)
    }

    pub(super) fn best(&mut self, cost: Cost, now: Instant) -> Result<usize, RemoteError> {
        let mut best: Option<(usize, u64)> = None;
        let mut wait: Option<Duration> = None;
        for credential in 0..self.credentials.len() {
            let Some(bucket) = self.bucket(credential, None, now) else { continue };
            let left = bucket.left(now);
            let enough = match cost {
                Cost::Pull => left > 0,
                Cost::Spare => left > bucket.reserve(),
                Cost::Look | Cost::Extra | Cost::Free => true,
            };
            if !enough {
                wait = [wait, bucket.wait(now)].into_iter().flatten().min();
            } else if best.is_none_or(|(_, most)| left > most) {
                best = Some((credential, left));
            }
        }
        best.map(|(credential, _)| credential).ok_or(RemoteError::Exhausted { retry_after: wait })
    }

    /// The bucket that a credential's pulls are counted in, which the remote may have just named.
    pub(super) fn bucket(&mut self, credential: usize, source: Option<&str>, now: Instant) -> Option<&mut Bucket> {
        let known = self.credentials.get_mut(credential)?;
        if let Some(source) = source.filter(|source| known.source.as_deref() != Some(source)) {
            known.source = Some(source.to_owned());
            self.tidy();
        }
        let key = self.bucket_key(credential)?;
        Some(self.buckets.entry(key).or_insert_with(|| Bucket::new(now)))
    }

    pub(super) fn bucket_key(&self, credential: usize) -> Option<String> {
        let known = self.credentials.get(credential)?;
        Some(match &known.source {
            Some(source) => format!("source {source}"),
            None => format!("credential {}", known.name),
        })
    }

    /// Forgets buckets that no credential is counted in any more.
    pub(super) fn tidy(&mut self) {
        let keys: Vec<_> = (0..self.credentials.len()).filter_map(|index| self.bucket_key(index)).collect();
        self.buckets.retain(|key, _| keys.contains(key));
    }

    pub(super) fn pause(&mut self, now: Instant) -> Result<(), RemoteError> {
        match self.paused.filter(|until| *until > now) {
            Some(until) => Err(RemoteError::Throttled(Throttle::Abuse { retry_after: Some(until - now) })),
            None => {
                self.paused = None;
                Ok(())
            }
        }
    }

    /// Nothing is asked for a while: how long.
    pub(super) fn rest(&mut self, after: Option<Duration>, now: Instant) -> Duration {
        // Many that were under way together are one refusal.
        if self.paused.is_none_or(|until| until <= now) {
            self.pauses = self.pauses.saturating_add(1);
        }
        let doubled = PAUSE.saturating_mul(1 << (self.pauses.saturating_sub(1)).min(8));
        let pause = after.unwrap_or(doubled).clamp(Duration::from_secs(1), MAX_PAUSE);
        let until = self.paused.map_or(now + pause, |until| until.max(now + pause));
        self.paused = Some(until);
        until - now
    }

    pub(super) fn told(&mut self, credential: usize, now: Instant) -> Option<PullsLeft> {
        let bucket = self.bucket(credential, None, now)?;
        let left = Some(bucket.left(now)).filter(|left| *left != FULL);
        let (limit, window, wait) = (bucket.limit, bucket.window, bucket.wait(now));
        let known = self.credentials.get(credential)?;
        Some(PullsLeft {
            credential: known.name.clone(),
            source: known.source.clone(),
            left,
            limit,
            window_seconds: window.map(|window| window.as_secs()),
            wait_seconds: wait.map(|wait| wait.as_secs().max(1)),
        })
    }
}
