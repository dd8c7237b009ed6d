//! Streams one content to one client, from wherever it is at the moment: memory, file, running fill, the client's own
//! origin. Changes between them at any byte without the client noticing, and never ends cleanly on unproven content.

mod file;
mod follow;
mod heal;
mod through;

use std::sync::Arc;

use bytes::Bytes;

use self::file::FileReader;
use self::follow::Follower;
use self::through::Through;
use super::content::{Content, Kind};
use super::error::ReadError;
use super::fill::Complete;
use super::memory::Object;
use super::origin::Origin;
use super::shared::Shared;
use crate::oci::Digest;

/// Damaged files that one response survives; more means that the machine cannot be trusted.
const MAX_HEALS: u8 = 3;

/// Bytes of a content in order. Errors are final and repeated; `None` is a clean end.
pub struct Reader {
    place: Position,
    from: Feed,
    failed: Option<ReadError>,
}

/// What all kinds of reading need to know.
struct Position {
    shared: Arc<Shared>,
    digest: Digest,
    origin: Option<Arc<dyn Origin>>,
    /// Offset of the next byte.
    at: u64,
    /// One behind the last byte; `u64::MAX` = to the end.
    end: u64,
    /// The whole content is read: then its digest is proven even where no fill does it.
    whole: bool,
    heals: u8,
}

enum Feed {
    Memory(Arc<Object>),
    File(FileReader),
    /// A file that was let go of while the client took nothing.
    Rested,
    Fill(Follower),
    Through(Box<Through>),
}

/// What one look at the present source gives.
enum Step {
    Bytes(Bytes),
    End,
    /// Go on from there.
    Switch(Feed),
}

impl Reader {
    pub(super) fn new(content: Content, start: u64, end: Option<u64>) -> Self {
        let total = content.total();
        let whole = start == 0 && (end.is_none() || end == total);
        let Content { shared, digest, kind, origin } = content;
        let place = Position { shared, digest, origin, at: start, end: end.unwrap_or(u64::MAX), whole, heals: 0 };
        let from = match kind {
            Kind::Complete(complete) => Feed::complete(complete),
            Kind::Filling(fill) => Feed::Fill(Follower::new(fill)),
            Kind::Through(opened) => match Through::opened(&place, &opened) {
                Ok(through) => Feed::Through(Box::new(through)),
                Err(error) => return Reader { place, from: Feed::nothing(), failed: Some(error) },
            },
        };
        Reader { place, from, failed: None }
    }

    /// Its client takes nothing for now: where files are scarce, this one is let go of, and found again when more of it is wanted.
    pub fn rest(&mut self) {
        if matches!(self.from, Feed::File(_)) && self.place.shared.disk.buffers().files_are_scarce() {
            self.from = Feed::Rested;
        }
    }

    /// The next bytes, up to 1 MiB from a file, as they come from a running fill. The future may be dropped at any time
    /// without losing bytes.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        loop {
            let step = match &mut self.from {
                Feed::Memory(object) => Ok(read_memory(object, &self.place)),
                Feed::File(file) => file.step(&mut self.place).await,
                Feed::Rested => self.place.found_again().await.map(Step::Switch),
                Feed::Fill(follower) => follower.step(&mut self.place).await,
                Feed::Through(through) => through.step(&self.place).await,
            };
            match step {
                Ok(Step::Bytes(bytes)) => {
                    self.place.at += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                Ok(Step::End) => return None,
                Ok(Step::Switch(from)) => self.from = from,
                Err(error) => {
                    tracing::debug!(digest = %self.place.digest, at = self.place.at, %error, "a body breaks off");
                    self.failed = Some(error.clone());
                    self.from = Feed::nothing();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Position {
    /// The content, after its file was let go of: it may be in memory now, in another file, or gone and to be had anew.
    async fn found_again(&self) -> Result<Feed, ReadError> {
        if let Some(object) = self.shared.memory.get(&self.digest) {
            return Ok(Feed::Memory(object));
        }
        if let Some(complete) = self.shared.find_on_disk(&self.digest).await {
            return Ok(Feed::complete(complete));
        }
        let origin = self.origin.clone().ok_or(ReadError::Evicted)?;
        let following = self.shared.follow(&self.digest, origin, true).ok_or(ReadError::Evicted)?;
        Ok(Feed::Fill(Follower::new(following.fill)))
    }
}

impl Feed {
    fn complete(complete: Complete) -> Self {
        match complete {
            Complete::Memory(object) => Feed::Memory(object),
            Complete::File(file) => Feed::File(FileReader::new(file)),
        }
    }

    /// Lets go of whatever was held.
    fn nothing() -> Self {
        Feed::Memory(Arc::new(Object::new(Bytes::new(), None)))
    }
}

fn read_memory(object: &Object, place: &Position) -> Step {
    let end = place.end.min(object.bytes.len() as u64);
    match place.at < end {
        true => Step::Bytes(object.bytes.slice(place.at as usize..end as usize)), // both within the bytes
        false => Step::End,
    }
}
