//! Walks over everything: the links of all repositories or of one, the blobs, and what is in the trash. For who looks after
//! storage; memory is bounded as for [`Storage::below`], and so is what is told of what changes meanwhile.

use std::time::SystemTime;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use super::Error;
use super::driver::Entry;
use super::layout::{self, Found, Link};
use super::storage::Storage;
use crate::oci::{Algorithm, Digest, RepositoryName};

/// A blob in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When its bytes were written last, by the store's clock.
    pub changed: SystemTime,
}

/// Bytes of a blob in the trash; there may be several of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashedBlob {
    pub digest: Digest,
    /// Which move it was.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// A link or an upload's file, and when it was written last by the store's clock.
pub type FoundAt = (Found, SystemTime);

/// Folders of a repository that hold links and uploads, in the order of their keys.
const FOLDERS: [&str; 3] = ["_layers", "_manifests", "_uploads"];

impl Storage {
    /// Every link and every file of an upload of another program, of all repositories, in the bytewise order of keys: all of
    /// one repository one after the other, first its layers, then revisions, tags and uploads. Repositories do not come in the
    /// catalog's order. `after`: those behind this repository only, which need not be there any more. An error ends it.
    pub fn links(&self, after: Option<&RepositoryName>) -> BoxStream<'_, Result<FoundAt, Error>> {
        self.told(after, |entry| Ok(layout::found(&entry.name).map(|found| (found, entry.changed))))
    }

    /// As [`Self::links`], for who takes away what no link leads to: an error where there are links that are no repository's.
    pub fn all_links(&self, after: Option<&RepositoryName>) -> BoxStream<'_, Result<FoundAt, Error>> {
        self.told(after, |entry| match layout::found(&entry.name) {
            None if layout::is_misplaced(&entry.name) => Err(misplaced(&entry.name)),
            found => Ok(found.map(|found| (found, entry.changed))),
        })
    }

    fn told<'a>(
        &'a self,
        after: Option<&RepositoryName>,
        told: impl Fn(Entry) -> Result<Option<FoundAt>, Error> + Send + 'a,
    ) -> BoxStream<'a, Result<FoundAt, Error>> {
        // Comes after all that is in the repository, and before all that is below its name.
        let after = after.map(|name| format!("{name}/_uploads0"));
        let entries = self.store().below_known(layout::REPOSITORIES, after.as_deref());
        entries.try_filter_map(move |entry| std::future::ready(told(entry))).boxed()
    }

    /// As [`Self::links`], of one repository, without those below its name.
    pub async fn links_of(&self, name: &RepositoryName) -> BoxStream<'_, Result<FoundAt, Error>> {
        let name = name.clone();
        let each = move |folder: &'static str| {
            let below = format!("{name}/{folder}");
            let entries = self.store().below_known(&format!("{}/{below}", layout::REPOSITORIES), None);
            entries.try_filter_map(move |entry| {
                let found = layout::found(&format!("{below}/{}", entry.name));
                std::future::ready(Ok(found.map(|found| (found, entry.changed))))
            })
        };
        futures::stream::iter(FOLDERS).map(each).flatten().boxed()
    }

    /// When a link was written last, by the store's clock; `None` if it is not there.
    pub async fn link_changed(&self, link: &Link) -> Result<Option<SystemTime>, Error> {
        let key = link.key();
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", &key));
        let files = self.store().list(folder).await?.files;
        Ok(files.into_iter().find(|file| file.name == name).map(|file| file.changed))
    }

    /// The blobs whose hash begins with this byte, in the order of their hashes. An error ends it.
    pub fn blobs(&self, algorithm: Algorithm, shard: u8) -> BoxStream<'_, Result<StoredBlob, Error>> {
        let told = move |entry: Entry| {
            let digest = digest_in(algorithm, shard, entry.name.strip_suffix("/data")?)?;
            Some(StoredBlob { digest, size: entry.size, changed: entry.changed })
        };
        let entries = self.store().below_known(&layout::blobs_shard(algorithm, shard), None);
        entries.try_filter_map(move |entry| std::future::ready(Ok(told(entry)))).boxed()
    }

    /// What is in the trash of those, in the order of their hashes. An error ends it.
    pub fn trash(&self, algorithm: Algorithm, shard: u8) -> BoxStream<'_, Result<TrashedBlob, Error>> {
        let told = move |entry: Entry| {
            let (hex, name) = entry.name.split_once('/')?;
            let digest = digest_in(algorithm, shard, hex)?;
            Some(TrashedBlob { digest, name: name.to_owned(), size: entry.size })
        };
        let entries = self.below(&layout::trash_shard(algorithm, shard), None);
        entries.try_filter_map(move |entry| std::future::ready(Ok(told(entry)))).boxed()
    }
}

fn misplaced(below_repositories: &str) -> Error {
    Error::Failed(format!(
        "{}/{below_repositories} is a link, but no repository can have this name: move that folder out of repositories, or name \
         it as a repository, because what only it links would be deleted",
        layout::REPOSITORIES
    ))
}

/// What lies in another byte's folder is found by nobody.
fn digest_in(algorithm: Algorithm, shard: u8, hex: &str) -> Option<Digest> {
    layout::digest_of_folder(algorithm, hex).filter(|digest| digest.hash().first() == Some(&shard))
}
