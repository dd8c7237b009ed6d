//! A body into a file, while it is hashed: receiving, hashing and writing overlap.
//!
//! What arrives while a batch is being hashed and written makes the next batch, so batches are as large as the client is
//! fast, and no thread waits for a slow one.

use std::fs::File;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::OptionFuture;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::UploadError;
use super::batch::{Batch, Written, joined, write};
use super::budget::{Budget, Share};
use super::spool::Room;
use crate::oci::Hasher;
use crate::storage::Body;

/// Bytes that are gathered while others are written.
const WINDOW: usize = 4 << 20;
/// The disk is told to keep what was written every so many bytes, so that little is left to wait for at the end.
const SYNC_EVERY: u64 = 16 << 20;

/// Where the bytes go.
pub(super) struct Pump<'a> {
    /// `None`: they are only hashed.
    pub(super) file: Option<Arc<File>>,
    /// Where they go on in the file.
    pub(super) at: u64,
    /// `None`: unknown, they will be read again.
    pub(super) hasher: Option<Hasher>,
    pub(super) budget: &'a Budget,
    /// A spool's room, which may end.
    pub(super) room: Option<&'a mut Room>,
    /// Sync while writing. The last sync is the caller's in any case.
    pub(super) sync: bool,
}

/// How far it came.
pub(super) struct Pumped {
    /// The file's good bytes.
    pub(super) at: u64,
    /// Over the good bytes, and over those of `failed`.
    pub(super) hasher: Option<Hasher>,
    /// How the body ended, or that no memory came for its next piece; `None`: it has not.
    pub(super) ended: Option<Result<(), UploadError>>,
    /// There was no room for this piece, or the file failed before it had its memory; it is not hashed.
    pub(super) pending: Option<Bytes>,
    pub(super) failed: Option<Failed>,
}

/// The file failed.
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// What follows the good bytes: hashed, but not written. `None`: it is lost.
    pub(super) unwritten: Option<Batch>,
}

/// Syncs in the background, one at a time.
#[derive(Default)]
struct Syncing {
    task: Option<JoinHandle<io::Result<()>>>,
    unsynced: u64,
}

impl Pump<'_> {
    /// Runs until the body's end or the first trouble. Dropped: what was handed to threads goes on to its end, and holds the
    /// file until then.
    pub(super) async fn run(mut self, body: &mut dyn Body) -> Pumped {
        let mut room = self.room.take();
        let unshared = Mutex::new(None);
        let mut pieces = pin!(pieces(body, self.budget, &unshared));
        let mut gathered = Batch::default();
        let mut writing: Option<JoinHandle<Written>> = None;
        let mut syncing = Syncing::default();
        let (mut ended, mut pending, mut failed) = (None, None, None);
        loop {
            if writing.is_none() && !gathered.is_empty() && failed.is_none() {
                let batch = std::mem::take(&mut gathered);
                writing = Some(tokio::spawn(write(self.file.clone(), self.at, self.hasher.take(), batch)));
            }
            let reading = ended.is_none() && pending.is_none() && failed.is_none();
            if writing.is_none() && !reading {
                break;
            }
            tokio::select! {
                biased;
                Some(written) = OptionFuture::from(writing.as_mut()) => {
                    writing = None;
                    failed = self.written(joined(written), &mut syncing).await.err();
                }
                piece = pieces.next(), if reading && gathered.bytes() < WINDOW => match piece {
                    None => ended = Some(Ok(())),
                    Some(Err(error)) => ended = Some(Err(error)),
                    Some(Ok((piece, _))) if room.as_mut().is_some_and(|room| !room.grow(piece.len() as u64)) => {
                        pending = Some(piece);
                    }
                    Some(Ok((piece, share))) => gathered.push(piece, share),
                },
            }
        }
        if failed.is_some() {
            pending = pending.or_else(|| unshared.lock().take());
        }
        self.finish(Pumped { at: 0, hasher: None, ended, pending, failed }, gathered, syncing).await
    }

    async fn written(&mut self, written: io::Result<Written>, syncing: &mut Syncing) -> Result<(), Failed> {
        let lost = |error| Failed { error, unwritten: None };
        let written = written.map_err(lost)?;
        self.hasher = written.hasher;
        written.result.map_err(|error| Failed { error, unwritten: written.unwritten })?;
        self.at += written.bytes;
        match &self.file {
            Some(file) if self.sync => syncing.after(written.bytes, file).await.map_err(lost),
            _ => Ok(()),
        }
    }

    /// Waits for the last sync; after a failure, what was gathered meanwhile joins what could not be written.
    async fn finish(mut self, mut pumped: Pumped, gathered: Batch, syncing: Syncing) -> Pumped {
        let synced = syncing.end().await;
        match &mut pumped.failed {
            Some(failed) => {
                let (rest, hasher) = gathered.hashed(self.hasher.take()).await;
                self.hasher = hasher;
                failed.unwritten = failed.unwritten.take().zip(rest).map(|(mut unwritten, rest)| {
                    unwritten.append(rest);
                    unwritten
                });
            }
            None => pumped.failed = synced.err().map(|error| Failed { error, unwritten: None }),
        }
        Pumped { at: self.at, hasher: self.hasher, ..pumped }
    }
}

impl Syncing {
    /// The kernel tells an error of a sync once: this one's must not be lost.
    async fn after(&mut self, bytes: u64, file: &Arc<File>) -> io::Result<()> {
        self.unsynced += bytes;
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) || self.unsynced < SYNC_EVERY {
            return Ok(());
        }
        std::mem::take(self).end().await?;
        let file = file.clone();
        self.task = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        Ok(())
    }

    async fn end(self) -> io::Result<()> {
        match self.task {
            Some(task) => joined(task.await)?,
            None => Ok(()),
        }
    }
}

/// A body's pieces, each with its share of memory. A stream, because it may be polled again after it was left waiting.
/// `unshared` has the piece that waits for its share: it must not be lost.
fn pieces<'a>(
    body: &'a mut dyn Body,
    budget: &'a Budget,
    unshared: &'a Mutex<Option<Bytes>>,
) -> impl Stream<Item = Result<(Bytes, Share), UploadError>> + 'a {
    futures::stream::unfold(body, move |body| async move {
        let piece = match body.next().await? {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error.into()), body)),
        };
        *unshared.lock() = Some(piece.clone());
        let share = budget.take(piece.len() as u64).await;
        *unshared.lock() = None;
        Some((share.map(|share| (piece, share)).map_err(UploadError::from), body))
    })
}
