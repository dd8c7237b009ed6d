//! Manifests that another instance of the fleet has fetched: remotes count how many are asked for, so none is fetched twice where each
//! instance keeps its own.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::mirror::Mirror;
use crate::mirror::fetching::Asked;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Digest, RepositoryName};

/// How long the others are told who has it.
const HELD_FOR: Duration = Duration::from_secs(24 * 3600);

/// Tells the others that it is here.
pub(super) async fn tell(mirror: &Mirror, key: &str) {
    if let Some(own) = mirror.parts.fetching.peers.own() {
        mirror.parts.fleet.note(key, &own, HELD_FOR).await;
    }
}

/// Reads it from the instance that has told so, if it still has it. Nothing of it is proven.
pub(super) async fn read(
    mirror: &Mirror,
    key: &str,
    name: &RepositoryName,
    digest: &Digest,
    until: Instant,
) -> Option<Bytes> {
    let peers = &mirror.parts.fetching.peers;
    let own = peers.own()?;
    let holder = mirror.parts.fleet.noted(key).await.filter(|holder| *holder != *own)?;
    let asked = Asked { name: name.clone(), digest: *digest, from: 0 };
    let within = until.saturating_duration_since(Instant::now());
    let mut given = peers.open(&holder, &asked, within).await.ok()?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = timeout_at(until, given.body.next()).await.ok()? {
        let piece = piece.ok()?;
        if bytes.len().saturating_add(piece.len()) > MAX_MANIFEST {
            return None;
        }
        bytes.extend_from_slice(&piece);
    }
    Some(bytes.freeze())
}
