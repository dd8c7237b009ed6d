//! A body in parts, each whole in memory when it is complete, while it is hashed: for object stores.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::UploadError;
use super::budget::Share;
use super::gather::{Asked, Gathering, PATIENCE};
use super::inner::Bounds;
use super::state::MOST_PIECES;
use crate::oci::Hasher;
use crate::storage::{Body, BodyError, Error};

/// Parts are of 8 MiB, until that would make too many of them.
pub(super) const PART: u64 = 8 << 20;
pub(super) const LARGE_PART: u64 = 16 << 20;
/// Of a body of unknown length, so many parts are small. With [`MOST_PIECES`], it can have 148 GiB.
const SMALL_PARTS: usize = 1000;
/// So many bytes of a part arrive before memory is taken for it: who sends next to nothing holds next to nothing.
const DOORSTEP: usize = 64 << 10;

pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Also held by the thread that hashes.
    #[expect(dead_code, reason = "held, not read")]
    share: Arc<Share>,
}

pub(super) struct Parts<'a> {
    source: Source<'a>,
    bounds: &'a Arc<Bounds>,
    hashing: Hashing,
    /// The length that the client announced, less what came: a hint.
    left: Option<u64>,
    size: Option<u64>,
    /// Whether a part may end early, when the client is slow and others need its memory.
    cut: bool,
    count: usize,
    received: u64,
}

struct Source<'a> {
    /// Keeps a read that was begun, whoever is dropped.
    body: BoxStream<'a, Result<Bytes, BodyError>>,
    /// Arrived, but neither hashed nor in a part.
    pending: Option<Bytes>,
    /// How the body ended, or why no more of it is taken.
    ended: Option<Result<(), UploadError>>,
}

/// A hash that is taken behind the parts' back, one part at a time.
enum Hashing {
    Unknown,
    Ready(Box<Hasher>),
    Running(JoinHandle<Box<Hasher>>),
}

impl<'a> Parts<'a> {
    pub(super) fn new(body: &'a mut dyn Body, hasher: Option<Hasher>, bounds: &'a Arc<Bounds>) -> Self {
        let left = body.length();
        // Of a known length all parts have one size, as some stores want it.
        let size = left.map(|length| length.div_ceil(MOST_PIECES as u64).clamp(PART, LARGE_PART));
        let hashing = hasher.map_or(Hashing::Unknown, |hasher| Hashing::Ready(Box::new(hasher)));
        let body = futures::stream::unfold(body, |body| async move { Some((body.next().await?, body)) }).boxed();
        let source = Source { body, pending: None, ended: None };
        Parts { source, bounds, hashing, left, size, cut: true, count: 0, received: 0 }
    }

    /// Goes on with a body that somebody else began to read: `pending` was read, and perhaps its end.
    pub(super) fn resumed(mut self, pending: Option<Bytes>, ended: Option<Result<(), UploadError>>) -> Self {
        (self.source.pending, self.source.ended, self.left) = (pending, ended, None);
        self
    }

    /// Every part but the last is whole, as a multipart upload needs them.
    pub(super) fn uncut(mut self) -> Self {
        self.cut = false;
        self
    }

    /// The next part; `None` at the body's end, clean or not. Waits for its share while it holds next to nothing.
    pub(super) async fn next(&mut self) -> Option<Part> {
        let (bytes, share) = match self.gather().await {
            Ok(gathered) => gathered?,
            Err(error) => {
                self.source.fail(error);
                return None;
            }
        };
        self.count += 1;
        self.received += bytes.len() as u64;
        self.left = self.left.and_then(|left| left.checked_sub(bytes.len() as u64)).filter(|left| *left > 0);
        let share = Arc::new(share);
        self.hash(bytes.clone(), share.clone()).await;
        Some(Part { bytes, share })
    }

    async fn gather(&mut self) -> Result<Option<(Bytes, Share)>, UploadError> {
        let most = self.part_size();
        let doorstep = self.left.unwrap_or(most).min(DOORSTEP as u64);
        let Some(first) = self.source.at_least(usize::try_from(doorstep).unwrap_or(DOORSTEP)).await else {
            return Ok(None);
        };
        // A length that is a lie makes smaller parts, no larger ones.
        let room = self.left.map_or(most, |left| left.max(first.len() as u64).min(most));
        let mut gathering = Gathering::begin(self.bounds, room).await?;
        self.source.pending = gathering.push(first).await?;
        while !gathering.is_full() {
            tokio::select! {
                biased;
                piece = self.source.next() => match piece {
                    Some(piece) => self.source.pending = gathering.push(piece).await?,
                    None => break,
                },
                asked = gathering.asked() => match asked {
                    Asked::MakeRoom => gathering.make_room().await,
                    Asked::End => gathering.end(),
                },
            }
        }
        if gathering.is_cut() && !self.cut {
            let slow = "memory is short, and this upload comes slowly".to_owned();
            return Err(Error::Unavailable(slow).into());
        }
        gathering.finish().await.map(Some)
    }

    /// What is left as a stream, numbered from the body's first part.
    pub(super) fn stream<'b>(&'b mut self) -> impl Stream<Item = (usize, Part)> + use<'a, 'b> {
        futures::stream::unfold(self, |parts| async move {
            let index = parts.count;
            let part = parts.next().await?;
            Some(((index, part), parts))
        })
    }

    /// Whether nothing follows. Takes no memory, so it may be asked while a part is held: but if others wait for memory, and
    /// the client for too long, the answer is that something may.
    pub(super) async fn at_end(&mut self) -> bool {
        tokio::select! {
            biased;
            piece = self.source.next() => {
                self.source.pending = piece;
                self.source.pending.is_none()
            }
            () = self.bounds.budget.wanted(Instant::now() + PATIENCE) => false,
        }
    }

    /// Bytes in the parts so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The hash of everything that came, and how the body ended.
    pub(super) async fn finish(self) -> (Option<Hasher>, Result<(), UploadError>) {
        (self.hashing.ready().await.map(|hasher| *hasher), self.source.ended.unwrap_or(Ok(())))
    }

    fn part_size(&self) -> u64 {
        let grown = if self.count < SMALL_PARTS { PART } else { LARGE_PART };
        self.size.unwrap_or(grown)
    }

    async fn hash(&mut self, bytes: Bytes, share: Arc<Share>) {
        let before = std::mem::replace(&mut self.hashing, Hashing::Unknown);
        let Some(mut hasher) = before.ready().await else { return };
        self.hashing = Hashing::Running(tokio::task::spawn_blocking(move || {
            hasher.update(&bytes);
            drop((bytes, share));
            hasher
        }));
    }
}

impl Source<'_> {
    /// May be dropped while it waits.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(pending) = self.pending.take() {
            return Some(pending);
        }
        while self.ended.is_none() {
            match self.body.next().await {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => return Some(piece),
                Some(Err(error)) => self.ended = Some(Err(error.into())),
                None => self.ended = Some(Ok(())),
            }
        }
        None
    }

    /// So many bytes, fewer at the end: small pieces are joined.
    async fn at_least(&mut self, size: usize) -> Option<Bytes> {
        let first = self.next().await?;
        if first.len() >= size {
            return Some(first);
        }
        let mut joined = BytesMut::from(first);
        while joined.len() < size {
            let Some(piece) = self.next().await else { break };
            joined.extend_from_slice(&piece);
        }
        Some(joined.freeze())
    }

    /// Nothing more is taken.
    fn fail(&mut self, error: UploadError) {
        (self.pending, self.ended) = (None, Some(Err(error)));
    }
}

impl Hashing {
    async fn ready(self) -> Option<Box<Hasher>> {
        match self {
            Hashing::Unknown => None,
            Hashing::Ready(hasher) => Some(hasher),
            Hashing::Running(task) => task.await.ok(),
        }
    }
}
