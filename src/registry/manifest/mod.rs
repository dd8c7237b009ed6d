//! Manifests: GET and HEAD, PUT, DELETE.

mod check;
mod delete;
mod get;
mod put;
mod receive;

pub(super) use delete::{delete, delete_links, tags_to};
pub(super) use get::{Gets, get, held};
pub(super) use put::{immutable, keep, put};
pub(super) use receive::MEMORY;

use super::reply::Refusal;
use crate::oci::{Digest, ErrorCode, RepositoryName};

/// `/v2/<name>/manifests/<digest>`
fn location(name: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{name}/manifests/{digest}")
}

fn unknown() -> Refusal {
    Refusal::of(ErrorCode::ManifestUnknown)
}
