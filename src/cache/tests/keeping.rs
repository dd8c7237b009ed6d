//! What stays and what goes: caps, promotion, purge, insert, reload.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_disk_stays_below_its_cap_while_many_fill() {
    let cap = 10 * MIB;
    let fixture = Fixture::new(|config| config.disk = size(cap)).await;
    let mut fills = Vec::new();
    for seed in 0..30 {
        let data = data(2 * MIB + seed * 1000, seed as u64);
        let cache = fixture.cache.clone();
        fills.push(tokio::spawn(async move {
            let (content, _) = cache.get_or_fill(&sha256(&data), Script::whole(&data)).await.unwrap();
            assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
        }));
    }
    for fill in fills {
        fill.await.unwrap();
        assert!(folder_bytes(&fixture.config.path) <= cap as u64);
        assert!(fixture.metrics.disk.bytes.get() <= cap as i64);
    }
    fixture.settled().await;
    let blobs = folder_bytes(&fixture.config.path.join("blobs"));
    assert_eq!(fixture.metrics.disk.bytes.get() as u64, blobs);
    assert!(fixture.metrics.disk.entries.get() >= 1);
    let state = &fixture.cache.shared.disk;
    assert_eq!(state.under_way(), (0, 0));
}

#[tokio::test]
async fn an_evicted_file_is_read_to_its_end() {
    let fixture = Fixture::new(|config| (config.disk, config.memory) = (size(5 * MIB), size(0))).await;
    let old = data(4 * MIB, 1);
    let digest = fixture.warm(&old).await;
    let mut reader = fixture.get(&digest).await.unwrap().read(0, None);
    let mut all = reader.next().await.unwrap().unwrap().to_vec();
    fixture.warm(&data(4 * MIB, 2)).await;
    fixture.warm(&data(4 * MIB, 3)).await;
    assert!(!fixture.file(&digest).exists());
    while let Some(bytes) = reader.next().await {
        all.extend_from_slice(&bytes.unwrap());
    }
    assert_eq!(all, old);
}

#[tokio::test]
async fn small_contents_are_in_memory_at_once_and_on_disk_soon() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(700_000, 1);
    let digest = fixture.warm(&data).await;
    let content = fixture.get(&digest).await.unwrap();
    assert_eq!(content.bytes(), Some(&data));
    assert_eq!(fixture.metrics.hit_memory.get(), 1);
    assert!(fixture.file(&digest).exists());
}

#[tokio::test]
async fn a_disk_hit_is_promoted_at_its_second_time() {
    let fixture = Fixture::new(|_| {}).await;
    let middle = fixture.warm(&data(3 * MIB, 1)).await;
    let large = fixture.warm(&data(17 * MIB, 2)).await;
    let in_memory = |digest: Digest| fixture.cache.shared.memory.contains(&digest);
    for digest in [middle, large] {
        assert!(fixture.get(&digest).await.unwrap().bytes().is_none());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!in_memory(digest));
        fixture.get(&digest).await.unwrap();
    }
    while !in_memory(middle) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(fixture.get(&middle).await.unwrap().bytes().map(Bytes::len), Some(3 * MIB));
    assert!(!in_memory(large));
}

#[tokio::test]
async fn a_purged_content_is_gone_also_from_a_running_fill() {
    let fixture = Fixture::new(|_| {}).await;
    for len in [1000, 2 * MIB] {
        let digest = fixture.warm(&data(len, 1)).await;
        assert!(fixture.cache.purge(&digest).await);
        assert!(!fixture.cache.purge(&digest).await);
        assert!(fixture.get(&digest).await.is_none());
        assert!(!fixture.file(&digest).exists());
    }
    let data = data(2 * MIB, 2);
    let digest = sha256(&data);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&digest, origin).await.unwrap();
    fixture.cache.purge(&digest).await;
    gate.add_permits(100);
    assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
    assert!(fixture.get(&digest).await.is_none());
    assert_eq!(folder_bytes(&fixture.config.path), 0);
    assert_eq!((fixture.metrics.memory.bytes.get(), fixture.metrics.memory.entries.get()), (0, 0));
}

#[tokio::test]
async fn only_what_its_digest_names_can_be_inserted() {
    let fixture = Fixture::new(|_| {}).await;
    for len in [10, 100_000] {
        let data = data(len, 1);
        let digest = sha256(&data);
        let mismatch = fixture.cache.insert(&digest, None, data.slice(1..)).await.unwrap_err();
        assert_eq!(mismatch.expected, digest);
        assert!(fixture.get(&digest).await.is_none());
        fixture.cache.insert(&digest, None, data.clone()).await.unwrap();
        assert_eq!(fixture.get(&digest).await.unwrap().bytes(), Some(&data));
        assert!(fixture.file(&digest).exists());
    }
}

#[tokio::test]
async fn a_reload_changes_the_bounds() {
    let fixture = Fixture::new(|config| config.disk = size(0)).await;
    let mut config = fixture.config.clone();
    let data = data(20 * MIB, 1);
    let digest = sha256(&data);
    fixture.fill(&digest, &Script::whole(&data)).await.unwrap();
    assert!(fixture.get(&digest).await.is_none());
    config.disk = size(100 * MIB);
    fixture.cache.reconfigure(&config);
    while !config.path.join("fills/.lock").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.warm(&data).await;
    assert!(fixture.get(&digest).await.is_some());
    config.disk = size(MIB);
    fixture.cache.reconfigure(&config);
    while fixture.metrics.disk.entries.get() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(fixture.get(&digest).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_hits_are_counted() {
    let fixture = Fixture::new(|_| {}).await;
    let digest = fixture.warm(&data(4096, 1)).await;
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let begun = std::time::Instant::now();
        for _ in 0..10_000 {
            assert!(fixture.get(&digest).await.is_some_and(|content| content.bytes().is_some()));
        }
        best = best.min(begun.elapsed() / 10_000);
    }
    eprintln!("a memory hit takes {best:?}");
    assert_eq!(fixture.metrics.hit_memory.get(), 100_000);
}
