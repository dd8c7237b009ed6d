//! What is in the folders at start. Reads names; asks the file system about a file only when the snapshot does not know it.
//! Footers are verified when a file is first opened, not here: 100,000 of them would take minutes on a slow disk.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::oci::{Algorithm, Digest};

/// Folders read at once: enough to keep a disk's queue busy, few enough to leave the processors alone.
const READERS: usize = 8;

/// A file of a content.
pub(super) struct Seen {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Known only for files that the snapshot did not list.
    pub(super) modified: Option<SystemTime>,
}

/// All contents below `blobs`. What has no digest for a name is not ours and is left alone; a folder that cannot be read
/// counts as empty, since a cache may forget.
pub(super) fn scan(blobs: &Path, sizes: &HashMap<Digest, u64>) -> Vec<Seen> {
    let folders = folders(blobs);
    let next = AtomicUsize::new(0);
    let read = || {
        let mut seen = Vec::new();
        while let Some((algorithm, path)) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
            match read_folder(*algorithm, path, sizes, &mut seen) {
                Ok(()) => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read a cache folder"),
            }
        }
        seen
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS.min(folders.len())).map(|_| scope.spawn(read)).collect();
        // A reader that panicked saw nothing; its folders' files are found to exist when they are written again.
        readers.into_iter().flat_map(|reader| reader.join().unwrap_or_default()).collect()
    })
}

fn folders(blobs: &Path) -> Vec<(Algorithm, PathBuf)> {
    let mut folders = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let Ok(entries) = std::fs::read_dir(blobs.join(algorithm.name())) else { continue };
        folders.extend(entries.flatten().map(|entry| (algorithm, entry.path())));
    }
    folders
}

fn read_folder(
    algorithm: Algorithm,
    path: &Path,
    sizes: &HashMap<Digest, u64>,
    seen: &mut Vec<Seen>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if let Some(digest) = digest_of(algorithm, path, &entry) {
            match sizes.get(&digest) {
                Some(size) => seen.push(Seen { digest, size: *size, modified: None }),
                None => {
                    let Ok(about) = entry.metadata() else { continue };
                    seen.push(Seen { digest, size: about.len(), modified: about.modified().ok() });
                }
            }
        }
    }
    Ok(())
}

fn digest_of(algorithm: Algorithm, folder: &Path, entry: &DirEntry) -> Option<Digest> {
    let name = entry.file_name();
    let name = name.to_str()?;
    let right_folder = folder.file_name()?.to_str()? == name.get(..2)?;
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    (right_folder && is_file).then(|| format!("{}:{name}", algorithm.name()).parse().ok())?
}
