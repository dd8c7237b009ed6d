//! The books on disk: a file for each repository, below `mirror/` in the cache's folder. They say what the cache's files are of; losing one
//! costs a fetch. Every call blocks.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::books::{Books, Held, MAX_REPOSITORIES};
use crate::mirror::TagRecord;
use crate::oci::{Digest, RepositoryName};
use crate::storage::format::{self, Format};

/// Ends a repository's folder: no part of a name begins with `_`.
const FILE: &str = "_held.json";
/// A larger file is none of ours.
const MAX_FILE: u64 = 64 << 20;
/// Components of a name, at most: of 255 characters.
const MAX_DEPTH: usize = 128;

/// One repository, as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    name: String,
    tags: BTreeMap<String, TagRecord>,
    manifests: BTreeMap<Digest, Manifest>,
    blobs: BTreeMap<Digest, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    index: bool,
    parts: Vec<Digest>,
    pulled: u64,
}

impl Format for Saved {
    const WHAT: &'static str = "what the cache holds of a repository";
    const VERSION: u32 = 1;
}

impl Saved {
    /// `None`: the repository holds nothing.
    pub(super) fn of(books: &Books, name: &RepositoryName) -> Option<Self> {
        let repository = books.repository(name)?;
        let manifests = repository.manifests.iter().filter_map(|digest| {
            let Held { index, parts, pulled } = books.manifest(digest)?.clone();
            Some((*digest, Manifest { index, parts, pulled }))
        });
        let saved = Saved {
            name: name.to_string(),
            tags: repository.tags.iter().map(|(tag, record)| (tag.to_string(), record.clone())).collect(),
            manifests: manifests.collect(),
            blobs: repository.blobs.clone(),
        };
        (!saved.tags.is_empty() || !saved.manifests.is_empty() || !saved.blobs.is_empty()).then_some(saved)
    }

    /// What is over the bounds, or cannot be, is left out.
    fn enter(self, books: &mut Books) {
        let Ok(name) = self.name.parse::<RepositoryName>() else { return };
        for (tag, record) in self.tags {
            if let Ok(tag) = tag.parse() {
                _ = books.put_tag(&name, &tag, record);
            }
        }
        for (digest, Manifest { index, parts, pulled }) in self.manifests {
            _ = books.put_manifest(&name, digest, Held { index, parts, pulled });
        }
        for (digest, size) in self.blobs {
            _ = books.put_blob(&name, digest, size);
        }
        books.take_dirty(&name);
    }
}

fn file(root: &Path, name: &RepositoryName) -> PathBuf {
    root.join(name.as_str()).join(FILE)
}

/// Written beside and renamed, so that a crash leaves the old one.
pub(super) fn write(root: &Path, name: &RepositoryName, saved: Option<&Saved>) -> io::Result<()> {
    let path = file(root, name);
    let Some(saved) = saved else {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let bytes = format::write(saved).map_err(io::Error::other)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, &path)
}

/// All that is saved. What cannot be read is passed over: it is fetched again.
pub(super) fn read(root: &Path) -> Books {
    let mut books = Books::default();
    let mut folders = vec![(root.to_owned(), 0)];
    let mut found = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name() == FILE {
                found += 1;
                if found > MAX_REPOSITORIES {
                    tracing::warn!(most = MAX_REPOSITORIES, "what the cache holds of further repositories is not read");
                    return books;
                }
                match saved(&path) {
                    Ok(saved) => saved.enter(&mut books),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), error, "what the cache holds of a repository is not known")
                    }
                }
            } else if depth < MAX_DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((path, depth + 1));
            }
        }
    }
    books
}

fn saved(path: &Path) -> Result<Saved, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err("the file is too large".to_owned());
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    format::read(&bytes).map_err(|error| error.to_string())
}
