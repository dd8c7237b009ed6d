//! Following a running fill: takes what is visible, waits for more, changes over when the fill ends in any way.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::through::Through;
use super::{Feed, Position, Step};
use crate::cache::disk::Pieces;
use crate::cache::error::ReadError;
use crate::cache::fill::{Abandoned, Attended, Phase, Progress};

pub(super) struct Follower {
    fill: Attended,
    states: watch::Receiver<Progress>,
    pieces: Pieces,
}

/// What the fill's state means for a reader at some offset.
enum Sight {
    Bytes(Bytes),
    /// Visible, but no longer in memory; readable up to there.
    InFile(u64),
    Nothing,
    Done,
    Failed(ReadError),
    Abandoned(Arc<Abandoned>),
}

impl Follower {
    pub(super) fn new(fill: Attended) -> Self {
        let states = fill.subscribe();
        Follower { fill, states, pieces: Pieces::default() }
    }

    pub(super) async fn step(&mut self, place: &mut Position) -> Result<Step, ReadError> {
        loop {
            if place.at >= place.end && !place.whole {
                return Ok(Step::End);
            }
            let sight = look(&self.states.borrow_and_update(), place);
            match sight {
                Sight::Bytes(bytes) => return Ok(Step::Bytes(bytes)),
                Sight::InFile(limit) => return self.read_file(place, limit).await,
                // The sender lives in the fill, which we hold: this cannot fail.
                Sight::Nothing => _ = self.states.changed().await,
                Sight::Failed(error) => return Err(error),
                Sight::Done => {
                    let complete = self.fill.complete().cloned().ok_or(ReadError::Corrupt)?;
                    return Ok(Step::Switch(Feed::complete(complete)));
                }
                Sight::Abandoned(abandoned) => {
                    let read = self.states.borrow().window.rest(place.at);
                    let through = Through::after(place, &abandoned, read, self.total())?;
                    return Ok(Step::Switch(Feed::Through(Box::new(through))));
                }
            }
        }
    }

    fn total(&self) -> Option<u64> {
        self.fill.head().and_then(|head| head.total)
    }

    async fn read_file(&mut self, place: &mut Position, limit: u64) -> Result<Step, ReadError> {
        let growing = self.fill.growing().cloned().ok_or(ReadError::Corrupt)?;
        match self.pieces.read(place.at, |at| growing.piece(at, limit)).await {
            Some(Ok(bytes)) => Ok(Step::Bytes(bytes)),
            // Damaged while it grows: nobody shall keep or join it, and only a fresh start can prove our bytes.
            Some(Err(_)) | None => {
                place.shared.fills.leave(&self.fill);
                if self.fill.forbid_keeping() {
                    place.shared.metrics.corruptions.inc();
                }
                let through = Through::alone(place, self.total())?;
                Ok(Step::Switch(Feed::Through(Box::new(through))))
            }
        }
    }
}

fn look(state: &Progress, place: &Position) -> Sight {
    let limit = state.visible.min(place.end);
    match &state.phase {
        Phase::Failed(error) => Sight::Failed(error.clone().into()),
        Phase::Done => Sight::Done,
        Phase::Running | Phase::Abandoned(_) if place.at < limit => {
            state.window.slice(place.at, limit).map_or(Sight::InFile(limit), Sight::Bytes)
        }
        Phase::Running => Sight::Nothing,
        Phase::Abandoned(abandoned) => Sight::Abandoned(abandoned.clone()),
    }
}
