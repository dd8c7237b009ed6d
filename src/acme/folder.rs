//! A folder of this machine, or one that several share, as a shelf. Files and folders are their owner's alone.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::shelf::{Item, MAX_ITEM, Over, Shelf, ShelfError, Stored};

/// Held while a file is compared and replaced.
const LOCK: &str = ".lock";
/// Who holds it works for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Folder(path)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        item: Item<'_>,
        work: impl FnOnce(&Path, &Path) -> Result<T, ShelfError> + Send + 'static,
    ) -> Result<T, ShelfError> {
        let (root, path) = (self.0.clone(), self.0.join(item.path()));
        let done = tokio::task::spawn_blocking(move || work(&root, &path)).await;
        done.map_err(|error| ShelfError::Failed(error.to_string()))?
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError> {
        self.blocking(item, |_, path| read(path).map_err(|error| told(path, &error))).await
    }

    async fn put(&self, item: Item<'_>, bytes: Vec<u8>, over: Over<'_>) -> Result<String, ShelfError> {
        let expected = match over {
            Over::Anything => None,
            Over::Nothing => Some(None),
            Over::Version(version) => Some(Some(version.to_owned())),
        };
        self.blocking(item, move |root, path| {
            let _lock = lock(root)?;
            let failed = |error: io::Error| told(path, &error);
            if let Some(expected) = expected
                && read(path).map_err(failed)?.map(|stored| stored.version) != expected
            {
                return Err(ShelfError::Conflict);
            }
            replace(path, &bytes).map_err(failed)?;
            Ok(version(&bytes))
        })
        .await
    }

    async fn remove(&self, item: Item<'_>) -> Result<(), ShelfError> {
        self.blocking(item, |_, path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(path, &error)),
            _ => Ok(()),
        })
        .await
    }
}

fn told(path: &Path, error: &io::Error) -> ShelfError {
    ShelfError::Failed(format!("{}: {error}", path.display()))
}

fn version(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn read(path: &Path) -> io::Result<Option<Stored>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_ITEM + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ITEM {
        return Err(io::Error::other(format!("is larger than {MAX_ITEM} bytes")));
    }
    Ok(Some(Stored { version: version(&bytes), bytes }))
}

/// Whole or not at all, and durable.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make(folder)?;
    let mut file =
        tempfile::Builder::new().prefix(".new").permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Others wait while it is held; the system gives it back with the process.
fn lock(root: &Path) -> Result<File, ShelfError> {
    let path = root.join(LOCK);
    let opened = make(root).and_then(|()| File::options().create(true).append(true).mode(0o600).open(&path));
    let file = opened.map_err(|error| told(&path, &error))?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(error) => return Err(told(&path, &error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_changed_meanwhile_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Folder::new(folder.path().join("a/b"));
        let item = Item::Plan("x");
        assert!(shelf.get(item).await.unwrap().is_none());
        let first = shelf.put(item, b"one".to_vec(), Over::Nothing).await.unwrap();
        assert!(matches!(shelf.put(item, b"two".to_vec(), Over::Nothing).await, Err(ShelfError::Conflict)));
        let second = shelf.put(item, b"two".to_vec(), Over::Version(&first)).await.unwrap();
        assert!(matches!(shelf.put(item, b"3".to_vec(), Over::Version(&first)).await, Err(ShelfError::Conflict)));
        let stored = shelf.get(item).await.unwrap().unwrap();
        assert_eq!((stored.bytes.as_slice(), &stored.version), (&b"two"[..], &second));
        shelf.put(item, b"4".to_vec(), Over::Anything).await.unwrap();
        shelf.remove(item).await.unwrap();
        shelf.remove(item).await.unwrap();
        assert!(shelf.get(item).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("acme");
        let shelf = Folder::new(root.clone());
        shelf.put(Item::Certificate("x"), b"key".to_vec(), Over::Anything).await.unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(root.join("certificates/x")), mode(root.join(LOCK))), (0o600, 0o600));
        assert_eq!((mode(root.clone()), mode(root.join("certificates"))), (0o700, 0o700));
    }

    #[tokio::test]
    async fn of_many_who_write_at_once_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Folder::new(folder.path().to_owned());
        let puts = (0..20).map(|n: u8| shelf.put(Item::Lease("x"), vec![n], Over::Nothing));
        let done = futures::future::join_all(puts).await;
        assert_eq!(done.iter().filter(|put| put.is_ok()).count(), 1);
    }
}
