//! Passing a client's own origin through. A reader of the whole content hashes what passes and holds the last bytes back
//! until the digest is proven; a reader of a range passes bytes as they are.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;

use super::{Position, Step};
use crate::cache::content::Opened;
use crate::cache::error::{FillError, ReadError};
use crate::cache::fill::supply::{ByteStream, Origins, Supply};
use crate::cache::fill::{Abandoned, visible};
use crate::oci::Hasher;

pub(super) struct Through {
    stream: ByteStream,
    total: Option<u64>,
    /// Offset behind the last byte that came.
    received: u64,
    /// Over `0..received`; `None` for a range, and once the digest is proven.
    hasher: Option<Hasher>,
    /// What came and was not handed out: the bytes `start..received`.
    queue: VecDeque<Bytes>,
    start: u64,
    ended: bool,
}

impl Through {
    /// Of a content that was opened to learn its size: its stream if it begins where we do, else our own.
    pub(super) fn opened(place: &Position, opened: &Opened) -> Result<Self, ReadError> {
        if place.at == 0
            && let Some(stream) = opened.stream.lock().take()
        {
            let hasher = place.whole.then(|| Hasher::new(place.digest.algorithm()));
            return Ok(Through::new(stream, opened.head.total, 0, hasher));
        }
        Through::alone(place, opened.head.total)
    }

    /// From our own origin alone: a whole content from its first byte, so that it can be proven (what the client has
    /// already is skipped), a range from where it stands.
    pub(super) fn alone(place: &Position, total: Option<u64>) -> Result<Self, ReadError> {
        let hasher = place.whole.then(|| Hasher::new(place.digest.algorithm()));
        let from = if place.whole { 0 } else { place.at };
        Ok(Through::new(own(place, from, total)?, total, from, hasher))
    }

    /// Where a fill stopped. `read` is what it had beyond `place.at`, held back until now.
    pub(super) fn after(
        place: &Position,
        abandoned: &Abandoned,
        read: VecDeque<Bytes>,
        total: Option<u64>,
    ) -> Result<Self, ReadError> {
        let from = if place.whole { abandoned.offset } else { place.at };
        let missing = from.saturating_sub(place.at);
        if missing != 0 && read.iter().map(|bytes| bytes.len() as u64).sum::<u64>() != missing {
            return Through::alone(place, total); // not expected; but bytes must never be left out
        }
        let leftover = if from == abandoned.offset { abandoned.take_leftover() } else { None };
        let stream = match leftover {
            Some(stream) => stream,
            None => own(place, from, total)?,
        };
        let hasher = place.whole.then(|| abandoned.hasher.clone());
        let mut through = Through::new(stream, total, from, hasher);
        if missing != 0 {
            through.start = place.at;
            through.queue = read;
        }
        Ok(through)
    }

    fn new(stream: ByteStream, total: Option<u64>, received: u64, hasher: Option<Hasher>) -> Self {
        Through { stream, total, received, hasher, queue: VecDeque::new(), start: received, ended: false }
    }

    pub(super) async fn step(&mut self, place: &Position) -> Result<Step, ReadError> {
        loop {
            self.skip_to(place.at);
            let limit = if self.hasher.is_some() { visible(self.received, self.total) } else { self.received };
            let limit = limit.min(place.end);
            if place.at < limit
                && let Some(bytes) = self.take(limit)
            {
                return Ok(Step::Bytes(bytes));
            }
            if self.ended || (place.at >= place.end && self.hasher.is_none()) {
                return Ok(Step::End);
            }
            match self.stream.next().await {
                Some(bytes) => self.receive(bytes?),
                None => self.prove(place)?,
            }
        }
    }

    /// Hashed here and not on another thread: the pieces are small, and a dropped future must not lose the hash.
    fn receive(&mut self, bytes: Bytes) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        self.received += bytes.len() as u64;
        self.queue.push_back(bytes);
    }

    fn prove(&mut self, place: &Position) -> Result<(), ReadError> {
        self.ended = true;
        match self.hasher.take().map(Hasher::finish) {
            Some(digest) if digest != place.digest => Err(FillError::Mismatched.into()),
            _ => Ok(()),
        }
    }

    /// Drops what the client has already.
    fn skip_to(&mut self, at: u64) {
        while self.start < at
            && let Some(bytes) = self.take(at)
        {
            drop(bytes);
        }
    }

    /// The oldest bytes that wait, not beyond `limit`.
    fn take(&mut self, limit: u64) -> Option<Bytes> {
        let front = self.queue.front_mut()?;
        let most = usize::try_from(limit.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = front.split_to(most.min(front.len()));
        if front.is_empty() {
            self.queue.pop_front();
        }
        self.start += bytes.len() as u64;
        Some(bytes)
    }
}

fn own(place: &Position, from: u64, total: Option<u64>) -> Result<ByteStream, ReadError> {
    let origin = place.origin.clone().ok_or(ReadError::Corrupt)?;
    Ok(Supply::new(Origins::of(origin), from, total).into_stream())
}
