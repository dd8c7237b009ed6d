//! A store whose every call goes through a hook: to fail from some call on, or to let others come in between.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};

use crate::storage::config::DriverKind;
use crate::storage::disk::{Disk, Space};
use crate::storage::driver::{
    Abilities, AtOnce, Driver, Entries, Entry, Listing, Opened, Part, PartOf, Parts, WholeOf, wrong_kind,
};
use crate::storage::remote::Remote;
use crate::storage::storage::{Precondition, Version};
use crate::storage::store::Store;
use crate::storage::{Config, Error, Metrics, Storage};

/// Is asked around each call.
#[async_trait]
pub trait Hook: Send + Sync + 'static {
    /// An error: the call is not made, and fails so.
    async fn before(&self, call: &str) -> Result<(), Error>;
    /// An error: the call was made, and nobody hears of its answer.
    async fn after(&self, call: &str) -> Result<(), Error>;
    /// An object has been written.
    fn wrote(&self, _key: &str) {}
    /// When lists say that an object was written.
    fn time(&self, _key: &str, time: SystemTime) -> SystemTime {
        time
    }
}

struct Hooked {
    driver: Box<dyn Driver>,
    hook: Arc<dyn Hook>,
}

/// An object store in memory.
pub fn in_memory(hook: Arc<dyn Hook>) -> Arc<Storage> {
    let config = Config { driver: DriverKind::Memory, ..Config::default() };
    over(Box::new(Remote::open(&config).expect("a store")), DriverKind::Memory, hook)
}

fn over(driver: Box<dyn Driver>, kind: DriverKind, hook: Arc<dyn Hook>) -> Arc<Storage> {
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
    Storage::over(Store::over(Box::new(Hooked { driver, hook }), kind, &metrics))
}

impl Hooked {
    async fn call<T>(
        &self,
        name: &str,
        key: &str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let name = format!("{name} {key}");
        self.hook.before(&name).await?;
        let outcome = call.await;
        self.hook.after(&name).await?;
        outcome
    }

    async fn write<T>(
        &self,
        name: &str,
        key: &str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let written = async {
            let outcome = call.await;
            if outcome.is_ok() {
                self.hook.wrote(key);
            }
            outcome
        };
        self.call(name, key, written).await
    }
}

/// As the hook has it.
fn timed(hook: &dyn Hook, folder: &str, mut entry: Entry) -> Entry {
    entry.changed = hook.time(&format!("{folder}/{}", entry.name), entry.changed);
    entry
}

#[async_trait]
impl Driver for Hooked {
    fn abilities(&self) -> Abilities {
        self.driver.abilities()
    }

    fn at_once(&self) -> Option<&dyn AtOnce> {
        None
    }

    fn files(&self) -> Option<&Arc<Disk>> {
        self.driver.files()
    }

    fn parts(&self) -> Option<&dyn Parts> {
        Some(self)
    }

    fn made_up_version(&self) -> Option<Version> {
        self.driver.made_up_version()
    }

    async fn check(&self, folder: &str) -> Result<(), Error> {
        self.call("check", folder, self.driver.check(folder)).await
    }

    async fn check_writes(&self, probe: &str) -> Result<(), Error> {
        self.call("check_writes", probe, self.driver.check_writes(probe)).await
    }

    async fn space(&self) -> Option<Space> {
        self.driver.space().await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        self.call("size", key, self.driver.size(key)).await
    }

    async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        self.call("version", key, self.driver.version(key)).await
    }

    async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        self.call("get", key, self.driver.get(key, limit)).await
    }

    async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        self.call("bytes", key, self.driver.bytes(key, limit)).await
    }

    async fn open(&self, key: &str, offset: u64, end: Option<u64>) -> Result<Option<Opened>, Error> {
        self.call("open", key, self.driver.open(key, offset, end)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        self.write("put", key, self.driver.put(key, bytes, precondition)).await
    }

    async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.write("keep", key, self.driver.keep(key, bytes)).await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.call("delete", key, self.driver.delete(key)).await
    }

    async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        self.call("delete_all", folder, self.driver.delete_all(folder)).await
    }

    async fn list(&self, folder: &str) -> Result<Listing, Error> {
        let mut listing = self.call("list", folder, self.driver.list(folder)).await?;
        listing.files = listing.files.into_iter().map(|file| timed(&*self.hook, folder, file)).collect();
        Ok(listing)
    }

    async fn list_holding(&self, folder: &str, file: &str) -> Result<Vec<String>, Error> {
        self.call("list_holding", folder, self.driver.list_holding(folder, file)).await
    }

    async fn folder_exists(&self, folder: &str) -> Result<bool, Error> {
        self.call("folder_exists", folder, self.driver.folder_exists(folder)).await
    }

    /// A walk counts once, before its first entry.
    fn below(&self, folder: &str, after: Option<&str>) -> Entries {
        let (hook, name, entries) = (self.hook.clone(), format!("below {folder}"), self.driver.below(folder, after));
        let folder = folder.to_owned();
        let begun = async move {
            let begun = hook.before(&name).await;
            match begun {
                Ok(()) => entries.map_ok(move |entry| timed(&*hook, &folder, entry)).boxed(),
                Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
            }
        };
        futures::stream::once(begun).flatten().boxed()
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        self.write("copy", to, self.driver.copy(from, to)).await
    }

    async fn signed(&self, key: &str, method: http::Method, valid: Duration) -> Result<Option<url::Url>, Error> {
        self.driver.signed(key, method, valid).await
    }
}

#[async_trait]
impl Parts for Hooked {
    fn copies_parts(&self) -> bool {
        self.driver.parts().is_some_and(Parts::copies_parts)
    }

    async fn begin(&self, key: &str) -> Result<String, Error> {
        self.call("begin", key, self.driver.parts().ok_or_else(wrong_kind)?.begin(key)).await
    }

    async fn put_part(&self, part: PartOf<'_>, bytes: Bytes) -> Result<Part, Error> {
        self.call("put_part", part.key, self.driver.parts().ok_or_else(wrong_kind)?.put_part(part, bytes)).await
    }

    async fn copy_part(&self, part: PartOf<'_>, from: &str, range: std::ops::Range<u64>) -> Result<Part, Error> {
        self.call("copy_part", part.key, self.driver.parts().ok_or_else(wrong_kind)?.copy_part(part, from, range)).await
    }

    async fn complete(&self, whole: WholeOf<'_>) -> Result<(), Error> {
        let key = whole.key.to_owned();
        self.write("complete", &key, self.driver.parts().ok_or_else(wrong_kind)?.complete(whole)).await
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), Error> {
        self.call("abort", key, self.driver.parts().ok_or_else(wrong_kind)?.abort(key, id)).await
    }
}
