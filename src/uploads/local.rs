//! Uploads on a filesystem: a file of our own that grows, and gets the blob's name at the end.

use std::sync::Arc;

use async_trait::async_trait;

use super::batch::Target;
use super::budget::Budget;
use super::disk::Folder;
use super::inner::Inner;
use super::pump::{Pump, Pumped};
use super::purge::purge_folder;
use super::rehash::hash_file;
use super::state::UploadState;
use super::ways::{Appended, Session, Way};
use super::{Ages, UploadError, UploadId, keys};
use crate::oci::{Digest, Hasher};
use crate::storage::disk::{Disk, Output};
use crate::storage::{Body, Error, Version, blocking, io_error};

/// Uploads are kept as files of this machine.
pub(super) struct OnDisk(pub(super) Arc<Disk>);

impl OnDisk {
    fn folder(&self, id: &UploadId) -> Folder {
        Folder { disk: self.0.clone(), path: keys::folder(id) }
    }
}

/// Versions are the state's own here: whoever writes holds the file's lock.
fn no_version() -> Version {
    Version(String::new())
}

#[async_trait]
impl Way for OnDisk {
    fn failed(&self, inner: &Inner, error: Error) -> Error {
        inner.store().failed(error)
    }

    async fn create(&self, _inner: &Inner, id: &UploadId, state: &UploadState) -> Result<Version, Error> {
        let (folder, state) = (self.folder(id), state.clone());
        blocking(move || create(&folder, &state).map(|()| no_version())).await
    }

    async fn state(&self, _inner: &Inner, id: &UploadId) -> Result<Option<(UploadState, Version)>, Error> {
        let folder = self.folder(id);
        blocking(move || Ok(folder.state()?.map(|state| (state, no_version())))).await
    }

    async fn append(&self, session: Session<'_>, body: &mut dyn Body) -> Result<Appended, UploadError> {
        let bounds = session.inner.bounds();
        let (state, outcome) = append(&self.folder(session.id), session.state, body, &bounds.budget).await?;
        Ok((state, no_version(), outcome))
    }

    async fn commit(&self, session: Session<'_>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let (bounds, target) = (session.inner.bounds(), session.inner.blob_key(digest));
        commit(&self.folder(session.id), session.state, digest, target, body, &bounds.budget).await
    }

    async fn put(&self, inner: &Arc<Inner>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let (bounds, target) = (inner.bounds(), inner.blob_key(digest));
        put(self.folder(&UploadId::random()), digest, target, body, &bounds.budget).await
    }

    async fn remove(&self, _inner: &Inner, id: &UploadId) -> Result<(), Error> {
        let folder = self.folder(id);
        blocking(move || folder.remove().map(drop)).await
    }

    async fn purge(&self, inner: &Inner, id: &UploadId, ages: Ages) -> Result<bool, Error> {
        let (folder, clock) = (self.folder(id), inner.clock);
        blocking(move || purge_folder(&folder, &clock, ages)).await
    }
}

/// A session whose file is ours alone, positioned at its offset.
struct Writing {
    output: Arc<Output>,
    hasher: Option<Hasher>,
    /// The file is shorter than its offset: a commit was cut short after it had given the blob its name.
    moved: bool,
}

/// A new session. Blocks.
fn create(folder: &Folder, state: &UploadState) -> Result<(), Error> {
    folder.create()?;
    match folder.put_state(state, false) {
        Ok(()) => Ok(()),
        Err(UploadError::Storage(error)) => Err(error),
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}

/// Takes the body; returns the state that is durable then, and why the body ended early, if it did.
async fn append(
    folder: &Folder,
    state: &UploadState,
    body: &mut dyn Body,
    budget: &Budget,
) -> Result<(UploadState, Result<(), UploadError>), UploadError> {
    let writing = begin(folder, state).await?;
    if writing.moved {
        return Err(UploadError::Gone);
    }
    let pumped = pump(&writing, state.offset, writing.hasher.clone(), budget).run(body).await;
    let (output, folder, old) = (writing.output, folder.clone(), state.clone());
    // In one go, and holding the lock: whoever comes next finds the state and the bytes in step.
    blocking(move || -> Result<_, UploadError> {
        let failed = match pumped.failed {
            Some(failed) => Err(failed.error),
            None if pumped.at > old.offset => output.file().sync_data(),
            None => Ok(()),
        };
        if let Err(error) = failed {
            _ = output.file().set_len(old.offset); // makes room; at worst the next writer does it
            return Err(io_error(error).into());
        }
        let outcome = pumped.ended.unwrap_or(Ok(()));
        if pumped.at == old.offset {
            return Ok((old, outcome));
        }
        let state = old.advanced(pumped.at, pumped.hasher.as_ref(), Vec::new());
        folder.put_state(&state, true)?;
        Ok((state, outcome))
    })
    .await
}

/// Takes the last body, verifies and names the file. The session is over after a mismatch; otherwise it stays, and the same
/// body again gives the same answer: its state promises more bytes than are in its file then, see [`Writing::moved`].
async fn commit(
    folder: &Folder,
    state: &UploadState,
    expected: &Digest,
    target: String,
    body: &mut dyn Body,
    budget: &Budget,
) -> Result<u64, UploadError> {
    let writing = begin(folder, state).await?;
    // Nothing has arrived yet: no need to hash with what was guessed.
    let hasher = match state.offset {
        0 => Some(Hasher::new(expected.algorithm())),
        _ => writing.hasher.clone(),
    };
    let pumped = pump(&writing, state.offset, hasher, budget).run(body).await;
    let (folder, expected, offset) = (folder.clone(), *expected, state.offset);
    blocking(move || {
        let size = match finished(pumped) {
            Ok((size, hasher)) => {
                let found = match hasher.filter(|hasher| hasher.algorithm() == expected.algorithm()) {
                    Some(hasher) => hasher.finish(),
                    None if writing.moved => folder.hash_blob(&target, size, expected.algorithm())?,
                    None => hash_file(writing.output.file(), size, Hasher::new(expected.algorithm()))?.finish(),
                };
                if found != expected {
                    folder.remove()?;
                    return Err(UploadError::Mismatch { expected, found });
                }
                size
            }
            Err(error) => {
                _ = writing.output.file().set_len(if writing.moved { 0 } else { offset }); // see `append`
                return Err(error);
            }
        };
        if writing.moved {
            // The client proved that it has these bytes; they must be where the cut commit had put them.
            folder.settle(&target, size)?;
        } else {
            folder.install(writing.output.file(), &target)?;
        }
        Ok(size)
    })
    .await
}

/// A whole blob of known digest, without a session.
async fn put(
    folder: Folder,
    expected: &Digest,
    target: String,
    body: &mut dyn Body,
    budget: &Budget,
) -> Result<u64, UploadError> {
    let scrap = folder.clone().scrap();
    let result = put_in(folder, expected, target, body, budget).await;
    scrap.remove().await;
    result
}

async fn put_in(
    folder: Folder,
    expected: &Digest,
    target: String,
    body: &mut dyn Body,
    budget: &Budget,
) -> Result<u64, UploadError> {
    let expected = *expected;
    let hasher = Some(Hasher::new(expected.algorithm()));
    let place = folder.clone();
    let output = blocking(move || -> Result<_, UploadError> {
        place.create()?;
        Ok(Arc::new(place.lock()?))
    })
    .await?;
    let pumped =
        Pump { target: Some(Target::Upload(output.clone())), at: 0, hasher, budget, room: None }.run(body).await;
    let (size, hasher) = finished(pumped)?;
    let found = match hasher {
        Some(hasher) => hasher.finish(),
        None => return Err(Error::Failed("a thread that hashed has died".to_owned()).into()),
    };
    if found != expected {
        return Err(UploadError::Mismatch { expected, found });
    }
    blocking(move || folder.install(output.file(), &target).map(|()| size)).await
}

/// Locks the session, makes sure that it is what we think it is, and cuts off what an interrupted request left.
async fn begin(folder: &Folder, state: &UploadState) -> Result<Writing, UploadError> {
    let (folder, state) = (folder.clone(), state.clone());
    blocking(move || {
        let output = folder.lock()?;
        let file = output.file();
        match folder.state()? {
            None => return Err(UploadError::Gone),
            Some(now) if now != state => return Err(UploadError::Busy),
            Some(_) => {}
        }
        let length = file.metadata().map_err(io_error)?.len();
        let moved = length < state.offset;
        if length > state.offset {
            file.set_len(state.offset).map_err(io_error)?;
        }
        let hasher = match state.hasher() {
            None if !moved => Some(hash_file(file, state.offset, Hasher::new(state.algorithm()))?),
            known => known,
        };
        Ok(Writing { output: Arc::new(output), hasher, moved })
    })
    .await
}

fn pump<'a>(writing: &Writing, at: u64, hasher: Option<Hasher>, budget: &'a Budget) -> Pump<'a> {
    // Of bytes that are elsewhere already, the rest is only hashed.
    let target = (!writing.moved).then(|| Target::Upload(writing.output.clone()));
    Pump { target, at, hasher, budget, room: None }
}

fn finished(pumped: Pumped) -> Result<(u64, Option<Hasher>), UploadError> {
    if let Some(failed) = pumped.failed {
        return Err(io_error(failed.error).into());
    }
    pumped.ended.unwrap_or(Ok(()))?;
    Ok((pumped.at, pumped.hasher))
}
