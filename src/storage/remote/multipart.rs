//! Objects made of parts.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::PartId;
use object_store::{ObjectStoreExt as _, PutMultipartOptions};

use super::errors::{is_unknown_upload, store_error};
use super::tries::Before;
use super::{DriverKind, LONGEST, Remote, present, s3};
use crate::storage::Error;
use crate::storage::driver::{Driver as _, Part, PartOf, Parts, WholeOf, absent, wrong_kind};

/// Parts that are copied at once.
const AT_ONCE: usize = 4;

impl Remote {
    pub(super) async fn copied(&self, from: &str, to: &str) -> Result<(), Error> {
        if !self.abilities().copies {
            return Err(wrong_kind());
        }
        let (from_path, to_path) = (self.path(from)?, self.path(to)?);
        let Some(copier) = &self.copier else {
            return self.tried(LONGEST, |_| self.asked(self.writes.copy(&from_path, &to_path))).await;
        };
        let Some(size) = self.size(from).await? else { return Err(absent(from)) };
        if copier.copies_whole(size) {
            return self.tried(LONGEST, |_| copier.whole(&from_path, &to_path)).await;
        }
        let id = self.begin(to).await?;
        let made = futures::stream::iter(copier.ranges(size).into_iter().enumerate())
            .map(|(index, range)| self.copy_part(PartOf { key: to, id: &id, index }, from, range))
            .buffered(AT_ONCE)
            .try_collect();
        let outcome = match made.await {
            Ok(parts) => self.complete(WholeOf { key: to, id: &id, parts, size }).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // If this fails too, the bucket's own rule for unfinished uploads must clean up.
            let _ = tokio::time::timeout(s3::ABORT, self.abort(to, &id)).await;
        }
        outcome
    }
}

#[async_trait]
impl Parts for Remote {
    /// After an answer that was lost, the store may keep an upload that nobody knows: its own rule for unfinished uploads
    /// removes it.
    async fn begin(&self, key: &str) -> Result<String, Error> {
        let path = self.path(key)?;
        let options = PutMultipartOptions::from(self.attributes());
        self.tried(self.limit, |_| self.asked(self.parts.create_multipart_opts(&path, options.clone()))).await
    }

    async fn put_part(&self, PartOf { key, id, index }: PartOf<'_>, bytes: Bytes) -> Result<Part, Error> {
        let path = self.path(key)?;
        let (limit, id) = (self.limit_for(bytes.len()), id.to_owned());
        let put = |_| self.asked(self.parts.put_part(&path, &id, index, bytes.clone().into()));
        Ok(Part(self.tried(limit, put).await?.content_id))
    }

    fn copies_parts(&self) -> bool {
        self.copier.is_some()
    }

    async fn copy_part(&self, part: PartOf<'_>, from: &str, range: Range<u64>) -> Result<Part, Error> {
        let PartOf { key, id, index } = part;
        let (from, path) = (self.path(from)?, self.path(key)?);
        let Some(copier) = &self.copier else {
            return Err(Error::Failed("this store cannot make parts of other objects".to_owned()));
        };
        self.tried(LONGEST, |_| copier.part(&path, id, index, &from, &range)).await
    }

    async fn complete(&self, WholeOf { key, id, parts, size }: WholeOf<'_>) -> Result<(), Error> {
        let path = self.path(key)?;
        let parts: Vec<PartId> = parts.into_iter().map(|part| PartId { content_id: part.0 }).collect();
        let id = id.to_owned();
        // Only after a try whose answer was lost can the upload be gone because it was completed; Azure's has no name of its own,
        // so there another's upload of the same object may have taken its blocks.
        let may_be_done = |before| before == Before::Doubt || self.kind == DriverKind::Azure;
        let complete = async |before, parts| match self.parts.complete_multipart(&path, &id, parts).await {
            Err(error) if may_be_done(before) && is_unknown_upload(&error) => Ok(None),
            outcome => present(outcome).map_err(store_error),
        };
        if self.tried(LONGEST, |before| complete(before, parts.clone())).await?.is_some() {
            return Ok(());
        }
        match self.size(key).await? {
            Some(there) if there == size => Ok(()),
            _ => Err(Error::Failed("the store does not know this multipart upload".to_owned())),
        }
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), Error> {
        let path = self.path(key)?;
        let id = id.to_owned();
        let abort = async || present(self.parts.abort_multipart(&path, &id).await).map_err(store_error);
        match self.tried(self.limit, |_| abort()).await {
            // Memory has no words of its own for an id that it does not know.
            Err(Error::Failed(_)) if self.kind == DriverKind::Memory => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}
