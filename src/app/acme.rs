//! What the configuration wants of certificates that come by themselves, and where the fleet keeps them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::Failure;
use super::integrated::Integrated;
use crate::acme::shelf::{Item, MAX_ITEM, Over, Shelf, ShelfError, Stored};
use crate::acme::{Acme, Prepared, Wanted};
use crate::config::Config;
use crate::fleet::FleetSecret;
use crate::storage::{Error, OwnKey, Precondition, Storage, Version};

/// What keys are sealed under.
const LABEL: &str = "certificates";

/// Beside the registry's content; private keys are sealed with the fleet's secret.
pub struct RegistryShelf {
    registry: Arc<Integrated>,
    secret: Arc<FleetSecret>,
}

impl RegistryShelf {
    pub fn new(registry: Arc<Integrated>, secret: Arc<FleetSecret>) -> Self {
        RegistryShelf { registry, secret }
    }

    fn storage(&self) -> Result<&Arc<Storage>, ShelfError> {
        self.registry.storage().ok_or_else(|| failed("no route leads to the registry"))
    }

    fn seal(&self, item: Item<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, ShelfError> {
        if !item.is_secret() {
            return Ok(bytes);
        }
        let secret = self.secret.need("keeping certificates in storage").map_err(failed)?;
        secret.seal(LABEL, &bytes, key(item).key().as_bytes()).map_err(failed)
    }

    fn open(&self, item: Item<'_>, bytes: &Bytes) -> Result<Vec<u8>, ShelfError> {
        if !item.is_secret() {
            return Ok(bytes.to_vec());
        }
        let secret = self.secret.need("keeping certificates in storage").map_err(failed)?;
        let opened = secret.open(LABEL, bytes, key(item).key().as_bytes());
        opened.map_err(|error| failed(format!("{} {error}", item.path())))
    }

    /// What was sealed with a former secret is sealed with the first one, before that is taken away. The version that is there then.
    async fn sealed_anew(&self, item: Item<'_>, sealed: &[u8], bytes: &[u8], version: String) -> String {
        let secret = self.secret.need("keeping certificates in storage");
        let is_old = item.is_secret() && secret.is_ok_and(|secret| secret.is_of_a_former(LABEL, sealed));
        if !is_old || self.closed().is_some() {
            return version;
        }
        match self.put(item, bytes.to_vec(), Over::Version(&version)).await {
            Ok(version) => version,
            // Another instance was first: what is there now is found by the next look.
            Err(ShelfError::Conflict) => version,
            Err(error) => {
                tracing::warn!(item = item.path(), %error, "what was sealed with a former secret cannot be sealed anew yet");
                version
            }
        }
    }
}

#[async_trait]
impl Shelf for RegistryShelf {
    async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError> {
        match self.storage()?.own(&key(item), MAX_ITEM).await.map_err(told)? {
            Some((sealed, version)) => {
                let bytes = self.open(item, &sealed)?;
                let version = self.sealed_anew(item, &sealed, &bytes, version.0).await;
                Ok(Some(Stored { bytes, version }))
            }
            None => Ok(None),
        }
    }

    async fn put(&self, item: Item<'_>, bytes: Vec<u8>, over: Over<'_>) -> Result<String, ShelfError> {
        let condition = match over {
            Over::Anything => Precondition::None,
            Over::Nothing => Precondition::Absent,
            Over::Version(version) => Precondition::Unchanged(Version(version.to_owned())),
        };
        let bytes = self.seal(item, bytes)?;
        Ok(self.storage()?.own_put(&key(item), bytes.into(), condition).await.map_err(told)?.0)
    }

    async fn remove(&self, item: Item<'_>) -> Result<(), ShelfError> {
        self.storage()?.own_delete(&key(item)).await.map(drop).map_err(told)
    }

    fn closed(&self) -> Option<String> {
        let closed = self.registry.get().is_some_and(|registry| registry.may_be_written().is_err());
        closed.then(|| "the registry is under maintenance: nothing is written into its storage".to_owned())
    }
}

fn key(item: Item<'_>) -> OwnKey {
    OwnKey::Acme(item.path())
}

fn failed(error: impl std::fmt::Display) -> ShelfError {
    ShelfError::Failed(error.to_string())
}

fn told(error: Error) -> ShelfError {
    match error {
        Error::Conflict => ShelfError::Conflict,
        error => failed(error),
    }
}

/// What `config` wants, ready to be begun.
pub async fn prepare(config: &Config, acme: &Arc<Acme>) -> Result<Prepared, Failure> {
    let certificates = config.ordered_names();
    let wanted = (!certificates.is_empty()).then(|| Wanted {
        config: config.acme.clone().unwrap_or_default(),
        certificates,
        sealed: config.seals_certificates(),
        plain: config.listener.iter().any(|listener| listener.tls.is_empty()),
    });
    let acme = acme.clone();
    let prepared = tokio::task::spawn_blocking(move || acme.prepare(wanted)).await?;
    Ok(prepared.map_err(|error| format!("acme: {error}"))?)
}
