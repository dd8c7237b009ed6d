//! What the instances of a fleet keep together for this room: robots and signing keys. Whoever wires the rooms gives the place;
//! this room says only what it keeps there.

use async_trait::async_trait;
use bytes::Bytes;

/// One thing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// By the id of its secret.
    Robot(&'a str),
    /// When that secret was used last.
    Used(&'a str),
    /// The signing keys. Sealed, where others may read the place.
    Keys,
}

/// Its bytes, and the version that they are of.
pub struct Stored {
    pub bytes: Bytes,
    pub version: String,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ShelfError {
    /// Somebody else has written it meanwhile.
    #[error("it was changed meanwhile")]
    Conflict,
    #[error("{0}")]
    Failed(String),
}

#[async_trait]
pub trait Shelf: Send + Sync {
    async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError>;

    /// Over the version that was read; `None`: only if there is none.
    async fn put(&self, item: Item<'_>, bytes: Bytes, over: Option<&str>) -> Result<(), ShelfError>;

    /// Whatever is there.
    async fn replace(&self, item: Item<'_>, bytes: Bytes) -> Result<(), ShelfError>;

    /// Whether it was there.
    async fn remove(&self, item: Item<'_>) -> Result<bool, ShelfError>;

    /// Ids of all robots.
    async fn robots(&self) -> Result<Vec<String>, ShelfError>;
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use parking_lot::Mutex;

    use super::*;

    /// A shelf in memory.
    #[derive(Default)]
    pub struct Drawer {
        kept: Mutex<BTreeMap<String, (u64, Bytes)>>,
        fails: Mutex<bool>,
    }

    fn key(item: Item<'_>) -> String {
        match item {
            Item::Robot(id) => format!("robots/{id}"),
            Item::Used(id) => format!("used/{id}"),
            Item::Keys => "keys".into(),
        }
    }

    impl Drawer {
        pub fn fail(&self, fails: bool) {
            *self.fails.lock() = fails;
        }

        pub fn put_raw(&self, id: &str, bytes: &'static [u8]) {
            self.kept.lock().insert(key(Item::Robot(id)), (9, Bytes::from_static(bytes)));
        }

        pub fn rename(&self, from: &str, to: &str) {
            let mut kept = self.kept.lock();
            let moved = kept.remove(&key(Item::Robot(from))).unwrap();
            kept.insert(key(Item::Robot(to)), moved);
        }

        fn checked(&self) -> Result<(), ShelfError> {
            if *self.fails.lock() { Err(ShelfError::Failed("it fails".into())) } else { Ok(()) }
        }
    }

    #[async_trait]
    impl Shelf for Drawer {
        async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError> {
            self.checked()?;
            let found = self.kept.lock().get(&key(item)).cloned();
            Ok(found.map(|(version, bytes)| Stored { bytes, version: version.to_string() }))
        }

        async fn put(&self, item: Item<'_>, bytes: Bytes, over: Option<&str>) -> Result<(), ShelfError> {
            self.checked()?;
            let mut kept = self.kept.lock();
            let present = kept.get(&key(item)).map(|(version, _)| *version);
            if present.map(|version| version.to_string()).as_deref() != over {
                return Err(ShelfError::Conflict);
            }
            kept.insert(key(item), (present.unwrap_or(0) + 1, bytes));
            Ok(())
        }

        async fn replace(&self, item: Item<'_>, bytes: Bytes) -> Result<(), ShelfError> {
            self.checked()?;
            self.kept.lock().insert(key(item), (1, bytes));
            Ok(())
        }

        async fn remove(&self, item: Item<'_>) -> Result<bool, ShelfError> {
            self.checked()?;
            Ok(self.kept.lock().remove(&key(item)).is_some())
        }

        async fn robots(&self) -> Result<Vec<String>, ShelfError> {
            self.checked()?;
            Ok(self.kept.lock().keys().filter_map(|key| key.strip_prefix("robots/").map(str::to_owned)).collect())
        }
    }
}
