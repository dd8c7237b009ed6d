//! Work that one instance does for all, under a name that the others can read: who does it, and where it is found.

use std::sync::Arc;
use std::time::Duration;

use super::redis::{Claimed, HeldClaim, Redis};

/// The answer to "may I do this for all of us?".
#[derive(Debug)]
pub enum Claim {
    /// Nobody else does it.
    Mine(Held),
    /// Another does it: what it said of itself.
    Of(String),
    /// There is no Redis, or no answer in time: everybody does it alone.
    Nobody,
}

/// Work of this instance; given back when dropped, and over after its time if it is not renewed.
#[derive(Debug)]
pub struct Held(HeldClaim);

impl Held {
    /// Has it for `time` from now. False: another has it by now, since this one was late. Without an answer of Redis nothing is known
    /// of that, and the work goes on.
    pub async fn renew(&self, time: Duration) -> bool {
        self.0.renew(time).await
    }
}

pub(super) async fn claim(redis: &Arc<Redis>, key: &str, holder: &str, time: Duration) -> Claim {
    match redis.claim(key, holder, time).await {
        Ok(Claimed::Ours(held)) => Claim::Mine(Held(held)),
        Ok(Claimed::Of(holder)) => Claim::Of(holder),
        Err(_) => Claim::Nobody,
    }
}
