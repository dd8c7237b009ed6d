//! Whether something of a repository names some content, so that the repository needs it.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use bytes::Bytes;
use memchr::memmem;

use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::apart::apart;
use crate::registry::{Registry, membership};
use crate::storage::{Error, Link, OwnKey, Storage};

/// Bytes of the file that tells which manifest names what; a larger one is not looked at.
const REFERENCES: u64 = 16 << 20;
/// Manifests that are read because the file does not tell of them, and of those that it tells of.
const READ: usize = 100;
const TOLD: usize = 8;

/// Tells sets of manifests from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Among(u64);

/// Whether something is named.
pub(super) enum Named {
    /// By a manifest of the repository, or by a tag.
    Yes,
    /// By none of these manifests, all of which were looked at.
    NoneOf(Among),
    /// By none of those that could be looked at.
    Unknown,
    /// By none, as was found out lately.
    Remembered,
}

/// A manifest of the repository names it, or the tag leads to it. `known`: manifests of which that is known already that none does.
pub(super) async fn is_named(
    registry: &Registry,
    (name, digest): (&RepositoryName, &Digest),
    tag: Option<&Tag>,
    known: Option<Among>,
) -> Result<Named, Error> {
    let storage = &registry.stores.storage;
    // A deletion takes tags away before the manifest: that one led there a moment ago says nothing.
    if let Some(tag) = tag
        && membership::target(storage, &Link::Tag(name.clone(), tag.clone())).await? == Some(*digest)
    {
        return Ok(Named::Yes);
    }
    let mut revisions = storage.revisions(name).await?;
    revisions.sort_unstable();
    let among = Among(registry.rescue.hasher.hash_one(&revisions));
    if known == Some(among) {
        return Ok(Named::Remembered);
    }
    let (text, mut all) = (digest.text(), true);
    let quoted = format!("\"{text}\"");
    let candidates = candidates(storage, name, &text, revisions).await?;
    all &= candidates.len() < READ;
    for revision in candidates.into_iter().filter(|revision| revision != digest) {
        // The file is a hint, the manifest the truth. One that cannot be read names nothing now, and may later.
        match registry.reads.content.manifest(storage, &revision).await {
            Ok(Some(manifest)) if mentions(&manifest.bytes, &quoted) => return Ok(Named::Yes),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => all = false,
        }
    }
    Ok(if all { Named::NoneOf(among) } else { Named::Unknown })
}

/// Manifests of the repository that may name it: those of which the file of references says so, then those that are not in it.
async fn candidates(
    storage: &Storage,
    name: &RepositoryName,
    text: &str,
    revisions: Vec<Digest>,
) -> Result<Vec<Digest>, Error> {
    let file = match storage.own(&OwnKey::References(name.clone()), REFERENCES).await {
        Ok(found) => found.map(|(bytes, _)| bytes).unwrap_or_default(),
        Err(Error::TooLarge(_)) => Bytes::new(),
        Err(error) => return Err(error),
    };
    let text = text.to_owned();
    apart(file.len(), move || sort_out(&file, &text, revisions)).await
}

/// Each line of the file begins with a manifest, and names what that names; whatever else it holds.
fn sort_out(file: &[u8], text: &str, revisions: Vec<Digest>) -> Vec<Digest> {
    let is_revision: HashSet<Digest> = revisions.iter().copied().collect();
    let (mut known, mut told) = (HashSet::new(), Vec::new());
    for line in file.split(|byte| *byte == b'\n') {
        let Some(manifest) = first_digest(line).filter(|digest| is_revision.contains(digest)) else { continue };
        if told.len() < TOLD && mentions(line, text) {
            told.push(manifest);
        }
        known.insert(manifest);
    }
    let unknown = revisions.into_iter().filter(|digest| !known.contains(digest));
    told.extend(unknown.take(READ));
    told
}

/// Of the strings of a line of JSON.
fn first_digest(line: &[u8]) -> Option<Digest> {
    line.split(|byte| *byte == b'"').find_map(|text| std::str::from_utf8(text).ok()?.parse().ok())
}

fn mentions(bytes: &[u8], text: &str) -> bool {
    memmem::find(bytes, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn manifests_that_the_file_tells_of_come_first_and_those_that_it_does_not_know_after_them() {
        let [names, other, child, unknown, gone] =
            ["1", "2", "3", "4", "5"].map(|text| Digest::of(Algorithm::Sha256, text.as_bytes()));
        let sought = Digest::of(Algorithm::Sha256, b"sought");
        let file = format!(
            "{{\"version\":1}}\n{{\"digest\":\"{gone}\",\"names\":[\"{sought}\"]}}\n\
             {{\"digest\":\"{other}\",\"names\":[\"{child}\"]}}\n{{\"digest\":\"{names}\",\"names\":[\"{sought}\"]}}"
        );
        let sorted = |file: &str| sort_out(file.as_bytes(), &sought.text(), vec![unknown, names, other, child]);
        // A child that only its index's line tells of has not been read itself.
        assert_eq!(sorted(&file), [names, unknown, child]);
        assert_eq!(sorted(""), [unknown, names, other, child]);
    }
}
