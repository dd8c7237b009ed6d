//! A handle on one content: complete, still coming, or passing through. Cheap to clone; reading it is `reader`'s business.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::error::FillError;
use super::fill::supply::{ByteStream, Head};
use super::fill::{Attended, Complete};
use super::origin::Origin;
use super::reader::Reader;
use super::shared::Shared;
use crate::oci::Digest;

#[derive(Clone)]
pub struct Content {
    pub(super) shared: Arc<Shared>,
    pub(super) digest: Digest,
    pub(super) kind: Kind,
    pub(super) origin: Option<Arc<dyn Origin>>,
}

#[derive(Clone)]
pub(super) enum Kind {
    Complete(Complete),
    Filling(Attended),
    Through(Arc<Opened>),
}

/// A stream that told its head, for the first who reads.
pub(super) struct Opened {
    pub(super) head: Head,
    pub(super) stream: Mutex<Option<ByteStream>>,
}

impl Content {
    pub(super) fn complete(shared: &Arc<Shared>, digest: Digest, complete: Complete) -> Self {
        Content { shared: shared.clone(), digest, kind: Kind::Complete(complete), origin: None }
    }

    pub(super) fn filling(shared: &Arc<Shared>, fill: Attended) -> Self {
        let digest = fill.digest;
        let kind = match fill.complete() {
            Some(complete) => Kind::Complete(complete.clone()),
            None => Kind::Filling(fill),
        };
        Content { shared: shared.clone(), digest, kind, origin: None }
    }

    pub(super) fn through(shared: &Arc<Shared>, digest: Digest, head: Head, stream: ByteStream) -> Self {
        let opened = Arc::new(Opened { head, stream: Mutex::new(Some(stream)) });
        Content { shared: shared.clone(), digest, kind: Kind::Through(opened), origin: None }
    }

    /// Gives a hit an escape: should the cached file prove damaged, its readers go on from `origin`. Asked only then.
    #[must_use]
    pub fn with_origin(mut self, origin: Arc<dyn Origin>) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Size in bytes; `None` while only the end of the stream will tell.
    pub fn total(&self) -> Option<u64> {
        match (&self.kind, self.whole()) {
            (_, Some(complete)) => Some(complete.len()),
            (Kind::Filling(fill), None) => fill.head().and_then(|head| head.total),
            (Kind::Through(opened), None) => opened.head.total,
            (Kind::Complete(_), None) => None,
        }
    }

    pub fn media_type(&self) -> Option<&str> {
        match &self.kind {
            Kind::Complete(complete) => complete.media_type(),
            Kind::Filling(fill) => fill.head().and_then(|head| head.media_type.as_deref()),
            Kind::Through(opened) => opened.head.media_type.as_deref(),
        }
    }

    /// Whether it is whole and its digest proven at this moment.
    pub fn proven(&self) -> bool {
        self.whole().is_some()
    }

    /// Waits until it is whole and proven. While this handle is there, a fill goes on.
    pub async fn completed(self) -> Result<Self, FillError> {
        let complete = match &self.kind {
            Kind::Complete(complete) => complete.clone(),
            Kind::Filling(fill) => fill.wait_for_end().await?,
            Kind::Through(_) => return Err(FillError::Unavailable("there is no place for the content".into())),
        };
        Ok(Content { kind: Kind::Complete(complete), ..self })
    }

    /// All of it, if it is in memory: to be written in one go.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self.whole() {
            Some(Complete::Memory(object)) => Some(&object.bytes),
            _ => None,
        }
    }

    fn whole(&self) -> Option<&Complete> {
        match &self.kind {
            Kind::Complete(complete) => Some(complete),
            Kind::Filling(fill) => fill.complete(),
            Kind::Through(_) => None,
        }
    }

    /// Streams the bytes `start..end`, `None` meaning to the end; what lies behind the end of the content is left out.
    pub fn read(self, start: u64, end: Option<u64>) -> Reader {
        Reader::new(self, start, end)
    }
}
