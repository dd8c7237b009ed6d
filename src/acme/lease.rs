//! Which instance deals with a certificate. Whoever does says so again and again; who has not for a while does not any more. Clocks of
//! different machines are never compared: a lease is over when it has not changed while this instance looked on.
//!
//! Where the store minds no conditions of a write, two may hold it at once. Then one of their orders is for nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::kept;
use super::shelf::{Item, Over, Shelf, ShelfError};
use crate::storage::format::Format;

/// How often its holder says that it goes on.
const BEAT: Duration = Duration::from_secs(4);
/// A lease that has not changed for so long is nobody's.
pub const STALE: Duration = Duration::from_secs(15);
/// A holder that could not say so for this long has to stop: soon others take it for gone.
const LOST: Duration = Duration::from_secs(10);
/// Of giving it back: the others can wait.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Written {
    /// Random. Empty: nobody.
    holder: String,
    beat: u64,
}

impl Format for Written {
    const WHAT: &'static str = "a lease of a certificate";
    const VERSION: u32 = 1;
}

/// What this instance saw of another's lease.
#[derive(Default)]
pub struct Seen(Option<(String, Instant)>);

pub struct Lease {
    shelf: Arc<dyn Shelf>,
    id: String,
    written: Mutex<(Written, String)>,
    /// Just before it was written for the first time.
    taken: Instant,
}

/// The lease, if nobody else has it.
pub async fn take(shelf: &Arc<dyn Shelf>, id: &str, seen: &mut Seen) -> Result<Option<Lease>, ShelfError> {
    take_after(shelf, id, seen, STALE).await
}

async fn take_after(
    shelf: &Arc<dyn Shelf>,
    id: &str,
    seen: &mut Seen,
    stale: Duration,
) -> Result<Option<Lease>, ShelfError> {
    let found = kept::read::<Written>(&**shelf, Item::Lease(id)).await?;
    if let Some((written, version)) = &found
        && !written.holder.is_empty()
    {
        match &seen.0 {
            Some((known, since)) if known == version => {
                if since.elapsed() < stale {
                    return Ok(None);
                }
            }
            _ => {
                seen.0 = Some((version.clone(), Instant::now()));
                return Ok(None);
            }
        }
    }
    let over = found.as_ref().map_or(Over::Nothing, |(_, version)| Over::Version(version));
    let written = Written { holder: uuid::Uuid::new_v4().simple().to_string(), beat: 0 };
    let taken = Instant::now();
    match kept::write(&**shelf, Item::Lease(id), &written, over).await {
        Ok(version) => {
            seen.0 = None;
            let written = Mutex::new((written, version));
            Ok(Some(Lease { shelf: shelf.clone(), id: id.to_owned(), written, taken }))
        }
        Err(ShelfError::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Lease {
    /// Says that it goes on, for as long as it can; ends when it is lost.
    pub async fn keep(&self) {
        // Before the last write that is known to have been carried out: others may count from then on.
        let mut last = self.taken;
        let left = |last: Instant| LOST.saturating_sub(last.elapsed());
        while !left(last).is_zero() {
            tokio::time::sleep(BEAT.min(left(last))).await;
            let begun = Instant::now();
            match tokio::time::timeout(BEAT.min(left(last)), self.beat()).await {
                Ok(Ok(true)) => last = begun,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::debug!(certificate = self.id, %error, "a lease could not be renewed"),
                Err(_) => tracing::debug!(certificate = self.id, "a lease could not be renewed in time"),
            }
        }
    }

    /// False: it is another's.
    async fn beat(&self) -> Result<bool, ShelfError> {
        let (mut written, version) = self.written.lock().clone();
        written.beat += 1;
        match self.write(written, &version).await {
            Err(ShelfError::Conflict) => {}
            other => return other.map(|()| true),
        }
        // An earlier write may have been carried out though nobody said so.
        match kept::read::<Written>(&*self.shelf, Item::Lease(&self.id)).await? {
            Some((found, version)) if found.holder == self.written.lock().0.holder => {
                *self.written.lock() = (found, version);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn write(&self, written: Written, over: &str) -> Result<(), ShelfError> {
        let version = kept::write(&*self.shelf, Item::Lease(&self.id), &written, Over::Version(over)).await?;
        *self.written.lock() = (written, version);
        Ok(())
    }

    /// Gives it back; otherwise the others wait until it is stale.
    pub async fn release(self) {
        let (written, version) = self.written.lock().clone();
        let free = Written { holder: String::new(), beat: written.beat };
        match tokio::time::timeout(PATIENCE, self.write(free, &version)).await {
            Ok(Ok(())) | Ok(Err(ShelfError::Conflict)) => {}
            Ok(Err(error)) => tracing::debug!(certificate = self.id, %error, "a lease could not be given back"),
            Err(_) => tracing::debug!(certificate = self.id, "a lease could not be given back in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Drawer;
    use super::*;

    #[tokio::test]
    async fn one_of_many_has_it_until_it_is_given_back() {
        let shelf: Arc<dyn Shelf> = Arc::new(Drawer::default());
        let mut takers: Vec<Seen> = (0..10).map(|_| Seen::default()).collect();
        let takes = takers.iter_mut().map(|seen| take(&shelf, "x", seen));
        let taken = futures::future::join_all(takes).await;
        let mut held: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(held.len(), 1);
        assert!(take(&shelf, "y", &mut Seen::default()).await.unwrap().is_some(), "another certificate's");
        held.pop().unwrap().release().await;
        assert!(take(&shelf, "x", &mut Seen::default()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn one_that_does_not_change_is_nobodys() {
        let shelf: Arc<dyn Shelf> = Arc::new(Drawer::default());
        let lease = take(&shelf, "x", &mut Seen::default()).await.unwrap().unwrap();
        let mut seen = Seen::default();
        let after = async |seen: &mut Seen| take_after(&shelf, "x", seen, Duration::ZERO).await;
        assert!(after(&mut seen).await.unwrap().is_none(), "seen for the first time");
        assert!(lease.beat().await.unwrap());
        assert!(after(&mut seen).await.unwrap().is_none(), "it has changed");
        let other = after(&mut seen).await.unwrap().expect("it has not changed");
        assert!(!lease.beat().await.unwrap(), "it is another's now");
        assert!(other.beat().await.unwrap());
        lease.release().await;
        assert!(other.beat().await.unwrap(), "what is another's cannot be given back");
    }

    #[tokio::test(start_paused = true)]
    async fn its_holder_stops_before_others_take_it_for_gone() {
        let drawer = Arc::new(Drawer::default());
        let shelf: Arc<dyn Shelf> = drawer.clone();
        let lease = take(&shelf, "x", &mut Seen::default()).await.unwrap().unwrap();
        drawer.fail(true);
        let begun = Instant::now();
        lease.keep().await;
        assert!(begun.elapsed() < LOST + Duration::from_millis(100), "{:?}", begun.elapsed());
        drawer.fail(false);
        let lease = take_after(&shelf, "y", &mut Seen::default(), STALE).await.unwrap().unwrap();
        assert!(tokio::time::timeout(10 * STALE, lease.keep()).await.is_err(), "it is kept as long as that works");
    }

    #[tokio::test]
    async fn a_beat_that_was_carried_out_unheard_is_ours() {
        let shelf: Arc<dyn Shelf> = Arc::new(Drawer::default());
        let lease = take(&shelf, "x", &mut Seen::default()).await.unwrap().unwrap();
        let written = lease.written.lock().0.clone();
        kept::write(&*shelf, Item::Lease("x"), &Written { beat: 9, ..written }, Over::Anything).await.unwrap();
        assert!(lease.beat().await.unwrap() && lease.beat().await.unwrap());
        assert_eq!(lease.written.lock().0.beat, 10);
    }
}
