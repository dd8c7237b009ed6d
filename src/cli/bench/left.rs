//! What a run leaves at a registry, and how it is taken away again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::image::{Blob, Image};
use super::registry::{Question, Target};
use super::side::Side;
use super::trouble::Trouble;
use crate::cli::words::{count, size};
use crate::oci::Digest;

/// What was sent when a run was cut off has so long to come to its end.
const END_TIME: Duration = Duration::from_secs(10);
/// All that has to be taken away from one address.
const CLEAN_UP_TIME: Duration = Duration::from_secs(120);
/// Deletions at once.
const AT_ONCE: usize = 4;

/// Noted before it is there, and struck out when it is gone.
#[derive(Default)]
pub struct Left {
    things: Mutex<Things>,
    under_way: TaskTracker,
}

#[derive(Default)]
struct Things {
    /// Where open uploads go on.
    uploads: BTreeSet<String>,
    manifests: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
    /// Bytes of all that was pushed.
    bytes: u64,
    deleted: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// Manifests that are gone, and that are left.
    pub deleted: u64,
    pub left: u64,
    /// Bytes of all that was pushed.
    pub bytes: u64,
    /// The registry does not let us delete.
    pub refused: Option<String>,
    /// Something else went wrong.
    pub trouble: Option<String>,
}

impl Left {
    /// Work that goes on also when nobody waits for it any more.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.under_way.spawn(work).await.unwrap_or_else(|error| Err(Trouble::Start(error.to_string())))
    }

    pub fn began_upload(&self, location: &str) {
        self.things.lock().uploads.insert(location.to_owned());
    }

    pub fn ended_upload(&self, location: &str) {
        self.things.lock().uploads.remove(location);
    }

    pub fn begins_blob(&self, blob: &Blob) {
        let mut things = self.things.lock();
        things.blobs.insert(blob.digest);
        things.bytes += blob.size;
    }

    pub fn begins_manifest(&self, image: &Image) {
        let mut things = self.things.lock();
        things.manifests.insert(image.digest);
        things.bytes += image.manifest.len() as u64;
    }
}

/// Takes away what is left; begun anew, it goes on where it was cut off.
pub async fn clean_up(side: &Side) {
    side.left.under_way.close();
    let _ = timeout(END_TIME, side.left.under_way.wait()).await;
    let deleting = timeout(CLEAN_UP_TIME, delete(side)).await;
    let things = side.left.things.lock();
    let mut cleaned = Cleaned {
        deleted: things.deleted,
        left: u64::try_from(things.manifests.len()).unwrap_or(u64::MAX),
        bytes: things.bytes,
        ..Cleaned::default()
    };
    match deleting {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) if trouble.is_no() => cleaned.refused = Some(trouble.to_string()),
        Ok(Err(trouble)) => cleaned.trouble = Some(trouble.to_string()),
        Err(_) => cleaned.trouble = Some("it took too long".into()),
    }
    *side.cleaned.lock() = Some(cleaned);
}

async fn delete(side: &Side) -> Result<(), Trouble> {
    let uploads: Vec<String> = side.left.things.lock().uploads.iter().cloned().collect();
    // An upload that stays open ends by itself some day.
    for upload in uploads {
        let question = Question { to: Target::Location(&upload), ..Question::new(Method::DELETE, "") };
        let _ = side.registry.expect(question, StatusCode::NO_CONTENT).await;
        side.left.ended_upload(&upload);
    }
    let manifests: Vec<Digest> = side.left.things.lock().manifests.iter().copied().collect();
    each(side, manifests, "manifests", |things, digest, was_there| {
        things.manifests.remove(digest);
        things.deleted += u64::from(was_there);
    })
    .await?;
    let blobs: Vec<Digest> = side.left.things.lock().blobs.iter().copied().collect();
    each(side, blobs, "blobs", |things, digest, _| _ = things.blobs.remove(digest)).await
}

/// Some at once, until one is refused; whatever else goes wrong with one, the others go.
async fn each(
    side: &Side,
    digests: Vec<Digest>,
    kind: &str,
    gone: fn(&mut Things, &Digest, bool),
) -> Result<(), Trouble> {
    let deletions = digests.into_iter().map(|digest| async move {
        let path = side.path(&format!("{kind}/{digest}"));
        match side.registry.expect(Question::new(Method::DELETE, &path), StatusCode::ACCEPTED).await {
            Ok(_) => gone(&mut side.left.things.lock(), &digest, true),
            Err(trouble) => match trouble.status() {
                // Some say so in another way than the specification has it.
                Some(status) if status.is_success() => gone(&mut side.left.things.lock(), &digest, true),
                // What was never pushed is not there.
                Some(StatusCode::NOT_FOUND) => gone(&mut side.left.things.lock(), &digest, false),
                _ => return Err(trouble),
            },
        }
        Ok(())
    });
    let mut deletions = futures::stream::iter(deletions).buffer_unordered(AT_ONCE);
    let mut first = Ok(());
    while let Some(done) = deletions.next().await {
        match done {
            Err(trouble) if trouble.is_no() => return Err(trouble),
            done => first = first.and(done),
        }
    }
    first
}

impl Cleaned {
    /// For people.
    pub fn line(&self, side: &Side) -> String {
        let (address, repository) = (side.registry.address.to_string(), &side.repository);
        let bytes = size(Some(self.bytes));
        match (&self.refused, &self.trouble) {
            _ if self.bytes == 0 => format!("{address}: nothing was pushed"),
            (Some(why), _) if self.left > 0 => format!(
                "{address}: {} of {bytes} in all stay in {repository}, since deleting is refused: {why}",
                count(self.left, "image")
            ),
            (None, Some(why)) if self.left > 0 => {
                format!("{address}: {} may be left in {repository}: {why}", count(self.left, "image"))
            }
            // Whatever was said of blobs: without a manifest that names them they go.
            _ => format!(
                "{address}: {} deleted from {repository}; its next collection of garbage frees {bytes}",
                count(self.deleted, "image")
            ),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "deleted": self.deleted,
            "left": self.left,
            "bytes": self.bytes,
            "refused": self.refused,
            "trouble": self.trouble,
        })
    }
}
