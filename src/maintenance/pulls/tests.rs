//! Pulls over a registry in memory: written down by the day, joined over instances, and never lost towards too little.

use std::sync::Arc;

use futures::TryStreamExt as _;

use super::stored::{Last, pulled_since};
use super::{Pulled, Pulls, Recording, recorded_since};
use crate::maintenance::day::Day;
use crate::maintenance::retention::state::State;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::Config;
use crate::registry::tests::harness::{Harness, on_disk};
use crate::storage::{OwnKey, Precondition, Storage};

const TODAY: Day = Day(20_000);

async fn harness() -> Harness {
    let harness = Harness::new().await;
    harness.push_image("a", "v1", "x").await;
    harness
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

async fn pulled(storage: &Storage) -> Pulled {
    Pulled::of(storage, &name("a"), Day(0)).await.unwrap()
}

#[tokio::test]
async fn what_is_pulled_is_written_down_once_a_day() {
    let (harness, calls) = Harness::counted().await;
    harness.push_image("a", "v1", "x").await;
    let pulls = Pulls::over(harness.storage.clone());
    let digest = Digest::of(Algorithm::Sha256, b"x");
    for _ in 0..5 {
        pulls.pulled_on("a", "v1", TODAY);
        pulls.pulled_on("a", &digest.text(), TODAY);
    }
    pulls.write(TODAY, false).await;
    let found = pulled(&harness.storage).await;
    assert_eq!(found.tag(&"v1".parse().unwrap()), Some(Last(TODAY, 5)));
    assert_eq!((found.digest(&digest), found.count()), (Some(Last(TODAY, 5)), 5));
    let before = calls();
    for _ in 0..3 {
        pulls.pulled_on("a", "v1", TODAY);
        pulls.write(TODAY, false).await;
    }
    assert_eq!(calls(), before, "that it is pulled today is known");
    pulls.write(TODAY, true).await;
    assert_eq!(pulled(&harness.storage).await.tag(&"v1".parse().unwrap()), Some(Last(TODAY, 8)));
    let tomorrow = Day(TODAY.0 + 1);
    pulls.pulled_on("a", "v1", tomorrow);
    assert_eq!(pulls.noted(), 2);
    pulls.write(tomorrow, false).await;
    assert_eq!(pulled(&harness.storage).await.tag(&"v1".parse().unwrap()), Some(Last(tomorrow, 9)));
    assert_eq!(pulls.noted(), 1, "what was pulled yesterday is not kept in memory");
}

#[tokio::test]
async fn instances_join_what_they_saw() {
    let harness = harness().await;
    let instances: Vec<Arc<Pulls>> = (0..4).map(|_| Pulls::over(harness.storage.clone())).collect();
    for (number, instance) in (0_u32..).zip(&instances) {
        instance.pulled_on("a", "v1", Day(TODAY.0 + number));
        instance.pulled_on("a", &Digest::of(Algorithm::Sha256, &number.to_le_bytes()).text(), TODAY);
    }
    futures::future::join_all(instances.iter().map(|instance| instance.write(TODAY, true))).await;
    // One that was beaten to it six times comes again.
    futures::future::join_all(instances.iter().map(|instance| instance.write(TODAY, true))).await;
    let found = pulled(&harness.storage).await;
    assert_eq!(found.tag(&"v1".parse().unwrap()), Some(Last(Day(TODAY.0 + 3), 4)));
    assert_eq!(found.count(), 4);
}

#[tokio::test]
async fn names_of_no_repository_leave_no_files() {
    let harness = harness().await;
    let pulls = Pulls::over(harness.storage.clone());
    pulls.pulled_on("made/up", "v1", TODAY);
    pulls.pulled_on("NO NAME", "v1", TODAY);
    pulls.write(TODAY, true).await;
    let files: Vec<_> = harness.storage.below("entrepot/v1/pulls", None).try_collect().await.unwrap();
    assert!(files.iter().all(|file| !file.name.contains("made")), "{files:?}");
}

#[tokio::test]
async fn recording_begins_once_and_begins_anew_after_a_gap() {
    let harness = harness().await;
    let storage = &harness.storage;
    assert_eq!(recorded_since(storage, TODAY.end()).await.unwrap(), Day::of(TODAY.end()), "nobody records");
    let write = async |day: u32| Pulls::over(storage.clone()).write(Day(TODAY.0 + day), false).await;
    let state = async || Recording::read(storage).await.unwrap().unwrap();
    let recording = |since: u32, until: u32| Recording { since: Day(TODAY.0 + since), until: Day(TODAY.0 + until) };
    write(0).await;
    write(1).await;
    assert_eq!(state().await, recording(0, 1));
    write(8).await;
    assert_eq!(state().await, recording(0, 8), "a week off is no gap");
    write(16).await;
    assert_eq!(state().await, recording(16, 16));
    write(15).await;
    assert_eq!(state().await, recording(16, 16), "a clock that is late changes nothing");
    assert_eq!(recorded_since(storage, TODAY.end()).await.unwrap(), Day(TODAY.0 + 16));
}

#[tokio::test]
async fn records_that_are_gone_are_not_pulls_that_never_were() {
    let root = tempfile::tempdir().unwrap();
    let harness = Harness::over(Config::default(), on_disk(root.path()).await).await;
    let storage = &harness.storage;
    harness.push_image("a", "v1", "x").await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let write = async |day: u32| Pulls::over(storage.clone()).write(Day(TODAY.0 + day), true).await;
    for day in 0..20 {
        write(day).await;
    }
    let (after, now) = (|day: u32| Day(TODAY.0 + day).end(), Day(TODAY.0 + 20));
    let may_be = async |since| pulled_since(storage, &name("a"), &[digest], since).await.unwrap().len();
    assert_eq!(may_be(after(10)).await, 0);
    assert_eq!(State::read(storage).await.unwrap().recorded, Some(TODAY));
    // Somebody clears the records, and nothing else that retention knows.
    std::fs::remove_dir_all(root.path().join("entrepot/v1/pulls")).unwrap();
    assert_eq!(recorded_since(storage, now.end()).await.unwrap(), Day::of(now.end()));
    assert_eq!(may_be(after(10)).await, 1, "also before anybody has recorded again");
    write(20).await;
    assert_eq!(Recording::read(storage).await.unwrap(), Some(Recording { since: now, until: now }));
    assert_eq!(State::read(storage).await.unwrap().recorded, Some(now));
    assert_eq!((may_be(after(10)).await, may_be(after(21)).await), (1, 0));
}

#[tokio::test]
async fn when_memory_is_full_everything_counts_as_pulled() {
    let harness = harness().await;
    let pulls = Pulls::over(harness.storage.clone());
    pulls.write(Day(TODAY.0 - 5), false).await;
    for number in 0..100_100 {
        pulls.pulled_on("a", &format!("t{number}"), TODAY);
    }
    assert!(pulls.noted() <= 100_000 && pulls.lost() > 0);
    pulls.write(TODAY, false).await;
    let recording = Recording::read(&harness.storage).await.unwrap().unwrap();
    assert_eq!(recording.since, TODAY);
    let found = pulled(&harness.storage).await;
    assert_eq!(found.since(), TODAY, "a file has room for some of them only");
    // There is room again for what is pulled now.
    let lost = pulls.lost();
    pulls.pulled_on("a", "another", TODAY);
    pulls.write(TODAY, false).await;
    assert_eq!(pulls.lost(), lost);
}

#[tokio::test]
async fn a_damaged_file_counts_as_pulled_today_and_a_newer_one_is_left() {
    let harness = harness().await;
    let key = OwnKey::Pulls(name("a"));
    let put = async |text: &'static str| {
        harness.storage.own_put(&key, text.into(), Precondition::None).await.unwrap();
    };
    put("{").await;
    assert_eq!(pulled(&harness.storage).await.since(), Day::today());
    let pulls = Pulls::over(harness.storage.clone());
    pulls.pulled_on("a", "v1", TODAY);
    pulls.write(TODAY, false).await;
    assert_eq!(pulled(&harness.storage).await.tag(&"v1".parse().unwrap()), Some(Last(TODAY, 1)));
    put(r#"{"version":2,"x":1}"#).await;
    assert!(Pulled::of(&harness.storage, &name("a"), Day(0)).await.is_err());
    pulls.pulled_on("a", "v2", TODAY);
    pulls.write(TODAY, false).await;
    assert_eq!(pulls.lost(), 1);
    pulls.write(Day(TODAY.0 + 1), false).await;
    let recording = Recording::read(&harness.storage).await.unwrap().unwrap();
    assert_eq!(recording.since, Day(TODAY.0 + 1), "what was lost may have been pulled until then");
    let (left, _) = harness.storage.own(&key, 1000).await.unwrap().unwrap();
    assert_eq!(left, r#"{"version":2,"x":1}"#);
}

#[tokio::test]
async fn without_a_storage_nothing_is_noted() {
    let pulls = Pulls::new(super::Metrics::new(&prometheus::Registry::new()).unwrap());
    pulls.pulled("a", "v1");
    pulls.flush().await;
    assert!(!pulls.is_on() && pulls.noted() == 0);
}

#[tokio::test]
async fn who_asks_since_when_is_told_what_may_have_been_pulled() {
    let harness = harness().await;
    let storage = &harness.storage;
    let [one, two] = ["1", "2"].map(|text| Digest::of(Algorithm::Sha256, text.as_bytes()));
    let asked =
        async |day: u32| pulled_since(storage, &name("a"), &[one, two], Day(TODAY.0 - day).end()).await.unwrap();
    assert_eq!(asked(0).await, [one, two], "nobody records");
    let recording = Recording { since: Day(TODAY.0 - 30), until: TODAY };
    Recording::change(storage, |_| recording).await.unwrap();
    assert_eq!(asked(40).await, [one, two], "nobody recorded then");
    assert!(asked(20).await.is_empty());
    let pulls = Pulls::over(storage.clone());
    pulls.pulled_on("a", &two.text(), Day(TODAY.0 - 10));
    pulls.write(TODAY, true).await;
    assert_eq!(asked(20).await, [two]);
    assert!(asked(5).await.is_empty());
}
