//! What a cache holds of each repository, and which of it is worth something together only. Bookkeeping: no I/O, no waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::mirror::TagRecord;
use crate::mirror::image::{Image, Named};
use crate::oci::{Digest, RepositoryName, Tag};

/// Repositories, and what each may hold.
pub(super) const MAX_REPOSITORIES: usize = 10_000;
pub(super) const MAX_TAGS: usize = 10_000;
pub(super) const MAX_BLOBS: usize = 100_000;
/// Manifests of all repositories together; beyond, the one that was pulled longest ago is forgotten.
pub(super) const MAX_MANIFESTS: usize = 50_000;

/// There is no place for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is kept already: {0}")]
pub(super) struct Full(&'static str);

#[derive(Default)]
pub(super) struct Books {
    repositories: HashMap<RepositoryName, Repository>,
    /// Images and indexes, of whatever repository.
    manifests: HashMap<Digest, Held>,
    /// Images by when they were last pulled.
    pulls: BTreeSet<(u64, Digest)>,
    /// Images that need a blob; indexes that lead to an image.
    users: HashMap<Digest, Vec<Digest>>,
    /// Repositories that hold a blob or manifest.
    holders: HashMap<Digest, Vec<RepositoryName>>,
    /// The newest time in `pulls`.
    clock: u64,
    /// What changed since it was saved.
    dirty: HashSet<RepositoryName>,
}

/// Of one repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Repository {
    pub tags: BTreeMap<Tag, TagRecord>,
    pub manifests: BTreeSet<Digest>,
    /// With their sizes.
    pub blobs: BTreeMap<Digest, u64>,
}

/// A manifest that some repository holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub index: bool,
    /// The blobs of an image, or the manifests of an index.
    pub parts: Vec<Digest>,
    /// When it was last pulled: milliseconds since 1970, each once.
    pub pulled: u64,
}

impl Held {
    pub(super) fn of(image: &Image, pulled: u64) -> Self {
        match image {
            Image::Index(children) => {
                Held { index: true, parts: children.iter().map(|child| child.digest).collect(), pulled }
            }
            Image::Single(needed) => {
                Held { index: false, parts: needed.iter().map(|Named { digest, .. }| *digest).collect(), pulled }
            }
        }
    }
}

impl Books {
    pub(super) fn repository(&self, name: &RepositoryName) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn repositories(&self) -> impl Iterator<Item = (&RepositoryName, &Repository)> {
        self.repositories.iter()
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Option<&Held> {
        self.manifests.get(digest)
    }

    /// Whether it changed since this was last asked.
    pub(super) fn take_dirty(&mut self, name: &RepositoryName) -> bool {
        self.dirty.remove(name)
    }

    /// It could not be saved.
    pub(super) fn mark(&mut self, names: impl IntoIterator<Item = RepositoryName>) {
        self.dirty.extend(names);
    }

    /// Some repositories that changed.
    pub(super) fn dirty(&self, most: usize) -> Vec<RepositoryName> {
        self.dirty.iter().take(most).cloned().collect()
    }

    fn entry(&mut self, name: &RepositoryName) -> Result<&mut Repository, Full> {
        if !self.repositories.contains_key(name) && self.repositories.len() >= MAX_REPOSITORIES {
            let holds_nothing = |held: &Repository| held.manifests.is_empty() && held.blobs.is_empty();
            let empty = self.repositories.iter().find(|(_, held)| holds_nothing(held)).map(|(name, _)| name.clone());
            let Some(empty) = empty else { return Err(Full("repositories")) };
            self.repositories.remove(&empty);
            self.dirty.insert(empty);
        }
        self.dirty.insert(name.clone());
        Ok(self.repositories.entry(name.clone()).or_default())
    }

    pub(super) fn put_tag(&mut self, name: &RepositoryName, tag: &Tag, record: TagRecord) -> Result<(), Full> {
        let repository = self.entry(name)?;
        if !repository.tags.contains_key(tag) && repository.tags.len() >= MAX_TAGS {
            // The one of which nobody has asked for longest.
            let oldest = repository.tags.iter().min_by_key(|(_, record)| record.asked).map(|(tag, _)| tag.clone());
            oldest.map(|oldest| repository.tags.remove(&oldest));
        }
        repository.tags.insert(tag.clone(), record);
        Ok(())
    }

    pub(super) fn put_blob(&mut self, name: &RepositoryName, digest: Digest, size: u64) -> Result<(), Full> {
        let repository = self.entry(name)?;
        if !repository.blobs.contains_key(&digest) && repository.blobs.len() >= MAX_BLOBS {
            return Err(Full("blobs"));
        }
        repository.blobs.insert(digest, size);
        add(&mut self.holders, digest, name.clone());
        Ok(())
    }

    pub(super) fn put_manifest(&mut self, name: &RepositoryName, digest: Digest, held: Held) -> Result<(), Full> {
        self.entry(name)?.manifests.insert(digest);
        add(&mut self.holders, digest, name.clone());
        self.clock = self.clock.max(held.pulled);
        if self.manifests.contains_key(&digest) {
            self.pulled(&digest, held.pulled);
            return Ok(());
        }
        for part in &held.parts {
            add(&mut self.users, *part, digest);
        }
        if !held.index {
            self.pulls.insert((held.pulled, digest));
        }
        self.manifests.insert(digest, held);
        while self.manifests.len() > MAX_MANIFESTS && !self.leaving_image().is_empty() {}
        Ok(())
    }

    /// The time for what is pulled now: later than any before.
    pub(super) fn tick(&mut self, now: u64) -> u64 {
        self.clock = now.max(self.clock.saturating_add(1));
        self.clock
    }

    /// An image was pulled.
    pub(super) fn pulled(&mut self, digest: &Digest, when: u64) {
        let Some(held) = self.manifests.get_mut(digest).filter(|held| !held.index && held.pulled < when) else {
            return;
        };
        self.pulls.remove(&(held.pulled, *digest));
        self.pulls.insert((when, *digest));
        held.pulled = when;
        for name in self.holders.get(digest).into_iter().flatten() {
            self.dirty.insert(name.clone());
        }
    }

    /// What leaves in place of a content: the image that was pulled longest ago, if that content is of an image. Nothing: it is of none,
    /// and is forgotten.
    pub(super) fn leaving(&mut self, victim: &Digest) -> Vec<Digest> {
        let is_of_image = |digest: &Digest| self.manifests.get(digest).is_some_and(|held| !held.index);
        let users = self.users.get(victim);
        let of_image = is_of_image(victim)
            || users.is_some_and(|users| users.iter().any(is_of_image))
            || self.manifests.get(victim).is_some_and(|index| index.parts.iter().any(is_of_image));
        match of_image {
            true => self.leaving_image(),
            false => {
                self.forget(victim);
                Vec::new()
            }
        }
    }

    /// The image that was pulled longest ago, with what no other needs; it is forgotten.
    fn leaving_image(&mut self) -> Vec<Digest> {
        let Some((_, image)) = self.pulls.pop_first() else { return Vec::new() };
        let mut leaving = vec![image];
        let indexes = self.users.get(&image).cloned().unwrap_or_default();
        let parts = self.manifests.get(&image).map(|held| held.parts.clone()).unwrap_or_default();
        self.forget(&image);
        // What an index leads to may be gone; an index that leads to nothing is of no use.
        let led = |index: &Digest| {
            self.manifests
                .get(index)
                .is_some_and(|held| held.parts.iter().any(|part| self.manifests.contains_key(part)))
        };
        leaving.extend(indexes.into_iter().filter(|index| !led(index)));
        leaving.extend(parts.into_iter().filter(|part| !self.users.contains_key(part)));
        for digest in &leaving {
            self.forget(digest);
        }
        leaving
    }

    /// It is held nowhere any more.
    pub(super) fn forget(&mut self, digest: &Digest) {
        for name in self.holders.remove(digest).unwrap_or_default() {
            if let Some(repository) = self.repositories.get_mut(&name) {
                repository.manifests.remove(digest);
                repository.blobs.remove(digest);
            }
            self.dirty.insert(name);
        }
        let Some(held) = self.manifests.remove(digest) else { return };
        self.pulls.remove(&(held.pulled, *digest));
        for part in &held.parts {
            if let Some(users) = self.users.get_mut(part) {
                users.retain(|user| user != digest);
                if users.is_empty() {
                    self.users.remove(part);
                }
            }
        }
    }
}

fn add<T: PartialEq>(map: &mut HashMap<Digest, Vec<T>>, key: Digest, value: T) {
    let values = map.entry(key).or_default();
    if !values.contains(&value) {
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn image(books: &mut Books, name: &str, text: &str, blobs: &[&str], when: u64) {
        let name: RepositoryName = name.parse().unwrap();
        let parts: Vec<_> = blobs.iter().map(|blob| digest(blob)).collect();
        for part in &parts {
            books.put_blob(&name, *part, 1).unwrap();
        }
        books.put_manifest(&name, digest(text), Held { index: false, parts, pulled: when }).unwrap();
    }

    fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
        digests.sort_unstable();
        digests
    }

    #[test]
    fn the_image_that_was_pulled_longest_ago_leaves_whole_and_leaves_what_others_need() {
        let mut books = Books::default();
        image(&mut books, "hub/a", "old", &["base", "old layer"], 1);
        image(&mut books, "hub/b", "new", &["base", "new layer"], 2);
        // Whatever would go by itself.
        let left = books.leaving(&digest("new layer"));
        assert_eq!(sorted(left), sorted(vec![digest("old"), digest("old layer")]));
        let a = books.repository(&"hub/a".parse().unwrap()).unwrap();
        assert_eq!(a.blobs.keys().collect::<Vec<_>>(), [&digest("base")], "which is needed elsewhere, and still here");
        assert!(a.manifests.is_empty());
        let left = books.leaving(&digest("base"));
        assert_eq!(sorted(left), sorted(["new", "new layer", "base"].map(digest).to_vec()));
        assert_eq!(books.leaving(&digest("base")), []);
    }

    #[test]
    fn a_pull_makes_an_image_stay() {
        let mut books = Books::default();
        image(&mut books, "hub/a", "one", &["1"], 1);
        image(&mut books, "hub/a", "two", &["2"], 2);
        let now = books.tick(2);
        books.pulled(&digest("one"), now);
        assert!(books.leaving(&digest("1")).contains(&digest("two")));
        assert!(books.leaving(&digest("1")).contains(&digest("one")));
    }

    #[test]
    fn an_index_goes_with_the_last_image_that_it_leads_to() {
        let mut books = Books::default();
        let name: RepositoryName = "hub/a".parse().unwrap();
        image(&mut books, "hub/a", "amd64", &["1"], 1);
        image(&mut books, "hub/a", "arm64", &["2"], 2);
        let parts = vec![digest("amd64"), digest("arm64"), digest("never pulled")];
        books.put_manifest(&name, digest("index"), Held { index: true, parts, pulled: 0 }).unwrap();
        // An index that would go by itself stays while there is an image of it.
        assert_eq!(sorted(books.leaving(&digest("index"))), sorted(vec![digest("amd64"), digest("1")]));
        assert_eq!(sorted(books.leaving(&digest("2"))), sorted(vec![digest("arm64"), digest("2"), digest("index")]));
        assert!(books.repository(&name).unwrap().manifests.is_empty());
    }

    #[test]
    fn what_is_of_no_image_leaves_by_itself_and_is_forgotten() {
        let mut books = Books::default();
        let name: RepositoryName = "hub/a".parse().unwrap();
        image(&mut books, "hub/a", "image", &["layer"], 1);
        books.put_blob(&name, digest("alone"), 5).unwrap();
        assert!(books.leaving(&digest("alone")).is_empty());
        assert!(!books.repository(&name).unwrap().blobs.contains_key(&digest("alone")));
        assert!(books.leaving(&digest("never seen")).is_empty());
        assert!(books.repository(&name).unwrap().manifests.contains(&digest("image")));
    }
}
