//! A chunk of an upload, held to its `Content-Range`: it must begin where the upload stands, so that one that is sent twice
//! is not appended twice, and have as many bytes as it says, also where no Content-Length says so.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, StatusCode};

use super::reply::{DOCKER_UPLOAD_UUID, Refusal};
use super::{Body, BodyError, upload};
use crate::oci::{ContentRange, ErrorCode, RepositoryName};
use crate::uploads::Upload;

pub(super) struct Chunk<'a> {
    body: &'a mut dyn Body,
    /// Bytes still to come, if the client said how many; `Err` when it was others.
    left: Option<Result<u64, WrongLength>>,
}

struct WrongLength;

impl<'a> Chunk<'a> {
    pub(super) fn new(
        name: &RepositoryName,
        upload: &Upload,
        headers: &HeaderMap,
        body: &'a mut dyn Body,
    ) -> Result<Self, Refusal> {
        let Some(header) = headers.get(CONTENT_RANGE) else { return Ok(Chunk { body, left: None }) };
        let range = header.to_str().ok().and_then(ContentRange::parse).ok_or_else(|| {
            let message = "Content-Range of a chunk is written first-last, both included";
            Refusal::status(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
        })?;
        if range.first != upload.offset() {
            let message = format!("the chunk begins at {}, but the upload stands at {}", range.first, upload.offset());
            return Err(Refusal::new(ErrorCode::RangeInvalid, message)
                .with(LOCATION, upload::location(name, upload.id()))
                .with(RANGE, upload::received(upload.offset()))
                .with(DOCKER_UPLOAD_UUID, upload.id().to_string()));
        }
        match body.length() {
            Some(length) if length != range.len() => {
                let message = format!("Content-Range has {} bytes, Content-Length is {length}", range.len());
                Err(Refusal::new(ErrorCode::SizeInvalid, message))
            }
            _ => Ok(Chunk { body, left: Some(Ok(range.len())) }),
        }
    }

    /// What to say when the upload failed by the chunk's length.
    pub(super) fn fault(&self) -> Option<Refusal> {
        let wrong = matches!(self.left, Some(Err(WrongLength)));
        let message = "the chunk has more or fewer bytes than its Content-Range; ask how far the upload is";
        wrong.then(|| Refusal::new(ErrorCode::SizeInvalid, message))
    }
}

#[async_trait]
impl Body for Chunk<'_> {
    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    /// Ends with an error, so that the upload does not take a chunk of another length for complete.
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let left = match self.left {
            None => return self.body.next().await,
            Some(Err(WrongLength)) => return None,
            Some(Ok(left)) => left,
        };
        let piece = match self.body.next().await {
            Some(Ok(piece)) => piece,
            None if left == 0 => return None,
            None => return Some(Err(self.wrong())),
            error => return error,
        };
        match left.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.left = Some(Ok(left));
                Some(Ok(piece))
            }
            None => Some(Err(self.wrong())),
        }
    }
}

impl Chunk<'_> {
    fn wrong(&mut self) -> BodyError {
        self.left = Some(Err(WrongLength));
        BodyError("its length is not that of its Content-Range".into())
    }
}
