//! Whose turn it is: a scheduled minute of a job belongs to the instance that writes it down first.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Minute;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// Of the file, in bytes.
const MAX_FILE: u64 = 1024;
/// Clocks of a fleet differ by less, in minutes: a minute that lies further ahead was written by one that is wrong, and counts for
/// nobody.
const AHEAD: u64 = 120;

/// The last minute that was begun.
#[derive(Serialize, Deserialize)]
struct Turn {
    /// Since 1970.
    minute: u64,
    /// Random: tells whoever wrote it from another who wrote the same minute.
    nonce: u64,
}

impl Format for Turn {
    const WHAT: &'static str = "the turn of a schedule";
    const VERSION: u32 = 1;
}

/// Whether this instance begins what `job` names at that minute: of many that ask, one does. Where the store minds no conditions,
/// two may; so whatever begins has a lease of its own.
///
/// # Errors
/// Storage cannot tell: ask again.
pub async fn turn(storage: &Storage, job: &'static str, minute: Minute, now: SystemTime) -> Result<bool, Error> {
    let key = OwnKey::Lease(job);
    let found = storage.own(&key, MAX_FILE).await?;
    let held = match found.as_ref().map(|(bytes, _)| format::read::<Turn>(bytes)) {
        Some(Err(error @ Error::Newer { .. })) => return Err(error),
        held => held.and_then(Result::ok),
    };
    let furthest = Minute::of(now).later(AHEAD).0;
    if held.is_some_and(|turn| turn.minute >= minute.0 && turn.minute <= furthest) {
        return Ok(false);
    }
    let precondition = found.map_or(Precondition::Absent, |(_, version)| Precondition::Unchanged(version));
    let turn = Turn { minute: minute.0, nonce: rand::random() };
    match storage.own_put(&key, format::write(&turn)?.into(), precondition).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::at;
    use super::*;
    use crate::storage::config::DriverKind;
    use crate::storage::{Config, Metrics};

    const JOB: &str = "schedule-test";

    async fn storage() -> Arc<Storage> {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let config = Config { driver: DriverKind::Memory, ..Config::default() };
        Storage::open(&config, metrics).await.unwrap()
    }

    #[tokio::test]
    async fn a_minute_is_begun_once() {
        let storage = storage().await;
        let asks = (0..20).map(|_| turn(&storage, JOB, at("2026-11-30 02:00:00"), at("2026-11-30 02:00:00").begins()));
        let turns = futures::future::join_all(asks).await;
        assert_eq!(turns.into_iter().filter(|turn| *turn.as_ref().unwrap()).count(), 1);
        // One whose clock is late asks for the minute before, and one that is early for the next.
        for (minute, given) in [
            ("2026-11-30 02:00:00", false),
            ("2026-11-30 01:30:00", false),
            ("2026-11-30 02:30:00", true),
            ("2026-11-30 02:30:00", false),
            ("2026-11-30 03:00:00", true),
        ] {
            let now = at("2026-11-30 02:05:00").begins();
            assert_eq!(turn(&storage, JOB, at(minute), now).await.unwrap(), given, "{minute}");
        }
        assert!(
            turn(&storage, "schedule-other", at("2026-11-30 02:00:00"), at("2026-11-30 02:00:00").begins())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_clock_that_is_years_ahead_takes_nobodys_turn() {
        let storage = storage().await;
        let (wrong, right) = (at("2036-11-30 02:00:00"), at("2026-11-30 02:00:00"));
        assert!(turn(&storage, JOB, wrong, wrong.begins()).await.unwrap());
        assert!(turn(&storage, JOB, right, right.begins()).await.unwrap());
        assert!(!turn(&storage, JOB, right, right.begins()).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_damaged_is_written_anew_and_what_is_newer_is_not() {
        let storage = storage().await;
        let minute = at("2026-11-30 02:00:00");
        for (text, given) in [("", Some(true)), ("{", Some(true)), (r#"{"version":9,"minute":1}"#, None)] {
            storage.own_put(&OwnKey::Lease(JOB), text.into(), Precondition::None).await.unwrap();
            assert_eq!(turn(&storage, JOB, minute, minute.begins()).await.ok(), given, "{text}");
        }
    }
}
