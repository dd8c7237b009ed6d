//! Lists folders.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Stat};

use super::{Disk, TEMPORARY, is_absent, is_file};
use crate::storage::driver::{Entry, Listing};

/// Names directly under a folder, in no order.
#[derive(Default)]
pub(in crate::storage) struct Names {
    pub folders: Vec<String>,
    pub files: Vec<String>,
    /// What nobody lists, and who reads follows within the root.
    pub symlinks: Vec<String>,
}

impl Disk {
    /// Empty if there is no such folder. Symlinks, temporary files and names that are no text are passed over.
    pub(in crate::storage) fn list(&self, folder: &str) -> io::Result<Names> {
        match self.open_folder(folder) {
            Ok(folder) => names(folder),
            Err(error) if is_absent(&error) => Ok(Names::default()),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::list`], with what is known of the files.
    pub(super) fn list_entries(&self, folder: &str) -> io::Result<Listing> {
        let handle = match self.open_folder(folder) {
            Ok(handle) => handle,
            Err(error) if is_absent(&error) => return Ok(Listing::default()),
            Err(error) => return Err(error),
        };
        let Names { folders, files, .. } = names(handle.try_clone()?)?;
        let mut entries = Vec::with_capacity(files.len());
        for name in files {
            match rustix::fs::statat(&handle, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.extend(entry(name, &stat)),
                Err(rustix::io::Errno::NOENT) => {} // gone meanwhile
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Listing { folders, files: entries })
    }

    /// The sub-folders that hold a file of this name or path.
    pub(super) fn list_holding(&self, folder: &str, file: &str) -> io::Result<Vec<String>> {
        let handle = match self.open_folder(folder) {
            Ok(handle) => handle,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut folders = names(handle.try_clone()?)?.folders;
        folders.retain(|name| {
            let stat = rustix::fs::statat(&handle, format!("{name}/{file}"), AtFlags::SYMLINK_NOFOLLOW);
            let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
            matches!(kind, Ok(FileType::RegularFile | FileType::Symlink)) // where a symlink leads, who opens it sees
        });
        Ok(folders)
    }
}

/// `None` if it is no regular file. A time before 1970 is 1970.
pub(super) fn entry(name: String, stat: &Stat) -> Option<Entry> {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    is_file(stat).then(|| Entry {
        name,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        changed: changed.unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn names(folder: OwnedFd) -> io::Result<Names> {
    let mut names = Names::default();
    let handle = folder.try_clone()?;
    for entry in Dir::new(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some filesystems do not tell with the name.
            FileType::Unknown => match rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(rustix::io::Errno::NOENT) => continue, // gone meanwhile
                // Whoever deletes what is not listed must not take it for gone.
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        match kind {
            FileType::Directory => names.folders.push(name.to_owned()),
            FileType::RegularFile if !name.ends_with(TEMPORARY) => names.files.push(name.to_owned()),
            FileType::Symlink => names.symlinks.push(name.to_owned()),
            _ => {}
        }
    }
    Ok(names)
}
