//! What a run is doing, as it is stored: to go on after it was cut off, and to be told.

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::error::GcError;
use super::report::{Counts, FromRepository, MAX_TOLD, Order, RunStatus};
use super::time::Time;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, Version};

/// Of the file, in bytes.
const LIMIT: u64 = 1 << 20;
/// Repositories whose counts are held while a run goes on; beyond, those with the smallest are forgotten.
const MAX_HELD: usize = 4 * MAX_TOLD;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Mark,
    Unlinked,
    Look,
    Done,
}

/// The file `gc/run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub run: String,
    /// Of the process that does it.
    #[serde(default)]
    pub holder: String,
    pub by: String,
    pub now: bool,
    /// In seconds; `None`: manifests without a tag stay.
    pub untagged: Option<u64>,
    pub begun: Time,
    pub beat: Time,
    pub ended: Option<Time>,
    pub error: Option<String>,
    pub phase: Phase,
    /// Files of digests that are written.
    pub marked: u32,
    /// The last repository that is in them.
    pub after: Option<String>,
    /// What was counted until then.
    #[serde(default)]
    pub marked_counts: Counts,
    /// Parts of all blobs that are gone through.
    pub shard: u32,
    #[serde(flatten)]
    pub counts: Counts,
    /// Not by its own name, which one of the counts has.
    #[serde(rename = "from")]
    pub repositories: Vec<FromRepository>,
    pub kept_whole_names: Vec<String>,
    /// When, and where, another program was last seen to write.
    #[serde(default)]
    pub foreign: Option<(Time, String)>,
    /// When a run ended well.
    #[serde(default)]
    pub last_good: Option<Time>,
}

impl Format for State {
    const WHAT: &'static str = "the state of a collection";
    const VERSION: u32 = 1;
}

impl State {
    pub fn new(run: String, order: &Order, untagged: Option<u64>, begun: Time) -> Self {
        State {
            run,
            holder: String::new(),
            by: order.by.clone(),
            now: order.now,
            untagged,
            begun,
            beat: begun,
            ended: None,
            error: None,
            phase: Phase::Mark,
            marked: 0,
            after: None,
            marked_counts: Counts::default(),
            shard: 0,
            counts: Counts::default(),
            repositories: Vec::new(),
            kept_whole_names: Vec::new(),
            foreign: None,
            last_good: None,
        }
    }

    /// Nothing of what was done is of use.
    pub fn begin_again(&mut self) {
        (self.phase, self.marked, self.after, self.shard) = (Phase::Mark, 0, None, 0);
        (self.counts, self.marked_counts) = (Counts::default(), Counts::default());
        self.kept_whole_names.clear();
    }

    /// Counts what was taken from a repository.
    pub fn took(&mut self, from: FromRepository) {
        self.counts.condemned_blobs += from.blobs;
        self.counts.condemned_manifests += from.manifests;
        match self.repositories.iter_mut().find(|known| known.repository == from.repository) {
            Some(known) => {
                known.blobs += from.blobs;
                known.manifests += from.manifests;
                known.bytes += from.bytes;
            }
            None => self.repositories.push(from),
        }
        if self.repositories.len() > MAX_HELD {
            self.largest(MAX_TOLD * 2);
        }
    }

    /// Leaves those of which most was taken.
    pub fn largest(&mut self, count: usize) {
        self.repositories.sort_by_key(|from| std::cmp::Reverse((from.bytes, from.blobs + from.manifests)));
        self.repositories.truncate(count);
    }

    pub fn kept_whole(&mut self, repository: &str) {
        self.counts.kept_whole += 1;
        if self.kept_whole_names.len() < MAX_TOLD {
            self.kept_whole_names.push(repository.to_owned());
        }
    }

    pub fn status(&self) -> RunStatus {
        RunStatus {
            run: self.run.clone(),
            by: self.by.clone(),
            now: self.now,
            begun: self.begun,
            beat: self.beat,
            ended: self.ended,
            phase: self.phase,
            error: self.error.clone(),
            counts: self.counts.clone(),
            repositories: self.repositories.iter().take(MAX_TOLD).cloned().collect(),
        }
    }
}

/// The state of the run of this process, and the version of the file that holds it.
pub struct Kept {
    pub state: Mutex<State>,
    version: tokio::sync::Mutex<Option<Version>>,
}

/// What is stored. A damaged one counts as none.
pub async fn read(storage: &Storage) -> Result<Option<(State, Version)>, Error> {
    let found = match storage.own(&OwnKey::GcRun, LIMIT).await {
        Err(Error::TooLarge(_)) => None,
        other => other?,
    };
    let Some((bytes, version)) = found else { return Ok(None) };
    match format::read::<State>(&bytes) {
        Ok(state) => Ok(Some((state, version))),
        Err(error @ Error::Newer { .. }) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the state of the last collection is lost");
            Ok(None)
        }
    }
}

impl Kept {
    pub fn new(state: State, version: Option<Version>) -> Self {
        Kept { state: Mutex::new(state), version: tokio::sync::Mutex::new(version) }
    }

    /// Writes the state, unless another process has written its own since: this one is not alone any more then.
    pub async fn save(&self, storage: &Storage) -> Result<(), GcError> {
        let mut version = self.version.lock().await;
        let text = {
            let mut state = self.state.lock();
            state.beat = Time::of(std::time::SystemTime::now()).max(state.beat);
            format::write(&*state)?
        };
        match put(storage, &text, version.clone()).await {
            // Perhaps with ourselves: a write that failed may have been carried out.
            Err(Error::Conflict) => {
                let holder = self.state.lock().holder.clone();
                let found = read(storage).await?.filter(|(found, _)| found.holder == holder);
                let (_, found) = found.ok_or(GcError::Overtaken)?;
                match put(storage, &text, Some(found)).await {
                    Err(Error::Conflict) => return Err(GcError::Overtaken),
                    written => *version = Some(written?),
                }
            }
            written => *version = Some(written?),
        }
        Ok(())
    }
}

/// Without a version there is none, or what is there cannot be read.
async fn put(storage: &Storage, text: &[u8], version: Option<Version>) -> Result<Version, Error> {
    let precondition = version.map_or(Precondition::None, Precondition::Unchanged);
    storage.own_put(&OwnKey::GcRun, Bytes::copy_from_slice(text), precondition).await
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::storage::tests::in_memory;

    fn state(run: &str) -> State {
        let order = Order { by: "a test".into(), ..Order::default() };
        let state = State::new(run.into(), &order, Some(0), Time::of(SystemTime::now()));
        State { holder: run.into(), ..state }
    }

    #[tokio::test]
    async fn a_state_is_read_back_and_another_runs_is_not_written_over() {
        let storage = in_memory().await;
        assert!(read(&storage).await.unwrap().is_none());
        let mine = Kept::new(state("gc-1"), None);
        mine.save(&storage).await.unwrap();
        mine.save(&storage).await.unwrap();
        let (found, version) = read(&storage).await.unwrap().unwrap();
        assert_eq!(found, *mine.state.lock());
        let other = Kept::new(state("gc-2"), Some(version));
        other.save(&storage).await.unwrap();
        assert!(matches!(mine.save(&storage).await, Err(GcError::Overtaken)));
        // A write of its own that had no answer.
        storage
            .own_put(&OwnKey::GcRun, format::write(&state("gc-2")).unwrap().into(), Precondition::None)
            .await
            .unwrap();
        other.save(&storage).await.unwrap();
        assert_eq!(read(&storage).await.unwrap().unwrap().0.run, "gc-2");
    }

    #[tokio::test]
    async fn a_damaged_state_is_none_and_a_newer_one_stops_all() {
        let storage = in_memory().await;
        let put = async |text: &'static str| {
            storage.own_put(&OwnKey::GcRun, text.into(), Precondition::None).await.unwrap();
        };
        put("{").await;
        assert!(read(&storage).await.unwrap().is_none());
        put(r#"{"version":2}"#).await;
        assert!(matches!(read(&storage).await, Err(Error::Newer { .. })));
    }

    #[test]
    fn the_repositories_from_which_most_was_taken_are_told() {
        let mut state = state("gc-1");
        for number in 0..10_000_u64 {
            let repository = format!("r{}", number % 5000);
            state.took(FromRepository { repository, blobs: 1, manifests: 0, bytes: number % 5000 });
        }
        assert_eq!(state.counts.condemned_blobs, 10_000);
        state.largest(MAX_TOLD);
        assert_eq!(state.repositories.len(), MAX_TOLD);
        assert_eq!(state.repositories[0].repository, "r4999");
    }
}
