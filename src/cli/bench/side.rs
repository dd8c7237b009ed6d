//! One address: what is asked of it, how long that took, and what it has to be rid of in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;

use super::figures::{Figures, Measure};
use super::image::{Blob, Image, MANIFEST};
use super::left::{Cleaned, Left};
use super::registry::{Payload, Question, Registry, Scope, Target};
use super::trouble::Trouble;
use crate::oci::RepositoryName;

/// Failures of one address after which there is nothing to be measured.
const MAX_FAILURES: u64 = 10;
/// What an upload's bytes are.
const OCTETS: &str = "application/octet-stream";

pub struct Side {
    pub registry: Registry,
    pub repository: RepositoryName,
    /// Part of its tags: no other run and no other side has it.
    pub run: String,
    pub figures: Mutex<BTreeMap<Measure, Figures>>,
    pub left: Left,
    /// What was pushed.
    pub images: Mutex<Vec<Arc<Image>>>,
    /// Why its catalog is not asked for.
    pub no_catalog: Mutex<Option<String>>,
    /// What came of cleaning up, once it was tried.
    pub cleaned: Mutex<Option<Cleaned>>,
}

impl Side {
    pub fn new(registry: Registry, repository: RepositoryName, run: String) -> Self {
        Side {
            registry,
            repository,
            run,
            figures: Mutex::default(),
            left: Left::default(),
            images: Mutex::default(),
            no_catalog: Mutex::default(),
            cleaned: Mutex::default(),
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    /// Whether a registry is there, which knows us.
    pub async fn hello(&self) -> Result<(), Trouble> {
        self.ping().await
    }

    pub async fn ping(&self) -> Result<(), Trouble> {
        self.registry.document(Question::new(Method::GET, "/v2/").of(Scope::Base)).await.map(drop)
    }

    pub async fn tags(&self) -> Result<(), Trouble> {
        self.registry.document(Question::new(Method::GET, &self.path("tags/list"))).await.map(drop)
    }

    pub async fn catalog(&self) -> Result<(), Trouble> {
        self.registry.document(Question::new(Method::GET, "/v2/_catalog").of(Scope::Catalog)).await.map(drop)
    }

    /// By its tag, as who pulls asks for it.
    pub async fn manifest(&self, image: &Image) -> Result<(), Trouble> {
        let path = self.path(&format!("manifests/{}", image.tag));
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFEST))]);
        let digest = self.registry.document(Question { headers, ..Question::new(Method::GET, &path) }).await?;
        match digest == image.digest {
            true => Ok(()),
            false => Err(self.registry.odd(format!("{path} has other bytes than were pushed"))),
        }
    }

    /// The manifest and all blobs, one after another; whatever comes is checked.
    pub async fn pull(&self, image: &Image) -> Result<(), Trouble> {
        self.manifest(image).await?;
        for blob in &image.blobs {
            self.registry.blob(&self.path(&format!("blobs/{}", blob.digest)), blob).await?;
        }
        Ok(())
    }

    /// Blobs, one after another, and the manifest.
    pub async fn push(self: &Arc<Self>, image: &Arc<Image>) -> Result<(), Trouble> {
        for blob in &image.blobs {
            self.upload(blob).await?;
        }
        self.left.begins_manifest(image);
        let (side, pushed) = (Arc::clone(self), Arc::clone(image));
        // What is sent at once is not cut off: what comes of it could not be told, nor taken away.
        self.left
            .to_its_end(async move {
                let path = side.path(&format!("manifests/{}", pushed.tag));
                let question = Question::new(Method::PUT, &path).with(Payload::Manifest(&pushed.manifest), MANIFEST);
                side.registry.expect(question, StatusCode::CREATED).await.map(drop)
            })
            .await?;
        self.images.lock().push(Arc::clone(image));
        Ok(())
    }

    async fn upload(self: &Arc<Self>, blob: &Blob) -> Result<(), Trouble> {
        let side = Arc::clone(self);
        let upload = self.left.to_its_end(async move { side.begin_upload().await }).await?;
        self.left.begins_blob(blob);
        let joint = if upload.contains('?') { '&' } else { '?' };
        let close = format!("{upload}{joint}digest={}", blob.digest);
        let question = Question::new(Method::PUT, "").with(Payload::Blob(blob), OCTETS);
        let question = Question { to: Target::Location(&close), ..question };
        self.registry.expect(question, StatusCode::CREATED).await?;
        self.left.ended_upload(&upload);
        Ok(())
    }

    /// Where the upload goes on.
    async fn begin_upload(&self) -> Result<String, Trouble> {
        let path = self.path("blobs/uploads/");
        let begun = self.registry.expect(Question::new(Method::POST, &path), StatusCode::ACCEPTED).await?;
        let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.registry.odd("an upload has no Location".into()))?.to_owned();
        self.left.began_upload(&location);
        Ok(location)
    }

    /// Does it and writes down how long it took.
    ///
    /// # Errors
    /// Too much went wrong here.
    pub async fn timed(
        &self,
        measure: Measure,
        bytes: u64,
        work: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<(), Trouble> {
        let begun = Instant::now();
        let done = work.await;
        self.add(measure, begun.elapsed(), bytes, done, true)
    }

    /// `alone`: nothing else of this measure ran beside it, so that its time is the measure's too.
    pub fn add(
        &self,
        measure: Measure,
        took: Duration,
        bytes: u64,
        done: Result<(), Trouble>,
        alone: bool,
    ) -> Result<(), Trouble> {
        let mut all = self.figures.lock();
        let figures = all.entry(measure).or_default();
        match done {
            Ok(()) => {
                figures.add(took, bytes);
                if alone {
                    figures.busy += took;
                }
                Ok(())
            }
            Err(trouble) => {
                figures.failed(&trouble);
                let failed = all.values().map(|figures| figures.failed).sum();
                match failed >= MAX_FAILURES {
                    true => Err(Trouble::TooMuch { failed, last: Box::new(trouble) }),
                    false => Ok(()),
                }
            }
        }
    }

    /// What was pushed as the `index`th, begun anew at the end; `None`: nothing was.
    pub fn image(&self, index: u32) -> Option<Arc<Image>> {
        let images = self.images.lock();
        let at = usize::try_from(index).ok()?.checked_rem(images.len())?;
        images.get(at).cloned()
    }
}
