//! Fills that end with their clients, where their origins want that; and those who only look.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::cache::Source;
use crate::cache::blob_cache::Coming;

/// An origin whose fill goes on alone from half of the content on.
struct Worth {
    script: Script,
    completed: AtomicUsize,
}

impl Worth {
    fn new(script: Script) -> Arc<Self> {
        Arc::new(Worth { script, completed: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Origin for Worth {
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError> {
        self.script.open(offset).await
    }

    fn completed(&self, content: &Content) {
        assert!(content.proven());
        self.completed.fetch_add(1, Ordering::SeqCst);
    }

    fn goes_on_alone(&self, got: u64, total: Option<u64>) -> bool {
        total.is_some_and(|total| got >= total / 2)
    }
}

async fn until(mut is: impl FnMut() -> bool) {
    while !is() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn got(fixture: &Fixture, digest: &Digest) -> usize {
    fixture.cache.progress(digest).map_or(0, |coming| coming.got as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_is_not_worth_while_ends_with_its_last_client() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(4 * MIB, 1);
    let digest = sha256(&data);
    let gate = Arc::new(Semaphore::new(4));
    let origin = Worth::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (first, _) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    let (second, source) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    assert_eq!(source, Source::Collapsed);
    drop(first);
    gate.add_permits(1);
    until(|| got(&fixture, &digest) == 5 * (64 << 10)).await;
    assert_eq!(fixture.metrics.given_up.get(), 0, "one client is left");
    drop(second.read(0, None));
    until(|| fixture.metrics.given_up.get() == 1).await;
    assert_eq!(fixture.cache.progress(&digest), None);
    assert!(!fixture.cache.holds(&digest));
    // The next client begins anew.
    gate.add_permits(1000);
    let (content, source) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    assert_eq!(source, Source::Miss);
    assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
    assert_eq!(*origin.script.opened.lock(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_of_which_half_is_here_goes_on_alone() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(4 * MIB, 2);
    let digest = sha256(&data);
    let gate = Arc::new(Semaphore::new(32));
    let origin = Worth::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    until(|| got(&fixture, &digest) == 2 * MIB).await;
    drop(content);
    gate.add_permits(1000);
    until(|| fixture.cache.holds(&digest)).await;
    until(|| origin.completed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(origin.script.opens(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_end_keeps_a_fill_going_and_gets_it_whole() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 3);
    let digest = sha256(&data);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Worth::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&digest, origin).await.unwrap();
    let waiting = tokio::spawn(content.completed());
    gate.add_permits(1000);
    let content = waiting.await.unwrap().unwrap();
    assert!(content.proven());
    assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_begins_nothing_and_reads_what_comes() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 4);
    let digest = sha256(&data);
    assert!(fixture.cache.coming(&digest).await.unwrap().is_none());
    assert_eq!(fixture.cache.progress(&digest), None);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let filling = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    let total = Some(data.len() as u64);
    assert_eq!(fixture.cache.progress(&digest), Some(Coming { got: 64 << 10, total }));
    let (content, source) = fixture.cache.coming(&digest).await.unwrap().unwrap();
    assert_eq!((source, content.total()), (Source::Collapsed, total));
    // From where it is not yet.
    let reading = tokio::spawn(collect(content.read(MIB as u64, None)));
    gate.add_permits(1000);
    assert_eq!(reading.await.unwrap().unwrap(), data[MIB..]);
    drop(filling);
    fixture.settled().await;
    let (content, source) = fixture.cache.coming(&digest).await.unwrap().unwrap();
    assert!(content.proven() && source == Source::Disk);
    assert_eq!(origin.opens(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fill_tells_those_who_wait_for_its_end() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 5);
    let digest = sha256(&data);
    let origin = Worth::new(Script::new(&data, &[Act::FlipAt(MIB)]));
    let (content, _) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    assert!(content.completed().await.is_err());
    assert_eq!(origin.completed.load(Ordering::SeqCst), 0);
}
