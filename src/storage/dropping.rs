//! A tag that goes although nobody keeps others from pushing it meanwhile: it goes as somebody has seen it, or stays.
//!
//! A push writes a line of the tag's history before the tag itself. So who deletes the tag first, and looks at its history then, sees
//! of a push whose tag he deleted that there is a line which was not there before; and a tag that is written after he deleted it stays.
//! What is left: a push that had written its line when he looked first, and writes the tag in the moment before he deletes it.

use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::layout::{self, Found, Link};
use super::metrics::Action;
use super::storage::Storage;
use super::{Error, driver::Entry};
use crate::oci::{Digest, RepositoryName, Tag};

/// The file that is the tag.
const CURRENT: &str = "current/link";
/// Files of a history that are deleted at once.
const AT_ONCE: usize = 16;

/// A tag's files, as they were when somebody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFiles {
    /// When the tag was set last, by the store's clock; `None`: it is not there.
    pub changed: Option<SystemTime>,
    history: Vec<Entry>,
}

impl TagFiles {
    /// Each digest that the tag has led to, and when it was set to that last.
    pub fn history(&self, name: &RepositoryName, tag: &Tag) -> Vec<(Digest, SystemTime)> {
        self.history.iter().filter_map(|entry| Some((led(name, tag, &entry.name)?, entry.changed))).collect()
    }
}

impl Storage {
    pub async fn tag_files(&self, name: &RepositoryName, tag: &Tag) -> Result<TagFiles, Error> {
        let mut files = TagFiles::default();
        let mut entries = self.below(&layout::tag_folder(name, tag), None);
        while let Some(entry) = entries.try_next().await? {
            match entry.name == CURRENT {
                true => files.changed = Some(entry.changed),
                false => files.history.push(entry),
            }
        }
        Ok(files)
    }

    /// Deletes the tag. False: somebody has pushed it since it was `seen`; it leads to what he pushed.
    pub async fn tag_drop(&self, name: &RepositoryName, tag: &Tag, seen: &TagFiles) -> Result<bool, Error> {
        let current = Link::Tag(name.clone(), tag.clone());
        self.link_delete(&current).await?;
        let now = self.tag_files(name, tag).await?;
        let pushed = now.history.iter().filter(|entry| !seen.history.contains(entry));
        let pushed = pushed.filter_map(|entry| Some((entry.changed, led(name, tag, &entry.name)?)));
        if let Some((_, digest)) = pushed.max_by_key(|(changed, _)| *changed) {
            // Unless he has set it himself by now.
            self.link_create(&current, &digest).await?;
            return Ok(false);
        }
        let folder = layout::tag_folder(name, tag);
        let keys = now.history.iter().map(|entry| format!("{folder}/{}", entry.name));
        let each = keys.map(|key| async move { self.store().delete(&key).await.map(drop) }.boxed());
        let each: Vec<BoxFuture<'_, Result<(), Error>>> = each.collect();
        futures::stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        if let Some(disk) = self.store().files() {
            // Other programs take a folder for a tag.
            self.store().with_disk(Action::Delete, disk, move |disk| disk.remove_hollow(&folder)).await?;
        }
        Ok(true)
    }
}

/// Where a line of a tag's history leads.
fn led(name: &RepositoryName, tag: &Tag, below: &str) -> Option<Digest> {
    match layout::found(&format!("{name}/_manifests/tags/{tag}/{below}")) {
        Some(Found::TagIndex(_, _, digest)) => Some(digest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::oci::Algorithm;
    use crate::storage::tests::{in_memory, on_disk};

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    /// A tag that was pushed twice; on both kinds of storage.
    async fn each() -> Vec<(Arc<Storage>, Option<tempfile::TempDir>)> {
        let (disk, folder) = on_disk().await;
        let all = vec![(in_memory().await, None), (disk, Some(folder))];
        for (storage, _) in &all {
            for text in ["1", "2"] {
                storage.link_put(&history(text), &digest(text)).await.unwrap();
                storage.link_put(&current(), &digest(text)).await.unwrap();
            }
        }
        all
    }

    fn names() -> (RepositoryName, Tag) {
        ("a/b".parse().unwrap(), "v1".parse().unwrap())
    }

    fn current() -> Link {
        let (name, tag) = names();
        Link::Tag(name, tag)
    }

    fn history(text: &str) -> Link {
        let (name, tag) = names();
        Link::TagIndex(name, tag, digest(text))
    }

    #[tokio::test]
    async fn a_tag_that_nobody_pushes_goes_with_all_of_its_folder() {
        let (name, tag) = names();
        for (storage, folder) in each().await {
            let seen = storage.tag_files(&name, &tag).await.unwrap();
            assert!(seen.changed.is_some());
            let history: Vec<Digest> = seen.history(&name, &tag).iter().map(|(digest, _)| *digest).collect();
            assert!(history.len() == 2 && ["1", "2"].iter().all(|text| history.contains(&digest(text))), "{history:?}");
            assert!(storage.tag_drop(&name, &tag, &seen).await.unwrap());
            assert_eq!(storage.tag_files(&name, &tag).await.unwrap(), TagFiles::default());
            if let Some(folder) = folder {
                let left = folder.path().join("registry").join(layout::tag_folder(&name, &tag));
                assert!(!left.exists(), "{left:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_tag_that_is_pushed_meanwhile_leads_to_what_was_pushed() {
        let (name, tag) = names();
        // What it leads to already, too: its line is written again then.
        for text in ["2", "3"] {
            for (storage, _) in each().await {
                for is_set in [false, true] {
                    let seen = storage.tag_files(&name, &tag).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await; // a filesystem's clock is coarse
                    storage.link_put(&history(text), &digest(text)).await.unwrap();
                    if is_set {
                        storage.link_put(&current(), &digest(text)).await.unwrap();
                    }
                    assert!(!storage.tag_drop(&name, &tag, &seen).await.unwrap());
                    assert_eq!(storage.link(&current()).await.unwrap(), Some(digest(text)));
                }
            }
        }
    }
}
