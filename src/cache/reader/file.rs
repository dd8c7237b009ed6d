//! Reading a complete cache file. A damaged block never leaves: the file is dropped and the response goes on from a new
//! fill, which takes the sound blocks from the old file and the rest from the reader's origin.

use std::sync::Arc;

use super::follow::Follower;
use super::heal::Patched;
use super::{Feed, MAX_HEALS, Position, Step};
use crate::cache::disk::{BlobFile, Damaged, Pieces};
use crate::cache::error::ReadError;
use crate::cache::fill::Complete;

pub(super) struct FileReader {
    file: Arc<BlobFile>,
    pieces: Pieces,
}

impl FileReader {
    pub(super) fn new(file: Arc<BlobFile>) -> Self {
        FileReader { file, pieces: Pieces::default() }
    }

    pub(super) async fn step(&mut self, place: &mut Position) -> Result<Step, ReadError> {
        let end = place.end;
        match self.pieces.read(place.at, |at| self.file.piece(at, end)).await {
            None => Ok(Step::End),
            Some(Ok(bytes)) => Ok(Step::Bytes(bytes)),
            Some(Err(damaged)) => self.heal(place, damaged).await,
        }
    }

    /// Another reader may have met the damage long before us, and the content be whole again.
    async fn healed(&self, place: &Position) -> Option<Feed> {
        if let Some(object) = place.shared.memory.get(&place.digest) {
            return Some(Feed::Memory(object));
        }
        match place.shared.find_on_disk(&place.digest).await? {
            Complete::File(file) if file.seq() == self.file.seq() => None,
            complete => Some(Feed::complete(complete)),
        }
    }

    async fn heal(&self, place: &mut Position, damaged: Damaged) -> Result<Step, ReadError> {
        let (shared, digest, file) = (place.shared.clone(), place.digest, self.file.clone());
        let dropped = tokio::task::spawn_blocking(move || shared.damaged(&digest, &file, &damaged));
        _ = dropped.await;
        place.heals += 1;
        if place.heals > MAX_HEALS {
            return Err(ReadError::Corrupt);
        }
        if let Some(healed) = self.healed(place).await {
            return Ok(Step::Switch(healed));
        }
        let origin = place.origin.clone().ok_or(ReadError::Corrupt)?;
        let patched = Arc::new(Patched::new(self.file.clone(), origin));
        place.origin = Some(patched.clone());
        let following = place.shared.follow(&place.digest, patched, true).ok_or(ReadError::Corrupt)?;
        Ok(Step::Switch(Feed::Fill(Follower::new(following.fill))))
    }
}
