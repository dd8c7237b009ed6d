//! Reading and replacing a quota's file. Whoever calls has the turn.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::account::Account;
use super::super::held::Held;
use super::super::state::State;
use super::Quota;
use crate::storage::Error;

/// Times that the file is replaced by somebody else before a push is told to come later.
const TRIES: u32 = 64;
/// Before a further try, multiplied by a number up to eight and by chance.
const BACKOFF: Duration = Duration::from_millis(5);

impl Quota {
    /// Replaces the file if there is anything to say, and takes what those who wait want.
    pub(super) async fn exchange(&self, closing: bool) -> Result<(), Error> {
        for round in 0..TRIES {
            if round > 0 {
                sleep(BACKOFF * round.min(8)).await;
                sleep(BACKOFF.mul_f64(f64::from(round.min(8)) * rand::random::<f64>())).await;
            }
            let must_read = self
                .account(|account| account.replaceable.is_none() || account.is_unsure() || !account.held.is_loaded());
            if must_read {
                self.read().await?;
            }
            let drafted = self.account(|account| account.draft(Instant::now(), closing));
            let Some(state) = drafted else { return Ok(()) };
            match self.write(state).await {
                Err(Error::Conflict) => {}
                other => return other,
            }
        }
        Err(Error::Conflict)
    }

    async fn write(&self, mut state: State) -> Result<(), Error> {
        let storage = &self.shared.storage;
        self.file.part_off(storage, &mut state).await?;
        let Some(replaceable) = self.account(|account| account.replaceable.clone()) else {
            return Err(Error::Conflict);
        };
        let replaceable = self.file.write(storage, &state, &replaceable).await?;
        self.account(|account| account.written(state, replaceable));
        self.told();
        Ok(())
    }

    pub(super) async fn read(&self) -> Result<(), Error> {
        // Whoever has counted takes away what the file named before: then it is another one by now.
        if !self.read_once(false).await? {
            self.read_once(true).await?;
        }
        Ok(())
    }

    /// False: what the file names is not there, and nothing was taken over. `anyway`: without that.
    async fn read_once(&self, anyway: bool) -> Result<bool, Error> {
        let began = self.account(Account::moment);
        let storage = &self.shared.storage;
        let found = self.file.read(storage).await?;
        if let Some(why) = found.damage {
            tracing::warn!(quota = self.pattern, why, "a quota's file cannot be read: it is counted anew");
        }
        let state = found.state.unwrap_or_else(|| {
            let quota = &self.pattern;
            tracing::info!(quota, "a quota has not been counted: until it is, only what is pushed now is known");
            State::new(&self.pattern)
        });
        let known = self.account(|account| account.held.applied(state.stamp()));
        let since = match known {
            Some(known) if known <= state.recorded() => self.file.since(storage, &state, known).await?,
            _ => None,
        };
        let whole = match since {
            Some(_) => None,
            None => match self.file.held(storage, &state).await? {
                None if !anyway => return Ok(false),
                held => Some(self.whole(&state, held)),
            },
        };
        self.account(|account| {
            match (whole, since) {
                (Some(held), _) => account.held = held,
                (None, since) => account.held.apply(&since.unwrap_or_default()),
            }
            account.read(state, found.replaceable, began);
        });
        self.told();
        Ok(true)
    }

    fn whole(&self, state: &State, held: Option<Held>) -> Held {
        self.lost.store(held.is_none(), Ordering::Relaxed);
        held.unwrap_or_else(|| {
            let quota = &self.pattern;
            tracing::warn!(
                quota,
                "what a quota holds cannot be read: it is counted anew, and costs once more until then"
            );
            Held::new(state.stamp().map(str::to_owned), Vec::new())
        })
    }
}
