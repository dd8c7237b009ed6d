//! All files below a folder, in the order of their keys, some at a time.

use std::io;

use rustix::fs::OFlags;

use super::list::entry;
use super::{Disk, Names};
use crate::storage::driver::Entry;

/// Files told of at once.
const BATCH: usize = 256;
/// Files and folders looked at in one go: a tree of empty folders must not take longer than a call may.
const STEPS: usize = 1024;

/// A walk under way. It remembers names: of the folders on the way down, what is in them and comes later.
pub(super) struct Below {
    folder: String,
    /// What is told of comes after it.
    after: Option<String>,
    /// Paths below the folder, the next one last; those of folders end with '/'.
    steps: Vec<String>,
}

impl Below {
    pub(super) fn new(folder: &str, after: Option<&str>) -> Self {
        // The empty path is the folder itself.
        Below { folder: folder.to_owned(), after: after.map(str::to_owned), steps: vec![String::new()] }
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
            let stat = disk.stat(&self.key(&path), OFlags::PATH | OFlags::NOFOLLOW)?;
            entries.extend(stat.and_then(|stat| entry(path, &stat)));
            if entries.len() == BATCH {
                break;
            }
        }
        Ok(entries)
    }

    fn enter(&mut self, disk: &Disk, path: &str) -> io::Result<()> {
        let Names { folders, files } = disk.list(self.key(path).trim_end_matches('/'))?;
        let folders = folders.into_iter().map(|name| format!("{path}{name}/"));
        let mut paths: Vec<String> = folders.chain(files.into_iter().map(|name| format!("{path}{name}"))).collect();
        paths.retain(|path| self.is_after(path));
        // With their '/', folders stand where their files do among the keys: `a-b` before `a/b`.
        paths.sort_unstable_by(|one, other| other.cmp(one));
        self.steps.append(&mut paths);
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
