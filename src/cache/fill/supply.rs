//! One unbroken stream out of breaking ones: opens an origin, goes on at the offset where it stopped, changes to another
//! waiter's origin when one refuses. Bounded tries; knows sizes, not digests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;

use crate::cache::content::Content;
use crate::cache::error::FillError;
use crate::cache::origin::{Origin, OriginError, OriginStream, Refusal};

/// Origins remembered of one fill's waiters.
const MAX_ORIGINS: usize = 16;
/// Opens in a row without real progress.
const MAX_TRIES: u32 = 5;
/// Progress that counts: an origin that dies after each byte must not be opened for each byte.
const PROGRESS: u64 = 64 << 10;
/// Pause before the second try; doubled at each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// All bytes are here; so long may the origin take to say that this was all.
const END_WAIT: Duration = Duration::from_secs(1);

/// Bytes in order, ended only when whole; fused.
pub(in crate::cache) type ByteStream = BoxStream<'static, Result<Bytes, FillError>>;

/// What the origin's head said.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cache) struct Head {
    pub(in crate::cache) total: Option<u64>,
    pub(in crate::cache) media_type: Option<String>,
}

/// The waiters' origins, in order of arrival.
#[derive(Default)]
pub(in crate::cache) struct Origins(Mutex<Vec<Candidate>>);

struct Candidate {
    origin: Arc<dyn Origin>,
    /// Why it is not asked any more.
    spent: Option<FillError>,
}

/// A waiter's place among the origins; `None` when there were enough already.
pub(in crate::cache) type Ticket = Option<usize>;

impl Origins {
    pub(in crate::cache) fn of(origin: Arc<dyn Origin>) -> Arc<Self> {
        let origins = Origins::default();
        origins.add(origin);
        Arc::new(origins)
    }

    pub(in crate::cache) fn add(&self, origin: Arc<dyn Origin>) -> Ticket {
        let mut list = self.0.lock();
        (list.len() < MAX_ORIGINS).then(|| {
            list.push(Candidate { origin, spent: None });
            list.len() - 1
        })
    }

    /// Tells them that what came has another digest.
    pub(in crate::cache) fn mismatched(&self) {
        self.0.lock().iter().for_each(|candidate| candidate.origin.mismatched());
    }

    /// Tells them that the content is whole and proven.
    pub(in crate::cache) fn completed(&self, content: &Content) {
        let origins: Vec<_> = self.0.lock().iter().map(|candidate| candidate.origin.clone()).collect();
        origins.iter().for_each(|origin| origin.completed(content));
    }

    /// Whether one of them wants the fill to go on without anybody who waits.
    pub(in crate::cache) fn go_on_alone(&self, got: u64, total: Option<u64>) -> bool {
        self.0.lock().iter().any(|candidate| candidate.origin.goes_on_alone(got, total))
    }

    /// What that waiter's own origin said, if it was asked and refused.
    pub(in crate::cache) fn refusal(&self, ticket: Ticket) -> Option<FillError> {
        self.0.lock().get(ticket?)?.spent.clone()
    }

    /// The first origin at or after `turn` (counted round) that is not spent.
    fn pick(&self, turn: usize) -> Option<(usize, Arc<dyn Origin>)> {
        let list = self.0.lock();
        let usable = |at: &usize| list.get(*at).is_some_and(|candidate| candidate.spent.is_none());
        let at = (0..list.len()).map(|step| (turn + step) % list.len()).find(usable)?;
        list.get(at).map(|candidate| (at, candidate.origin.clone()))
    }

    fn spend(&self, at: usize, error: FillError) {
        if let Some(candidate) = self.0.lock().get_mut(at) {
            candidate.spent = Some(error);
        }
    }
}

pub(in crate::cache) struct Supply {
    origins: Arc<Origins>,
    /// Offset of the next byte.
    at: u64,
    total: Option<u64>,
    body: Option<BoxStream<'static, Result<Bytes, OriginError>>>,
    turn: usize,
    tries: u32,
    /// Offset at which `tries` began to count.
    tried_from: u64,
    last_error: FillError,
}

impl Supply {
    /// Nothing is asked yet. `total`, when known, is what every origin must agree to.
    pub(in crate::cache) fn new(origins: Arc<Origins>, at: u64, total: Option<u64>) -> Self {
        let last_error = FillError::Unavailable("no origin".into());
        Supply { origins, at, total, body: None, turn: 0, tries: 0, tried_from: at, last_error }
    }

    /// Opens an origin at the present offset, trying the waiters' in turn.
    pub(in crate::cache) async fn open(&mut self) -> Result<Head, FillError> {
        loop {
            let Some((turn, origin)) = self.origins.pick(self.turn) else { return Err(self.last_error.clone()) };
            self.turn = turn;
            match origin.open(self.at).await {
                Ok(stream) => return self.accept(stream),
                Err(OriginError::Refused(refusal)) => self.spend(FillError::Refused(refusal)),
                // Nothing came yet: whoever opened it did its own tries over its peers.
                Err(OriginError::Unavailable(why)) if self.at == 0 => self.spend(FillError::Unavailable(why.into())),
                Err(OriginError::Useless(why)) => self.spend(FillError::Broken(why.into())),
                Err(OriginError::Unavailable(why)) => self.failed(FillError::Unavailable(why.into())).await?,
                Err(OriginError::Broken(why)) => self.failed(FillError::Broken(why.into())).await?,
            }
        }
    }

    fn accept(&mut self, stream: OriginStream) -> Result<Head, FillError> {
        let OriginStream { total, media_type, body } = stream;
        match (self.total, total) {
            (Some(known), Some(said)) if known != said => {
                return Err(FillError::Broken(format!("sizes differ: {known} and {said} bytes").into()));
            }
            (None, Some(said)) if said < self.at => {
                return Err(FillError::Broken(format!("{said} bytes in all, but {} came", self.at).into()));
            }
            _ => self.total = self.total.or(total),
        }
        self.body = Some(body);
        Ok(Head { total: self.total, media_type })
    }

    fn spend(&mut self, error: FillError) {
        self.origins.spend(self.turn, error.clone());
        self.last_error = error;
    }

    /// Counts a failed try and pauses; an error when there were enough.
    async fn failed(&mut self, error: FillError) -> Result<(), FillError> {
        self.body = None;
        self.turn += 1;
        if self.at >= self.tried_from + PROGRESS {
            self.tries = 0;
            self.tried_from = self.at;
        }
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            return Err(error);
        }
        tracing::debug!(offset = self.at, tries = self.tries, %error, "the origin stopped; asking again from there");
        self.last_error = error;
        tokio::time::sleep(FIRST_PAUSE * (1 << (self.tries - 1))).await;
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FillError> {
        loop {
            if self.total == Some(self.at) {
                return self.end().await;
            }
            let Some(body) = &mut self.body else {
                self.open().await?;
                continue;
            };
            match body.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return self.take(bytes).map(Some),
                Some(Err(OriginError::Refused(refusal))) => self.refused_midway(refusal),
                Some(Err(error)) => self.failed(FillError::Broken(error.to_string().into())).await?,
                None if self.total.is_none() => return Ok(None),
                None => self.failed(FillError::Broken("the body ended early".into())).await?,
            }
        }
    }

    fn refused_midway(&mut self, refusal: Refusal) {
        self.body = None;
        self.spend(FillError::Refused(refusal));
    }

    fn take(&mut self, bytes: Bytes) -> Result<Bytes, FillError> {
        let end = self.at.saturating_add(bytes.len() as u64);
        if self.total.is_some_and(|total| end > total) {
            return Err(FillError::Mismatched);
        }
        self.at = end;
        Ok(bytes)
    }

    /// All bytes that were announced came; more would be too many.
    async fn end(&mut self) -> Result<Option<Bytes>, FillError> {
        let Some(mut body) = self.body.take() else { return Ok(None) };
        let surplus = tokio::time::timeout(END_WAIT, async {
            loop {
                match body.next().await {
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(_)) => return true,
                    _ => return false,
                }
            }
        });
        match surplus.await {
            Ok(true) => Err(FillError::Mismatched),
            _ => Ok(None),
        }
    }

    /// The rest as a stream. Dropping a `next()` of it loses nothing.
    pub(in crate::cache) fn into_stream(self) -> ByteStream {
        stream::unfold(Some(self), |supply| async {
            let mut supply = supply?;
            match supply.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(supply))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .fuse()
        .boxed()
    }
}
