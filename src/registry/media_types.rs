//! Media types of manifests. Most bytes tell their own; of others a repository remembers what they were pushed as, for as
//! long as that is not what their shape tells. Other repositories may hold the same bytes as something else.

use bytes::Bytes;

use super::Stores;
use super::reply::Refusal;
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// Longest media type (RFC 6838 has 127 and 127 characters around '/').
pub(super) const MAX_MEDIA_TYPE: usize = 255;

/// What the bytes of a manifest tell of their media type, the same for every repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImpliedType {
    pub media_type: String,
    /// By a `mediaType`, which no push can contradict. Otherwise by their shape, which holds where nothing is recorded.
    pub surely: bool,
}

impl ImpliedType {
    /// Of bytes that cannot be read as a manifest, nothing is sure: of `Manifest::default()`.
    pub(super) fn by(manifest: &Manifest) -> Self {
        ImpliedType { media_type: manifest.implied_media_type().to_owned(), surely: manifest.media_type.is_some() }
    }
}

/// The media type of a manifest in this repository. Storage is asked only where the bytes do not tell.
pub(super) async fn of(
    storage: &Storage,
    name: &RepositoryName,
    digest: &Digest,
    told: &ImpliedType,
) -> Result<String, Error> {
    if told.surely {
        return Ok(told.media_type.clone());
    }
    Ok(recorded(storage, name, digest).await?.unwrap_or_else(|| told.media_type.clone()))
}

async fn recorded(storage: &Storage, name: &RepositoryName, digest: &Digest) -> Result<Option<String>, Error> {
    let found = storage.own(&OwnKey::MediaType(name.clone(), *digest), MAX_MEDIA_TYPE as u64).await?;
    Ok(found.map(|(text, _)| String::from_utf8_lossy(&text).into_owned()))
}

/// Makes `media_type` the one of a manifest that is being pushed, before its revision is linked; whether it was another
/// one until now. Like a deletion, a change ends what the fleet remembers of the repository.
pub(super) async fn record(
    Stores { storage, fleet, .. }: &Stores,
    name: &RepositoryName,
    digest: &Digest,
    told: &ImpliedType,
    media_type: &str,
) -> Result<bool, Refusal> {
    if told.surely {
        return Ok(false);
    }
    let wanted = (!told.media_type.eq_ignore_ascii_case(media_type)).then_some(media_type);
    if recorded(storage, name, digest).await?.as_deref() == wanted {
        return Ok(false);
    }
    let key = OwnKey::MediaType(name.clone(), *digest);
    let changing = fleet.deleting(name).await?;
    let written = match wanted {
        Some(media_type) => {
            let text = Bytes::from(media_type.to_owned());
            storage.own_put(&key, text, Precondition::None).await.map(drop)
        }
        None => storage.own_delete(&key).await.map(drop),
    };
    changing.done().await;
    written?;
    Ok(true)
}
