//! Contents that leave together.

use super::*;
use crate::cache::Groups;

/// Pairs: the first of them that is not gone leaves whole, whoever would go by itself.
struct Pairs(Mutex<VecDeque<[Digest; 2]>>);

impl Groups for Pairs {
    fn leaving(&self, victim: &Digest) -> Vec<Digest> {
        let mut pairs = self.0.lock();
        match pairs.iter().any(|pair| pair.contains(victim)) {
            true => pairs.pop_front().map(|pair| pair.to_vec()).unwrap_or_default(),
            false => Vec::new(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_leaves_whole_and_in_the_order_of_whoever_knows_it() {
    let fixture = Fixture::new(|config| (config.disk, config.memory) = (size(9 * MIB), size(0))).await;
    let contents: Vec<Bytes> = (0..8).map(|seed| data(MIB, 100 + seed)).collect();
    let digests: Vec<Digest> = contents.iter().map(|content| sha256(content)).collect();
    // The order of coming is not that of the groups.
    let pairs = [[digests[6], digests[1]], [digests[0], digests[7]], [digests[2], digests[3]]];
    fixture.cache.group_by(Arc::new(Pairs(Mutex::new(pairs.into()))));
    for content in &contents {
        fixture.warm(content).await;
    }
    assert!(digests.iter().all(|digest| fixture.cache.holds(digest)));
    fixture.warm(&data(2 * MIB, 200)).await;
    let here: Vec<bool> = digests.iter().map(|digest| fixture.cache.holds(digest)).collect();
    assert_eq!(here, [true, false, true, true, true, true, false, true]);
    for (digest, here) in digests.iter().zip(here) {
        assert_eq!(fixture.file(digest).exists(), here, "{digest}");
    }
    // What was spared is whole.
    assert_eq!(collect(fixture.get(&digests[0]).await.unwrap().read(0, None)).await.unwrap(), contents[0]);
    assert!(folder_bytes(&fixture.config.path.join("blobs")) <= (9 * MIB) as u64);
}
