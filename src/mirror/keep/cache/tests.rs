//! What the cache keeps of remotes, over evictions and restarts.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::cache::Config;
use crate::oci::{Algorithm, media_type};
use crate::units::Size;

const MIB: usize = 1 << 20;

struct Fixture {
    keep: Arc<CacheKeep>,
    cache: Arc<BlobCache>,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new(disk: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let config = Config { path, disk: Size(disk as u64), memory: Size(0), ..Config::default() };
        let (cache, keep) = Fixture::open(&config).await;
        Fixture { keep, cache, config, _folder: folder }
    }

    async fn open(config: &Config) -> (Arc<BlobCache>, Arc<CacheKeep>) {
        let metrics = crate::cache::Metrics::new(&prometheus::Registry::new()).unwrap();
        let cache = BlobCache::open(config, Arc::new(metrics)).await.unwrap();
        let keep = CacheKeep::open(cache.clone(), &config.path).await;
        (cache, keep)
    }

    async fn reopen(&mut self) {
        self.cache.shutdown().await;
        (self.cache, self.keep) = Fixture::open(&self.config).await;
    }

    /// An image of one layer, made of `seed`; gives the manifest's digest and the layer's.
    async fn pull(&self, repository: &str, seed: u8, size: usize) -> (Digest, Digest) {
        let name = name(repository);
        let layer = Bytes::from(vec![seed; size]);
        let digest = sha256(&layer);
        let blob = json!({"mediaType": "a/b", "digest": digest, "size": size});
        let text = json!({"schemaVersion": 2, "config": blob, "layers": [blob]}).to_string();
        let manifest = KeptManifest { bytes: text.into(), media_type: media_type::OCI_MANIFEST.into() };
        let image = sha256(&manifest.bytes);
        self.keep.put_manifest(&name, &image, &manifest).await.unwrap();
        self.cache.insert(&digest, None, layer).await.unwrap();
        assert!(self.keep.adopt(&name, &digest).await.unwrap());
        self.keep.put_tag(&name, &"latest".parse().unwrap(), &TagRecord::new(image, 1)).await.unwrap();
        (image, digest)
    }

    async fn whole(&self, repository: &str, (image, layer): &(Digest, Digest)) -> (bool, bool) {
        let name = name(repository);
        let manifest = self.keep.manifest(&name, image).await.unwrap().is_some();
        let layer = self.keep.blob(&name, layer).await.unwrap().is_some();
        (manifest, layer)
    }
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_images_leave_and_none_is_left_in_part() {
    let fixture = Fixture::new(10 * MIB).await;
    let mut pulled = Vec::new();
    for seed in 0..20 {
        pulled.push((format!("hub/image{seed}"), fixture.pull(&format!("hub/image{seed}"), seed, MIB).await));
    }
    let mut whole = Vec::new();
    for (name, image) in &pulled {
        let (manifest, layer) = fixture.whole(name, image).await;
        assert_eq!(manifest, layer, "{name}");
        whole.push(manifest);
    }
    assert!(whole.ends_with(&[true; 4]), "the newest stay: {whole:?}");
    assert!(!whole[0] && !whole[1], "the oldest leave: {whole:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_forgets_nothing_that_is_there() {
    let mut fixture = Fixture::new(10 * MIB).await;
    let image = fixture.pull("hub/a/b", 1, MIB).await;
    fixture.reopen().await;
    assert_eq!(fixture.whole("hub/a/b", &image).await, (true, true));
    let manifest = fixture.keep.manifest(&name("hub/a/b"), &image.0).await.unwrap().unwrap();
    assert_eq!(manifest.media_type, media_type::OCI_MANIFEST);
    assert_eq!(fixture.keep.blob_size(&name("hub/a/b"), &image.1).await.unwrap(), Some(MIB as u64));
    let tags = fixture.keep.tags("hub", 10).await.unwrap();
    assert_eq!(tags, [(name("hub/a/b"), "latest".parse().unwrap())]);
    assert_eq!(fixture.keep.tags("hu", 10).await.unwrap(), []);
    let record = fixture.keep.tag(&name("hub/a/b"), &"latest".parse().unwrap()).await.unwrap();
    assert_eq!(record.unwrap().newest(), Some(image.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_file_costs_a_fetch_only() {
    let mut fixture = Fixture::new(10 * MIB).await;
    let image = fixture.pull("hub/a", 1, MIB).await;
    let other = fixture.pull("hub/b", 2, MIB).await;
    std::fs::write(fixture.config.path.join("mirror/hub/a/_held.json"), b"{\"version\":1,").unwrap();
    fixture.reopen().await;
    assert_eq!(fixture.whole("hub/a", &image).await, (false, false));
    assert_eq!(fixture.whole("hub/b", &other).await, (true, true));
    // The bytes are still here, and are taken over once the repository is known to have them.
    assert!(fixture.keep.adopt(&name("hub/a"), &image.1).await.unwrap());
    assert!(fixture.keep.any_manifest(&image.0).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_gives_nothing_that_another_one_holds() {
    let fixture = Fixture::new(10 * MIB).await;
    let image = fixture.pull("hub/private", 1, MIB).await;
    assert_eq!(fixture.whole("hub/public", &image).await, (false, false));
    assert_eq!(fixture.keep.blob_size(&name("hub/public"), &image.1).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cache_lost_is_not_said_to_be_here() {
    let fixture = Fixture::new(10 * MIB).await;
    let image = fixture.pull("hub/a", 1, MIB).await;
    fixture.cache.purge(&image.1).await;
    assert_eq!(fixture.keep.blob_size(&name("hub/a"), &image.1).await.unwrap(), None);
    assert!(fixture.keep.blob(&name("hub/a"), &image.1).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_with_what_is_held() {
    let old = Fixture::new(10 * MIB).await;
    let metrics = Arc::new(crate::cache::Metrics::new(&prometheus::Registry::new()).unwrap());
    let cache = BlobCache::open_beside(&old.config, metrics).await;
    let keep = CacheKeep::open(cache.clone(), &old.config.path).await;
    let image = old.pull("hub/a", 1, MIB).await;
    old.keep.hand_over().await;
    old.cache.hand_over().await;
    cache.take_over().await.unwrap();
    keep.take_over().await;
    while !cache.holds(&image.1) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(keep.manifest(&name("hub/a"), &image.0).await.unwrap().is_some());
    // What the old one still learns, it knows alone.
    old.keep.put_tag(&name("hub/a"), &"late".parse().unwrap(), &TagRecord::new(image.0, 2)).await.unwrap();
    assert!(old.keep.tag(&name("hub/a"), &"late".parse().unwrap()).await.unwrap().is_some());
    let again = CacheKeep::open(cache, &old.config.path).await;
    assert!(again.tag(&name("hub/a"), &"late".parse().unwrap()).await.unwrap().is_none());
}
