//! Lists, as they are in storage now, and the stamps that tell when they have changed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{BoxStream, TryStreamExt as _};

use super::Error;
use super::disk::Disk;
use super::driver::Entry;
use super::layout::{self, OwnKey};
use super::metrics::Action;
use super::storage::{Precondition, Stamp, Storage, Version};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

/// A change within the same tick of the filesystem's clock leaves no trace: a stamp so young proves nothing.
const TICK: Duration = Duration::from_millis(50);

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

impl Storage {
    /// Whether there is a registry at all.
    pub async fn has_repositories(&self) -> Result<bool, Error> {
        self.store().folder_exists(layout::REPOSITORIES).await
    }

    /// Whether `_manifests` exists.
    pub async fn repository_exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        self.store().folder_exists(&layout::manifests_folder(name)).await
    }

    /// Names of the tags, sorted bytewise; `None` if there is no such repository.
    pub async fn tags(&self, name: &RepositoryName) -> Result<Option<Vec<Tag>>, Error> {
        // A push or a removal that was cut short leaves the folder without the link: no tag, as who asks for it is told.
        let folders = self.store().list_holding(&layout::tags_folder(name), "current/link").await?;
        if folders.is_empty() && !self.repository_exists(name).await? {
            return Ok(None);
        }
        let mut tags: Vec<Tag> = folders.iter().filter_map(|folder| folder.parse().ok()).collect();
        tags.sort_unstable();
        Ok(Some(tags))
    }

    /// Digests of the manifests, in no order.
    pub async fn revisions(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let mut digests = Vec::new();
        for algorithm in ALGORITHMS {
            // distribution's DELETE removes the link and leaves the folder.
            let folders = self.store().list_holding(&layout::revisions_folder(name, algorithm), "link").await?;
            digests.extend(folders.iter().filter_map(|hex| layout::digest_of_folder(algorithm, hex)));
        }
        Ok(digests)
    }

    /// Every file below a folder, in the bytewise order of keys: for whoever looks at all of them. Names are relative to the
    /// folder; with `after`, only those that come after it, so that a walk that broke off goes on where it was. An error ends
    /// it. Memory is bounded by the names of one folder on each level (disk), or by one page (object store). What is pushed
    /// or deleted meanwhile may be told of or not.
    pub fn below(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry, Error>> {
        self.store().below(folder, after)
    }

    /// Tags of remotes that something is known of, of the repositories below a path (`docker.io`), at most so many.
    pub async fn mirror_tags(&self, path: &str, limit: usize) -> Result<Vec<(RepositoryName, Tag)>, Error> {
        let folder = format!("{}/{path}", layout::MIRROR);
        let mut entries = self.below(&folder, None);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(entry) = entries.try_next().await?
        {
            // Of the repository that is called `path` itself, too.
            let named = format!("{path}/{}", entry.name);
            let Some((name, tag)) = named.split_once(layout::MIRROR_TAGS) else { continue };
            if let (Ok(name), Ok(tag)) = (name.parse(), tag.parse()) {
                found.push((name, tag));
            }
        }
        Ok(found)
    }

    /// Runs that took links away and left journals of it, the newest of those whose names tell when they began first.
    pub async fn journals(&self) -> Result<Vec<String>, Error> {
        let mut runs = self.store().list(layout::JOURNALS).await?.folders;
        runs.sort_unstable_by(|one, other| other.cmp(one));
        Ok(runs)
    }

    /// What a run took away from a repository, piece by piece; `None`: nothing.
    pub async fn journal(
        &self,
        run: &str,
        name: &RepositoryName,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, Error>>>, Error> {
        let key = OwnKey::Journal(run.to_owned(), name.clone()).key();
        Ok(self.store().open(&key, 0, None).await?.map(|(_, body)| body))
    }

    /// Manifests of which the repository has recorded a media type, because their bytes do not tell it.
    pub async fn recorded_types(&self, name: &RepositoryName) -> Result<HashSet<Digest>, Error> {
        let mut digests = HashSet::new();
        for algorithm in ALGORITHMS {
            let found = self.store().list(&layout::media_types_folder(name, algorithm)).await?;
            digests.extend(found.files.iter().filter_map(|file| layout::digest_of_folder(algorithm, &file.name)));
        }
        Ok(digests)
    }

    /// The stamp of a repository's lists (tags, revisions) or, for `None`, of the catalog. Cheap: one stat or one HEAD, and
    /// on an object store a PUT after a change. Read it before the list that it belongs to.
    pub async fn stamp(&self, name: Option<&RepositoryName>) -> Result<Stamp, Error> {
        let marker = marker(name).key();
        let Some(disk) = self.store().files() else { return self.remote_stamp(name, &marker).await };
        let folders = match name {
            Some(name) => {
                let mut folders = vec![layout::manifests_folder(name), layout::tags_folder(name)];
                folders.extend(ALGORITHMS.map(|algorithm| layout::revisions_folder(name, algorithm)));
                folders
            }
            None => vec![layout::REPOSITORIES.to_owned()],
        };
        let stamp = move |disk: &Disk| {
            let mut times = Vec::with_capacity(folders.len());
            for folder in &folders {
                times.push(disk.folder_changed(folder)?);
            }
            let written = disk.read(&marker, MARKER_LIMIT)?.and_then(Result::ok).unwrap_or_default();
            Ok(local_stamp(&times, &written))
        };
        self.store().with_disk(Action::Stat, disk, stamp).await
    }

    /// On an object store, a marker is there as long as somebody may keep a list: who begins to writes one (reading needs
    /// that right for nothing else), and who changes the list removes it. Most pushes find none.
    async fn remote_stamp(&self, name: Option<&RepositoryName>, marker: &str) -> Result<Stamp, Error> {
        if let Some(version) = self.store().version(marker).await? {
            return Ok(Stamp(version.0));
        }
        // Whoever makes names up must not fill the store with markers.
        if let Some(name) = name
            && !self.repository_exists(name).await?
        {
            return Ok(Stamp::none());
        }
        // Of two who do it at once, the first will find another stamp, and read its list again. Who may not write, or cannot
        // now, reads without keeping.
        let written = self.store().put(marker, random(), Precondition::None).await;
        Ok(written.map_or_else(|_| Stamp::none(), |version| Stamp(version.0)))
    }

    /// Changes the stamp for every instance: called after a list's change, before it is acknowledged.
    pub async fn stamp_changed(&self, name: Option<&RepositoryName>) -> Result<(), Error> {
        let marker = marker(name).key();
        if let Some(disk) = self.store().files() {
            let Some(name) = name else {
                return self.store().put(&marker, random(), Precondition::None).await.map(drop);
            };
            let folder = layout::manifests_folder(name);
            return self.store().with_disk(Action::PutContent, disk, move |disk| disk.touch_folder(&folder)).await;
        }
        if self.store().version(&marker).await?.is_none() {
            return Ok(());
        }
        match self.store().delete(&marker).await {
            // Who may not delete may overwrite: that changes it as well.
            Err(Error::Refused(_)) => self.store().put(&marker, random(), Precondition::None).await.map(drop),
            other => other.map(drop),
        }
    }

    /// Whether the store refuses a write whose condition is not met. Some that call themselves compatible write anyway.
    pub(crate) async fn minds_conditions(&self) -> bool {
        self.is_known_to_mind().await.unwrap_or(false)
    }

    /// As [`Self::minds_conditions`]; fails where that cannot be found out now.
    pub(crate) async fn is_known_to_mind(&self) -> Result<bool, Error> {
        let Some(made_up) = self.store().made_up_version() else { return Ok(false) };
        let ask = async || {
            match self.store().put(&OwnKey::Probe.key(), random(), Precondition::Unchanged(made_up)).await {
                Err(Error::Conflict) => Ok(true),
                // It does not know them, or does not mind.
                Err(Error::Failed(_)) | Ok(_) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.conditions().get_or_try_init(ask).await.copied()
    }

    /// Like `stamp_changed`; the new stamp if the old one was `expected` until now. `None`: it may have been another one,
    /// or this store cannot tell.
    pub async fn stamp_follows(&self, name: Option<&RepositoryName>, expected: &Stamp) -> Result<Option<Stamp>, Error> {
        if self.minds_conditions().await {
            let unchanged = Precondition::Unchanged(Version(expected.0.clone()));
            // After a failure it may have been written all the same: no list has that stamp.
            if let Ok(version) = self.store().put(&marker(name).key(), random(), unchanged).await {
                return Ok(Some(Stamp(version.0)));
            }
        }
        self.stamp_changed(name).await.map(|()| None)
    }
}

/// Bytes of a marker: a UUID.
const MARKER_LIMIT: u64 = 64;

fn random() -> Bytes {
    Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes())
}

fn marker(name: Option<&RepositoryName>) -> OwnKey {
    name.map_or(OwnKey::CatalogChanges, |name| OwnKey::RepositoryChanges(name.clone()))
}

/// How a stamp begins that is equal to no other.
const NONE: &str = "none ";

impl Stamp {
    fn none() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Stamp(format!("{NONE}{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether anybody will ever find it again: a list under another one is not worth keeping.
    pub fn lasts(&self) -> bool {
        !self.0.starts_with(NONE)
    }
}

/// From the times at which folders changed. One that is too young to be trusted is equal to none.
fn local_stamp(times: &[Option<(i64, i64)>], written: &[u8]) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_old = |(seconds, nanoseconds): &(i64, i64)| {
        let then = Duration::new(u64::try_from(*seconds).unwrap_or(0), u32::try_from(*nanoseconds).unwrap_or(0));
        now.checked_sub(then).is_some_and(|age| age >= TICK)
    };
    if !times.iter().flatten().all(is_old) {
        return Stamp::none();
    }
    Stamp(format!("{times:?} {}", hex::encode(written)))
}
