//! What is remembered of retention over a fleet: which policies were shown before they acted, and that pulls were
//! recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::maintenance::day::Day;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// Bytes of the file: a few thousand policies.
const MAX_STATE: u64 = 1 << 20;
/// How often it is written anew that another instance has changed meanwhile; then over whatever is there.
const TRIES: usize = 8;

/// Losing it costs that policies are shown once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When each policy was shown, in seconds since 1970, by its fingerprint.
    #[serde(default)]
    pub shown: BTreeMap<String, u64>,
    /// The day on which recording of pulls began: whoever finds no records knows by it that there were some.
    #[serde(default)]
    pub recorded: Option<Day>,
}

impl Format for State {
    const WHAT: &'static str = "the state of retention";
    const VERSION: u32 = 1;
}

impl State {
    pub async fn read(storage: &Storage) -> Result<State, Error> {
        Ok(read(storage).await?.0)
    }

    /// Writes what `change` makes of it, which says whether that is anything new.
    pub async fn change(storage: &Storage, mut change: impl FnMut(&mut State) -> bool) -> Result<State, Error> {
        for left in (0..TRIES).rev() {
            let (mut state, precondition) = read(storage).await?;
            if !change(&mut state) {
                return Ok(state);
            }
            let precondition = if left == 0 { Precondition::None } else { precondition };
            match storage.own_put(&OwnKey::Retention, format::write(&state)?.into(), precondition).await {
                Err(Error::Conflict) => {}
                written => return written.map(|_| state),
            }
        }
        Err(Error::Conflict)
    }
}

/// A damaged one is as good as none.
async fn read(storage: &Storage) -> Result<(State, Precondition), Error> {
    match storage.own(&OwnKey::Retention, MAX_STATE).await {
        Ok(None) => Ok((State::default(), Precondition::Absent)),
        Ok(Some((bytes, version))) => match format::read(&bytes) {
            Ok(state) => Ok((state, Precondition::Unchanged(version))),
            Err(Error::Damaged(what)) => {
                tracing::warn!(what, "the state of retention cannot be read: policies are shown once more");
                Ok((State::default(), Precondition::Unchanged(version)))
            }
            Err(error) => Err(error),
        },
        Err(Error::TooLarge(_)) => Ok((State::default(), Precondition::None)),
        Err(error) => Err(error),
    }
}
