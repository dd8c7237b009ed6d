//! What collections ask of pulls.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::stored::pulled_since;
use crate::maintenance::gc::LastPulls;
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Storage};

/// What is written down of pulls in a storage.
pub struct WrittenPulls(pub Arc<Storage>);

#[async_trait]
impl LastPulls for WrittenPulls {
    async fn pulled(
        &self,
        name: &RepositoryName,
        manifests: &[Digest],
        since: SystemTime,
    ) -> Result<Vec<Digest>, Error> {
        pulled_since(&self.0, name, manifests, since).await
    }
}
