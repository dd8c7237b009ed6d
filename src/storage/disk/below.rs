//! All files below a folder, in the order of their keys, some at a time.

use std::io;

use rustix::fs::{FileType, OFlags};

use super::list::entry;
use super::{Disk, Names};
use crate::storage::driver::Entry;
use crate::storage::layout;

/// Files told of at once.
const BATCH: usize = 256;
/// Files and folders looked at in one go: a tree of empty folders must not take longer than a call may.
const STEPS: usize = 1024;

/// A walk under way. It remembers names: of the folders on the way down, what is in them and comes later.
pub(in crate::storage) struct Below {
    folder: String,
    /// What is told of comes after it.
    after: Option<String>,
    /// Paths below the folder, the next one last; those of folders end with '/'.
    steps: Vec<String>,
    /// What else lies beside the one file of a folder of the tree need not be told of.
    only_known: bool,
}

impl Below {
    pub(in crate::storage) fn new(folder: &str, after: Option<&str>) -> Self {
        // The empty path is the folder itself.
        Below {
            folder: folder.to_owned(),
            after: after.map(str::to_owned),
            steps: vec![String::new()],
            only_known: false,
        }
    }

    /// Does not look into folders that hold one file that matters, see [`layout::only_file`]: a quarter of the calls. Fails at
    /// symlinks among repositories.
    pub(in crate::storage) fn only_known(self) -> Self {
        Below { only_known: true, ..self }
    }

    pub(super) fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next files; there may be none though it is not over. What vanishes meanwhile is passed over.
    pub(super) fn next(&mut self, disk: &Disk) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for _ in 0..STEPS {
            let Some(path) = self.steps.pop() else { break };
            if path.is_empty() || path.ends_with('/') {
                self.enter(disk, &path)?;
                continue;
            }
            let key = self.key(&path);
            let stat = disk.stat(&key, OFlags::PATH | OFlags::NOFOLLOW)?;
            if stat.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
                self.passes_over(&key)?;
            }
            entries.extend(stat.and_then(|stat| entry(path, &stat)));
            if entries.len() == BATCH {
                break;
            }
        }
        Ok(entries)
    }

    fn enter(&mut self, disk: &Disk, path: &str) -> io::Result<()> {
        let own = self.key(path);
        let own = own.trim_end_matches('/');
        let Names { folders, files, symlinks } = disk.list(own)?;
        symlinks.iter().try_for_each(|name| self.passes_over(&format!("{own}/{name}")))?;
        let folders = folders.into_iter().map(|name| {
            let only = self.only_known.then(|| layout::only_file(own, &name)).flatten();
            format!("{path}{name}/{}", only.unwrap_or_default())
        });
        let mut paths: Vec<String> = folders.chain(files.into_iter().map(|name| format!("{path}{name}"))).collect();
        paths.retain(|path| self.is_after(path));
        // With their '/', folders stand where their files do among the keys: `a-b` before `a/b`.
        paths.sort_unstable_by(|one, other| other.cmp(one));
        self.steps.append(&mut paths);
        Ok(())
    }

    /// Symlinks are not told of, but a link or a repository behind one is read all the same: who takes away what no link leads
    /// to must not do so without it.
    fn passes_over(&self, key: &str) -> io::Result<()> {
        if self.only_known && key.starts_with(layout::REPOSITORIES) {
            return Err(io::Error::other(format!("{key} is a symlink: what is behind it would not be looked at")));
        }
        Ok(())
    }

    fn is_after(&self, path: &str) -> bool {
        let Some(after) = &self.after else { return true };
        path > after.as_str() || (path.ends_with('/') && after.starts_with(path))
    }

    fn key(&self, path: &str) -> String {
        if self.folder.is_empty() { path.to_owned() } else { format!("{}/{path}", self.folder) }
    }
}
