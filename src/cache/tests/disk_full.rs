//! No place on the disk: pulls go on, from each client's own origin where that must be.

use std::process::Command;

use super::*;

/// A file system of 8 MB that is gone at the end.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(folder.path()).status();
        assert!(mount.is_ok_and(|status| status.success()), "this test mounts a tmpfs and must run as root");
        Tmpfs(folder)
    }

    async fn fixture(&self) -> Fixture {
        Fixture::open(Config { path: self.0.path().join("cache"), ..Config::default() }).await
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn all_read_whole(fixture: &Fixture, data: &Bytes, origins: &[Arc<Script>]) {
    let digest = sha256(data);
    let mut readers = Vec::new();
    for origin in origins {
        let (content, _) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
        let data = data.clone();
        readers.push(tokio::spawn(async move { assert_eq!(collect(content.read(0, None)).await.unwrap(), data) }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_content_larger_than_the_file_system_passes_through() {
    let tmpfs = Tmpfs::new();
    let fixture = tmpfs.fixture().await;
    let data = data(100 * MIB, 1);
    for says_total in [true, false] {
        let make = || Script::new(&data, &[Act::Whole]);
        let origins: Vec<_> =
            (0..5).map(|_| Arc::new(if says_total { make() } else { make().without_total() })).collect();
        all_read_whole(&fixture, &data, &origins).await;
        // As many openings as readers: one of them takes over what the fill had open.
        assert!(origins.iter().map(|origin| origin.opens()).sum::<usize>() <= 5, "{says_total}");
        assert!(folder_bytes(tmpfs.0.path()) < 9 << 20);
    }
    assert!(fixture.metrics.abandoned.get() >= 2);
    assert_eq!(fixture.metrics.completed.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_makes_room_by_evicting_our_own() {
    let tmpfs = Tmpfs::new();
    let fixture = tmpfs.fixture().await;
    for seed in 0..10 {
        fixture.warm(&data(2 * MIB, seed)).await;
    }
    assert_eq!(fixture.metrics.completed.get(), 10);
    assert!(fixture.metrics.disk.evictions.get() >= 6);
    assert!(fixture.get(&sha256(&data(2 * MIB, 9))).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_half_way_is_left_alone_for_a_while() {
    let tmpfs = Tmpfs::new();
    let fixture = tmpfs.fixture().await;
    let big = data(20 * MIB, 3);
    let origins = [0; 4].map(|_| Arc::new(Script::new(&big, &[Act::Whole]).without_total()));
    all_read_whole(&fixture, &big, &origins).await;
    assert!(!fixture.cache.shared.disk.writable());
    // Meanwhile small contents live in memory.
    let small = fixture.warm(&data(2 * MIB, 4)).await;
    assert!(fixture.get(&small).await.unwrap().bytes().is_some());
    assert_eq!(fixture.metrics.disk.entries.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_origin_is_found_out_in_passing_too() {
    let fixture = Fixture::new(|config| config.disk = size(MIB)).await;
    let data = data(20 * MIB, 5);
    for act in [Act::FlipAt(7), Act::FlipAt(20 * MIB - 1), Act::EndAt(20 * MIB - 1), Act::Surplus(1)] {
        for says_total in [true, false] {
            let origin = Script::new(&data, std::slice::from_ref(&act));
            let origin = Arc::new(if says_total { origin } else { origin.without_total() });
            let (content, _) = fixture.cache.get_or_fill(&sha256(&data), origin).await.unwrap();
            let (before, end) = collect_partly(content.read(0, None)).await;
            let surplus = !says_total && matches!(act, Act::Surplus(_));
            assert!(end.is_err() && (before < data.len() || surplus), "{act:?} {says_total}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_passes_through_survives_a_break() {
    let fixture = Fixture::new(|config| config.disk = size(MIB)).await;
    let data = data(20 * MIB, 6);
    for says_total in [true, false] {
        let origin = Script::new(&data, &[Act::DieAt(9 * MIB), Act::DieAt(9 * MIB), Act::Whole]);
        let origin = Arc::new(if says_total { origin } else { origin.without_total() });
        assert_eq!(fixture.fill(&sha256(&data), &origin).await.unwrap(), data);
    }
    let (content, _) = fixture.cache.get_or_fill(&sha256(&data), Script::whole(&data)).await.unwrap();
    let range = content.read(3_000_000, Some(9_000_000));
    assert_eq!(collect(range).await.unwrap(), data[3_000_000..9_000_000]);
}

#[tokio::test]
async fn without_a_disk_small_contents_live_in_memory_and_large_ones_pass() {
    let fixture = Fixture::new(|config| config.disk = size(0)).await;
    let (small, large) = (data(10 * MIB, 7), data(17 * MIB, 8));
    for says_total in [true, false] {
        for content in [&small, &large] {
            let origin = Script::new(content, &[Act::Whole]);
            let origin = Arc::new(if says_total { origin } else { origin.without_total() });
            assert_eq!(fixture.fill(&sha256(content), &origin).await.unwrap(), content);
        }
        assert_eq!(fixture.get(&sha256(&small)).await.unwrap().bytes(), Some(&small));
        assert!(fixture.get(&sha256(&large)).await.is_none());
        fixture.cache.purge(&sha256(&small)).await;
    }
    assert!(!fixture.config.path.exists());
}

#[tokio::test]
async fn a_folder_that_was_taken_away_does_not_fail_a_pull() {
    let fixture = Fixture::new(|_| {}).await;
    std::fs::remove_dir_all(&fixture.config.path).unwrap();
    fixture.warm(&data(2 * MIB, 9)).await;
    std::fs::remove_dir_all(&fixture.config.path).unwrap();
    std::fs::write(&fixture.config.path, b"a file is in the way").unwrap();
    let data = data(20 * MIB, 10);
    let origin = Script::whole(&data);
    assert_eq!(fixture.fill(&sha256(&data), &origin).await.unwrap(), data);
    assert_eq!(origin.opens(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_where_little_is_left_free_and_everybody_is_served() {
    let tmpfs = Tmpfs::new();
    let fixture = tmpfs.fixture().await;
    fixture.cache.leave_disk_free();
    let data = data(2 * MIB, 9);
    let origins: Vec<_> = (0..3).map(|_| Script::whole(&data)).collect();
    all_read_whole(&fixture, &data, &origins).await;
    assert_eq!(fixture.metrics.low.get(), 1);
    assert!(!fixture.cache.holds(&sha256(&data)) || fixture.cache.in_memory(&sha256(&data)).is_some());
    assert!(folder_bytes(tmpfs.0.path()) < MIB as u64);
}
