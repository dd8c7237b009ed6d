//! What one push has of the quotas of its repository: reserved before bytes come, charged once they are linked, given back when
//! it is dropped.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::WARNING;

use super::amount::Amount;
use super::entry::Short;
use super::one::{Quota, Refused};
use super::words;
use crate::oci::Digest;
use crate::registry::publish::Written;
use crate::registry::reply::Refusal;
use crate::registry::{Body, BodyError};
use crate::storage::Error;

/// Of one push, in each quota that counts for its repository.
#[derive(Default)]
pub(in crate::registry) struct Hold {
    parts: Vec<Part>,
    /// What comes, where that is known before.
    coming: Option<Digest>,
    /// Content that it is about to link, and its size in bytes.
    contents: Vec<(Digest, u64)>,
}

struct Part {
    quota: Arc<Quota>,
    have: Amount,
    /// What comes is held already by another repository of the quota.
    free: bool,
    parked: bool,
}

impl Hold {
    pub(super) fn new(quotas: impl Iterator<Item = Arc<Quota>>) -> Self {
        let part = |quota| Part { quota, have: Amount::NOTHING, free: false, parked: false };
        Hold { parts: quotas.map(part).collect(), ..Hold::default() }
    }

    /// Of a write that no quota bounds.
    pub(in crate::registry) fn none() -> Self {
        Hold::default()
    }

    pub(in crate::registry) fn is_none(&self) -> bool {
        self.parts.is_empty()
    }

    /// Refuses a push of which nothing is known yet where not even a byte would be taken.
    pub(in crate::registry) async fn open(&self) -> Result<(), Refusal> {
        for part in &self.parts {
            part.quota.has_any().await.map_err(|refused| part.refusal(refused))?;
        }
        Ok(())
    }

    /// What comes has this digest: it costs nothing where it is held already.
    pub(in crate::registry) async fn comes(&mut self, digest: &Digest) -> Result<(), Refusal> {
        self.coming = Some(*digest);
        for part in &mut self.parts {
            part.free = part.quota.holds(digest).await?;
            if part.free {
                part.give_back(part.have);
            }
        }
        Ok(())
    }

    /// So many bytes come in all, or have come.
    pub(in crate::registry) async fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let coming = self.coming;
        for part in self.parts.iter_mut().filter(|part| !part.free) {
            part.come(Amount::bytes(bytes), coming.as_ref()).await.map_err(|refused| part.refusal(refused))?;
        }
        Ok(())
    }

    /// So many bytes are kept of what came.
    pub(in crate::registry) fn shrink(&mut self, bytes: u64) {
        for part in &mut self.parts {
            part.give_back(Amount::bytes(part.have.bytes.saturating_sub(bytes)));
        }
    }

    /// These contents and so many new tags are about to be linked. Where content is held already it costs nothing.
    pub(in crate::registry) async fn afford(&mut self, contents: Vec<(Digest, u64)>, tags: u64) -> Result<(), Refusal> {
        for part in &mut self.parts {
            part.afford(&contents, tags).await.map_err(|refused| part.refusal(refused))?;
        }
        self.contents = contents;
        Ok(())
    }

    /// Which of these some quota does not know to be held.
    pub(in crate::registry) async fn unknown(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Refusal> {
        let mut unknown = Vec::new();
        for digest in digests {
            for part in &self.parts {
                if !part.quota.holds(&digest).await? {
                    unknown.push(digest);
                    break;
                }
            }
        }
        Ok(unknown)
    }

    /// What could be afforded is linked: what was reserved for it is used up.
    pub(in crate::registry) fn linked(&mut self) {
        for part in &mut self.parts {
            let (quota, have) = (&part.quota, &mut part.have);
            quota.account(|account| {
                for (digest, size) in &self.contents {
                    account.added(Short::of(digest), *size, have);
                }
            });
            quota.stir();
        }
    }

    /// Of several contents that could be afforded, this one is linked.
    pub(in crate::registry) fn one_linked(&mut self, digest: &Digest, size: u64) {
        for part in &mut self.parts {
            let (quota, have) = (&part.quota, &mut part.have);
            quota.account(|account| account.added(Short::of(digest), size, have));
            quota.stir();
        }
    }

    /// Gives back what was reserved for a content that is not held, and for tags: somebody else takes it next.
    pub(in crate::registry) async fn make_way(
        &mut self,
        (digest, size): (&Digest, u64),
        tags: u64,
    ) -> Result<(), Error> {
        for part in &mut self.parts {
            let bytes = if part.quota.holds(digest).await? { 0 } else { size };
            part.give_back(Amount { bytes, tags });
        }
        Ok(())
    }

    /// Tags are counted as they are told of, which happens next.
    pub(in crate::registry) fn before_tags_are_told(&mut self) {
        for part in &mut self.parts {
            part.give_back(Amount { bytes: 0, tags: part.have.tags });
        }
    }

    /// The answer to a write that was done, with a warning where a quota is nearly used up.
    pub(in crate::registry) fn warned(&self, written: Written) -> Written {
        self.parts.iter().fold(written, |written, part| {
            let (used, limit) = part.quota.account(|account| (account.used(), account.limit));
            match words::warning(&part.quota.pattern, used, limit) {
                Some(warning) => written.with(WARNING, warning),
                None => written,
            }
        })
    }

    /// Waits for the next request of its upload: whoever looks whether there is room may wait for it.
    pub(super) fn parked(mut self) -> Self {
        for part in &mut self.parts {
            part.parked = true;
            part.quota.account(|account| account.park(part.have));
            part.quota.stir();
        }
        self
    }

    pub(super) fn unparked(mut self) -> Self {
        self.parts.iter_mut().for_each(Part::unpark);
        self
    }
}

impl Part {
    /// Has at least so much then.
    async fn grow(&mut self, whole: Amount) -> Result<(), Refused> {
        let more = whole.minus(self.have);
        if more != Amount::NOTHING {
            self.quota.take(more).await?;
            self.have = self.have.plus(more);
        }
        Ok(())
    }

    /// As [`Self::grow`]; or what comes is held by then, and costs nothing.
    async fn come(&mut self, whole: Amount, coming: Option<&Digest>) -> Result<(), Refused> {
        match (self.grow(whole).await, coming) {
            // What was read before that was said may tell that another instance has linked it meanwhile.
            (Err(Refused::Full(lacking)), Some(digest)) => {
                if !self.quota.holds(digest).await? {
                    return Err(Refused::Full(lacking));
                }
                self.free = true;
                self.give_back(self.have);
                Ok(())
            }
            (outcome, _) => outcome,
        }
    }

    async fn afford(&mut self, contents: &[(Digest, u64)], tags: u64) -> Result<(), Refused> {
        let mut needed = Amount { bytes: self.cost(contents).await?, tags };
        loop {
            match self.grow(needed).await {
                // What was read before that was said may tell that another instance has linked some of it meanwhile.
                Err(Refused::Full(lacking)) => {
                    let now = Amount { bytes: self.cost(contents).await?, tags };
                    if now.bytes >= needed.bytes {
                        return Err(Refused::Full(lacking));
                    }
                    needed = now;
                }
                other => return other,
            }
        }
    }

    /// Of the contents that are not held, in bytes.
    async fn cost(&self, contents: &[(Digest, u64)]) -> Result<u64, Refused> {
        let mut cost = 0_u64;
        for (digest, size) in contents {
            if !self.quota.holds(digest).await? {
                cost = cost.saturating_add(*size);
            }
        }
        Ok(cost)
    }

    fn give_back(&mut self, amount: Amount) {
        let amount = amount.at_most(self.have);
        if amount != Amount::NOTHING {
            self.quota.account(|account| account.give_back(amount));
            self.quota.stir();
            self.have = self.have.minus(amount);
        }
    }

    fn unpark(&mut self) {
        if std::mem::take(&mut self.parked) {
            self.quota.account(|account| account.unpark(self.have));
        }
    }

    fn refusal(&self, refused: Refused) -> Refusal {
        match refused {
            Refused::Storage(error) => error.into(),
            Refused::Full(lacking) => self.quota.refusal(&lacking),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unpark();
        self.give_back(self.have);
    }
}

/// A body whose bytes are reserved while they come. It ends with an error where a quota is full.
pub(in crate::registry) struct Measured<'a> {
    hold: &'a mut Hold,
    body: &'a mut dyn Body,
    /// Bytes that the upload has, with those that came.
    has: u64,
    /// What to say when the upload failed by that.
    pub refused: Option<Refusal>,
}

impl<'a> Measured<'a> {
    /// Refuses a body that is announced to be larger than what there is room for; `before` it, the upload has so many bytes.
    pub(in crate::registry) async fn new(
        hold: &'a mut Hold,
        before: u64,
        body: &'a mut dyn Body,
    ) -> Result<Self, Refusal> {
        hold.grow(before.saturating_add(body.length().unwrap_or(0))).await?;
        Ok(Measured { hold, body, has: before, refused: None })
    }
}

#[async_trait]
impl Body for Measured<'_> {
    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let piece = match self.body.next().await? {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        self.has = self.has.saturating_add(piece.len() as u64);
        match self.hold.grow(self.has).await {
            Ok(()) => Some(Ok(piece)),
            Err(refusal) => {
                self.refused = Some(refusal);
                Some(Err(BodyError("a quota has no room for it".into())))
            }
        }
    }
}
