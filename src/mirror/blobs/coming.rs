//! What is not kept in a repository comes: from where it is for another one, from the cache, or from the remote.

use std::sync::Arc;

use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::Wanted;
use super::permitted::{Said, permitted};
use crate::cache::{Content, Source};
use crate::mirror::origin::{self, MirrorOrigin};
use crate::mirror::rights::{Thing, Who};
use crate::mirror::{Mirror, keeping};
use crate::oci::{Digest, RepositoryName};
use crate::remote::{Asker, RemoteError};

pub(super) async fn adopted(mirror: &Mirror, name: &RepositoryName, digest: &Digest) -> bool {
    let adopted = mirror.parts.keep.adopt(name, digest).await;
    adopted.unwrap_or_else(|error| {
        tracing::warn!(%name, %digest, %error, "a blob that is here is not taken into another repository");
        false
    })
}

/// From the cache, where it comes from the remote or another instance if it is not there yet. A fill is fed by whoever waits for it, so
/// nobody joins one before the remote has given or promised them the blob: else what it gave another repository would be theirs.
pub(super) async fn coming(
    mirror: &Arc<Mirror>,
    wanted: &Wanted<'_>,
    said: &Said,
) -> Result<(Content, Source), RemoteError> {
    let Wanted { name, digest, asker, ahead, .. } = *wanted;
    let origin = match ahead {
        true => MirrorOrigin::ahead(mirror, name, digest),
        false => MirrorOrigin::new(mirror, name, digest, asker.clone()),
    };
    if said.proven {
        return filled(mirror, name, digest, Arc::new(origin)).await;
    }
    let asking = (mirror.clone(), name.clone(), *digest, asker.clone());
    let open = move || {
        async move {
            let (mirror, name, digest, asker) = asking;
            let (origin, key) = (Arc::new(origin), (name.clone(), digest));
            // Somebody may have opened it since it was looked for.
            let known = mirror.rights.known(&asker, &name, Thing::Blobs) && mirror.blobs.proven.contains_key(&key);
            if !known {
                origin.open_as_permission().await?;
                mirror.rights.given(&asker, &name, Thing::Blobs);
            }
            let found = filled(&mirror, &name, &digest, origin.clone()).await;
            origin.close();
            if let Ok((content, _)) = &found
                && let Some(size) = content.total().or_else(|| mirror.blobs.named.get(&key))
            {
                mirror.blobs.proven.insert(key, size);
            }
            found
        }
        .boxed()
    };
    let landed = mirror.blobs.opens.join((name.clone(), *digest, Who::by(asker)), open).await;
    let landed = landed.ok_or_else(|| RemoteError::Down("too much is asked of it at once".into()))?;
    let (content, source) = landed.value?;
    let source = if landed.joined && source == Source::Miss { Source::Collapsed } else { source };
    Ok((content, source))
}

async fn filled(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    digest: &Digest,
    origin: Arc<MirrorOrigin>,
) -> Result<(Content, Source), RemoteError> {
    let found = mirror.parts.cache.get_or_fill(digest, origin).await;
    let (content, source) = found.map_err(|error| origin::why(&error))?;
    if matches!(source, Source::Memory | Source::Disk) {
        // It came for another repository, or before a restart: nobody else takes it to where it stays.
        let (mirror, name, digest, content) = (mirror.clone(), name.clone(), *digest, content.clone());
        tokio::spawn(async move { keeping::put(&mirror, &name, &digest, content).await });
    }
    Ok((content, source))
}

/// A blob that is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mirror) struct Brought {
    /// In bytes.
    pub size: u64,
    /// It was not here before.
    pub fetched: bool,
}

/// Brings a blob that this repository of the remote has to where it stays, and resolves when it is kept there. Asked by our own right.
///
/// # Errors
/// The remote does not have or give it, or it cannot be kept.
pub(in crate::mirror) async fn fetch(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Brought, RemoteError> {
    let held = async || mirror.parts.keep.blob_size(name, digest).await.ok().flatten();
    if let Some(size) = held().await {
        return Ok(Brought { size, fetched: false });
    }
    let wanted = Wanted { name, digest, asker: &Asker::Mirror, head: false, range: None, ahead: true };
    let until = Instant::now() + mirror.remote.config().timeouts.first_byte.0;
    let said = permitted(mirror, &wanted, until).await?;
    if adopted(mirror, name, digest).await
        && let Some(size) = held().await
    {
        return Ok(Brought { size, fetched: false });
    }
    let begun = timeout_at(until, coming(mirror, &wanted, &said)).await;
    let (content, source) = begun.map_err(|_| RemoteError::Down("no byte of the blob in time".into()))??;
    let content = content.completed().await.map_err(|error| origin::why(&error))?;
    let size = content.total().unwrap_or_default();
    if !keeping::put(mirror, name, digest, content).await {
        return Err(RemoteError::Useless("it came, and cannot be kept here".into()));
    }
    Ok(Brought { size, fetched: !matches!(source, Source::Memory | Source::Disk) })
}
