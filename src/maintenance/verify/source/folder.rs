//! A folder with a registry's tree: a copy of the storage, or another registry's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use prometheus::Registry as Prometheus;

use super::{Coming, SourceError};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::config::DriverKind;
use crate::storage::{self, Error, Link, Storage, layout};

/// Read only.
pub struct Folder {
    path: PathBuf,
    storage: Arc<Storage>,
}

impl Folder {
    /// `path`: the folder that holds `docker/registry/v2`, or that folder itself.
    pub(super) async fn open(path: &Path) -> Result<Self, SourceError> {
        if !path.is_dir() {
            return Err(SourceError::NoFolder(path.to_owned()));
        }
        let root = root(path).ok_or_else(|| SourceError::NoTree(path.to_owned()))?;
        let metrics = storage::Metrics::new(&Prometheus::new());
        let metrics = metrics.map_err(|error| SourceError::Folder(Error::Failed(error.to_string())))?;
        let config = storage::Config { driver: DriverKind::Filesystem, root, ..storage::Config::default() };
        let storage = Storage::open(&config, Arc::new(metrics)).await.map_err(SourceError::Folder)?;
        Ok(Folder { path: path.to_owned(), storage })
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The bytes that it has under a digest, of whatever repository.
    pub(in crate::maintenance::verify) async fn blob(&self, digest: &Digest) -> Result<Option<Coming>, String> {
        let found = self.storage.blob_open(digest, 0).await.map_err(|error| error.to_string())?;
        Ok(found.map(|found| Coming {
            length: Some(found.total),
            body: found.body.map_err(|error| error.to_string()).boxed(),
        }))
    }

    pub(super) async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, String> {
        match self.storage.link(&Link::Tag(name.clone(), tag.clone())).await {
            // Torn there too.
            Err(Error::Damaged(_)) => Ok(None),
            found => found.map_err(|error| error.to_string()),
        }
    }
}

/// The folder that holds the tree.
fn root(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    if path.join(layout::TREE).is_dir() {
        return Some(path);
    }
    // …/docker/registry/v2, …/docker/registry or …/docker
    let depth = layout::TREE.split('/').count();
    let above = path.ancestors().take(depth + 1).skip(1);
    let mut above =
        above.filter(|folder| path.starts_with(folder.join("docker")) && folder.join(layout::TREE).is_dir());
    above.next().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_wherever_in_it_one_points() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().canonicalize().unwrap();
        assert_eq!(root(&whole), None);
        std::fs::create_dir_all(whole.join("docker/registry/v2/blobs")).unwrap();
        for path in ["", "docker", "docker/registry", "docker/registry/v2"] {
            assert_eq!(root(&whole.join(path)), Some(whole.clone()), "{path}");
        }
        std::fs::create_dir_all(whole.join("elsewhere/deep")).unwrap();
        assert_eq!((root(&whole.join("elsewhere")), root(&whole.join("absent"))), (None, None));
        assert_eq!(root(&whole.join("docker/registry/v2/blobs")), None);
    }

    #[tokio::test]
    async fn what_is_no_tree_is_said_to_be_none_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Folder::open(&folder.path().join("absent")).await, Err(SourceError::NoFolder(_))));
        assert!(matches!(Folder::open(folder.path()).await, Err(SourceError::NoTree(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
