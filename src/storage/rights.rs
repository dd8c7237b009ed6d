//! What a store lets us do, found out by doing it to a few bytes of our own: for who sets one up. Nothing of it stays.

use std::time::SystemTime;

use bytes::Bytes;

use super::driver::PartOf;
use super::layout;
use super::metrics::Action;
use super::storage::{Precondition, Storage};
use super::{Error, Store};

/// What is written.
const CONTENT: &[u8] = b"entrepot doctor\n";
/// What is read of it, in bytes.
const LIMIT: u64 = 1024;

/// One thing that has to work, and why it does not.
#[derive(Debug)]
pub struct Right {
    /// As a verb: `write`, `read`.
    pub what: &'static str,
    pub outcome: Result<(), Error>,
}

/// All that was tried.
#[derive(Debug, Default)]
pub struct Rights {
    pub tried: Vec<Right>,
    /// Whether the store minds conditions of writes; `None`: it was not found out.
    pub minds_conditions: Option<bool>,
    /// What time it was for the store when something was written, and for us.
    pub clock: Option<(SystemTime, SystemTime)>,
}

impl Rights {
    /// Whether it worked; otherwise what needs it is not tried.
    fn take<T>(&mut self, what: &'static str, outcome: Result<T, Error>) -> Option<T> {
        let (outcome, value) = match outcome {
            Ok(value) => (Ok(()), Some(value)),
            Err(error) => (Err(error), None),
        };
        self.tried.push(Right { what, outcome });
        value
    }
}

impl Storage {
    /// Writes, reads, lists, copies and deletes below `entrepot/v1/doctor`. Each call ends by itself; where nothing can be written,
    /// nothing else is tried.
    pub async fn rights(&self) -> Rights {
        let folder = format!("{}/{}", layout::DOCTOR, uuid::Uuid::new_v4().simple());
        let mut rights = Rights::default();
        self.try_all(&folder, &mut rights).await;
        let cleaned = self.store().delete_all(&folder).await;
        let written = rights.tried.first().is_some_and(|right| right.outcome.is_ok());
        if written && rights.tried.iter().all(|right| right.outcome.is_ok()) {
            rights.take("clean up", cleaned);
        }
        self.hollow().await;
        rights
    }

    async fn try_all(&self, folder: &str, rights: &mut Rights) {
        let (one, other) = (format!("{folder}/one"), format!("{folder}/other"));
        let store = self.store();
        let content = Bytes::from_static(CONTENT);
        if rights.take("write", store.put(&one, content.clone(), Precondition::None).await).is_none() {
            return;
        }
        let mut written = SystemTime::now();
        rights.take("read", read(store, &one).await);
        match store.put(&one, content.clone(), Precondition::Absent).await {
            Err(Error::Conflict) => rights.minds_conditions = Some(true),
            // It does not know conditions …
            Err(Error::Failed(_)) => rights.minds_conditions = Some(false),
            // … or does not mind them, and has written it once more.
            Ok(_) => {
                written = SystemTime::now();
                rights.minds_conditions = Some(false);
            }
            Err(error) => drop(rights.take::<()>("write on a condition", Err(error))),
        }
        let listed = store.list(folder).await.and_then(|listing| {
            let found = listing.files.into_iter().find(|entry| entry.name == "one");
            found.ok_or_else(|| Error::Failed("a list lacks what was just written".to_owned()))
        });
        rights.clock = rights.take("list", listed).map(|entry| (entry.changed, written));
        if store.abilities().copies {
            rights.take("copy", store.copy(&one, &other).await);
        }
        if store.files().is_none() {
            rights.take("upload in parts", in_parts(store, &format!("{folder}/parts"), content).await);
        }
        rights.take("delete", deleted(store, &one).await);
    }

    /// On a disk, folders that were there for the trial only go again.
    async fn hollow(&self) {
        let Some(disk) = self.store().files() else { return };
        let remove = |disk: &super::disk::Disk| {
            let own = layout::OWN.split('/').next().unwrap_or(layout::OWN);
            [layout::DOCTOR, layout::OWN, own].into_iter().try_for_each(|folder| disk.remove_empty(folder))
        };
        // An empty folder means nothing.
        let _ = self.store().with_disk(Action::Delete, disk, remove).await;
    }
}

async fn read(store: &Store, key: &str) -> Result<(), Error> {
    match store.bytes(key, LIMIT).await? {
        Some(bytes) if bytes == CONTENT => Ok(()),
        Some(_) => Err(Error::Failed("other bytes come back than were written".to_owned())),
        None => Err(Error::Failed("what was just written is not there".to_owned())),
    }
}

/// Begins an upload in parts and gives it up.
async fn in_parts(store: &Store, key: &str, bytes: Bytes) -> Result<(), Error> {
    // Not every object store has them: the memory of a test.
    let id = match store.multipart_begin(key).await {
        Ok(id) => id,
        Err(Error::Failed(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let put = store.multipart_put(PartOf { key, id: &id, index: 0 }, bytes).await;
    store.multipart_abort(key, &id).await?;
    put.map(drop)
}

async fn deleted(store: &Store, key: &str) -> Result<(), Error> {
    store.delete(key).await?;
    match store.size(key).await? {
        None => Ok(()),
        Some(_) => Err(Error::Failed("what was just deleted is still there".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::tests::{in_memory, on_disk};

    #[tokio::test]
    async fn nothing_stays_of_what_is_tried() {
        let (storage, folder) = on_disk().await;
        let rights = storage.rights().await;
        assert!(rights.tried.iter().all(|right| right.outcome.is_ok()), "{:?}", rights.tried);
        let tried: Vec<_> = rights.tried.iter().map(|right| right.what).collect();
        assert_eq!(tried, ["write", "read", "list", "copy", "delete", "clean up"]);
        assert!(rights.minds_conditions == Some(true) && rights.clock.is_some());
        assert_eq!(std::fs::read_dir(folder.path().join("registry")).unwrap().count(), 0);
        let rights = in_memory().await.rights().await;
        assert!(rights.tried.iter().all(|right| right.outcome.is_ok()), "{:?}", rights.tried);
    }

    #[tokio::test]
    async fn where_nothing_can_be_written_that_is_all_there_is_to_say() {
        let (storage, folder) = on_disk().await;
        // Not even root can make a folder where a file is.
        std::fs::write(folder.path().join("registry/entrepot"), "").unwrap();
        let rights = storage.rights().await;
        assert_eq!(rights.tried.len(), 1);
        assert!(rights.tried[0].what == "write" && rights.tried[0].outcome.is_err());
        assert_eq!(std::fs::read_dir(folder.path().join("registry")).unwrap().count(), 1);
    }
}
