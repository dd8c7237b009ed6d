//! Maintenance: while its file is in storage, every instance refuses what would change the registry, and goes on to serve what
//! is there. Unlike `read_only` it is switched while they run, for all of them at once, and clients are told to come again.

use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::reply::Refusal;
use crate::fleet::Fleet;
use crate::oci::ErrorCode;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// How often the file is looked at, and how often the fleet is asked whether it has changed: where there is no Redis to tell, a
/// switch counts after the first, otherwise after the second.
pub const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// What a client is told to wait.
const WAIT: &str = "30";
/// Bytes of the file.
const LIMIT: u64 = 16 << 10;
/// Characters of the operator's sentence that clients are told.
const MOST_TOLD: usize = 500;
/// What the instances tell each other under: another word means that somebody has switched.
const NOTE: &str = "maintenance";
const NOTED_FOR: Duration = Duration::from_secs(3600);

/// The file. It is there while nothing may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintenance {
    /// False is as good as no file.
    pub on: bool,
    /// The operator's sentence, for clients.
    pub reason: String,
    /// RFC 3339.
    pub since: String,
    /// Who switched it on.
    pub by: String,
}

impl Format for Maintenance {
    const WHAT: &'static str = "the note of maintenance";
    const VERSION: u32 = 1;
}

impl Maintenance {
    /// What is in storage now; `None`: everything may be written. A file that cannot be read means that nothing may.
    ///
    /// # Errors
    /// Storage's, if it does not answer.
    pub async fn read(storage: &Storage) -> Result<Option<Self>, Error> {
        let found = match storage.own(&OwnKey::Maintenance, LIMIT).await {
            Ok(None) => return Ok(None),
            Ok(Some((bytes, _))) => format::read::<Maintenance>(&bytes),
            Err(error) => Err(error),
        };
        match found {
            Ok(maintenance) => Ok(maintenance.on.then_some(maintenance)),
            Err(error @ (Error::Damaged(_) | Error::TooLarge(_) | Error::Newer { .. })) => {
                tracing::error!(%error, "nothing is written: entrepot/v1/maintenance is there and cannot be read");
                Ok(Some(Maintenance { on: true, ..Maintenance::default() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Switches it, and tells the other instances; `None`: everything may be written again. Each minds it within
    /// [`LOOKED_AT_EVERY`], and what it was writing by then is not cut off.
    ///
    /// # Errors
    /// Storage's; and that a newer version has written the note, of which we do not know what else it says.
    pub async fn switch(storage: &Storage, fleet: &Fleet, to: Option<&Self>) -> Result<(), Error> {
        // A damaged one, or one that is too large, is nobody's: so it is switched off, or written anew.
        match storage.own(&OwnKey::Maintenance, LIMIT).await {
            Ok(Some((bytes, _))) => match format::check::<Maintenance>(&bytes) {
                Ok(()) | Err(Error::Damaged(_)) => {}
                Err(error) => return Err(error),
            },
            Ok(None) | Err(Error::TooLarge(_)) => {}
            Err(error) => return Err(error),
        }
        match to {
            Some(maintenance) => {
                let maintenance = Maintenance { on: true, ..maintenance.clone() };
                let bytes = format::write(&maintenance)?;
                storage.own_put(&OwnKey::Maintenance, bytes.into(), Precondition::None).await?;
            }
            None => drop(storage.own_delete(&OwnKey::Maintenance).await?),
        }
        fleet.note(NOTE, &uuid::Uuid::new_v4().simple().to_string(), NOTED_FOR).await;
        Ok(())
    }

    /// The sentence for clients.
    fn told(&self) -> String {
        // What clients show in a terminal.
        let plain = |character: &char| !character.is_control();
        let reason: String = self.reason.chars().filter(plain).take(MOST_TOLD).collect();
        match reason.trim() {
            "" => "the registry is under maintenance: nothing can be written now, try again later".to_owned(),
            reason => format!("the registry is under maintenance, and nothing can be written now: {reason}"),
        }
    }

    pub(super) fn refusal(&self) -> Refusal {
        Refusal::new(ErrorCode::Unavailable, self.told()).with(RETRY_AFTER, WAIT)
    }

    /// For whoever is no client.
    pub(super) fn error(&self) -> Error {
        Error::Closed(self.told())
    }
}

/// Keeps what is known of it; runs until dropped.
pub(super) async fn watch(registry: &Registry) -> std::convert::Infallible {
    let mut noted = None;
    let mut looked: Option<Instant> = None;
    loop {
        let note = registry.stores.fleet.noted(NOTE).await;
        // A note that is gone has only worn off.
        let switched = note.is_some() && note != noted;
        if switched || looked.is_none_or(|at| at.elapsed() >= LOOKED_AT_EVERY) {
            look(registry).await;
            looked = Some(Instant::now());
        }
        noted = note.or(noted);
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

/// While storage does not answer, what it said last counts.
pub(super) async fn look(registry: &Registry) {
    let Ok(found) = Maintenance::read(&registry.stores.storage).await else { return };
    registry.metrics.maintenance.set(i64::from(found.is_some()));
    let before = registry.health.maintenance.swap(found.clone().map(std::sync::Arc::new));
    match (before.is_some(), found) {
        (false, Some(Maintenance { reason, since, by, .. })) => {
            tracing::warn!(reason, since, by, "maintenance: nothing is written");
        }
        (true, None) => tracing::info!("maintenance is over: what comes is written again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::registry::tests::harness::{Harness, sha256};
    use crate::uploads::UploadError;

    fn fleet(harness: &Harness) -> &Fleet {
        &harness.registry.stores.fleet
    }

    async fn switch(harness: &Harness, to: Option<&str>) {
        let to = to.map(|reason| Maintenance { reason: reason.to_owned(), ..Maintenance::default() });
        Maintenance::switch(&harness.storage, fleet(harness), to.as_ref()).await.unwrap();
        look(&harness.registry).await;
    }

    #[tokio::test]
    async fn nothing_is_written_everything_is_read_and_it_goes_on_afterwards() {
        let harness = Harness::new().await;
        let digest = harness.push_blob("a", b"hello").await;
        harness.push_image("a", "latest", "x").await;
        let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
        let upload = begun.header("location").to_owned();
        switch(&harness, Some("the disk is being replaced\u{1b}[0m until noon")).await;
        for (method, target) in [
            ("POST", "/v2/a/blobs/uploads/".to_owned()),
            ("PATCH", upload.clone()),
            ("PUT", format!("{upload}?digest={digest}")),
            ("PUT", "/v2/a/manifests/x".to_owned()),
            ("DELETE", "/v2/a/manifests/latest".to_owned()),
            ("DELETE", format!("/v2/a/blobs/{digest}")),
        ] {
            let seen = harness.send(method, &target, &[], b"{}").await;
            assert_eq!(seen.error(), (503, "UNAVAILABLE".into()), "{method} {target}");
            assert_eq!(seen.header("retry-after"), "30");
            let told = seen.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
            assert!(told.ends_with("now: the disk is being replaced[0m until noon"), "{told}");
        }
        for target in [format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/latest".into(), "/v2/a/tags/list".into()] {
            assert_eq!(harness.status("GET", &target).await, 200, "{target}");
        }
        // What comes of other registries is not kept either.
        let name = "b".parse().unwrap();
        let mut body = crate::registry::tests::harness::Whole::new(b"hello", true);
        let kept = harness.registry.keep_blob(&name, &digest, &mut body);
        assert!(matches!(kept.await, Err(UploadError::Storage(Error::Closed(_)))));
        let told = harness.registry.may_be_written().unwrap_err().to_string();
        assert!(
            told.starts_with("the registry is under maintenance, and nothing can be written now: the disk"),
            "{told}"
        );
        switch(&harness, None).await;
        assert_eq!(harness.send("PATCH", &upload, &[], b"more").await.status, 202);
        harness.push_blob("a", b"new").await;
    }

    #[tokio::test]
    async fn every_instance_minds_it_and_read_only_is_told_before() {
        let one = Harness::new().await;
        let other = Harness::over(crate::registry::Config::default(), one.storage.clone()).await;
        switch(&one, Some("")).await;
        look(&other.registry).await;
        let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"x"));
        assert_eq!(other.send("POST", &target, &[], b"x").await.error(), (503, "UNAVAILABLE".into()));
        other.registry.reconfigure(&crate::registry::Config { read_only: true, ..Default::default() });
        assert_eq!(other.send("POST", &target, &[], b"x").await.error(), (405, "UNSUPPORTED".into()));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_means_that_nothing_is_written() {
        let harness = Harness::new().await;
        for (text, on) in [
            (r#"{"version":1,"on":true,"reason":"x","since":"2026-11-30T00:00:00Z","by":"me"}"#, true),
            (r#"{"version":1,"on":false}"#, false),
            ("{", true),
            (r#"{"version":9}"#, true),
        ] {
            let text = Bytes::from_static(text.as_bytes());
            harness.storage.own_put(&OwnKey::Maintenance, text.clone(), Precondition::None).await.unwrap();
            assert_eq!(Maintenance::read(&harness.storage).await.unwrap().is_some(), on, "{text:?}");
        }
        harness.storage.own_delete(&OwnKey::Maintenance).await.unwrap();
        assert_eq!(Maintenance::read(&harness.storage).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_note_of_a_newer_version_is_left_to_it_and_a_damaged_one_is_switched_off() {
        let harness = Harness::new().await;
        let put = async |text: &'static str| {
            let text = Bytes::from_static(text.as_bytes());
            harness.storage.own_put(&OwnKey::Maintenance, text, Precondition::None).await.unwrap();
        };
        let newer = r#"{"version":9,"on":true,"until":"tomorrow"}"#;
        put(newer).await;
        for to in [Some(&Maintenance::default()), None] {
            let error = Maintenance::switch(&harness.storage, fleet(&harness), to).await.unwrap_err();
            assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
        }
        let (left, _) = harness.storage.own(&OwnKey::Maintenance, LIMIT).await.unwrap().unwrap();
        assert_eq!(left, newer);
        put("{").await;
        switch(&harness, None).await;
        assert_eq!(Maintenance::read(&harness.storage).await.unwrap(), None);
    }
}
