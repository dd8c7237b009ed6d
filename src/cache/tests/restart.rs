//! What is kept over restarts, and that starting is quick.

use super::*;
use crate::cache::error::Error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_and_media_types_survive_a_restart() {
    let mut fixture = Fixture::new(|_| {}).await;
    let contents = [data(0, 1), data(1000, 1), data(900_000, 2), data(3 * MIB, 3)];
    for data in &contents {
        fixture.warm(data).await;
    }
    let manifest = data(2000, 4);
    fixture.cache.insert(&sha256(&manifest), Some("application/json"), manifest.clone()).await.unwrap();
    for snapshot in ["whole", "missing", "broken"] {
        fixture.cache.shutdown().await;
        match snapshot {
            "missing" => std::fs::remove_file(fixture.config.path.join("index")).unwrap(),
            "broken" => std::fs::write(fixture.config.path.join("index"), b"garbage\n").unwrap(),
            _ => {}
        }
        fixture.reopen().await;
        assert_eq!(fixture.metrics.disk.entries.get(), 5, "{snapshot}");
        for data in &contents {
            let content = fixture.get(&sha256(data)).await.unwrap();
            assert!(content.proven());
            assert_eq!(content.total(), Some(data.len() as u64));
            assert_eq!(content.media_type(), Some("application/x-test"));
            assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
        }
        let content = fixture.get(&sha256(&manifest)).await.unwrap();
        assert_eq!(content.media_type(), Some("application/json"));
        assert_eq!(fixture.metrics.hit_disk.get(), 5);
    }
}

#[tokio::test]
async fn what_came_after_the_snapshot_is_found_and_interrupted_fills_are_removed() {
    let mut fixture = Fixture::new(|_| {}).await;
    fixture.warm(&data(2 * MIB, 1)).await;
    fixture.cache.shared.disk.save();
    let later = fixture.warm(&data(2 * MIB, 2)).await;
    let left = fixture.config.path.join("fills/1-1");
    std::fs::write(&left, b"half a content").unwrap();
    let foreign = fixture.config.path.join("blobs/sha256/README");
    std::fs::write(&foreign, b"not ours").unwrap();
    // A crash: nothing is saved.
    let config = fixture.config.clone();
    fixture.cache.shared.disk.close();
    let fresh = Fixture::open(config).await;
    assert!(fresh.get(&later).await.is_some());
    assert_eq!(fresh.metrics.disk.entries.get(), 2);
    assert!(!left.exists() && foreign.exists());
    fixture.cache = fresh.cache;
}

#[tokio::test]
async fn the_eviction_order_survives() {
    let mut fixture = Fixture::new(|config| config.memory = size(0)).await;
    let mut digests = Vec::new();
    for seed in 0..6 {
        digests.push(fixture.warm(&data(MIB, seed)).await);
    }
    fixture.get(&digests[0]).await.unwrap();
    fixture.cache.shutdown().await;
    fixture.config.disk = size(3 * MIB + 100_000);
    fixture.reopen().await;
    let mut kept = Vec::new();
    for digest in &digests {
        kept.push(fixture.get(digest).await.is_some());
    }
    assert_eq!(kept, [true, false, false, false, true, true]);
    assert_eq!(fixture.metrics.disk.evictions.get(), 3);
}

#[tokio::test]
async fn a_folder_in_use_and_a_bad_folder_are_said_at_start() {
    let fixture = Fixture::new(|_| {}).await;
    let metrics = || Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let second = BlobCache::open(&fixture.config, metrics()).await;
    assert!(matches!(second.map(|_| ()), Err(Error::InUse(_))));
    let file = fixture.config.path.join("file");
    std::fs::write(&file, b"").unwrap();
    let bad = Config { path: file, ..Config::default() };
    assert!(matches!(BlobCache::open(&bad, metrics()).await.map(|_| ()), Err(Error::Folder { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_entries_are_found() {
    let mut fixture = Fixture::new(|config| config.disk = size(64 << 30)).await;
    let config = fixture.config.clone();
    fixture.cache.shutdown().await;
    let write = move || {
        let blobs = config.path.join("blobs/sha256");
        (0..256).for_each(|n| std::fs::create_dir_all(blobs.join(format!("{n:02x}"))).unwrap());
        // Names of four files: as many entries to find, in a tenth of the time to write.
        let sources = [0, 1, 2, 3].map(|n| config.path.join(format!("source{n}")));
        sources.iter().for_each(|source| std::fs::write(source, b"x").unwrap());
        for n in 0..100_000u32 {
            let hex = sha256(&n.to_le_bytes()).hex();
            std::fs::hard_link(&sources[n as usize % 4], blobs.join(&hex[..2]).join(hex)).unwrap();
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
    for how in ["by their times", "by the snapshot"] {
        let begun = std::time::Instant::now();
        fixture.reopen().await;
        eprintln!("100,000 entries found {how} in {:?}", begun.elapsed());
        assert_eq!(fixture.metrics.disk.entries.get(), 100_000);
        assert_eq!(fixture.metrics.disk.bytes.get(), 100_000);
    }
    // They are verified when they are asked for.
    assert!(fixture.get(&sha256(&7u32.to_le_bytes())).await.is_none());
    assert_eq!(fixture.metrics.disk.entries.get(), 99_999);
}
