//! The links of one repository, as a walk over all of them tells them.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::layout::Found;
use crate::storage::{Error, FoundAt};

/// What one repository links; each list in the order of its keys. Takes memory for all of it.
#[derive(Debug, Default)]
pub(in crate::maintenance) struct Holdings {
    pub(in crate::maintenance) layers: Vec<Digest>,
    pub(in crate::maintenance) revisions: Vec<Digest>,
    pub(in crate::maintenance) tags: Vec<Tag>,
    /// Which manifests a tag has led to.
    pub(in crate::maintenance) histories: Vec<(Tag, Digest)>,
}

impl Holdings {
    fn add(&mut self, found: Found) {
        match found {
            Found::Layer(_, digest) => self.layers.push(digest),
            Found::Revision(_, digest) => self.revisions.push(digest),
            Found::Tag(_, tag) => self.tags.push(tag),
            Found::TagIndex(_, tag, digest) => self.histories.push((tag, digest)),
            Found::Upload(_) => {}
        }
    }

    fn sort(&mut self) {
        self.layers.sort_unstable();
        self.revisions.sort_unstable();
    }

    pub(in crate::maintenance) fn has_layer(&self, digest: &Digest) -> bool {
        self.layers.binary_search(digest).is_ok()
    }

    pub(in crate::maintenance) fn has_revision(&self, digest: &Digest) -> bool {
        self.revisions.binary_search(digest).is_ok()
    }

    /// All links of one repository.
    pub(super) async fn gather(mut links: BoxStream<'_, Result<FoundAt, Error>>) -> Result<Self, Error> {
        let mut held = Holdings::default();
        while let Some((found, _)) = links.try_next().await? {
            held.add(found);
        }
        held.sort();
        Ok(held)
    }
}

/// One repository after the other, of links that come with all of one repository together.
pub(in crate::maintenance) fn grouped<'a>(
    links: BoxStream<'a, Result<FoundAt, Error>>,
) -> BoxStream<'a, Result<(RepositoryName, Holdings), Error>> {
    // The links, and the first one of the repository that comes next.
    let begin = (links, None::<Found>);
    futures::stream::try_unfold(begin, |(mut links, mut first)| async move {
        if first.is_none() {
            first = links.try_next().await?.map(|(found, _)| found);
        }
        let Some(first) = first else { return Ok(None) };
        let (name, mut held) = (first.repository().clone(), Holdings::default());
        held.add(first);
        let mut next = None;
        while let Some((found, _)) = links.try_next().await? {
            if *found.repository() != name {
                next = Some(found);
                break;
            }
            held.add(found);
        }
        held.sort();
        Ok(Some(((name, held), (links, next))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[tokio::test]
    async fn each_repository_is_told_once_with_all_its_links() {
        let digest = |text: &str| Digest::of(Algorithm::Sha256, text.as_bytes());
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let tag: Tag = "v1".parse().unwrap();
        let links = [
            Found::Layer(name("a"), digest("2")),
            Found::Layer(name("a"), digest("1")),
            Found::Revision(name("a"), digest("3")),
            Found::TagIndex(name("a"), tag.clone(), digest("3")),
            Found::Upload(name("a/b")),
            Found::Tag(name("c"), tag.clone()),
        ];
        let at = std::time::SystemTime::now();
        let links = futures::stream::iter(links.map(|found| Ok((found, at)))).boxed();
        let told: Vec<_> = grouped(links).try_collect().await.unwrap();
        let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "c"]);
        let held = &told[0].1;
        assert!(held.has_layer(&digest("1")) && held.has_layer(&digest("2")) && held.has_revision(&digest("3")));
        assert!(!held.has_layer(&digest("3")) && held.histories == [(tag.clone(), digest("3"))]);
        assert_eq!(told[2].1.tags, [tag]);
    }
}
