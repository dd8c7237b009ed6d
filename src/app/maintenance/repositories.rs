//! Tags, images and repositories.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::{Job, Works, failed, useless};
use crate::admin::Refusal;
use crate::admin::order::{Copying, Named, Removing, RemovingRepository};
use crate::maintenance::repositories::{Image, Place, Repositories, RepositoryError, Step};
use crate::oci::Reference;

impl Works {
    pub(super) async fn tag(&self, order: &Copying, job: &Job<'_>) -> Result<Value, Refusal> {
        let (Place::Image(source), Place::Image(target)) = (&order.source, &order.target) else {
            return Err(useless("a tag is set from REPOSITORY:TAG or REPOSITORY@DIGEST to REPOSITORY:TAG"));
        };
        if target.tag().is_none() {
            return Err(useless(format!("{target} is no tag")));
        }
        self.of(job, async |work| work.tag(source, target).await).await
    }

    pub(super) async fn untag(&self, order: &Named, job: &Job<'_>) -> Result<Value, Refusal> {
        self.of(job, async |work| work.untag(&order.image).await).await
    }

    pub(super) async fn remove(&self, order: &Removing, job: &Job<'_>) -> Result<Value, Refusal> {
        self.of(job, async |work| work.remove(&order.image, order.all_tags).await).await
    }

    pub(super) async fn remove_repository(&self, order: &RemovingRepository, job: &Job<'_>) -> Result<Value, Refusal> {
        self.of(job, async |work| work.remove_repository(&order.repository, !order.yes).await).await
    }

    /// One image, or all tags of a repository.
    pub(super) async fn copy(&self, order: &Copying, job: &Job<'_>) -> Result<Value, Refusal> {
        match (&order.source, &order.target) {
            (Place::Repository(source), Place::Repository(target)) => {
                let which = (order.tags.as_deref(), order.referrers);
                self.of(job, async |work| work.copy_tags(source, target, which).await).await
            }
            (Place::Image(_), _) | (_, Place::Image(_)) if order.tags.is_some() => {
                Err(useless("a pattern of tags is for whole repositories: name both without tag and digest"))
            }
            (Place::Image(source), target) => {
                let target = match (target, &source.reference) {
                    (Place::Image(target), _) => target.clone(),
                    // Under the tag, or by the digest, that it has.
                    (Place::Repository(name), reference) => {
                        Image { name: name.clone(), reference: Reference::clone(reference) }
                    }
                };
                self.of(job, async |work| work.copy(source, &target, order.referrers).await).await
            }
            (Place::Repository(source), Place::Image(target)) => {
                Err(useless(format!("all of {source} cannot be had as {target}: name a tag of it")))
            }
        }
    }

    async fn of<T: Serialize>(
        &self,
        job: &Job<'_>,
        work: impl AsyncFnOnce(&Repositories<'_>) -> Result<T, RepositoryError>,
    ) -> Result<Value, Refusal> {
        let tell = |step: Step| job.tell(&step);
        let repositories = Repositories { registry: &self.registry, listener: job.listener(), tell: &tell };
        let done = work(&repositories).await.map_err(refused)?;
        Ok(serde_json::to_value(done).unwrap_or_default())
    }
}

fn refused(error: RepositoryError) -> Refusal {
    let message = error.to_string();
    match error {
        RepositoryError::Absent(_) => Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message),
        RepositoryError::Useless(_) => Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message),
        RepositoryError::Refused { status, .. } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Refusal::new(status, "DENIED", message)
        }
        RepositoryError::Storage(error) => failed(error),
    }
}
