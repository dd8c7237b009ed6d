//! Bytes from a source into their place: only there when their digest is proven.

use std::time::Duration;

use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::repair::{Outcome, told};
use super::run::{Holder, Run};
use super::see::Seen;
use super::source::{Coming, Elsewhere, Folder, Source};
use crate::oci::Digest;
use crate::storage::OwnKey;
use crate::uploads::UploadError;

/// Repositories of one blob that another registry is asked by.
const MOST_ASKED: usize = 8;
/// How often bytes that broke off are begun again, and how long after.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Where bytes come from.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// By the key of what one move brought there.
    Trash(&'a str),
    Folder(&'a Folder),
    /// By a repository that should have them.
    Registry(&'a Elsewhere, &'a Holder),
}

impl Run<'_> {
    /// Puts the bytes of a digest into their place, from the first source that has them.
    pub(super) async fn bring(&self, digest: &Digest, holders: &[Holder]) -> Outcome {
        let mut reasons = Vec::new();
        for source in &self.order.repair {
            let shown = source.shown();
            match self.bring_from(source, digest, holders).await {
                Ok(true) => return Ok(shown),
                Ok(false) => {}
                Err(why) => reasons.push(format!("{shown}: {why}")),
            }
        }
        if reasons.is_empty() { Err("no source has its bytes".to_owned()) } else { Err(reasons.join("; ")) }
    }

    /// False: it does not have them.
    async fn bring_from(&self, source: &Source, digest: &Digest, holders: &[Holder]) -> Result<bool, String> {
        match source {
            Source::Trash => self.bring_from_trash(digest).await,
            Source::Folder(folder) => self.put(digest, Place::Folder(folder)).await,
            Source::Registry(elsewhere) => {
                let mut failed = None;
                for holder in holders.iter().take(MOST_ASKED) {
                    match self.put(digest, Place::Registry(elsewhere, holder)).await {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(why) => failed = Some(why),
                    }
                }
                failed.map_or(Ok(false), Err)
            }
        }
    }

    /// What is in the trash is looked at before it is brought back: it may have been damaged when it was taken there. There may be
    /// several of one blob, from several moves.
    async fn bring_from_trash(&self, digest: &Digest) -> Result<bool, String> {
        let storage = &self.parts.storage;
        let mut failed = None;
        for copy in storage.trash_of(digest).await.map_err(told)? {
            let key = OwnKey::Trash(*digest, copy.name).key();
            match self.see_at(&key, digest).await.map_err(told)? {
                Seen::Right(_) => return self.put(digest, Place::Trash(&key)).await,
                Seen::Gone => {}
                Seen::Other(_) => failed = Some("its bytes have another digest there as well".to_owned()),
                Seen::Unreadable(why) => failed = Some(why),
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Puts what comes into a blob's place if it has that digest. False: nothing comes.
    async fn put(&self, digest: &Digest, from: Place<'_>) -> Result<bool, String> {
        let storage = &self.parts.storage;
        let uploads = self.parts.uploads.as_ref().ok_or("nothing can be put into storage")?;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            self.pace.take(1).await;
            let Some(mut coming) = self.open(digest, from).await? else { return Ok(false) };
            // Else an object store's blob of the right size would be taken for the right one.
            storage.blob_damaged(digest);
            match uploads.put(digest, &mut coming).await {
                Ok(_) => {
                    storage.blob_healed(digest);
                    return Ok(true);
                }
                Err(UploadError::Body(_)) if tries > 0 => tokio::time::sleep(PAUSE).await,
                Err(UploadError::Mismatch { found, .. }) => return Err(format!("it gives {found} instead")),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn open(&self, digest: &Digest, from: Place<'_>) -> Result<Option<Coming>, String> {
        match from {
            Place::Folder(folder) => folder.blob(digest).await,
            Place::Registry(elsewhere, holder) => elsewhere.content(&holder.name, digest, holder.manifest).await,
            Place::Trash(key) => {
                let found = self.parts.storage.store().open(key, 0, None).await;
                let found = found.map_err(told)?;
                Ok(found.map(|(size, body)| Coming { length: Some(size), body: body.map_err(told).boxed() }))
            }
        }
    }
}
