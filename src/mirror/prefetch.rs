//! Fetching ahead: what a client took the manifest of is made whole afterwards, so that it can be pulled when the remote is down. Blobs
//! cost nothing of a remote's budget; manifests are never fetched ahead.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::image::{Image, Named};
use super::{KeptManifest, Mirror, blobs};
use crate::oci::{Digest, RepositoryName};
use crate::remote::config::AskedAs;

/// Images and blobs that wait or are being fetched; further ones are left out until they are pulled again.
const MAX_WAITING: usize = 256;
/// A manifest that is pulled many times is looked at once in this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const MAX_LOOKED_AT: u64 = 10_000;
/// The client is given time to ask for the blobs itself.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// While clients wait for blobs of the remote nothing begins, for so long at most.
const MAX_YIELD: Duration = Duration::from_secs(60);
const YIELD: Duration = Duration::from_millis(250);
/// Of one image.
const AT_ONCE: usize = 2;

pub(super) struct Prefetch {
    waiting: Arc<Mutex<HashSet<(RepositoryName, Digest)>>>,
    looked_at: Cache<(RepositoryName, Digest), ()>,
}

impl Default for Prefetch {
    fn default() -> Self {
        let looked_at = Cache::builder().max_capacity(MAX_LOOKED_AT).time_to_live(LOOK_AGAIN).build();
        Prefetch { waiting: Arc::default(), looked_at }
    }
}

/// A place among those that wait.
struct Place {
    waiting: Arc<Mutex<HashSet<(RepositoryName, Digest)>>>,
    key: (RepositoryName, Digest),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.key);
    }
}

impl Prefetch {
    fn place(&self, name: &RepositoryName, digest: &Digest) -> Option<Place> {
        let key = (name.clone(), *digest);
        let mut waiting = self.waiting.lock();
        let taken = waiting.len() < MAX_WAITING && waiting.insert(key.clone());
        taken.then(|| Place { waiting: self.waiting.clone(), key })
    }
}

/// A client has taken (GET) an image's manifest, by tag or digest; never an index. Returns at once.
pub(super) fn pulled(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest, manifest: &KeptManifest) {
    let looked_at = &mirror.prefetch.looked_at;
    if looked_at.contains_key(&(name.clone(), *digest)) {
        return;
    }
    looked_at.insert((name.clone(), *digest), ());
    let Image::Single(needed) = Image::of(manifest) else { return };
    mirror.blobs.named_by_manifest(name, &needed);
    let config = mirror.remote.config();
    // Nobody's right is there to ask by where each caller has their own.
    let place = match config.prefetch.0 {
        _ if config.identity == AskedAs::Caller => None,
        0 => None,
        _ => mirror.prefetch.place(name, digest),
    };
    let (mirror, name, digest) = (mirror.clone(), name.clone(), *digest);
    tokio::spawn(async move {
        mirror.parts.keep.pulled(&name, &digest).await;
        if let Some(_place) = place {
            sleep(FIRST_WAIT).await;
            image(&mirror, &name, needed).await;
        }
    });
}

/// A blob of which a client reads parts is fetched whole, unless it is larger than what is fetched ahead. Returns at once.
pub(super) fn blob(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest, size: u64) {
    let config = mirror.remote.config();
    if size > config.prefetch.0 || config.identity == AskedAs::Caller {
        return;
    }
    let Some(place) = mirror.prefetch.place(name, digest) else { return };
    let (mirror, name, digest) = (mirror.clone(), name.clone(), *digest);
    tokio::spawn(async move {
        let _place = place;
        if mirror.parts.keep.has_room().await {
            one(&mirror, &name, &digest).await;
        }
    });
}

async fn image(mirror: &Arc<Mirror>, name: &RepositoryName, needed: Vec<Named>) {
    let absent = absent(mirror, name, needed).await;
    if absent.is_empty() || !mirror.parts.keep.has_room().await {
        return;
    }
    // One that fails because the remote is not well ends it for all.
    let over = AtomicBool::new(false);
    let fetches = stream::iter(absent).for_each_concurrent(AT_ONCE, |digest| {
        let over = &over;
        async move {
            yield_to_clients(mirror).await;
            if !over.load(Ordering::Relaxed) && !one(mirror, name, &digest).await {
                over.store(true, Ordering::Relaxed);
            }
        }
    });
    fetches.await;
}

/// What the repository does not hold, in the manifest's order, as far as it goes into what is fetched for one image.
async fn absent(mirror: &Mirror, name: &RepositoryName, needed: Vec<Named>) -> Vec<Digest> {
    let mut left = mirror.remote.config().prefetch.0;
    let mut absent = Vec::new();
    for Named { digest, size } in needed {
        if !matches!(mirror.parts.keep.blob_size(name, &digest).await, Ok(None)) {
            continue;
        }
        match left.checked_sub(size) {
            Some(rest) => {
                left = rest;
                absent.push(digest);
            }
            None => mirror.parts.fetching.metrics.ahead_left_out.inc(),
        }
    }
    absent
}

async fn yield_to_clients(mirror: &Mirror) {
    let begun = tokio::time::Instant::now();
    while mirror.blobs.clients_wait() && begun.elapsed() < MAX_YIELD {
        sleep(YIELD).await;
    }
}

/// False: the remote cannot give it now.
async fn one(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest) -> bool {
    let metrics = &mirror.parts.fetching.metrics;
    let Ok(_turn) = mirror.parts.fetching.ahead.acquire().await else { return false };
    match blobs::fetch(mirror, name, digest).await {
        Ok(brought) => {
            if brought.fetched {
                metrics.ahead.inc();
            }
            true
        }
        Err(error) => {
            metrics.ahead_failed.inc();
            tracing::debug!(%name, %digest, %error, "a blob is not fetched ahead");
            !error.lets_kept_speak()
        }
    }
}
