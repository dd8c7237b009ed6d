//! Everything at once, by chance: whatever happens, a clean end means the right bytes, and the books balance.

use std::os::unix::fs::FileExt;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn act(random: &mut StdRng, len: usize, lies: bool) -> Act {
    let at = random.random_range(0..len);
    match random.random_range(0..if lies { 12 } else { 9 }) {
        0 | 1 => Act::DieAt(at),
        2 => Act::OpenBroken,
        3 => Act::Unavailable,
        4 => Act::Refuse(401),
        9 => Act::FlipAt(at),
        10 => Act::EndAt(at),
        11 => Act::Surplus(at + 1),
        _ => Act::Whole,
    }
}

async fn one_client(fixture: &Fixture, contents: &[Bytes], mut random: StdRng, lies: bool) -> bool {
    let data = &contents[random.random_range(0..contents.len())];
    let digest = sha256(data);
    let acts: Vec<Act> = (0..3).map(|_| act(&mut random, data.len(), lies)).collect();
    let origin = Script::new(data, &acts);
    let origin = Arc::new(if random.random() { origin } else { origin.without_total() });
    match random.random_range(0..20) {
        0 => _ = fixture.cache.purge(&digest).await,
        1 => fixture.cache.insert(&digest, None, data.clone()).await.unwrap(),
        2 => {
            let file = std::fs::OpenOptions::new().write(true).open(fixture.file(&digest));
            if let Ok(file) = file {
                file.write_all_at(b"rot", random.random_range(0..data.len() as u64)).unwrap();
            }
        }
        _ => {}
    }
    let Ok((content, _)) = fixture.cache.get_or_fill(&digest, origin).await else { return false };
    // Ranges of unproven content are only as true as the origins.
    let start = if lies || random.random() { 0 } else { random.random_range(0..data.len()) };
    let end = if lies || random.random() { data.len() } else { random.random_range(start..=data.len()) };
    let until = (end < data.len()).then_some(end as u64);
    let mut reader = content.read(start as u64, until);
    if random.random_range(0..10) == 0 {
        _ = reader.next().await; // and gone
        return false;
    }
    match collect(reader).await {
        Ok(bytes) => {
            assert!(bytes == data[start..end], "wrong bytes ended cleanly: {} {start}..{end}", data.len());
            true
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_a_clean_end_means_the_right_bytes() {
    for (seed, lies, memory, disk) in [(1, false, 4, 14), (2, true, 4, 14), (3, false, 0, 14), (4, true, 2, 0)] {
        let change = |config: &mut Config| {
            (config.memory, config.disk, config.max_fills) = (size(memory * MIB), size(disk * MIB), 8);
            config.memory_max_object = size(MIB);
        };
        let fixture = Arc::new(Fixture::new(change).await);
        let lens = [1, 70_000, 200_000, 900_000, MIB + 1, 3 * MIB, 5 * MIB + 9, 9 * MIB];
        let contents: Arc<Vec<Bytes>> = Arc::new(lens.iter().map(|len| data(*len, seed)).collect());
        let mut clients = Vec::new();
        for n in 0..150 {
            let (fixture, contents) = (fixture.clone(), contents.clone());
            let random = StdRng::seed_from_u64(seed * 1000 + n);
            clients.push(tokio::spawn(async move { one_client(&fixture, &contents, random, lies).await }));
            if n % 4 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let mut clean = 0;
        for client in clients {
            clean += usize::from(client.await.unwrap());
        }
        assert!(clean > 30, "only {clean} of 150 with seed {seed}");
        fixture.settled().await;
        while fixture.cache.shared.disk.under_way() != (0, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let blobs = folder_bytes(&fixture.config.path.join("blobs"));
        assert!(blobs <= (disk * MIB) as u64);
        assert_eq!(fixture.metrics.disk.bytes.get() as u64, blobs);
    }
}
