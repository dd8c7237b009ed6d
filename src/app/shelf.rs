//! Where robots and signing keys are kept: beside the registry's content, the keys sealed with the fleet's secret.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::integrated::Integrated;
use crate::auth::robot::is_id;
use crate::auth::shelf::{Item, Shelf, ShelfError, Stored};
use crate::config::Config;
use crate::fleet::FleetSecret;
use crate::storage::config::DriverKind;
use crate::storage::{self, Error, OwnKey, Precondition, Storage, Version};

/// Largest thing on it, in bytes: a set of keys is some KiB, a robot less than one.
const MAX_ITEM: u64 = 256 << 10;
/// What the keys are sealed under.
const LABEL: &str = "token keys";

/// The shelf of a configuration, for commands that run beside whatever serves.
pub async fn of(config: &Config) -> Result<StorageShelf, String> {
    if !config.uses_registry() {
        return Err("no route of this configuration leads to the registry, in whose storage they are kept".into());
    }
    if config.storage.driver == DriverKind::Memory {
        return Err("the storage is the memory of the process that serves, which a command cannot reach".into());
    }
    let metrics = storage::Metrics::new(&prometheus::Registry::new()).map_err(|error| error.to_string())?;
    let storage =
        Storage::open(&config.storage, Arc::new(metrics)).await.map_err(|error| format!("storage: {error}"))?;
    let secret = FleetSecret::default();
    secret.replace(super::secret::read(config).await.map_err(|error| error.to_string())?);
    Ok(StorageShelf::new(Place::Storage(storage), Arc::new(secret)))
}

pub struct StorageShelf {
    place: Place,
    secret: Arc<FleetSecret>,
}

/// Where it is.
pub enum Place {
    Storage(Arc<Storage>),
    /// That of the registry, once a route has named it.
    Registry(Arc<Integrated>),
}

impl StorageShelf {
    pub fn new(place: Place, secret: Arc<FleetSecret>) -> Self {
        StorageShelf { place, secret }
    }

    fn storage(&self) -> Result<&Arc<Storage>, ShelfError> {
        match &self.place {
            Place::Storage(storage) => Ok(storage),
            Place::Registry(registry) => registry.storage().ok_or_else(|| failed("no route leads to the registry")),
        }
    }

    fn seal(&self, item: Item<'_>, bytes: Bytes) -> Result<Bytes, ShelfError> {
        if item != Item::Keys {
            return Ok(bytes);
        }
        let secret = self.secret.need("keeping the keys of tokens in storage").map_err(failed)?;
        secret.seal(LABEL, &bytes, key(item).key().as_bytes()).map(Bytes::from).map_err(failed)
    }

    fn open(&self, item: Item<'_>, bytes: Bytes) -> Result<Bytes, ShelfError> {
        if item != Item::Keys {
            return Ok(bytes);
        }
        let secret = self.secret.need("keeping the keys of tokens in storage").map_err(failed)?;
        let opened = secret.open(LABEL, &bytes, key(item).key().as_bytes());
        opened.map(Bytes::from).map_err(|error| ShelfError::Failed(format!("what is there {error}")))
    }
}

#[async_trait]
impl Shelf for StorageShelf {
    async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError> {
        match self.storage()?.own(&key(item), MAX_ITEM).await.map_err(told)? {
            Some((bytes, version)) => Ok(Some(Stored { bytes: self.open(item, bytes)?, version: version.0 })),
            None => Ok(None),
        }
    }

    async fn put(&self, item: Item<'_>, bytes: Bytes, over: Option<&str>) -> Result<(), ShelfError> {
        let condition = match over {
            Some(version) => Precondition::Unchanged(Version(version.to_owned())),
            None => Precondition::Absent,
        };
        self.storage()?.own_put(&key(item), self.seal(item, bytes)?, condition).await.map(drop).map_err(told)
    }

    async fn replace(&self, item: Item<'_>, bytes: Bytes) -> Result<(), ShelfError> {
        self.storage()?.own_put(&key(item), self.seal(item, bytes)?, Precondition::None).await.map(drop).map_err(told)
    }

    async fn remove(&self, item: Item<'_>) -> Result<bool, ShelfError> {
        self.storage()?.own_delete(&key(item)).await.map_err(told)
    }

    async fn robots(&self) -> Result<Vec<String>, ShelfError> {
        let names = self.storage()?.robots().await.map_err(told)?;
        Ok(names.into_iter().filter(|name| is_id(name)).collect())
    }
}

fn key(item: Item<'_>) -> OwnKey {
    match item {
        Item::Robot(id) => OwnKey::Robot(id.to_owned()),
        Item::Used(id) => OwnKey::RobotUsed(id.to_owned()),
        Item::Keys => OwnKey::TokenKeys,
    }
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
