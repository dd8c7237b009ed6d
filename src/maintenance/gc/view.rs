//! What a walk tells of one repository.

use std::hash::{BuildHasher as _, RandomState};
use std::time::SystemTime;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};
use crate::storage::{Error, Found, FoundAt, Storage};

/// All links of a repository, as a walk found them; what came meanwhile may be in it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub name: RepositoryName,
    /// With the times at which the links were written last, by the store's clock.
    pub layers: Vec<(Digest, SystemTime)>,
    pub revisions: Vec<(Digest, SystemTime)>,
    pub tags: Vec<(Tag, SystemTime)>,
    pub indexes: Vec<(Tag, Digest, SystemTime)>,
    /// The youngest file of an upload of another program.
    pub upload: Option<SystemTime>,
}

impl View {
    pub fn empty(name: RepositoryName) -> Self {
        let (layers, revisions, tags, indexes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        View { name, layers, revisions, tags, indexes, upload: None }
    }

    /// Of one repository only, now.
    pub async fn of(storage: &Storage, name: &RepositoryName) -> Result<Self, Error> {
        let mut view = View::empty(name.clone());
        let mut links = storage.links_of(name).await;
        while let Some(link) = links.try_next().await? {
            view.take(link);
        }
        Ok(view.whole())
    }

    /// In the order in which it is searched: walks tell so already, but for stores with an order of their own.
    fn whole(mut self) -> Self {
        self.layers.sort_unstable();
        self.revisions.sort_unstable();
        self
    }

    fn take(&mut self, (found, changed): FoundAt) {
        match found {
            Found::Layer(_, digest) => self.layers.push((digest, changed)),
            Found::Revision(_, digest) => self.revisions.push((digest, changed)),
            Found::Tag(_, tag) => self.tags.push((tag, changed)),
            Found::TagIndex(_, tag, digest) => self.indexes.push((tag, digest, changed)),
            Found::Upload(_) => self.upload = self.upload.max(Some(changed)),
        }
    }

    /// Links and files.
    pub fn len(&self) -> usize {
        let upload = usize::from(self.upload.is_some());
        self.layers.len() + self.revisions.len() + self.tags.len() + self.indexes.len() + upload
    }

    /// When the link was written last.
    pub fn layer(&self, digest: &Digest) -> Option<SystemTime> {
        find(&self.layers, digest)
    }

    pub fn revision(&self, digest: &Digest) -> Option<SystemTime> {
        find(&self.revisions, digest)
    }

    pub fn index(&self, tag: &Tag, digest: &Digest) -> Option<SystemTime> {
        let found = self.indexes.iter().find(|(other, led, _)| other == tag && led == digest);
        found.map(|(_, _, changed)| *changed)
    }

    /// A link was written again.
    pub fn add(&mut self, digest: Digest, is_revision: bool, changed: SystemTime) {
        let links = if is_revision { &mut self.revisions } else { &mut self.layers };
        links.push((digest, changed));
        links.sort_unstable();
    }

    /// Links whose bytes may be under another digest: distribution links a sha512 digest to the sha256 one.
    pub fn may_be_aliases(&self) -> impl Iterator<Item = (&Digest, bool)> {
        let long = |(digest, _): &&(Digest, SystemTime)| digest.algorithm() == Algorithm::Sha512;
        let layers = self.layers.iter().filter(long).map(|(digest, _)| (digest, false));
        layers.chain(self.revisions.iter().filter(long).map(|(digest, _)| (digest, true)))
    }

    /// A number that is another one when there are other manifests (or links that may be aliases) than before, or when one of them
    /// was written again. Equal numbers mean that nothing new need be read.
    pub fn print(&self, hasher: &RandomState) -> u64 {
        let aliases = self.layers.iter().filter(|(digest, _)| digest.algorithm() == Algorithm::Sha512);
        let all = aliases.map(|link| (0, link)).chain(self.revisions.iter().map(|link| (1, link)));
        all.fold(0, |print: u64, link| print.wrapping_add(hasher.hash_one(link)))
    }
}

fn find(links: &[(Digest, SystemTime)], digest: &Digest) -> Option<SystemTime> {
    let at = links.binary_search_by(|(other, _)| other.cmp(digest)).ok()?;
    links.get(at).map(|(_, changed)| *changed)
}

/// Every repository, in the order in which storage tells of them.
pub fn all<'a>(storage: &'a Storage, after: Option<&RepositoryName>) -> BoxStream<'a, Result<View, Error>> {
    struct Walk<'a> {
        links: BoxStream<'a, Result<FoundAt, Error>>,
        /// Of the repository that is being told of.
        view: Option<View>,
    }
    let begin = Walk { links: storage.all_links(after), view: None };
    let next = |mut walk: Walk<'a>| async move {
        loop {
            let Some(link) = walk.links.try_next().await? else {
                return Ok(walk.view.take().map(|view| (view.whole(), walk)));
            };
            let name = link.0.repository();
            let done = match &mut walk.view {
                Some(view) if view.name == *name => {
                    view.take(link);
                    continue;
                }
                other => {
                    let mut view = View::empty(name.clone());
                    view.take(link);
                    other.replace(view)
                }
            };
            if let Some(view) = done {
                return Ok(Some((view.whole(), walk)));
            }
        }
    };
    futures::stream::try_unfold(begin, next).boxed()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::Link;
    use crate::storage::tests::in_memory;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[tokio::test]
    async fn each_repository_is_told_of_once_with_all_its_links() {
        let storage = in_memory().await;
        for name in ["a", "a-b", "a/b", "a/0", "b"] {
            let name: RepositoryName = name.parse().unwrap();
            for link in [
                Link::Layer(name.clone(), digest("1")),
                Link::Layer(name.clone(), Digest::of(Algorithm::Sha512, b"1")),
                Link::Revision(name.clone(), digest("2")),
                Link::Tag(name.clone(), "v1".parse().unwrap()),
                Link::TagIndex(name.clone(), "v1".parse().unwrap(), digest("2")),
            ] {
                storage.link_put(&link, &digest("1")).await.unwrap();
            }
        }
        let views: Vec<View> = all(&storage, None).try_collect().await.unwrap();
        let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["a-b", "a/0", "a", "a/b", "b"]);
        for view in &views {
            assert_eq!((view.len(), view.layers.len(), view.upload), (5, 2, None));
            assert!(view.layer(&digest("1")).is_some() && view.revision(&digest("2")).is_some());
            assert_eq!(view.layer(&digest("2")), None);
            assert_eq!(View::of(&storage, &view.name).await.unwrap(), *view);
            assert_eq!(view.may_be_aliases().count(), 1);
        }
        let after = all(&storage, Some(&"a".parse().unwrap())).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(after.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["a/b", "b"]);
    }

    #[tokio::test]
    async fn a_folder_that_somebody_renamed_is_not_taken_for_nothing() {
        let storage = in_memory().await;
        storage.link_put(&Link::Layer("a".parse().unwrap(), digest("1")), &digest("1")).await.unwrap();
        let key = Link::Layer("b".parse().unwrap(), digest("2")).key().replace("/b/", "/b.OLD/");
        storage.store().put(&key, digest("2").text().into(), crate::storage::Precondition::None).await.unwrap();
        let error = all(&storage, None).try_collect::<Vec<View>>().await.unwrap_err();
        assert!(error.to_string().contains("b.OLD/_layers"), "{error}");
    }

    #[test]
    fn a_view_with_another_manifest_has_another_print() {
        let hasher = RandomState::new();
        let now = SystemTime::now();
        let mut view = View::empty("a".parse().unwrap());
        let empty = view.print(&hasher);
        view.layers.push((digest("1"), now));
        assert_eq!(view.print(&hasher), empty);
        let mut prints = vec![empty];
        view.revisions.push((digest("2"), now));
        prints.push(view.print(&hasher));
        view.revisions[0].1 += Duration::from_secs(1);
        prints.push(view.print(&hasher));
        view.layers.push((Digest::of(Algorithm::Sha512, b"1"), now));
        prints.push(view.print(&hasher));
        let before = prints.clone();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), before.len());
    }
}
