//! The end of uploads that nobody went on with: ours, and distribution's in the tree.

use std::time::{Duration, SystemTime};

use futures::StreamExt;

use super::clock::{Clock, from_millis};
use super::disk::Folder;
use super::inner::Inner;
use super::multipart::Note;
use super::{Ages, UploadError, UploadId, keys};
use crate::storage::{Error, format, io_error, layout};

/// Sessions that are looked at at once.
const AT_ONCE: usize = 4;
/// Of distribution's `startedat`, in bytes.
const STARTED_LIMIT: u64 = 256;
const NOTE_LIMIT: u64 = 64 << 10;
/// Parts of a repository's name, at most: it has 255 characters.
pub(super) const DEEPEST: usize = 128;

impl Inner {
    /// Returns how many sessions it ended. What cannot be ended is left for the next time, and keeps nothing else from it.
    pub(super) async fn purge(&self, ages: Ages) -> Result<usize, Error> {
        let sessions = self.store().list(keys::UPLOADS).await?.folders;
        let ended = futures::stream::iter(sessions)
            .map(|name| async move {
                let ended = self.purge_session(&name, ages).await;
                ended
                    .inspect_err(|error| tracing::warn!(%error, upload = name, "an upload cannot be purged"))
                    .unwrap_or(false)
            })
            .buffer_unordered(AT_ONCE)
            .filter(|ended| std::future::ready(*ended))
            .count()
            .await;
        let multiparts = if ages.dry { Ok(()) } else { self.purge_multiparts(ages.begun).await };
        let ended = ended + self.purge_tree(ages).await?;
        multiparts.map(|()| ended)
    }

    async fn purge_session(&self, name: &str, ages: Ages) -> Result<bool, Error> {
        let Ok(id) = name.parse::<UploadId>() else { return Ok(false) };
        self.way().purge(self, &id, ages).await
    }

    pub(super) async fn purge_objects(&self, id: &UploadId, ages: Ages) -> Result<bool, Error> {
        let times = match self.state(id).await? {
            // A body that takes long is no idleness; those of other instances cannot be seen.
            Some((state, _)) if self.is_writing(id) => Some(Times { began: state.began(), touched: None }),
            Some((state, _)) => Some(Times { began: state.began(), touched: Some(state.touched()) }),
            // Segments that were never recorded, or whose state was removed first. All must be old.
            None => {
                let found = self.store().list(&keys::folder(id)).await?;
                let began = found.files.iter().map(|file| keys::segment_began(&file.name)).collect::<Option<Vec<_>>>();
                began.and_then(|all| all.into_iter().max()).map(|began| Times { began, touched: None })
            }
        };
        if !times.is_some_and(|times| times.are_over(&self.clock, ages)) {
            return Ok(false);
        }
        if !ages.dry {
            self.remove(id).await?;
        }
        Ok(true)
    }

    async fn purge_multiparts(&self, older_than: Duration) -> Result<(), Error> {
        for note in self.store().list(keys::MULTIPARTS).await?.files {
            let key = format!("{}/{}", keys::MULTIPARTS, note.name);
            if let Err(error) = self.purge_multipart(&key, older_than).await {
                tracing::warn!(%error, note = key, "a multipart upload cannot be purged");
            }
        }
        Ok(())
    }

    async fn purge_multipart(&self, key: &str, older_than: Duration) -> Result<(), Error> {
        let Some((bytes, _)) = self.store().get(key, NOTE_LIMIT).await? else { return Ok(()) };
        let note: Note = format::read(&bytes)?;
        if self.clock.older(from_millis(note.began), older_than) {
            self.store().multipart_abort(&note.key, &note.id).await?;
            self.store().delete(key).await?;
        }
        Ok(())
    }

    /// Distribution's sessions, in whatever repository. Its unfinished multiparts on S3 are not ours to find: they have no
    /// file that names them.
    async fn purge_tree(&self, ages: Ages) -> Result<usize, Error> {
        let mut folders = vec![(layout::REPOSITORIES.to_owned(), 0)];
        let mut ended = 0;
        while let Some((folder, depth)) = folders.pop() {
            let names = match self.store().list(&folder).await {
                Ok(found) => found.folders,
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, folder, "a folder cannot be purged");
                    continue;
                }
            };
            for name in names {
                let path = format!("{folder}/{name}");
                match name.as_str() {
                    keys::OTHERS => ended += self.purge_uploads(&path, ages).await,
                    name if name.starts_with('_') || depth >= DEEPEST => {}
                    _ => folders.push((path, depth + 1)),
                }
            }
        }
        Ok(ended)
    }

    async fn purge_uploads(&self, folder: &str, ages: Ages) -> usize {
        let sessions = match self.store().list(folder).await {
            Ok(found) => found.folders,
            Err(error) => {
                tracing::warn!(%error, folder, "a folder cannot be purged");
                return 0;
            }
        };
        let mut ended = 0;
        for name in sessions {
            let session = format!("{folder}/{name}");
            match self.purge_distributions(&session, ages).await {
                Ok(true) => ended += 1,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, session, "an upload cannot be purged"),
            }
        }
        ended
    }

    async fn purge_distributions(&self, session: &str, ages: Ages) -> Result<bool, Error> {
        let began = self.started(session).await?;
        if !began.is_some_and(|began| self.clock.older(began, ages.begun)) {
            return Ok(false);
        }
        if ages.dry {
            return Ok(true);
        }
        self.store().delete_all(session).await.map(|()| true)
    }

    /// When a session of distribution's began, if it says so.
    pub(super) async fn started(&self, session: &str) -> Result<Option<SystemTime>, Error> {
        let started = match self.store().get(&format!("{session}/startedat"), STARTED_LIMIT).await {
            Err(Error::TooLarge(_)) => None,
            other => other?,
        };
        let text = started.as_ref().and_then(|(bytes, _)| std::str::from_utf8(bytes).ok());
        Ok(text.and_then(|text| humantime::parse_rfc3339(text.trim()).ok()))
    }
}

/// Of a session on a disk. Blocks.
pub(super) fn purge_folder(folder: &Folder, clock: &Clock, ages: Ages) -> Result<bool, Error> {
    match times(folder)? {
        Some(times) if times.are_over(clock, ages) => {
            if ages.dry {
                Ok(true)
            } else {
                end(folder, clock, ages)
            }
        }
        _ => Ok(false),
    }
}

/// What is known of a session's age.
struct Times {
    began: SystemTime,
    touched: Option<SystemTime>,
}

impl Times {
    fn are_over(&self, clock: &Clock, ages: Ages) -> bool {
        clock.older(self.began, ages.begun) || self.touched.is_some_and(|touched| clock.older(touched, ages.idle))
    }
}

/// Without a readable state, when the folder was last changed.
fn times(folder: &Folder) -> Result<Option<Times>, Error> {
    match folder.state() {
        Ok(Some(state)) => return Ok(Some(Times { began: state.began(), touched: Some(state.touched()) })),
        // Not ours to judge.
        Err(error @ Error::Newer { .. }) => return Err(error),
        _ => {}
    }
    let changed = folder.disk.folder_changed(&folder.path).map_err(io_error)?;
    let millis = changed.and_then(|(seconds, nanoseconds)| {
        u64::try_from(seconds.checked_mul(1000)?.checked_add(nanoseconds / 1_000_000)?).ok()
    });
    Ok(millis.map(|millis| Times { began: from_millis(millis), touched: None }))
}

/// Not while somebody writes to it, nor when somebody has just done so.
fn end(folder: &Folder, clock: &Clock, ages: Ages) -> Result<bool, Error> {
    match folder.lock() {
        Ok(_file) => match times(folder)? {
            Some(times) if times.are_over(clock, ages) => folder.remove(),
            _ => Ok(false),
        },
        Err(UploadError::Busy | UploadError::Gone) => Ok(false),
        Err(UploadError::Storage(error)) => Err(error),
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}
