//! The repositories, found folder by folder in the catalog's order.

use std::collections::BTreeMap;
use std::io;

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::Error;
use super::disk::Disk;
use super::layout;
use super::metrics::Action;
use super::storage::Storage;
use crate::oci::RepositoryName;

/// Folders listed at once on an object store.
const LISTS_AT_ONCE: usize = 32;
/// So many folders beyond one whose list has not come may be listed: names are told in order, and those wait.
const AHEAD: usize = 256;
/// Longer paths cannot be names of repositories: nobody looks below them.
const LONGEST_NAME: usize = 255;

/// Folders that are not told yet, by their place in the catalog.
struct Walk {
    folders: BTreeMap<Vec<u8>, Folder>,
}

enum Folder {
    /// Its list has not been asked for.
    New(String),
    Asked,
    Listed(Option<RepositoryName>),
}

impl Storage {
    /// Tells every repository (has `_manifests`), sorted as distribution sorts its catalog: more of them whenever the next
    /// ones are known.
    pub async fn walk(&self, mut tell: impl FnMut(Vec<RepositoryName>)) -> Result<(), Error> {
        if let Some(disk) = self.store().files() {
            let mut names = self.store().with_disk(Action::List, disk, on_disk).await?;
            names.sort_by_cached_key(|name| layout::catalog_key(name.as_str()));
            tell(names);
            return Ok(());
        }
        let mut walk = Walk { folders: BTreeMap::from([(Vec::new(), Folder::New(String::new()))]) };
        let mut asked = FuturesUnordered::new();
        loop {
            for name in walk.next(LISTS_AT_ONCE - asked.len()) {
                asked.push(async move {
                    let listed = self.store().list(&path(&name)).await;
                    (name, listed)
                });
            }
            let Some((name, listed)) = asked.next().await else { return Ok(()) };
            let names = walk.listed(&name, listed?.folders);
            if !names.is_empty() {
                tell(names);
            }
        }
    }
}

impl Walk {
    /// At most so many folders that are to be listed next.
    fn next(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for folder in self.folders.values_mut().take(AHEAD) {
            if names.len() == count {
                break;
            }
            if let Folder::New(name) = folder {
                names.push(std::mem::take(name));
                *folder = Folder::Asked;
            }
        }
        names
    }

    /// Takes the list of a folder; the repositories that are known now, with all before them.
    fn listed(&mut self, name: &str, folders: Vec<String>) -> Vec<RepositoryName> {
        let (repository, below) = sort_out(name, folders);
        self.folders.insert(layout::catalog_key(name), Folder::Listed(repository));
        self.folders.extend(below.into_iter().map(|name| (layout::catalog_key(&name), Folder::New(name))));
        let mut names = Vec::new();
        while let Some(first) = self.folders.first_entry()
            && let Folder::Listed(_) = first.get()
        {
            if let Folder::Listed(Some(repository)) = first.remove() {
                names.push(repository);
            }
        }
        names
    }
}

fn on_disk(disk: &Disk) -> io::Result<Vec<RepositoryName>> {
    let mut names = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(name) = waiting.pop() {
        let (repository, below) = sort_out(&name, disk.list(&path(&name))?.folders);
        names.extend(repository);
        waiting.extend(below);
    }
    Ok(names)
}

fn path(name: &str) -> String {
    if name.is_empty() { layout::REPOSITORIES.to_owned() } else { format!("{}/{name}", layout::REPOSITORIES) }
}

/// What the sub-folders of `name` mean: it is a repository itself, and what may be others, below it.
fn sort_out(name: &str, folders: Vec<String>) -> (Option<RepositoryName>, Vec<String>) {
    let (mut repository, mut below) = (None, Vec::new());
    for folder in folders {
        if folder == "_manifests" {
            repository = name.parse().ok(); // what cannot be a name cannot be asked for either
        } else if layout::is_name_part(&folder) && name.len() + folder.len() < LONGEST_NAME {
            below.push(if name.is_empty() { folder } else { format!("{name}/{folder}") });
        }
    }
    (repository, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders by name, listed in any order: names are told in the catalog's, none too early.
    #[test]
    fn names_are_told_in_order_however_lists_come() {
        let repositories = ["a", "a/b", "a/b/c", "a-b", "a.b/x", "b/_/c", "z"];
        let children = |name: &str| -> Vec<String> {
            let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
            let mut found: Vec<String> = repositories
                .iter()
                .filter_map(|repository| repository.strip_prefix(&prefix)?.split('/').next())
                .map(str::to_owned)
                .collect();
            found.sort_unstable();
            found.dedup();
            found.extend(repositories.contains(&name).then(|| "_manifests".to_owned()));
            found
        };
        for seed in 0..200_usize {
            let mut walk = Walk { folders: BTreeMap::from([(Vec::new(), Folder::New(String::new()))]) };
            let (mut asked, mut told) = (Vec::new(), Vec::new());
            loop {
                asked.extend(walk.next(1 + seed % 3));
                if asked.is_empty() {
                    break;
                }
                let name = asked.remove(seed.wrapping_mul(31 + told.len()) % asked.len());
                told.extend(walk.listed(&name, children(&name)).iter().map(|name| name.as_str().to_owned()));
            }
            assert_eq!(told, ["a", "a/b", "a/b/c", "a-b", "a.b/x", "z"]);
        }
    }
}
