//! A body into a file, while it is hashed: receiving, hashing and writing overlap.
//!
//! What arrives while others are hashed and written makes the next batch, so batches are as large as the client is fast, and
//! no thread waits for a slow one.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use super::UploadError;
use super::batch::{Batch, Target};
use super::budget::{Budget, Share};
use super::line::Line;
use super::spool::Room;
use crate::oci::Hasher;
use crate::storage::Body;

/// Bytes of a batch, at most; one piece may go beyond.
const WINDOW: usize = 2 << 20;
/// What is to be done.
pub(super) struct Pump<'a> {
    /// `None`: they are only hashed.
    pub(super) target: Option<Target>,
    /// Where they go on in the file.
    pub(super) at: u64,
    /// `None`: unknown, they will be read again.
    pub(super) hasher: Option<Hasher>,
    pub(super) budget: &'a Budget,
    /// A spool's room, which may end.
    pub(super) room: Option<&'a mut Room>,
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

impl Pump<'_> {
    /// Runs until the body's end or the first trouble. Dropped: what was handed to threads goes on to its end, and holds the
    /// file until then.
    pub(super) async fn run(mut self, body: &mut dyn Body) -> Pumped {
        let mut room = self.room.take();
        let unshared = Mutex::new(None);
        let mut pieces = pin!(pieces(body, self.budget, &unshared));
        let mut gathered = Batch::default();
        let mut line = Line::new(self.target.take(), self.at, self.hasher.take());
        let (mut ended, mut pending) = (None, None);
        loop {
            if !gathered.is_empty() && line.takes_more() {
                line.push(std::mem::take(&mut gathered));
            }
            let reading = ended.is_none() && pending.is_none() && line.failed.is_none();
            if line.is_idle() && !reading {
                break;
            }
            tokio::select! {
                biased;
                done = line.wait() => line.step(done).await,
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
        if line.failed.is_some() {
            pending = pending.or_else(|| unshared.lock().take());
        }
        let (at, hasher, failed) = line.end().await;
        Pumped { at, hasher, ended, pending, failed }
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
