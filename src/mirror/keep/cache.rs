//! Content that stays in the cache as long as there is room: whole images leave, the one that was pulled longest ago first. What the cache
//! holds of which repository is in files beside it.

mod books;
mod files;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use self::books::{Books, Full, Held};
use self::files::Saved;
use super::super::TagRecord;
use super::super::image::Image;
use super::{Keep, KeepError, KeptBlob, KeptManifest};
use crate::cache::{BlobCache, Content, Groups};
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::remote::config::KeepIn;

/// Below the cache's folder.
const FOLDER: &str = "mirror";
/// Files of repositories that are written beside the one that must be.
const BESIDE: usize = 16;

/// One for a cache: shared by all mirrors that keep their content there.
pub struct CacheKeep {
    cache: Arc<BlobCache>,
    folder: PathBuf,
    /// Never locked while the cache is asked: the cache asks us while its own books are locked.
    books: Mutex<Books>,
    /// One file is written at a time, so that none is written over by an older state.
    saving: tokio::sync::Mutex<()>,
    /// Another process writes the files now.
    away: AtomicBool,
}

impl CacheKeep {
    /// Reads what is known of the cache in `path`, its folder, and answers from now on for what leaves it together.
    pub async fn open(cache: Arc<BlobCache>, path: &Path) -> Arc<Self> {
        let folder = path.join(FOLDER);
        let root = folder.clone();
        let books = tokio::task::spawn_blocking(move || files::read(&root)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "what the cache holds of remotes is not known");
            Books::default()
        });
        let (books, saving) = (Mutex::new(books), tokio::sync::Mutex::default());
        let keep = Arc::new(CacheKeep { cache, folder, books, saving, away: AtomicBool::new(false) });
        keep.cache.group_by(keep.clone());
        keep
    }

    /// Writes the repository's file, unless somebody wrote it since it changed; and some others that changed.
    async fn save(&self, name: &RepositoryName) -> Result<(), KeepError> {
        let _one_at_a_time = self.saving.lock().await;
        if self.away.load(Ordering::Acquire) {
            return Ok(());
        }
        let changed = {
            let mut books = self.books.lock();
            let mut names = books.dirty(BESIDE);
            if !names.contains(name) {
                names.push(name.clone());
            }
            names.retain(|name| books.take_dirty(name));
            names.into_iter().map(|name| (Saved::of(&books, &name), name)).collect::<Vec<_>>()
        };
        let names: Vec<RepositoryName> = changed.iter().map(|(_, name)| name.clone()).collect();
        let root = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || {
            changed.iter().try_for_each(|(saved, name)| files::write(&root, name, saved.as_ref()))
        });
        let written = written.await.map_err(std::io::Error::other).and_then(|written| written);
        if written.is_err() {
            self.books.lock().mark(names);
        }
        written.map_err(|error| KeepError(format!("what the cache holds of a repository cannot be written: {error}")))
    }

    /// Writes down what is not yet.
    pub async fn save_all(&self) {
        loop {
            let Some(name) = self.books.lock().dirty(1).pop() else { break };
            if let Err(error) = self.save(&name).await {
                tracing::warn!(%error, "what the cache holds of a repository is not handed over");
                break;
            }
        }
    }

    /// Another process goes on with the files from now on; what changes here is known here alone.
    pub async fn hand_over(&self) {
        self.save_all().await;
        let _one_at_a_time = self.saving.lock().await;
        self.away.store(true, Ordering::Release);
    }

    /// Goes on with the files as another process has left them.
    pub async fn take_over(&self) {
        let root = self.folder.clone();
        match tokio::task::spawn_blocking(move || files::read(&root)).await {
            Ok(books) => *self.books.lock() = books,
            Err(error) => tracing::error!(%error, "what the cache holds of remotes is not known"),
        }
        self.away.store(false, Ordering::Release);
    }

    /// Changes the books, and saves them.
    async fn change(
        &self,
        name: &RepositoryName,
        change: impl FnOnce(&mut Books) -> Result<(), Full>,
    ) -> Result<(), KeepError> {
        let changed = change(&mut self.books.lock());
        changed.map_err(|full| KeepError(full.to_string()))?;
        self.save(name).await
    }

    fn holds_blob(&self, name: &RepositoryName, digest: &Digest) -> Option<u64> {
        self.books.lock().repository(name)?.blobs.get(digest).copied()
    }

    fn holds_manifest(&self, name: &RepositoryName, digest: &Digest) -> bool {
        self.books.lock().repository(name).is_some_and(|repository| repository.manifests.contains(digest))
    }

    /// The bytes of a manifest, and what it was called when it came.
    async fn read(&self, digest: &Digest) -> Result<Option<(Bytes, Option<String>)>, KeepError> {
        let Some(content) = self.cache.get(digest).await else { return Ok(None) };
        if content.total().is_none_or(|total| total > MAX_MANIFEST as u64) {
            return Ok(None);
        }
        let media_type = content.media_type().map(str::to_owned);
        if let Some(bytes) = content.bytes() {
            return Ok(Some((bytes.clone(), media_type)));
        }
        let (mut whole, mut reader) = (BytesMut::new(), content.read(0, None));
        while let Some(bytes) = reader.next().await {
            match bytes {
                Ok(bytes) => whole.extend_from_slice(&bytes),
                // Damaged: by now it is not in the cache any more.
                Err(_) => return Ok(None),
            }
        }
        Ok(Some((whole.freeze(), media_type)))
    }
}

impl Groups for CacheKeep {
    fn leaving(&self, victim: &Digest) -> Vec<Digest> {
        self.books.lock().leaving(victim)
    }
}

#[async_trait]
impl Keep for CacheKeep {
    fn stays_in(&self) -> KeepIn {
        KeepIn::Cache
    }

    async fn manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptManifest>, KeepError> {
        if !self.holds_manifest(name, digest) {
            return Ok(None);
        }
        Ok(self.read(digest).await?.map(|(bytes, media_type)| {
            let implied = || Manifest::parse(&bytes).unwrap_or_default().implied_media_type().to_owned();
            let media_type = media_type.unwrap_or_else(implied);
            KeptManifest { bytes, media_type }
        }))
    }

    async fn put_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &KeptManifest,
    ) -> Result<(), KeepError> {
        let inserted = self.cache.insert(digest, Some(&manifest.media_type), manifest.bytes.clone()).await;
        inserted.map_err(|error| KeepError(error.to_string()))?;
        let image = Image::of(manifest);
        self.change(name, |books| {
            let now = books.tick(now());
            books.put_manifest(name, *digest, Held::of(&image, now))
        })
        .await
    }

    async fn any_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, KeepError> {
        Ok(self.read(digest).await?.map(|(bytes, _)| bytes))
    }

    async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, KeepError> {
        Ok(self.holds_blob(name, digest).filter(|_| self.cache.holds(digest)))
    }

    async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptBlob>, KeepError> {
        if self.holds_blob(name, digest).is_none() {
            return Ok(None);
        }
        let found = self.cache.lookup(digest).await;
        Ok(found.map(|(content, source)| KeptBlob::Cached(content, source)))
    }

    async fn adopt(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, KeepError> {
        let Some(size) = self.cache.get(digest).await.and_then(|content| content.total()) else { return Ok(false) };
        self.change(name, |books| books.put_blob(name, *digest, size)).await?;
        Ok(true)
    }

    async fn put_blob(&self, name: &RepositoryName, digest: &Digest, content: Content) -> Result<(), KeepError> {
        let size = content.total().ok_or_else(|| KeepError("its size is not known".to_owned()))?;
        self.change(name, |books| books.put_blob(name, *digest, size)).await
    }

    async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagRecord>, KeepError> {
        Ok(self.books.lock().repository(name).and_then(|repository| repository.tags.get(tag)).cloned())
    }

    async fn put_tag(&self, name: &RepositoryName, tag: &Tag, record: &TagRecord) -> Result<(), KeepError> {
        self.change(name, |books| {
            let there = books.repository(name).and_then(|repository| repository.tags.get(tag));
            let joined = there.map_or_else(|| record.clone(), |there| record.joined(there));
            books.put_tag(name, tag, joined)
        })
        .await
    }

    async fn pulled(&self, name: &RepositoryName, digest: &Digest) {
        let mut books = self.books.lock();
        if books.repository(name).is_some_and(|repository| repository.manifests.contains(digest)) {
            let now = books.tick(now());
            books.pulled(digest, now);
        }
    }

    async fn tags(&self, path: &str, limit: usize) -> Result<Vec<(RepositoryName, Tag)>, KeepError> {
        let books = self.books.lock();
        let below = |name: &RepositoryName| {
            let rest = name.as_str().strip_prefix(path);
            rest.is_some_and(|rest| path.is_empty() || rest.starts_with('/'))
        };
        let tags = books
            .repositories()
            .filter(|(name, _)| below(name))
            .flat_map(|(name, repository)| repository.tags.keys().map(|tag| (name.clone(), tag.clone())));
        let mut tags: Vec<_> = tags.take(limit).collect();
        tags.sort_by(|one, other| (&one.0, one.1.as_str()).cmp(&(&other.0, other.1.as_str())));
        Ok(tags)
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or_default()
}
