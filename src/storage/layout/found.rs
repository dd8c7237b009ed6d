//! What a key below `repositories` is: the inverse of [`Link::key`](super::Link::key), for who walks over all of them.

use super::{REPOSITORIES, TREE, digest_of_folder};
use crate::oci::{Digest, RepositoryName, Tag};

/// What a walk over repositories found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    Layer(RepositoryName, Digest),
    Revision(RepositoryName, Digest),
    Tag(RepositoryName, Tag),
    TagIndex(RepositoryName, Tag, Digest),
    /// Anything of a push under way of another program: it keeps them in the repository, we do not.
    Upload(RepositoryName),
}

impl Found {
    pub fn repository(&self) -> &RepositoryName {
        match self {
            Found::Layer(name, _)
            | Found::Revision(name, _)
            | Found::Tag(name, _)
            | Found::TagIndex(name, _, _)
            | Found::Upload(name) => name,
        }
    }
}

/// What the file `<name>/_layers/…`, relative to `repositories`, is. `None` for what no program reads: names that cannot be
/// asked for, digests that we cannot verify (their blobs are not ours to judge either), strays.
pub fn found(below_repositories: &str) -> Option<Found> {
    // No part of a repository's name begins with '_'; a tag may, but comes later.
    let (name, below) = below_repositories.split_once("/_")?;
    let name: RepositoryName = name.parse().ok()?;
    let (folder, below) = below.split_once('/')?;
    match folder {
        "layers" => Some(Found::Layer(name, digest_of_link(below)?)),
        "manifests" => manifest(name, below),
        "uploads" => Some(Found::Upload(name)),
        _ => None,
    }
}

/// Whether this, which is nothing by [`found`], is a link of a blob or a manifest all the same: in a folder that cannot be a
/// repository's, because somebody renamed or copied one by hand. Nobody asks for what is there, but it is wanted. Hidden folders
/// are other programs'.
pub fn is_misplaced(below_repositories: &str) -> bool {
    let folders = ["/_layers/", "/_manifests/revisions/"];
    let parted = folders.iter().find_map(|folder| below_repositories.rsplit_once(folder));
    let Some((name, link)) = parted else { return false };
    let is_hidden = name.split('/').any(|part| part.starts_with('.'));
    !is_hidden && digest_of_link(link).is_some() && found(below_repositories).is_none()
}

fn manifest(name: RepositoryName, below: &str) -> Option<Found> {
    let (folder, below) = below.split_once('/')?;
    match folder {
        "revisions" => Some(Found::Revision(name, digest_of_link(below)?)),
        "tags" => {
            let (tag, below) = below.split_once('/')?;
            let tag = tag.parse().ok()?;
            match below.strip_prefix("index/") {
                Some(index) => Some(Found::TagIndex(name, tag, digest_of_link(index)?)),
                None => (below == "current/link").then_some(Found::Tag(name, tag)),
            }
        }
        _ => None,
    }
}

/// `<alg>/<hex>/link`
fn digest_of_link(below: &str) -> Option<Digest> {
    let (algorithm, below) = below.split_once('/')?;
    digest_of_folder(algorithm.parse().ok()?, below.strip_suffix("/link")?)
}

/// The one file that matters in the folder `name` of the folder with this key, where the tree has but one there: so that a walk
/// need not look into each of millions.
pub fn only_file(folder: &str, name: &str) -> Option<&'static str> {
    let is_hash = matches!(name.len(), 64 | 128) && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some(below) = folder.strip_prefix(REPOSITORIES) else {
        let mut parts = folder.strip_prefix(TREE)?.split('/');
        let blobs = parts.nth(1) == Some("blobs") && parts.count() == 2;
        return (blobs && is_hash).then_some("data");
    };
    let (_, below) = below.split_once("/_")?;
    let (tag, holds) = match below.strip_prefix("manifests/tags/") {
        Some(below) => below.split_once('/').unwrap_or((below, "")),
        None => ("", below),
    };
    match holds {
        "layers/sha256" | "layers/sha512" | "manifests/revisions/sha256" | "manifests/revisions/sha512"
            if tag.is_empty() =>
        {
            is_hash.then_some("link")
        }
        "index/sha256" | "index/sha512" if !tag.is_empty() => is_hash.then_some("link"),
        "" if !tag.is_empty() => (name == "current").then_some("link"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Link, blob};
    use super::*;
    use crate::oci::Algorithm;

    fn digests() -> [Digest; 2] {
        [Digest::of(Algorithm::Sha256, b"x"), Digest::of(Algorithm::Sha512, b"x")]
    }

    fn relative(key: &str) -> &str {
        key.strip_prefix(REPOSITORIES).and_then(|key| key.strip_prefix('/')).expect("a key of a repository")
    }

    #[test]
    fn every_link_is_found_by_its_key() {
        for name in ["a", "a/b", "a-b/c_d/e__f", "0/1.2"] {
            let name: RepositoryName = name.parse().expect("a name");
            for digest in digests() {
                let (layer, revision) = (Link::Layer(name.clone(), digest), Link::Revision(name.clone(), digest));
                assert_eq!(found(relative(&layer.key())), Some(Found::Layer(name.clone(), digest)));
                assert_eq!(found(relative(&revision.key())), Some(Found::Revision(name.clone(), digest)));
                for tag in ["v1", "_x", "_layers", "index", "current", "link"] {
                    let tag: Tag = tag.parse().expect("a tag");
                    let current = Link::Tag(name.clone(), tag.clone());
                    assert_eq!(found(relative(&current.key())), Some(Found::Tag(name.clone(), tag.clone())));
                    let index = Link::TagIndex(name.clone(), tag.clone(), digest);
                    assert_eq!(found(relative(&index.key())), Some(Found::TagIndex(name.clone(), tag, digest)));
                }
            }
        }
    }

    /// Its folder, the folder's own name, and the file.
    fn parts(key: &str) -> (&str, &str, &str) {
        let (path, file) = key.rsplit_once('/').expect("a folder");
        let (folder, name) = path.rsplit_once('/').expect("two folders");
        (folder, name, file)
    }

    #[test]
    fn links_and_blobs_are_alone_in_their_folders_and_nothing_else_is_taken_for_one() {
        for name in ["a", "a/b", "sha256", "tags/current", "layers/sha256"] {
            let name: RepositoryName = name.parse().expect("a name");
            for digest in digests() {
                for tag in ["v1", "current", "index", "_layers", "sha256"] {
                    let tag: Tag = tag.parse().expect("a tag");
                    for key in [
                        Link::Layer(name.clone(), digest).key(),
                        Link::Revision(name.clone(), digest).key(),
                        Link::Tag(name.clone(), tag.clone()).key(),
                        Link::TagIndex(name.clone(), tag, digest).key(),
                        blob(&digest),
                    ] {
                        let (folder, name, file) = parts(&key);
                        assert_eq!(only_file(folder, name), Some(file), "{key}");
                        // Nor is any folder on the way to it.
                        let mut path = folder;
                        while let Some((above, name)) = path.rsplit_once('/') {
                            assert_eq!(only_file(above, name), None, "{path}");
                            path = above;
                        }
                    }
                }
                // Names of repositories look like anything.
                let hex = digest.hex();
                for above in ["sha256", "layers/sha256", "a/index/sha256", "tags", "blobs/sha256/ab"] {
                    let folder = format!("{REPOSITORIES}/{above}");
                    assert_eq!(only_file(&folder, &hex), None, "{folder}");
                    assert_eq!(only_file(&folder, "current"), None, "{folder}");
                }
            }
        }
    }

    #[test]
    fn uploads_of_other_programs_are_found_whatever_is_in_them() {
        let name: RepositoryName = "a/b".parse().expect("a name");
        for below in ["id/data", "id/startedat", "id/hashstates/sha256/0", "x"] {
            assert_eq!(found(&format!("a/b/_uploads/{below}")), Some(Found::Upload(name.clone())));
        }
    }

    #[test]
    fn links_of_a_folder_that_somebody_renamed_are_misplaced_and_other_strays_are_not() {
        for digest in digests() {
            let link = format!("{}/{}/link", digest.algorithm().name(), digest.hex());
            for name in ["Old", "a/b.OLD", "a~", "a/_old", "_old", "a/lost+found/b"] {
                for folder in ["_layers", "_manifests/revisions"] {
                    assert!(is_misplaced(&format!("{name}/{folder}/{link}")), "{name}/{folder}");
                    assert!(!is_misplaced(&format!("{name}/{folder}/sha256/link")), "{name}/{folder}");
                }
            }
            for other in [
                format!("a/_layers/{link}"),
                format!("a/_manifests/revisions/{link}"),
                format!("a/_manifests/tags/_layers/index/{link}"),
                format!("a/_manifests/revisions/{link}/signatures/{link}"),
                format!("a/_manifests/{link}"),
                format!("_layers/{link}"),
                format!(".snapshot/hourly.0/a/_layers/{link}"),
                format!("a/_layers/sha384/{}/link", digest.hex()),
                "Old/_manifests/tags/v1/current/link".into(),
            ] {
                assert!(!is_misplaced(&other), "{other}");
            }
        }
    }

    #[test]
    fn strays_are_nothing() {
        let digest = digests()[0].hex();
        for stray in [
            String::new(),
            "a".into(),
            "a/b/link".into(),
            "/_layers".into(),
            format!("_layers/sha256/{digest}/link"),
            format!("A/_layers/sha256/{digest}/link"),
            format!("a/_layers/sha256/{digest}"),
            format!("a/_layers/sha256/{digest}/link/link"),
            format!("a/_layers/sha256/{digest}/data"),
            format!("a/_layers/sha384/{digest}/link"),
            format!("a/_layers/sha256/{}/link", &digest[1..]),
            format!("a/_layers/sha256/{}/link", digest.to_uppercase()),
            format!("a/_other/sha256/{digest}/link"),
            format!("a/_manifests/sha256/{digest}/link"),
            format!("a/_manifests/revisions/sha256/{digest}/signatures/sha256/{digest}/link"),
            "a/_manifests/tags/v1/link".into(),
            "a/_manifests/tags/-/current/link".into(),
            format!("a/_manifests/tags/v1/index/{digest}/link"),
            format!("a/_manifests/tags/v1/current/sha256/{digest}/link"),
        ] {
            assert_eq!(found(&stray), None, "{stray}");
        }
    }
}
