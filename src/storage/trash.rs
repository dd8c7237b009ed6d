//! Bytes on their way out: moved to the trash, brought back from there, deleted for good.
//!
//! - At every moment, also after a crash, the bytes are in their place, in the trash, or in both.
//! - Each move has a name of its own in the trash: who deletes what was moved long ago never deletes what a late one has just
//!   moved.
//! - A rescue copies them back (a second name for the same file, on a disk) and leaves what is in the trash there: so nobody
//!   who rescues takes them away from another who does.
//! - Every call may be repeated, and two who do the same, or the opposite, at once do no harm but to the result of the other.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use super::Error;
use super::driver::{Entry, Part, PartOf, WholeOf, absent};
use super::layout::{self, OwnKey};
use super::links::TrashedBlob;
use super::metrics::Action;
use super::storage::{Precondition, Storage};
use crate::oci::Digest;

/// Bytes that pass through us at once where a store cannot copy: of each of the blobs that a collection moves at the same time.
const PIECE: u64 = 8 << 20;
/// Pieces of one blob, at most: then they are larger.
const PIECES: u64 = 10_000;

impl Storage {
    /// As [`Self::blob_trash_while`], of what is believed for ever.
    #[cfg(test)]
    pub async fn blob_trash(&self, digest: &Digest) -> Result<bool, Error> {
        self.blob_trash_while(digest, &|| true).await
    }

    /// The bytes of a blob go from their place to the trash, durably: a new name on a disk, a copy and a removal on an object
    /// store. False if they were not in their place; or if what was found out about them is not `believed` any more when they have
    /// been copied, which takes its time: then they stay.
    pub async fn blob_trash_while(&self, digest: &Digest, believed: &(dyn Fn() -> bool + Sync)) -> Result<bool, Error> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (place, trash) = (layout::blob(digest), OwnKey::Trash(*digest, name).key());
        if let Some(disk) = self.store().files() {
            return self.store().with_disk(Action::Move, disk, move |disk| disk.move_away(&place, &trash)).await;
        }
        let Some(size) = self.store().size(&place).await? else { return Ok(false) };
        if let Err(error) = self.duplicate(&place, &trash, size).await {
            // Somebody else has moved them meanwhile.
            return if self.store().size(&place).await?.is_none() { Ok(false) } else { Err(error) };
        }
        if !believed() {
            return self.store().delete(&trash).await.map(|_| false);
        }
        self.store().delete(&place).await?;
        Ok(true)
    }

    /// The size in bytes of what is in a blob's place; brought back from the trash, durably, if there is nothing. Bytes in
    /// place are left as they are. `None` if they are in neither.
    pub async fn blob_rescue(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let place = layout::blob(digest);
        if let Some(size) = self.store().size(&place).await? {
            return Ok(Some(size));
        }
        let mut failed = None;
        for copy in self.trash_files(digest).await? {
            let trash = OwnKey::Trash(*digest, copy.name).key();
            match self.bring_back(&trash, &place, copy.size).await {
                Ok(None) => {}
                Ok(size) => return Ok(size),
                Err(error) => failed = Some(error),
            }
        }
        // Who moved them to the trash and who brought them back may both have passed us.
        match (self.store().size(&place).await?, failed) {
            (None, Some(error)) => Err(error),
            (size, _) => Ok(size),
        }
    }

    /// The size of what is in place then. `None`: neither is there.
    async fn bring_back(&self, trash: &str, place: &str, size: u64) -> Result<Option<u64>, Error> {
        if let Some(disk) = self.store().files() {
            let (trash, place) = (trash.to_owned(), place.to_owned());
            return self.store().with_disk(Action::Move, disk, move |disk| disk.bring_back(&trash, &place)).await;
        }
        match self.duplicate(trash, place, size).await {
            Ok(()) => Ok(Some(size)),
            // Another rescue may have been sooner, or the trash was emptied.
            Err(error) => match (self.store().size(place).await?, self.store().size(trash).await?) {
                (None, Some(_)) => Err(error),
                (size, _) => Ok(size),
            },
        }
    }

    async fn trash_files(&self, digest: &Digest) -> Result<Vec<Entry>, Error> {
        Ok(self.store().list(&layout::trash_folder(digest)).await?.files)
    }

    /// What is in the trash of this blob, which may be in its place as well.
    pub async fn trash_of(&self, digest: &Digest) -> Result<Vec<TrashedBlob>, Error> {
        let files = self.trash_files(digest).await?;
        Ok(files.into_iter().map(|file| TrashedBlob { digest: *digest, name: file.name, size: file.size }).collect())
    }

    /// The size in bytes of what is in the trash of this blob.
    pub async fn trashed(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(self.trash_files(digest).await?.first().map(|file| file.size))
    }

    /// All of it, for good.
    #[cfg(test)]
    pub async fn trash_delete(&self, digest: &Digest) -> Result<bool, Error> {
        let all = self.trash_of(digest).await?;
        for moved in &all {
            self.trash_delete_one(digest, &moved.name).await?;
        }
        Ok(!all.is_empty())
    }

    /// Deletes what one move brought to the trash, for good. False if there was nothing.
    pub async fn trash_delete_one(&self, digest: &Digest, name: &str) -> Result<bool, Error> {
        self.remove(&OwnKey::Trash(*digest, name.to_owned()).key()).await
    }

    /// Deletes the bytes in a blob's place, for good. False if there were none.
    pub async fn blob_remove(&self, digest: &Digest) -> Result<bool, Error> {
        self.remove(&layout::blob(digest)).await
    }

    async fn remove(&self, key: &str) -> Result<bool, Error> {
        let there = self.store().abilities().tells_removals || self.store().size(key).await?.is_some();
        Ok(there && self.store().delete(key).await?)
    }

    /// Makes `to` the same as `from`, which has so many bytes. It is whole when this returns.
    async fn duplicate(&self, from: &str, to: &str, size: u64) -> Result<(), Error> {
        if self.store().abilities().copies {
            self.store().copy(from, to).await?;
        } else {
            self.hand_over(from, to, size, PIECE).await?;
        }
        match self.store().size(to).await? {
            Some(copied) if copied == size => Ok(()),
            copied => Err(Error::Failed(format!("the copy of {from} has {copied:?} bytes instead of {size}"))),
        }
    }

    /// A copy through us, a piece at a time.
    pub(super) async fn hand_over(&self, from: &str, to: &str, size: u64, piece: u64) -> Result<(), Error> {
        let piece = piece.max(size.div_ceil(PIECES));
        if size <= piece {
            let bytes = self.piece(from, 0, size).await?;
            return self.store().put(to, bytes, Precondition::None).await.map(drop);
        }
        let id = self.store().multipart_begin(to).await?;
        let outcome = match self.parts(from, PartOf { key: to, id: &id, index: 0 }, size, piece).await {
            Ok(parts) => self.store().multipart_complete(WholeOf { key: to, id: &id, parts, size }).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            _ = self.store().multipart_abort(to, &id).await; // else the store's own rule for unfinished uploads does it
        }
        outcome
    }

    async fn parts(&self, from: &str, first: PartOf<'_>, size: u64, piece: u64) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < size {
            let length = piece.min(size - at);
            let bytes = self.piece(from, at, length).await?;
            let part = PartOf { index: parts.len(), ..first };
            parts.push(self.store().multipart_put(part, bytes).await?);
            at += length;
        }
        Ok(parts)
    }

    async fn piece(&self, from: &str, at: u64, length: u64) -> Result<Bytes, Error> {
        let Some((_, mut body)) = self.store().open(from, at, Some(at + length)).await? else {
            return Err(absent(from));
        };
        // All of it now: what grows is twice as large for a while.
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        while let Some(some) = body.next().await {
            bytes.extend_from_slice(&some?);
        }
        if bytes.len() as u64 == length {
            Ok(bytes.freeze())
        } else {
            Err(Error::Failed(format!("{from} has changed while it was copied")))
        }
    }
}
