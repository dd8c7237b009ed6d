//! Cache files that rot: never served, and healed within the same response.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;

async fn without_memory() -> Fixture {
    Fixture::new(|config| config.memory = size(0)).await
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn truncate(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_anywhere_heals_within_the_response() {
    let data = data(3 * MIB + 100, 1);
    for reopened in [false, true] {
        for at in [0, 65_535, 65_536, MIB + 7, data.len() - 1, data.len(), data.len() + 500] {
            let mut fixture = without_memory().await;
            let digest = fixture.warm(&data).await;
            flip(&fixture.file(&digest), at as u64);
            if reopened {
                fixture.reopen().await;
            }
            let origin = Script::whole(&data);
            assert_eq!(fixture.fill(&digest, &origin).await.unwrap(), data, "{at}");
            // While open, the trailer is in memory already: damage there is met at the next opening.
            let met = reopened || at < data.len();
            assert_eq!(fixture.metrics.corruptions.get(), u64::from(met), "{at}");
            if met {
                // Only from the damaged block on; with the trailer gone there is no sound block.
                let block = if at < data.len() { at / 65_536 * 65_536 } else { 0 };
                let opened = origin.opened.lock().clone();
                assert_eq!(opened.len(), 1, "{at}");
                assert!(opened[0] <= block as u64, "{at}");
                fixture.settled().await;
                let healed = fixture.get(&digest).await.expect("healed");
                assert_eq!(collect(healed.read(0, None)).await.unwrap(), data);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_file_heals() {
    let data = data(2 * MIB, 2);
    for reopened in [false, true] {
        for len in [0, 95, 96, MIB, 2 * MIB, 2 * MIB + 100] {
            let mut fixture = without_memory().await;
            let digest = fixture.warm(&data).await;
            truncate(&fixture.file(&digest), len as u64);
            if reopened {
                fixture.reopen().await;
            }
            assert_eq!(fixture.fill(&digest, &Script::whole(&data)).await.unwrap(), data, "{reopened} {len}");
        }
    }
}

#[tokio::test]
async fn swapped_and_foreign_files_are_not_served() {
    let mut fixture = without_memory().await;
    let (one, two) = (data(2 * MIB, 3), data(2 * MIB, 4));
    let (first, second) = (fixture.warm(&one).await, fixture.warm(&two).await);
    let aside = fixture.config.path.join("aside");
    std::fs::rename(fixture.file(&first), &aside).unwrap();
    std::fs::rename(fixture.file(&second), fixture.file(&first)).unwrap();
    std::fs::rename(&aside, fixture.file(&second)).unwrap();
    fixture.reopen().await;
    assert!(fixture.get(&first).await.is_none());
    assert_eq!(fixture.metrics.corruptions.get(), 1);
    std::fs::write(fixture.file(&second), b"no cache file at all").unwrap();
    assert!(fixture.get(&second).await.is_none());
    assert_eq!(fixture.fill(&first, &Script::whole(&one)).await.unwrap(), one);
    assert_eq!(fixture.fill(&second, &Script::whole(&two)).await.unwrap(), two);
}

#[tokio::test]
async fn without_an_origin_the_response_breaks_off() {
    let fixture = without_memory().await;
    let data = data(2 * MIB, 5);
    let digest = fixture.warm(&data).await;
    flip(&fixture.file(&digest), MIB as u64 + 9);
    let content = fixture.get(&digest).await.unwrap();
    let (before, end) = collect_partly(content.read(0, None)).await;
    assert!(matches!(end, Err(ReadError::Corrupt)));
    assert!(before <= MIB);
    assert!(fixture.get(&digest).await.is_none());
    assert!(!fixture.file(&digest).exists());
}

#[tokio::test]
async fn only_a_range_over_the_damage_meets_it() {
    let fixture = without_memory().await;
    let data = data(4 * MIB, 6);
    let digest = fixture.warm(&data).await;
    flip(&fixture.file(&digest), 2 * MIB as u64 + 9);
    let content = fixture.get(&digest).await.unwrap();
    assert_eq!(collect(content.clone().read(10, Some(100))).await.unwrap(), data[10..100]);
    assert_eq!(fixture.metrics.corruptions.get(), 0);
    // The flipped byte itself is not asked for, but its block is.
    let (start, end) = (2 * MIB + 1000, 2 * MIB + 2000);
    let origin = Script::whole(&data);
    let range = content.with_origin(origin.clone()).read(start as u64, Some(end as u64));
    assert_eq!(collect(range).await.unwrap(), data[start..end]);
    assert_eq!(*origin.opened.lock(), [2 * MIB as u64]);
    assert_eq!(fixture.metrics.corruptions.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_readers_of_a_damaged_file_heal_by_one_opening() {
    let fixture = without_memory().await;
    let data = data(6 * MIB, 7);
    let digest = fixture.warm(&data).await;
    flip(&fixture.file(&digest), 5 * MIB as u64);
    let origin = Script::whole(&data);
    let content = fixture.get(&digest).await.unwrap().with_origin(origin.clone());
    let readers = (0..40).map(|_| tokio::spawn(collect(content.clone().read(0, None))));
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), data);
    }
    assert_eq!(origin.opens(), 1);
    assert_eq!(fixture.metrics.corruptions.get(), 1);
}

#[tokio::test]
async fn damage_heals_even_where_nothing_can_be_written() {
    let fixture = without_memory().await;
    let data = data(3 * MIB, 8);
    let digest = fixture.warm(&data).await;
    flip(&fixture.file(&digest), 2 * MIB as u64);
    let whole = fixture.get(&digest).await.unwrap();
    let range = whole.clone();
    // No room for the healing fill: whole and ranged readers go on by themselves.
    let mut off = fixture.config.clone();
    off.disk = size(1000);
    fixture.cache.reconfigure(&off);
    let origin = Script::whole(&data);
    assert_eq!(collect(whole.with_origin(origin.clone()).read(0, None)).await.unwrap(), data);
    let start = 2 * MIB + 5;
    let range = range.with_origin(origin).read(start as u64, None);
    assert_eq!(collect(range).await.unwrap(), data[start..]);
    // And a lying origin is still found out.
    let fixture = without_memory().await;
    let digest = fixture.warm(&data).await;
    flip(&fixture.file(&digest), 2 * MIB as u64);
    let whole = fixture.get(&digest).await.unwrap();
    fixture.cache.reconfigure(&off);
    let liar = Arc::new(Script::new(&data, &[Act::FlipAt(3 * MIB - 5)]));
    assert!(collect(whole.with_origin(liar).read(0, None)).await.is_err());
}

#[tokio::test]
async fn a_file_removed_from_outside_is_a_miss() {
    let mut fixture = without_memory().await;
    let data = data(2 * MIB, 9);
    let digest = fixture.warm(&data).await;
    fixture.reopen().await;
    std::fs::remove_file(fixture.file(&digest)).unwrap();
    assert!(fixture.get(&digest).await.is_none());
    assert_eq!(fixture.metrics.corruptions.get(), 0);
    fixture.warm(&data).await;
}
