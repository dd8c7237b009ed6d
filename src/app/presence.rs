//! Which instances serve from one storage: each says so in a file of its own, again and again. For people: nothing is decided by it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, layout};

/// How often an instance says that it serves.
const EVERY: Duration = Duration::from_secs(60);
/// One that has not said so for this long does not serve any more.
const GONE: Duration = Duration::from_secs(180);
/// Files of those that went without a word are removed after this.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// How long the end of the process waits for storage.
const PATIENCE: Duration = Duration::from_secs(2);
/// Instances that are told of.
const MOST: usize = 1000;
/// Of one file, in bytes.
const LIMIT: u64 = 4 << 10;

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its version.
    program: String,
    /// Seconds since 1970.
    since: u64,
    /// Where it listens.
    addresses: Vec<String>,
    #[serde(default)]
    admin: Option<String>,
    #[serde(default)]
    host: String,
    process: u32,
}

impl Format for Presence {
    const WHAT: &'static str = "an instance's word";
    const VERSION: u32 = 1;
}

impl Presence {
    /// Of this process, which begins to serve now.
    pub fn now(addresses: Vec<String>, admin: Option<String>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().chars().take(200).collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Presence { program, since, addresses, admin, host, process: std::process::id() }
    }

    pub fn told(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// This instance, as the others find it. It is gone when this is dropped, or [`Present::leave`] is called, which says so.
pub struct Present {
    registry: Arc<Registry>,
    id: String,
    task: tokio::task::JoinHandle<Infallible>,
}

impl Present {
    pub fn begin(registry: &Arc<Registry>, presence: Presence) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let task = tokio::spawn(say(registry.clone(), id.clone(), presence));
        Present { registry: registry.clone(), id, task }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Best effort: otherwise it is found to be gone some minutes later.
    pub async fn leave(self) {
        self.task.abort();
        if self.registry.may_be_written().is_ok() {
            let key = OwnKey::Instance(self.id.clone());
            let _ = tokio::time::timeout(PATIENCE, self.registry.storage().own_delete(&key)).await;
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(registry: Arc<Registry>, id: String, presence: Presence) -> Infallible {
    for round in 0_u64.. {
        // Somebody may be copying the storage.
        if registry.may_be_written().is_ok() {
            let storage = registry.storage();
            if let Ok(bytes) = format::write(&presence) {
                let put = storage.own_put(&OwnKey::Instance(id.clone()), bytes.into(), Precondition::None).await;
                if let Err(error) = put {
                    tracing::debug!(%error, "the other instances cannot be told of this one");
                }
            }
            if round.is_multiple_of(60) {
                forget(storage).await;
            }
        }
        tokio::time::sleep(EVERY.mul_f64(1.0 + 0.1 * rand::random::<f64>())).await;
    }
    std::future::pending().await
}

/// Those that went without a word.
async fn forget(storage: &Storage) {
    let Ok(found) = files(storage).await else { return };
    for (id, changed) in found {
        if changed.elapsed().is_ok_and(|age| age > FORGOTTEN) {
            let _ = storage.own_delete(&OwnKey::Instance(id)).await;
        }
    }
}

async fn files(storage: &Storage) -> Result<Vec<(String, SystemTime)>, Error> {
    let mut entries = storage.below(layout::INSTANCES, None);
    let mut found = Vec::new();
    while found.len() < MOST
        && let Some(entry) = entries.try_next().await?
    {
        found.push((entry.name, entry.changed));
    }
    Ok(found)
}

/// The instances that serve, and those that did a while ago, by `up`; the newest first.
pub async fn told(storage: &Storage) -> Result<Vec<Value>, Error> {
    let mut found = files(storage).await?;
    found.sort_by_key(|(_, changed)| std::cmp::Reverse(*changed));
    let mut told = Vec::with_capacity(found.len());
    for (id, changed) in found {
        let Ok(Some((bytes, _))) = storage.own(&OwnKey::Instance(id.clone()), LIMIT).await else { continue };
        let Ok(presence) = format::read::<Presence>(&bytes) else { continue };
        // By two clocks: of the store, and of this machine.
        let age = changed.elapsed().unwrap_or_default();
        let mut value = presence.told();
        value["id"] = json!(id);
        value["seen_seconds"] = json!(age.as_secs());
        value["up"] = json!(age < GONE);
        told.push(value);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::in_memory;

    #[tokio::test]
    async fn who_says_so_is_there() {
        let storage = in_memory().await;
        assert!(told(&storage).await.unwrap().is_empty());
        let presence = Presence::now(vec!["127.0.0.1:5000".into()], Some("127.0.0.1:5001".into()));
        let bytes = format::write(&presence).unwrap();
        storage.own_put(&OwnKey::Instance("a".into()), bytes.into(), Precondition::None).await.unwrap();
        storage.own_put(&OwnKey::Instance("b".into()), "{".into(), Precondition::None).await.unwrap();
        let found = told(&storage).await.unwrap();
        assert_eq!((found.len(), &found[0]["id"], &found[0]["up"]), (1, &json!("a"), &json!(true)));
        assert_eq!(found[0]["addresses"], json!(["127.0.0.1:5000"]));
        forget(&storage).await;
        assert_eq!(told(&storage).await.unwrap().len(), 1);
    }
}
