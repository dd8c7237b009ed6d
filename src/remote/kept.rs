//! Something of others that is good for a while, and asked for once by all who need it.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use super::RemoteError;

type Flight<T> = Shared<BoxFuture<'static, Result<Arc<T>, RemoteError>>>;

/// What was given last, and the question that is under way, if one is.
pub struct Kept<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<Arc<T>>,
    flight: Option<Flight<T>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Mutex::new(State { value: None, flight: None }))
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// What is kept, if `is_young`; else what `ask` brings. What is not young but still `is_good` serves if that fails.
    /// A question goes on when who asked it went away: others may wait for it. `ask` has to end by itself.
    pub async fn get(
        self: &Arc<Self>,
        is_young: impl Fn(&T) -> bool,
        is_good: impl Fn(&T) -> bool,
        ask: impl FnOnce() -> BoxFuture<'static, Result<T, RemoteError>>,
    ) -> Result<Arc<T>, RemoteError> {
        let (old, flight) = {
            let mut state = self.0.lock();
            let old = state.value.clone().filter(|value| is_good(value));
            if let Some(young) = old.as_ref().filter(|value| is_young(value)) {
                return Ok(young.clone());
            }
            let flight = match &state.flight {
                Some(flight) => flight.clone(),
                None => state.flight.insert(self.begin(ask())).clone(),
            };
            (old, flight)
        };
        match (flight.await, old) {
            (Err(error), Some(old)) if error.lets_kept_speak() => Ok(old),
            (outcome, _) => outcome,
        }
    }

    fn begin(self: &Arc<Self>, ask: BoxFuture<'static, Result<T, RemoteError>>) -> Flight<T> {
        let kept = Arc::clone(self);
        let task = tokio::spawn(async move {
            let over = Over(&kept);
            let outcome = ask.await.map(Arc::new);
            let mut state = kept.0.lock();
            // Together, so that nobody asks between the end of one and the other.
            if let Ok(value) = &outcome {
                state.value = Some(value.clone());
            }
            drop(state);
            drop(over);
            outcome
        });
        let ended = |_| Err(RemoteError::Down("a question for all ended too soon".into()));
        async move { task.await.unwrap_or_else(ended) }.boxed().shared()
    }

    /// Forgets what is kept, if it is still this.
    pub fn forget(&self, value: &Arc<T>) {
        let mut state = self.0.lock();
        if state.value.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, value)) {
            state.value = None;
        }
    }
}

/// A question under way; however it ends, the next may begin.
struct Over<'a, T>(&'a Kept<T>);

impl<T> Drop for Over<'_, T> {
    fn drop(&mut self) {
        self.0.0.lock().flight = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn down() -> RemoteError {
        RemoteError::Down("x".into())
    }

    #[tokio::test]
    async fn one_question_is_asked_for_many_who_wait() {
        let (kept, asked) = (Arc::new(Kept::default()), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::watch::channel(false);
        let ask = || {
            let (asked, mut gate) = (asked.clone(), gate.clone());
            let question = async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let _ = gate.wait_for(|open| *open).await;
                Ok(7)
            };
            kept.get(|_| true, |_| true, move || question.boxed())
        };
        let waiters = futures::future::join_all((0..50).map(|_| ask()));
        let opened = async move { open.send(true) };
        let (values, _) = futures::join!(waiters, opened);
        assert!(values.into_iter().all(|value| *value.unwrap() == 7));
        assert_eq!(*ask().await.unwrap(), 7);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_good_serves_when_no_younger_can_be_had() {
        let kept = Arc::new(Kept::default());
        let get = |good: bool, outcome: Result<u8, RemoteError>| {
            kept.get(|_| false, move |_| good, move || async move { outcome }.boxed())
        };
        assert_eq!(get(true, Err(down())).await.unwrap_err(), down());
        assert_eq!(*get(true, Ok(1)).await.unwrap(), 1);
        assert_eq!(*get(true, Err(down())).await.unwrap(), 1);
        assert!(get(true, Err(RemoteError::Denied(http::StatusCode::UNAUTHORIZED))).await.is_err());
        assert_eq!(get(false, Err(down())).await.unwrap_err(), down());
        assert_eq!(*get(true, Ok(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn only_what_is_still_kept_is_forgotten() {
        let kept = Arc::new(Kept::default());
        let get = |value: u8| kept.get(|_| true, |_| true, move || async move { Ok(value) }.boxed());
        let first = get(1).await.unwrap();
        kept.forget(&first);
        let second = get(2).await.unwrap();
        kept.forget(&first);
        assert_eq!((*second, *get(3).await.unwrap()), (2, 2));
    }
}
