//! Whose turn it is to ask a remote for a blob: one instance of the fleet asks, the others read from it, and whoever is next goes on when
//! it is gone. Never certain, always bounded: two that both ask cost one download more, and nothing else.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::Opened;
use crate::mirror::fetching::PeerError;
use crate::remote::RemoteError;

/// How long a claim holds without being renewed, and how often it is.
pub(super) const CLAIM_TIME: Duration = Duration::from_secs(6);
pub(super) const RENEW: Duration = Duration::from_secs(2);
/// How long an owner that cannot be reached is waited for: until its claim would be over, and a little more.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two looks at a claim whose owner gives nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// An owner may be waiting for the remote itself; so often it is found out whether it still is the owner.
const HEAD_WAIT: Duration = Duration::from_secs(4);
/// A remote that went away in the middle is asked again for so long, each time that a stream broke.
const RESUME: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Work that is ours for a time.
#[async_trait]
pub(super) trait Lease: Send + Sync {
    /// False: another has it by now.
    async fn renew(&self) -> bool;
}

/// The answer to "who asks the remote?".
pub(super) enum Turn {
    /// We do; without a lease where there is nobody to tell, or where it is this instance already.
    Ours(Option<Arc<dyn Lease>>),
    /// The instance at this address.
    Theirs(String),
}

/// The ways to a blob.
#[async_trait]
pub(super) trait Ways: Send + Sync {
    async fn claim(&self) -> Turn;
    /// Where another instance has all of it.
    async fn holder(&self) -> Option<String>;
    async fn ask_instance(&self, address: &str, offset: u64, within: Duration) -> Result<Opened, PeerError>;
    async fn ask_remote(&self, offset: u64, within: Duration) -> Result<Opened, RemoteError>;
}

/// Opens the blob from `offset` on, within `budget`.
pub(super) async fn open(
    ways: &dyn Ways,
    offset: u64,
    budget: Duration,
) -> Result<(Opened, Option<Arc<dyn Lease>>), RemoteError> {
    let deadline = Instant::now() + budget;
    let mut unreached: Option<Instant> = None;
    loop {
        let address = match ways.claim().await {
            Turn::Ours(lease) => return ours(ways, offset, deadline, lease).await,
            Turn::Theirs(address) => address,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match ways.ask_instance(&address, offset, left.min(HEAD_WAIT)).await {
            Ok(opened) => return Ok((opened, None)),
            Err(PeerError::Waiting) => unreached = None,
            Err(PeerError::Gone(why)) => {
                let since = *unreached.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    tracing::warn!(
                        address,
                        why,
                        "the instance that fetches a blob cannot be read from; it is fetched here too"
                    );
                    return ours(ways, offset, deadline, None).await;
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        if Instant::now() >= deadline {
            return Err(RemoteError::Down("the instance that fetches it gives nothing in time".into()));
        }
    }
}

async fn ours(
    ways: &dyn Ways,
    offset: u64,
    deadline: Instant,
    lease: Option<Arc<dyn Lease>>,
) -> Result<(Opened, Option<Arc<dyn Lease>>), RemoteError> {
    let opened = renewing(lease.as_deref(), async {
        if lease.is_some()
            && let Some(address) = ways.holder().await
        {
            match ways.ask_instance(&address, offset, HEAD_WAIT).await {
                Ok(opened) => return Ok(opened),
                Err(why) => tracing::debug!(address, %why, "an instance that had a blob gives it no more"),
            }
        }
        remote(ways, offset, deadline).await
    });
    opened.await.map(|opened| (opened, lease))
}

/// In the middle of a blob it is asked more than once: whoever restarts is back soon.
async fn remote(ways: &dyn Ways, offset: u64, deadline: Instant) -> Result<Opened, RemoteError> {
    let give_up = Instant::now() + RESUME;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match ways.ask_remote(offset, left).await {
            Err(RemoteError::Down(_) | RemoteError::Resting { .. })
                if offset > 0 && Instant::now() + pause < give_up.min(deadline) =>
            {
                sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}

/// Does the work, and renews the lease meanwhile.
async fn renewing<T>(lease: Option<&dyn Lease>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(RENEW) => if let Some(lease) = lease {
                lease.renew().await;
            },
        }
    }
}
