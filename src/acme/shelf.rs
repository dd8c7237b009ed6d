//! What the instances of a fleet keep together for this room. A folder is one such place ([`Folder`](super::folder::Folder)); the
//! other is the registry's storage, which whoever wires the rooms gives.

use async_trait::async_trait;

/// Of one thing that is kept, in bytes: a chain of certificates for a hundred names with its key is some tens of KiB.
pub const MAX_ITEM: u64 = 512 << 10;

/// One thing that is kept. Each is named by an id that is a plain file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    /// Our account with an authority.
    Account(&'a str),
    /// A certificate and its key.
    Certificate(&'a str),
    /// The last certificate for the same names, whoever it came from: shown until there is one that is wanted.
    Last(&'a str),
    /// What is to be done about a certificate, and what was.
    Plan(&'a str),
    /// What an authority is told that asks whether names lead here.
    Challenges(&'a str),
    /// Of which certificates there are such questions: who is asked need not look at all.
    Open,
    /// Which instance deals with a certificate.
    Lease(&'a str),
}

impl Item<'_> {
    /// Where it is, below the place of all.
    pub fn path(self) -> String {
        match self {
            Item::Account(id) => format!("accounts/{id}"),
            Item::Certificate(id) => format!("certificates/{id}"),
            Item::Last(id) => format!("last/{id}"),
            Item::Plan(id) => format!("plans/{id}"),
            Item::Challenges(id) => format!("challenges/{id}"),
            Item::Open => "open/challenges".to_owned(),
            Item::Lease(id) => format!("leases/{id}"),
        }
    }

    /// It holds a private key: where others may read the place, it is sealed.
    pub fn is_secret(self) -> bool {
        matches!(self, Item::Account(_) | Item::Certificate(_) | Item::Last(_))
    }
}

/// Its bytes, and the version that they are of.
pub struct Stored {
    pub bytes: Vec<u8>,
    pub version: String,
}

/// What a write demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over<'a> {
    Anything,
    Nothing,
    Version(&'a str),
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

    /// The version that it has from now on.
    async fn put(&self, item: Item<'_>, bytes: Vec<u8>, over: Over<'_>) -> Result<String, ShelfError>;

    async fn remove(&self, item: Item<'_>) -> Result<(), ShelfError>;

    /// Why nothing may be written now, if so.
    fn closed(&self) -> Option<String> {
        None
    }
}
