//! What is written down: account, certificates, challenges. What is to be done is in [`plan`](super::plan).

use std::collections::BTreeSet;

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use super::config::Kind;
use super::shelf::{Item, Over, Shelf, ShelfError};
use crate::storage::format::{self, Format};

/// Our account with an authority.
#[derive(Serialize, Deserialize)]
pub struct Account {
    pub directory: String,
    /// What the authority was told.
    #[serde(default)]
    pub email: Option<String>,
    pub credentials: AccountCredentials,
}

impl Format for Account {
    const WHAT: &'static str = "an account with an authority";
    const VERSION: u32 = 1;
}

/// A certificate as it was issued. Has no `Debug`, so that its key cannot end in a log.
#[derive(Clone, Serialize, Deserialize)]
pub struct Certificate {
    pub directory: String,
    pub names: Vec<String>,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
    /// When it came, in seconds of Unix time.
    pub obtained: u64,
}

impl Format for Certificate {
    const WHAT: &'static str = "a certificate";
    const VERSION: u32 = 1;
}

/// One question that an authority may ask, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Challenge {
    pub kind: Kind,
    /// As it is in the certificate, without `*.`.
    pub name: String,
    pub token: String,
    /// The key authorization (RFC 8555 §8.1): it says whose account asks, and is no secret.
    pub answer: String,
}

/// Those of one certificate, while it is ordered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Challenges {
    pub challenges: Vec<Challenge>,
}

impl Format for Challenges {
    const WHAT: &'static str = "challenges of an authority";
    const VERSION: u32 = 1;
}

/// The certificates that there are challenges of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub ids: BTreeSet<String>,
}

impl Format for Open {
    const WHAT: &'static str = "which certificates are ordered";
    const VERSION: u32 = 1;
}

/// Reads what is kept, with its version.
pub async fn read<T: Format>(shelf: &dyn Shelf, item: Item<'_>) -> Result<Option<(T, String)>, ShelfError> {
    let Some(stored) = shelf.get(item).await? else { return Ok(None) };
    let read = format::read::<T>(&stored.bytes);
    let content = read.map_err(|error| ShelfError::Failed(format!("{}: {error}", item.path())))?;
    Ok(Some((content, stored.version)))
}

pub async fn write<T: Format>(
    shelf: &dyn Shelf,
    item: Item<'_>,
    content: &T,
    over: Over<'_>,
) -> Result<String, ShelfError> {
    let bytes = format::write(content).map_err(|error| ShelfError::Failed(error.to_string()))?;
    shelf.put(item, bytes, over).await
}
