//! Parts of a content, from every place.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_from_memory_and_disk_are_exact() {
    for memory in [0, 64 * MIB] {
        let fixture = Fixture::new(|config| config.memory = size(memory)).await;
        for len in [900_000, 5 * MIB + 77] {
            let data = data(len, 1);
            let digest = fixture.warm(&data).await;
            let edges = [0, 1, 65_535, 65_536, 65_537, len / 2, len - 1, len, len + 5];
            for start in edges {
                for end in edges.into_iter().filter(|end| *end >= start) {
                    let content = fixture.get(&digest).await.unwrap();
                    let expected = &data[start.min(len)..end.min(len)];
                    assert_eq!(collect(content.read(start as u64, Some(end as u64))).await.unwrap(), expected);
                }
                let content = fixture.get(&digest).await.unwrap();
                assert_eq!(collect(content.read(start as u64, None)).await.unwrap(), data[start.min(len)..]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_a_running_fill_waits_only_for_its_own_bytes() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(8 * MIB, 2);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&sha256(&data), origin.clone()).await.unwrap();
    let read = |from: usize, until: usize| collect(content.clone().read(from as u64, Some(until as u64)));
    gate.add_permits(64); // 4 MiB
    assert_eq!(read(10, 20).await.unwrap(), data[10..20]);
    assert_eq!(read(3 * MIB, 4 * MIB).await.unwrap(), data[3 * MIB..4 * MIB]);
    // From the file, and over to what is still in memory.
    assert_eq!(read(70_000, 4 * MIB - 1).await.unwrap(), data[70_000..4 * MIB - 1]);
    let ahead = tokio::spawn(read(7 * MIB, 7 * MIB + 5));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!ahead.is_finished());
    gate.add_permits(60);
    assert_eq!(ahead.await.unwrap().unwrap(), data[7 * MIB..7 * MIB + 5]);
    // The very last byte only with the proof.
    let last = tokio::spawn(read(8 * MIB - 1, 8 * MIB));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!last.is_finished() && !content.proven());
    gate.add_permits(4);
    assert_eq!(last.await.unwrap().unwrap(), data[8 * MIB - 1..]);
    assert_eq!(origin.opens(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_starts_late_reads_the_file_from_its_beginning() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(6 * MIB, 3);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&sha256(&data), origin).await.unwrap();
    gate.add_permits(80);
    let mut late = content.clone().read(0, None);
    assert_eq!(collect(content.read(0, Some(5 * MIB as u64 - 1))).await.unwrap(), data[..5 * MIB - 1]);
    let mut all = late.next().await.unwrap().unwrap().to_vec();
    gate.add_permits(100);
    while let Some(bytes) = late.next().await {
        all.extend_from_slice(&bytes.unwrap());
    }
    assert_eq!(all, data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_damaged_while_it_grows_is_read_anew_and_not_kept() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(6 * MIB, 4);
    let digest = sha256(&data);
    let gate = Arc::new(Semaphore::new(1));
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    gate.add_permits(64);
    assert_eq!(collect(content.clone().read(0, Some(10))).await.unwrap(), data[..10]);
    collect(content.clone().read(4 * MIB as u64 - 10, Some(4 * MIB as u64))).await.unwrap();
    let path = std::fs::read_dir(fixture.config.path.join("fills")).unwrap().flatten().map(|entry| entry.path());
    let path = path.into_iter().find(|path| !path.ends_with(".lock")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 100], MIB as u64).unwrap();
    let whole = tokio::spawn(collect(content.clone().read(0, None)));
    gate.add_permits(1000);
    assert_eq!(whole.await.unwrap().unwrap(), data);
    assert_eq!(fixture.metrics.corruptions.get(), 1);
    while fixture.metrics.completed.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(fixture.get(&digest).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_next_loses_nothing() {
    let fixture = Fixture::new(|config| config.memory = size(0)).await;
    let data = data(20 * MIB, 5);
    let digest = fixture.warm(&data).await;
    let places: [(bool, usize); 2] = [(true, 1 << 40), (false, MIB)];
    for (kept, disk) in places {
        let fixture = if kept { &fixture } else { &Fixture::new(|config| config.disk = size(disk)).await };
        let origin = Arc::new(Script::new(&data, &[Act::DieAt(MIB), Act::Whole]));
        let (content, _) = fixture.cache.get_or_fill(&digest, origin).await.unwrap();
        let mut reader = content.read(0, None);
        let mut all = Vec::new();
        loop {
            let next =
                tokio::select! { biased; _ = tokio::task::yield_now() => continue, next = reader.next() => next };
            match next {
                Some(bytes) => all.extend_from_slice(&bytes.unwrap()),
                None => break,
            }
        }
        assert_eq!(all, data);
    }
}

/// Takes a file out of the kernel's memory.
fn cool(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_file_is_read_ahead_and_right() {
    let mut fixture = Fixture::new(|config| config.memory = size(0)).await;
    for len in [3000, 65_536, 10 * MIB + 77] {
        let data = data(len, 6);
        let digest = fixture.warm(&data).await;
        cool(&fixture.file(&digest));
        assert_eq!(collect(fixture.get(&digest).await.unwrap().read(0, None)).await.unwrap(), data);
        cool(&fixture.file(&digest));
        fixture.reopen().await;
        let range = fixture.get(&digest).await.unwrap().read(1000, Some(len as u64 - 1));
        assert_eq!(collect(range).await.unwrap(), data[1000..len - 1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_readers_share_a_bounded_memory() {
    let fixture = Fixture::new(|config| config.memory = size(0)).await;
    let data = data(2 * MIB + 5, 7);
    let digest = fixture.warm(&data).await;
    let mut slow = Vec::new();
    let mut held = 0;
    // Each holds its first chunk, as a client that does not read makes it do.
    for _ in 0..2000 {
        let mut reader = fixture.get(&digest).await.unwrap().read(100, None);
        let first = reader.next().await.unwrap().unwrap();
        held += first.len();
        slow.push((reader, first));
    }
    assert!(held < 160 * MIB, "{held}");
    for (reader, first) in slow.into_iter().rev().take(20) {
        let rest = collect(reader).await.unwrap();
        assert_eq!([first, rest].concat(), data[100..]);
    }
}
