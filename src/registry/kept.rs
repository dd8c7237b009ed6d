//! What is kept here of other registries: put without a client, by digest, and read without an exchange. Every write ends in
//! `publish`, as a client's does, so that lists, the catalog and whoever listens learn of it.
//!
//! Who asks has proven that the repository may have it: nothing here asks for permission.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::content::{self, ContentCache};
use super::publish::{ForLists, Writing, publish};
use super::reply::Refusal;
use super::{Body, ContentBytes, Registry, ReplyBody, Request, blob, manifest, membership};
use crate::auth::Permit;
use crate::events::{MountedFrom, What};
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Action, Digest, Reference, RepositoryName, Resource};
use crate::storage::{Error, Link, Storage};
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
        Ok(membership::layer(&self.stores, name, digest, false).await?.map(|layer| layer.size))
    }

    /// A blob that the repository holds; what is `Remote` is then opened with [`Registry::open_blob`].
    pub async fn held_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<ContentBytes>, Error> {
        blob::held(self, name, digest).await
    }

    /// Takes a blob whose bytes are here, for whatever repository, into this one; `None`: they are nowhere here, or damaged.
    pub async fn adopt_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(layer) = membership::layer(&self.stores, name, digest, true).await? {
            return Ok(Some(layer.size));
        }
        let storage = &self.stores.storage;
        let Some(size) = storage.blob_size(digest).await? else { return Ok(None) };
        if !storage.blob_serves(digest, size).await? {
            return Ok(None);
        }
        self.may_be_written()?;
        self.link_blob(name, digest, size, Some(MountedFrom::Anywhere)).await?;
        Ok(Some(size))
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
        self.link_blob(name, digest, size, None).await?;
        Ok(size)
    }

    async fn link_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        mounted: Option<MountedFrom>,
    ) -> Result<(), Error> {
        self.stores.storage.link_put(&Link::Layer(name.clone(), *digest), digest).await?;
        let request = of_nobody(Resource::Blob { name: name.clone(), digest: *digest });
        let writing = Writing { registry: self, request: &request, name };
        let linked = What::BlobLinked { digest: *digest, size, mounted };
        publish(writing, vec![linked], ForLists::Nothing).await.map(drop)
    }

    /// `read_only` is for work on storage that nothing may interfere with (a garbage collection, a copy): what comes of other
    /// registries is not kept then either.
    pub fn may_be_written(&self) -> Result<(), Error> {
        match self.settings.load().config.read_only {
            true => Err(Error::Refused("nothing is kept now: [registry] read_only = true".to_owned())),
            false => Ok(()),
        }
    }
}

/// A request that no client made.
fn of_nobody(resource: Resource) -> Request {
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
