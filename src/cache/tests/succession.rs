//! One folder, and a process that takes another's place.

use super::*;
use crate::cache::error::Error;

/// For what comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

async fn beside(old: &Fixture) -> Fixture {
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let cache = BlobCache::open_beside(&old.config, metrics.clone()).await;
    Fixture { cache, metrics, config: old.config.clone(), _folder: None }
}

fn left_in_fills(fixture: &Fixture) -> usize {
    let fills = std::fs::read_dir(fixture.config.path.join("fills")).unwrap();
    fills.flatten().filter(|entry| entry.file_name() != ".lock").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_after_reads_at_once_and_writes_once_it_has_taken_over() {
    let old = Fixture::new(|config| config.memory = size(0)).await;
    let known = old.warm(&data(2 * MIB, 1)).await;
    old.cache.shared.disk.save();
    let new = beside(&old).await;
    assert!(new.get(&known).await.is_some());
    // Not its folder yet: what it fetches it gives on, and what it drops stays.
    let passing = new.warm(&data(2 * MIB, 2)).await;
    assert!(!new.file(&passing).exists() && left_in_fills(&new) == 0);
    new.cache.purge(&known).await;
    assert!(new.file(&known).exists());
    assert!(matches!(new.cache.take_over().await, Err(Error::InUse(_))));
    // The old one goes on meanwhile.
    let later = old.warm(&data(2 * MIB, 3)).await;
    let gone = old.warm(&data(2 * MIB, 4)).await;
    old.cache.purge(&gone).await;
    old.cache.hand_over().await;
    new.cache.take_over().await.unwrap();
    let caught_up = async {
        while new.metrics.disk.entries.get() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.expect("it finds what the old one has added");
    assert!(new.get(&later).await.is_some() && new.get(&known).await.is_some() && new.get(&gone).await.is_none());
    let kept = new.warm(&data(2 * MIB, 5)).await;
    assert!(new.file(&kept).exists());
    // And the old one reads what it knows, and writes and removes nothing.
    assert!(old.get(&later).await.is_some());
    let passing = old.warm(&data(2 * MIB, 6)).await;
    assert!(!old.file(&passing).exists());
    old.cache.purge(&later).await;
    old.cache.shutdown().await;
    assert!(new.file(&later).exists() && new.get(&later).await.is_some());
}

/// A download that is under way at the moment reaches its clients, and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_began_before_is_given_to_its_client_and_not_kept() {
    let old = Fixture::new(|config| config.memory = size(0)).await;
    let content = data(3 * MIB, 1);
    let (digest, gate) = (sha256(&content), Arc::new(Semaphore::new(1)));
    let origin = Arc::new(Script::new(&content, &[Act::Whole]).gated(&gate));
    let (filling, _) = old.cache.get_or_fill(&digest, origin).await.unwrap();
    let reader = tokio::spawn(collect(filling.read(0, None)));
    let new = beside(&old).await;
    old.cache.hand_over().await;
    new.cache.take_over().await.unwrap();
    gate.add_permits(10_000);
    assert_eq!(reader.await.unwrap().unwrap(), content);
    old.settled().await;
    assert!(!old.file(&digest).exists() && left_in_fills(&new) == 0);
    assert_eq!(new.warm(&content).await, digest);
    assert!(new.file(&digest).exists());
}

#[tokio::test]
async fn what_was_handed_over_is_taken_back_when_nobody_took_it() {
    let old = Fixture::new(|config| config.memory = size(0)).await;
    let known = old.warm(&data(MIB, 1)).await;
    drop(beside(&old).await);
    old.cache.hand_over().await;
    old.cache.take_over().await.unwrap();
    assert!(old.get(&known).await.is_some());
    let kept = old.warm(&data(MIB, 2)).await;
    assert!(old.file(&kept).exists());
}

/// A download that was under way all the time is kept, as if nothing had been asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_was_under_way_goes_on_when_nobody_took_the_folder() {
    let old = Fixture::new(|config| config.memory = size(0)).await;
    let content = data(3 * MIB, 1);
    let (digest, gate) = (sha256(&content), Arc::new(Semaphore::new(1)));
    let origin = Arc::new(Script::new(&content, &[Act::Whole]).gated(&gate));
    let (filling, _) = old.cache.get_or_fill(&digest, origin).await.unwrap();
    let reader = tokio::spawn(collect(filling.read(0, None)));
    let begun = async {
        while left_in_fills(&old) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("its file");
    old.cache.hand_over().await;
    old.cache.take_over().await.unwrap();
    assert_eq!(left_in_fills(&old), 1);
    gate.add_permits(10_000);
    assert_eq!(reader.await.unwrap().unwrap(), content);
    old.settled().await;
    assert!(old.file(&digest).exists() && left_in_fills(&old) == 0);
}
