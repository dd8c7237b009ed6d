//! What a request asks for, with everything that its method, path and query say of it: read once, at the door. Routing, the
//! registry, labels, the journal and whoever judges permission go by it; nobody behind the door reads a URL again.
//!
//! Decides on the bytes as received, without any normalisation, so that no peer can understand a path otherwise than we did.
//! Knows no hosts and no permissions.

mod error;
mod hostile;
mod parse;
mod query;
#[cfg(test)]
mod tests;

use http::Method;

use super::digest::{Algorithm, Digest};
use super::name::RepositoryName;
use super::pagination::{Page, PageError};
use super::reference::{Reference, Tag};
pub use error::ActionError;
pub use query::{QueryError, query_value, query_values};

/// Longest upload id that we take, in bytes; distribution's are 36, others put their state into it.
pub const MAX_UPLOAD_ID: usize = 512;

/// A request's meaning: every name, tag and digest that its path holds follows its grammar, and the method is one that the
/// resource has. What only its query says is kept with its fault where it has one: a peer judges its own parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub method: Method,
    pub resource: Resource,
    /// `ns`: the registry that a mirror is asked to stand for (containerd's hosts.toml).
    pub ns: Option<String>,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `/v2/`: is this a registry, and who am I to it?
    Base,
    /// `/v2/_catalog`
    Catalog { page: Result<Page, PageError> },
    /// `/v2/<name>/tags/list`
    Tags { name: RepositoryName, page: Result<Page, PageError> },
    /// `/v2/<name>/manifests/<reference>`
    Manifest {
        name: RepositoryName,
        reference: Reference,
        /// Of a PUT, from `?tag=`: tags that are set too, each once.
        tags: Result<Vec<Tag>, QueryError>,
    },
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: RepositoryName, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    UploadStart { name: RepositoryName, start: UploadStart },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload {
        name: RepositoryName,
        id: String,
        /// Of the closing PUT, which never lacks it.
        digest: Option<Digest>,
    },
    /// `/v2/<name>/referrers/<digest>`
    Referrers {
        name: RepositoryName,
        digest: Digest,
        /// Sorted, each once; empty: of any type.
        artifact_types: Vec<String>,
        page: Result<Page, PageError>,
    },
    /// Not under `/v2/`, and no disguise of it either.
    Outside,
}

/// How an upload shall begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadStart {
    /// A blob that is perhaps there already.
    pub mount: Option<Mount>,
    /// The body is the whole blob.
    pub digest: Option<Digest>,
    /// Of what is to come.
    pub algorithm: Result<Algorithm, QueryError>,
}

/// A wish to have a blob without sending it (distribution-spec, "Mounting a blob from another repository").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub digest: Digest,
    /// The repository that holds it; `None`: whichever.
    pub from: Option<RepositoryName>,
}

impl Default for UploadStart {
    fn default() -> Self {
        UploadStart { mount: None, digest: None, algorithm: Ok(Algorithm::Sha256) }
    }
}

impl Action {
    /// Content is asked for, and nothing is changed by it. How far an upload is, is part of a push.
    pub fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && !matches!(self.resource, Resource::Upload { .. })
    }

    /// Something may be changed by it.
    pub fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

impl Resource {
    /// The repository asked about; none for `/v2/`, the catalog and what is outside.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Resource::Tags { name, .. }
            | Resource::Manifest { name, .. }
            | Resource::Blob { name, .. }
            | Resource::UploadStart { name, .. }
            | Resource::Upload { name, .. }
            | Resource::Referrers { name, .. } => Some(name),
            Resource::Base | Resource::Catalog { .. } | Resource::Outside => None,
        }
    }

    /// The same, to be called by another name.
    pub fn repository_mut(&mut self) -> Option<&mut RepositoryName> {
        match self {
            Resource::Tags { name, .. }
            | Resource::Manifest { name, .. }
            | Resource::Blob { name, .. }
            | Resource::UploadStart { name, .. }
            | Resource::Upload { name, .. }
            | Resource::Referrers { name, .. } => Some(name),
            Resource::Base | Resource::Catalog { .. } | Resource::Outside => None,
        }
    }

    /// The methods of this resource, as `Allow` lists them. OPTIONS is always among them: browsers ask it before they speak
    /// to a registry (CORS), and only the peer knows what it permits.
    pub fn allow(&self) -> &'static str {
        match self {
            Resource::Base | Resource::Catalog { .. } | Resource::Tags { .. } | Resource::Referrers { .. } => {
                "GET, HEAD, OPTIONS"
            }
            Resource::Manifest { .. } => "GET, HEAD, PUT, DELETE, OPTIONS",
            Resource::Blob { .. } => "GET, HEAD, DELETE, OPTIONS",
            Resource::UploadStart { .. } => "POST, OPTIONS",
            Resource::Upload { .. } => "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
            Resource::Outside => "",
        }
    }

    /// [`Self::allow`] where nothing may be written: what an upload takes is all part of a push.
    pub fn allow_of_reads(&self) -> String {
        self.allow_without(|method| !matches!(method, "GET" | "HEAD"))
    }

    /// [`Self::allow`] but for some methods.
    pub fn allow_without(&self, refused: impl Fn(&str) -> bool) -> String {
        let upload = matches!(self, Resource::UploadStart { .. } | Resource::Upload { .. });
        let of_a_push = |method: &str| upload && method != "OPTIONS" && refused("PUT");
        let kept = |method: &&str| !refused(method) && !of_a_push(method);
        self.allow().split(", ").filter(kept).collect::<Vec<_>>().join(", ")
    }

    fn allows(&self, method: &Method) -> bool {
        matches!(self, Resource::Outside) || self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}
