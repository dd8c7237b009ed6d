//! What is left of a repository when all its links are gone.

use std::io;

use super::Error;
use super::disk::Disk;
use super::layout;
use super::metrics::Action;
use super::storage::Storage;
use crate::oci::RepositoryName;

/// Of a repository, what links were in.
const FOLDERS: [&str; 3] = ["_layers", "_manifests", "_uploads"];

impl Storage {
    /// On a disk, takes the empty folders of a repository away, so that it is on no list any more; an object store has none. A folder
    /// that holds any file stays, with those above it: somebody may have pushed meanwhile.
    pub async fn repository_emptied(&self, name: &RepositoryName) -> Result<(), Error> {
        let Some(disk) = self.store().files() else { return Ok(()) };
        let name = name.clone();
        self.store().with_disk(Action::Delete, disk, move |disk| emptied(disk, &name)).await
    }
}

fn emptied(disk: &Disk, name: &RepositoryName) -> io::Result<()> {
    for folder in FOLDERS {
        disk.remove_hollow(&format!("{}/{name}/{folder}", layout::REPOSITORIES))?;
    }
    // The name's own folder, and those that were there for its sake.
    let mut rest = Some(name.as_str());
    while let Some(path) = rest {
        disk.remove_empty(&format!("{}/{path}", layout::REPOSITORIES))?;
        rest = path.rsplit_once('/').map(|(parent, _)| parent);
    }
    Ok(())
}
