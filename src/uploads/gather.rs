//! The bytes of one part while they come: in memory, or on local disk once others need the memory of a slow client.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::UploadError;
use super::budget::Share;
use super::inner::Bounds;
use super::multipart::read;
use super::spool::SpoolFile;
use crate::storage::{Error, blocking, io_error};

/// A part that takes longer goes on on local disk when others wait for memory. A client that sends 8 MiB/s is not slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Where there is no local disk, it keeps memory only for what has come, and takes more piece by piece. When that does not
/// come either, and the part has taken so long, it must end: two such could wait for each other.
pub(super) const LAST_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Gathering<'a> {
    bounds: &'a Arc<Bounds>,
    capacity: usize,
    began: Instant,
    held: Held,
    /// It must end, with what it has.
    over: bool,
}

/// What others want of a part.
pub(super) enum Asked {
    MakeRoom,
    End,
}

enum Held {
    Memory { bytes: BytesMut, share: Share },
    Disk { spool: SpoolFile, size: usize },
}

impl<'a> Gathering<'a> {
    /// Waits for its share of memory: the whole part at once, so that no two can wait for each other.
    pub(super) async fn begin(bounds: &'a Arc<Bounds>, capacity: u64) -> Result<Self, UploadError> {
        let share = bounds.budget.take(capacity).await?;
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let held = Held::Memory { bytes: BytesMut::with_capacity(capacity), share };
        Ok(Gathering { bounds, capacity, began: Instant::now(), held, over: false })
    }

    /// Takes what fits; returns the rest.
    pub(super) async fn push(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, UploadError> {
        let rest = piece.split_off(piece.len().min(self.left()));
        match &mut self.held {
            Held::Memory { bytes, share } => {
                let needed = (bytes.len() + piece.len()) as u64;
                if let Some(more) = needed.checked_sub(share.bytes()).filter(|more| *more > 0) {
                    let budget = &self.bounds.budget;
                    tokio::select! {
                        biased;
                        more = budget.take(more) => share.merge(more?),
                        () = budget.wanted(self.began + LAST_PATIENCE) => {
                            self.over = true;
                            return Ok(Some(rejoined(piece, &rest)));
                        }
                    }
                }
                bytes.extend_from_slice(&piece);
            }
            Held::Disk { spool, size } => {
                let share = self.bounds.budget.take(piece.len() as u64).await?;
                let (length, at) = (piece.len(), *size as u64);
                let file = spool.file.clone();
                blocking(move || {
                    let written = file.write_all_at(&piece, at).map_err(io_error);
                    drop((piece, share));
                    written
                })
                .await?;
                *size += length;
            }
        }
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    pub(super) fn is_full(&self) -> bool {
        self.left() == 0 || self.over
    }

    /// It ended before it was full, for the others' sake.
    pub(super) fn is_cut(&self) -> bool {
        self.over
    }

    fn left(&self) -> usize {
        let size = match &self.held {
            Held::Memory { bytes, .. } => bytes.len(),
            Held::Disk { size, .. } => *size,
        };
        self.capacity.saturating_sub(size)
    }

    /// Answers those who wait for memory, as they ask; for ever. May be dropped while it waits.
    pub(super) async fn asked(&self) -> Asked {
        let Held::Memory { bytes, share } = &self.held else { return std::future::pending().await };
        let small = share.bytes() < self.capacity as u64 && !bytes.is_empty();
        let patience = if small { LAST_PATIENCE } else { PATIENCE };
        self.bounds.budget.wanted(self.began + patience).await;
        if small { Asked::End } else { Asked::MakeRoom }
    }

    /// Ends it, if it holds anything.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Gives memory back: moves what it has to local disk, or else keeps no more than that takes.
    pub(super) async fn make_room(&mut self) {
        if self.move_to_disk().await {
            return;
        }
        if let Held::Memory { bytes, share } = &mut self.held {
            *bytes = BytesMut::from(bytes.as_ref());
            share.shrink(bytes.len() as u64);
        }
    }

    /// False when there is no room, or the disk does not work: then nothing has changed.
    async fn move_to_disk(&mut self) -> bool {
        let Held::Memory { bytes, .. } = &mut self.held else { return true };
        let Some(mut spool) = self.bounds.spool_file(Some(self.capacity as u64)).await else { return false };
        if !spool.room.grow(self.capacity as u64) {
            return false;
        }
        let (file, moved) = (spool.file.clone(), std::mem::take(bytes));
        let size = moved.len();
        let written = tokio::task::spawn_blocking(move || (file.write_all_at(&moved, 0), moved)).await;
        match written {
            Ok((Ok(()), _)) => {
                self.held = Held::Disk { spool, size };
                true
            }
            Ok((Err(error), moved)) => {
                tracing::warn!(%error, "the spool cannot be written: an upload goes on without it");
                *bytes = moved;
                false
            }
            // Its thread panicked: a file that is too short is an error when it is read.
            Err(_) => {
                self.held = Held::Disk { spool, size };
                true
            }
        }
    }

    /// The part, in memory again. On local disk it waits for its share, holding none.
    pub(super) async fn finish(self) -> Result<(Bytes, Share), UploadError> {
        match self.held {
            Held::Memory { bytes, mut share } => {
                share.shrink(bytes.len() as u64);
                Ok((bytes.freeze(), share))
            }
            Held::Disk { spool, size } => {
                let share = self.bounds.budget.take(size as u64).await?;
                Ok((read(&spool.file, 0, size as u64).await?, share))
            }
        }
    }
}

/// A piece that was split.
fn rejoined(piece: Bytes, rest: &Bytes) -> Bytes {
    if rest.is_empty() {
        return piece;
    }
    let mut whole = BytesMut::from(piece);
    whole.extend_from_slice(rest);
    whole.freeze()
}

impl Bounds {
    /// A spool file, if there is room for so many bytes and the disk lets us.
    pub(super) async fn spool_file(self: &Arc<Self>, length: Option<u64>) -> Option<SpoolFile> {
        if !self.spool.fits(length) {
            return None;
        }
        let bounds = self.clone();
        let created = blocking(move || bounds.spool.create().map_err(io_error)).await;
        created
            .inspect_err(
                |error: &Error| tracing::warn!(%error, "the spool cannot be used: an upload goes on without it"),
            )
            .ok()
    }
}
