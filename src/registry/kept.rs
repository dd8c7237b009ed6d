//! What is kept here of other registries: put without a client, by digest, and read without an exchange. Every write ends in
//! `publish`, as a client's does, so that lists, the catalog and whoever listens learn of it.
//!
//! Who asks has proven that the repository may have it: nothing here asks for permission.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::content::{self, ContentCache};
use super::publish::{ForLists, Writing, publish};
use super::reply::Refusal;
use super::{Body, ContentBytes, Registry, ReplyBody, Request, Room, blob, manifest, membership, rescue, settling};
use crate::auth::Permit;
use crate::events::{MountedFrom, What};
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Action, Digest, Reference, RepositoryName, Resource};
use crate::storage::{Error, Storage};
use crate::telemetry::RequestId;
use crate::uploads::UploadError;

impl Registry {
    /// Where it keeps everything: for files beside the tree, of whoever keeps content here.
    pub fn storage(&self) -> &std::sync::Arc<Storage> {
        &self.stores.storage
    }

    /// The bytes and the media type of a manifest that the repository holds.
    pub async fn held_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Bytes, String)>, Error> {
        manifest::held(self, name, digest).await
    }

    /// The bytes of a manifest that any repository may hold, proven.
    pub async fn any_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let content: &ContentCache = &self.reads.content;
        if let Some(bytes) = content.blob(digest) {
            return Ok(Some(bytes));
        }
        match content::read(&self.stores.storage, digest, MAX_MANIFEST as u64).await {
            // A blob that is no manifest.
            Err(Error::TooLarge(_)) => Ok(None),
            other => other,
        }
    }

    /// Keeps a manifest whose bytes have that digest, whatever it names and whether that is here.
    ///
    /// # Errors
    /// Storage's, or that nothing is written now (`read_only`).
    pub async fn keep_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<(), Error> {
        self.may_be_written()?;
        let reference = Reference::Digest(*digest);
        let request = of_nobody(Resource::Manifest { name: name.clone(), reference, tags: Ok(Vec::new()) });
        let writing = Writing { registry: self, request: &request, name };
        manifest::keep(writing, digest, bytes, media_type).await.map(drop).map_err(told)
    }

    /// Size in bytes of a blob that the repository holds.
    pub async fn held_blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(membership::layer(self, name, digest, false).await?.map(|layer| layer.size))
    }

    /// A blob that the repository holds; what is `Remote` is then opened with [`Registry::open_blob`].
    pub async fn held_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<ContentBytes>, Error> {
        blob::held(self, name, digest).await
    }

    /// Takes a blob whose bytes are here, for whatever repository, into this one; `None`: they are nowhere here, or damaged.
    pub async fn adopt_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        self.adopt(name, digest, None).await
    }

    /// The same for a copy, which pays with what was reserved for it.
    pub async fn adopt_blob_into(
        &self,
        room: &Room,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        self.adopt(name, digest, Some(room)).await
    }

    /// The size of a blob that [`Self::adopt_blob`] would take, or that the repository holds.
    pub async fn adoptable(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(layer) = membership::layer(self, name, digest, true).await? {
            return Ok(Some(layer.size));
        }
        let Some(size) = rescue::anywhere(self, digest).await? else { return Ok(None) };
        Ok(self.stores.storage.blob_serves(digest, size).await?.then_some(size))
    }

    async fn adopt(&self, name: &RepositoryName, digest: &Digest, room: Option<&Room>) -> Result<Option<u64>, Error> {
        if let Some(layer) = membership::layer(self, name, digest, true).await? {
            // A link that nobody was charged for would be reserved for once more when its manifest is pushed.
            if let Some(room) = room {
                room.linked(digest, layer.size).await;
            }
            return Ok(Some(layer.size));
        }
        let storage = &self.stores.storage;
        let Some(size) = rescue::anywhere(self, digest).await? else { return Ok(None) };
        if !storage.blob_serves(digest, size).await? {
            return Ok(None);
        }
        self.may_be_written()?;
        let there = self.link_blob((name, room), digest, size, Some(MountedFrom::Anywhere)).await?;
        Ok(there.then_some(size))
    }

    /// Whether the bytes of a blob are here, for whatever repository, also if a collection is about to delete them.
    pub async fn has_bytes(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(rescue::anywhere(self, digest).await?.is_some())
    }

    /// Keeps a blob from its bytes, which are proven to be those of the digest before it is there. Its size.
    ///
    /// # Errors
    /// The body's, storage's, that the bytes have another digest, or that nothing is written now (`read_only`).
    pub async fn keep_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        body: &mut dyn Body,
    ) -> Result<u64, UploadError> {
        self.may_be_written()?;
        let size = self.stores.uploads.put(digest, body).await?;
        match self.link_blob((name, None), digest, size, None).await? {
            true => Ok(size),
            false => Err(Error::Unavailable(format!("a garbage collection took {digest} while it was kept")).into()),
        }
    }

    /// False: a collection has taken the bytes in between.
    async fn link_blob(
        &self,
        (name, room): (&RepositoryName, Option<&Room>),
        digest: &Digest,
        size: u64,
        mounted: Option<MountedFrom>,
    ) -> Result<bool, Error> {
        if !settling::link(self, name, digest, digest).await? {
            return Ok(false);
        }
        if let Some(room) = room {
            room.linked(digest, size).await;
        }
        let request = of_nobody(Resource::Blob { name: name.clone(), digest: *digest });
        let writing = Writing { registry: self, request: &request, name };
        let linked = What::BlobLinked { digest: *digest, size, mounted };
        publish(writing, vec![linked], ForLists::Nothing).await.map(|_| true)
    }

    /// `read_only` is for work on storage that nothing may interfere with (a garbage collection, a copy): what comes of other
    /// registries is not kept then either; nor is it under maintenance.
    pub fn may_be_written(&self) -> Result<(), Error> {
        if self.settings.load().config.read_only {
            return Err(Error::Closed("nothing is written now: [registry] read_only = true".to_owned()));
        }
        self.maintenance().map_or(Ok(()), |maintenance| Err(maintenance.error()))
    }
}

/// A request that no client made.
pub(super) fn of_nobody(resource: Resource) -> Request {
    let action = Action { method: Method::PUT, resource, ns: None };
    Request {
        id: RequestId::new(),
        permit: Permit::open(),
        action,
        headers: HeaderMap::new(),
        listener: None,
        absent: None,
    }
}

/// What a verb would have told a client; storage's own words are in the log already.
fn told(refusal: Refusal) -> Error {
    let reply = refusal.into_reply();
    let text = match &reply.body {
        ReplyBody::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ReplyBody::Content(_) => String::new(),
    };
    match reply.status {
        StatusCode::INSUFFICIENT_STORAGE => Error::Full(text),
        StatusCode::SERVICE_UNAVAILABLE => Error::Unavailable(text),
        _ => Error::Failed(text),
    }
}
