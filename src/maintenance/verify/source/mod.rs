//! Where right bytes may still be: the trash, a folder with the same tree, another registry. What they give is proven by its digest
//! before it is put anywhere.

mod folder;
mod registry;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};

use crate::fleet::Fleet;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{Body, BodyError};
pub use folder::Folder;
pub use registry::{Elsewhere, Login};

/// As an operator names it: `trash`, an address, or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceName {
    Trash,
    /// `http://` or `https://`
    Url(String),
    Folder(PathBuf),
}

/// A place that may be asked.
pub enum Source {
    Trash,
    Folder(Folder),
    Registry(Box<Elsewhere>),
}

/// What is needed to ask another registry.
#[derive(Clone, Default)]
pub struct Access {
    pub login: Option<Login>,
    /// PEM file of authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Why a source cannot be used: for who named it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0} is no folder")]
    NoFolder(PathBuf),
    #[error("{0} holds no registry's tree: there is no docker/registry/v2 in it")]
    NoTree(PathBuf),
    #[error("{0}")]
    Folder(crate::storage::Error),
    #[error("{address}: {why}")]
    Registry { address: String, why: String },
    #[error("{path} cannot be read: {why}")]
    Credentials { path: PathBuf, why: String },
}

impl FromStr for SourceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            // Neither shown nor kept: there may be a password in it, and addresses are in reports.
            Some((_, rest)) if rest.contains('@') => {
                Err("the address has a user in it: a login goes into a file, which --credentials names".to_owned())
            }
            Some(("http" | "https", rest)) if !rest.is_empty() => Ok(SourceName::Url(text.to_owned())),
            Some(_) => Err(format!("'{text}' is neither https:// nor http://, nor a folder")),
            None if text == "trash" => Ok(SourceName::Trash),
            None if text.is_empty() => Err("name \"trash\", a folder, or the address of a registry".to_owned()),
            None => Ok(SourceName::Folder(text.into())),
        }
    }
}

impl Source {
    /// Opens it, as far as that can be done without asking. Where instances share what they know of other registries, by `fleet`.
    pub async fn open(name: &SourceName, access: &Access, fleet: &Arc<Fleet>) -> Result<Self, SourceError> {
        match name {
            SourceName::Trash => Ok(Source::Trash),
            SourceName::Folder(path) => Folder::open(path).await.map(Source::Folder),
            SourceName::Url(url) => {
                let elsewhere = Elsewhere::open(url, access, fleet.clone()).await?;
                Ok(Source::Registry(Box::new(elsewhere)))
            }
        }
    }

    /// How people see it.
    pub(super) fn shown(&self) -> String {
        match self {
            Source::Trash => "the trash".to_owned(),
            Source::Folder(folder) => folder.shown(),
            Source::Registry(elsewhere) => elsewhere.shown().to_owned(),
        }
    }

    /// What a tag leads to there, where that can be asked.
    pub(super) async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, String> {
        match self {
            Source::Trash => Ok(None),
            Source::Folder(folder) => folder.tag(name, tag).await,
            Source::Registry(elsewhere) => elsewhere.tag(name, tag).await,
        }
    }
}

/// Bytes on their way from a source.
pub(super) struct Coming {
    pub(super) length: Option<u64>,
    pub(super) body: BoxStream<'static, Result<Bytes, String>>,
}

#[async_trait]
impl Body for Coming {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        // A piece of no bytes is none.
        loop {
            match self.body.next().await? {
                Ok(piece) if piece.is_empty() => {}
                piece => return Some(piece.map_err(BodyError)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_as_people_write_it() {
        for (text, name) in [
            ("trash", SourceName::Trash),
            ("./trash", SourceName::Folder("./trash".into())),
            ("/backup/registry", SourceName::Folder("/backup/registry".into())),
            ("https://registry.example.com", SourceName::Url("https://registry.example.com".into())),
            ("http://127.0.0.1:5000/mirror", SourceName::Url("http://127.0.0.1:5000/mirror".into())),
        ] {
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        for text in ["", "https://", "ftp://x", "s3://bucket", "://"] {
            assert!(text.parse::<SourceName>().is_err(), "{text}");
        }
        for text in ["https://alice:hush@x", "HTTPS://alice:hush@x", "http://a:hush/x@y", "ftp://alice:hush@x"] {
            assert!(!text.parse::<SourceName>().unwrap_err().contains("hush"), "{text}");
        }
    }
}
