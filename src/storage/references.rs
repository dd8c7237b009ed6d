//! What the manifests of a repository name, kept beside them so that a collection need not read all of them again each time.
//! Content under a digest never changes, so neither does what it names: a line is good for as long as anybody finds it.
//!
//! JSON lines; the first one tells the version and how many follow, so that a file that was cut is none.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::format::{self, Format};
use super::storage::{Precondition, Storage};
use super::{Error, OwnKey};
use crate::oci::manifest::named::Named;
use crate::oci::{Digest, RepositoryName};

/// Largest file that is written or read, in bytes: of a repository with more, the manifests that do not fit are read each time.
const MAX_FILE: u64 = 64 << 20;

/// By the manifest's digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References(HashMap<Digest, Refers>);

/// What one manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refers {
    /// Every digest that stands in it, wherever it stands; sorted, each once.
    pub names: Vec<Digest>,
    /// The manifest that it is about; among the names too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// It names something by a hash that cannot be computed here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unknown: bool,
}

fn is_false(unknown: &bool) -> bool {
    !unknown
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    manifests: usize,
}

impl Format for Head {
    const WHAT: &'static str = "what a repository's manifests name";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct Line {
    digest: Digest,
    #[serde(flatten)]
    refers: Refers,
}

impl From<Named> for Refers {
    fn from(named: Named) -> Self {
        Refers { names: named.digests, subject: named.subject, unknown: named.unknown }
    }
}

impl References {
    pub fn get(&self, manifest: &Digest) -> Option<&Refers> {
        self.0.get(manifest)
    }

    pub fn insert(&mut self, manifest: Digest, refers: Refers) {
        self.0.insert(manifest, refers);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Leaves only those of these manifests.
    pub fn retain(&mut self, mut stays: impl FnMut(&Digest) -> bool) {
        self.0.retain(|digest, _| stays(digest));
    }

    /// As much as fits.
    fn write(&self) -> Result<Bytes, Error> {
        let mut lines = Vec::new();
        let mut count = 0;
        for (digest, refers) in &self.0 {
            let line = Line { digest: *digest, refers: refers.clone() };
            let line = serde_json::to_vec(&line).map_err(|error| Error::Failed(error.to_string()))?;
            if (lines.len() + line.len()) as u64 + 256 > MAX_FILE {
                break;
            }
            lines.push(b'\n');
            lines.extend(line);
            count += 1;
        }
        let mut text = format::write(&Head { manifests: count })?;
        text.append(&mut lines);
        Ok(text.into())
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let head: Head = format::read(lines.next().unwrap_or_default())?;
        let mut references = References::default();
        for line in lines {
            let line: Line = serde_json::from_slice(line).map_err(|error| damaged(&error.to_string()))?;
            references.insert(line.digest, line.refers);
        }
        if references.len() == head.manifests { Ok(references) } else { Err(damaged("lines are missing")) }
    }
}

fn damaged(why: &str) -> Error {
    Error::Damaged(format!("{}: {why}", Head::WHAT))
}

impl Storage {
    /// What was kept; nothing if there is no such file, or a damaged one.
    ///
    /// # Errors
    /// `Error::Newer` if it was written by a newer version of this program, and whatever storage fails at.
    pub async fn references(&self, name: &RepositoryName) -> Result<References, Error> {
        let found = match self.own(&OwnKey::References(name.clone()), MAX_FILE).await {
            Err(Error::TooLarge(_)) => return Ok(References::default()),
            other => other?,
        };
        let Some((bytes, _)) = found else { return Ok(References::default()) };
        match References::read(&bytes) {
            Err(Error::Damaged(why)) => {
                tracing::warn!(%name, why, "what manifests name is read anew");
                Ok(References::default())
            }
            other => other,
        }
    }

    /// Keeps it, whatever was there: of two who do so at once, one has written less, and the next collection reads it anew.
    pub async fn references_put(&self, name: &RepositoryName, references: &References) -> Result<(), Error> {
        let text = references.write()?;
        self.own_put(&OwnKey::References(name.clone()), text, Precondition::None).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn some() -> References {
        let mut references = References::default();
        let names = vec![digest("a"), Digest::of(Algorithm::Sha512, b"b")];
        references.insert(digest("1"), Refers { names: names.clone(), subject: None, unknown: false });
        references.insert(digest("2"), Refers { names, subject: Some(digest("s")), unknown: true });
        references.insert(digest("3"), Refers::default());
        references
    }

    #[test]
    fn it_is_read_back() {
        for references in [References::default(), some()] {
            let text = references.write().unwrap();
            assert!(text.starts_with(br#"{"version":1,"manifests":"#), "{text:?}");
            assert_eq!(References::read(&text).unwrap(), references);
        }
    }

    #[test]
    fn a_file_that_was_cut_is_none() {
        let text = some().write().unwrap();
        for end in 0..text.len() {
            assert!(matches!(References::read(&text[..end]), Err(Error::Damaged(_))), "{end}");
        }
        let newer = br#"{"version":2,"what":"ever"}"#;
        assert!(matches!(References::read(newer), Err(Error::Newer { .. })));
    }

    #[tokio::test]
    async fn a_damaged_file_is_as_good_as_none() {
        let storage = crate::storage::tests::in_memory().await;
        let name: RepositoryName = "a/b".parse().unwrap();
        assert_eq!(storage.references(&name).await.unwrap(), References::default());
        storage.references_put(&name, &some()).await.unwrap();
        assert_eq!(storage.references(&name).await.unwrap(), some());
        let key = OwnKey::References(name.clone());
        storage.own_put(&key, Bytes::from_static(b"{"), Precondition::None).await.unwrap();
        assert_eq!(storage.references(&name).await.unwrap(), References::default());
    }
}
