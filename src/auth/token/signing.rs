//! The keys that tokens are signed with, where the configuration keeps them, and the rotation of them.
//!
//! Instances that keep them together look for another's change every few seconds, and at once when a token names a key that
//! they do not know. Who finds that a new key is due writes it over the version that it has read: of several, one does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::keys::KeySet;
use crate::auth::config::{Keys, Token};
use crate::auth::shelf::{Item, Shelf, ShelfError};

/// A key that a token names and nobody knows is looked for so often at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Who has no keys at all waits no longer for them.
const PATIENCE: Duration = Duration::from_secs(2);
/// File of a folder of keys.
const FILE: &str = "token-keys.json";
/// Of that file, in bytes: a key with its certificate is 1 KiB.
const MAX_FILE: u64 = 1 << 20;

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the keys of tokens {0}")]
pub struct NoKeys(String);

pub struct Signing {
    shelf: Option<Arc<dyn Shelf>>,
    keys: ArcSwapOption<KeySet>,
    looked: Mutex<Option<Instant>>,
    /// One looks at a time.
    looking: tokio::sync::Mutex<()>,
}

impl Signing {
    pub fn new(shelf: Option<Arc<dyn Shelf>>) -> Self {
        Signing { shelf, keys: ArcSwapOption::empty(), looked: Mutex::new(None), looking: tokio::sync::Mutex::new(()) }
    }

    pub fn present(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// The keys, read now if they are not known yet.
    pub async fn keys(&self, token: &Token, now: u64) -> Result<Arc<KeySet>, NoKeys> {
        match self.present() {
            Some(keys) => Ok(keys),
            // Storage may be silent for long, and a request must not be.
            None => tokio::time::timeout(PATIENCE, self.refresh(token, now))
                .await
                .unwrap_or_else(|_| Err(NoKeys("do not come from where they are kept".into()))),
        }
    }

    /// After a token named a key that is not among these: they are read again, unless that was done a moment ago. Once for all who
    /// ask meanwhile, and none of them waits for long: anybody can make up the name of a key.
    pub async fn look_again(&self, token: &Token, now: u64) -> Option<Arc<KeySet>> {
        let recently = || self.looked.lock().is_some_and(|then| then.elapsed() < LOOK_AGAIN);
        if recently() || matches!(token.keys, Keys::Memory) {
            return None;
        }
        let look = async {
            let one = self.looking.lock().await;
            if recently() {
                // By whoever was before us.
                return self.present();
            }
            self.read(&one, token, now).await.ok()
        };
        if let Ok(found) = tokio::time::timeout(PATIENCE, look).await {
            return found;
        }
        // It does not come from where it is kept: the next one need not find out the same.
        *self.looked.lock() = Some(Instant::now());
        None
    }

    /// Reads what is kept, and makes what is due.
    pub async fn refresh(&self, token: &Token, now: u64) -> Result<Arc<KeySet>, NoKeys> {
        let one = self.looking.lock().await;
        self.read(&one, token, now).await
    }

    async fn read(
        &self,
        _one: &tokio::sync::MutexGuard<'_, ()>,
        token: &Token,
        now: u64,
    ) -> Result<Arc<KeySet>, NoKeys> {
        let outcome = self.read_now(token, now).await;
        *self.looked.lock() = Some(Instant::now());
        outcome
    }

    async fn read_now(&self, token: &Token, now: u64) -> Result<Arc<KeySet>, NoKeys> {
        let keys = match &token.keys {
            Keys::Memory => in_memory(self.present(), token, now)?,
            Keys::Folder(folder) => {
                let (folder, token) = (folder.clone(), token.clone());
                let read = tokio::task::spawn_blocking(move || in_folder(&folder, &token, now)).await;
                Arc::new(read.map_err(|error| NoKeys(error.to_string()))??)
            }
            Keys::Storage => Arc::new(self.in_storage(token, now).await?),
        };
        self.keys.store(Some(keys.clone()));
        Ok(keys)
    }

    /// Makes the next key now, whether it is due or not.
    pub async fn rotate(&self, token: &Token, now: u64) -> Result<Arc<KeySet>, NoKeys> {
        self.refresh(token, now).await?;
        self.refresh(&Token { rotate: crate::units::seconds(0), ..token.clone() }, now).await
    }

    async fn in_storage(&self, token: &Token, now: u64) -> Result<KeySet, NoKeys> {
        let failed = |error: ShelfError| NoKeys(format!("cannot be read from storage: {error}"));
        let shelf =
            self.shelf.as_ref().ok_or_else(|| NoKeys("are to be kept in a storage, and there is none".into()))?;
        // Whoever is overtaken reads what the other has written.
        for _ in 0..5 {
            let stored = shelf.get(Item::Keys).await.map_err(failed)?;
            let old = stored.as_ref().map(|stored| parse(&stored.bytes)).transpose()?;
            let Some(new) = due(old.as_ref(), token, now)? else {
                return old.ok_or_else(|| NoKeys("are not there".into()));
            };
            let version = stored.as_ref().map(|stored| stored.version.as_str());
            match shelf.put(Item::Keys, new.to_json().into(), version).await {
                Ok(()) => return Ok(new),
                Err(ShelfError::Conflict) => {}
                Err(error) => return Err(NoKeys(format!("cannot be written to storage: {error}"))),
            }
        }
        Err(NoKeys("are being changed by others all the time".into()))
    }
}

/// The set that has to take the place of the old one; `None`: the old one will do.
fn due(old: Option<&KeySet>, token: &Token, now: u64) -> Result<Option<KeySet>, NoKeys> {
    let (ttl, rotate) = (token.ttl.0.as_secs(), token.rotate.0.as_secs());
    let made = |result: Result<KeySet, _>| {
        result.map_err(|error: super::keys::KeyError| NoKeys(format!("cannot be made: {error}")))
    };
    match old {
        None => made(KeySet::fresh(now)).map(Some),
        Some(old) if old.due(now, rotate, ttl) => made(old.with_next(now, ttl)).map(|new| Some(new.pruned(now))),
        Some(_) => Ok(None),
    }
}

fn in_memory(old: Option<Arc<KeySet>>, token: &Token, now: u64) -> Result<Arc<KeySet>, NoKeys> {
    match (due(old.as_deref(), token, now)?, old) {
        (Some(new), _) => Ok(Arc::new(new)),
        (None, Some(old)) => Ok(old),
        (None, None) => Err(NoKeys("are not there".into())),
    }
}

fn parse(bytes: &[u8]) -> Result<KeySet, NoKeys> {
    KeySet::from_json(bytes).map_err(|error| NoKeys(format!("are not as they were written: {error}")))
}

/// Only processes of this machine share a folder, and one of them writes at a time.
fn in_folder(folder: &Path, token: &Token, now: u64) -> Result<KeySet, NoKeys> {
    let file = folder.join(FILE);
    let failed = |error: std::io::Error| NoKeys(format!("cannot be kept in {}: {error}", file.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let lock = std::fs::File::open(folder).map_err(failed)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let old = match read(&file) {
        Ok(bytes) => Some(parse(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match due(old.as_ref(), token, now)? {
        Some(new) => {
            write(folder, &file, &new.to_json()).map_err(failed)?;
            Ok(new)
        }
        None => old.ok_or_else(|| NoKeys("are not there".into())),
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whole or not at all, for its owner only.
fn write(folder: &Path, file: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let permissions = std::fs::Permissions::from_mode(0o600);
    let mut written = tempfile::Builder::new().prefix(".token-keys").permissions(permissions).tempfile_in(folder)?;
    written.write_all(bytes)?;
    written.as_file().sync_all()?;
    written.persist(file).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::shelf::tests::Drawer;
    use crate::units::seconds;

    fn token(keys: Keys) -> Token {
        Token { keys, ttl: seconds(60), rotate: seconds(1000), ..Token::default() }
    }

    #[tokio::test]
    async fn instances_share_what_one_of_them_has_made() {
        let drawer = Arc::new(Drawer::default());
        let token = token(Keys::Storage);
        let (one, two) = (Signing::new(Some(drawer.clone())), Signing::new(Some(drawer.clone())));
        let (first, second) = tokio::join!(one.keys(&token, 100), two.keys(&token, 100));
        let kid = |keys: &KeySet, now| keys.signer(now).unwrap().kid().to_owned();
        assert_eq!(kid(&first.unwrap(), 100), kid(&second.unwrap(), 100));
        // The next key is made by who looks first, and known to the other before it signs.
        let rotated = one.refresh(&token, 1100).await.unwrap();
        let followed = two.refresh(&token, 1101).await.unwrap();
        assert_eq!(kid(&rotated, 1100), kid(&followed, 1101));
        assert_ne!(kid(&rotated, 1100), kid(&rotated, 1200));
        assert_eq!(kid(&rotated, 1200), kid(&followed, 1200));
        drawer.fail(true);
        assert!(Signing::new(Some(drawer)).keys(&token, 1).await.is_err());
        assert!(one.present().is_some());
        assert!(Signing::new(None).keys(&token, 1).await.is_err());
    }

    #[tokio::test]
    async fn a_folder_outlives_the_process_and_is_its_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let token = token(Keys::Folder(folder.path().join("keys")));
        let first = Signing::new(None).keys(&token, 100).await.unwrap();
        let again = Signing::new(None).keys(&token, 101).await.unwrap();
        assert_eq!(first.to_json(), again.to_json());
        let file = folder.path().join("keys").join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "{").unwrap();
        let error = Signing::new(None).keys(&token, 102).await.err().unwrap().to_string();
        assert!(error.contains("not as they were written"), "{error}");
    }

    #[tokio::test]
    async fn keys_of_memory_are_this_processs_own() {
        let token = token(Keys::Memory);
        let (one, two) = (Signing::new(None), Signing::new(None));
        let (first, second) = (one.keys(&token, 1).await.unwrap(), two.keys(&token, 1).await.unwrap());
        assert_ne!(first.to_json(), second.to_json());
        assert_eq!(one.refresh(&token, 2).await.unwrap().to_json(), first.to_json());
        assert!(one.look_again(&token, 3).await.is_none());
    }

    /// Anybody can name a key that is not there.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_for_a_key_that_somebody_made_up() {
        let drawer = Arc::new(Drawer::default());
        let token = token(Keys::Storage);
        let signing = Signing::new(Some(drawer.clone()));
        signing.keys(&token, 100).await.unwrap();
        *signing.looked.lock() = None;
        let one = signing.looking.lock().await; // by somebody whose storage is silent
        let asked = tokio::time::Instant::now();
        let all = futures::future::join_all((0..100).map(|_| signing.look_again(&token, 100))).await;
        assert!(all.iter().all(Option::is_none) && asked.elapsed() <= PATIENCE);
        *signing.looked.lock() = None;
        let all = futures::future::join_all((0..100).map(|_| signing.look_again(&token, 100)));
        let over = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(one);
        };
        let (all, ()) = tokio::join!(all, over);
        assert!(all.iter().all(Option::is_some), "the others have what the first one read");
    }
}
