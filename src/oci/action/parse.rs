//! From a method, a path and a query to what is asked.

use http::Method;

use super::{Action, ActionError, MAX_UPLOAD_ID, Resource, UploadStart, hostile, query};
use crate::oci::name::RepositoryName;
use crate::oci::pagination::Page;

/// Longest path of an upload that a peer chose, in bytes.
const MAX_UPLOAD_PATH: usize = 4096;

impl Action {
    /// Reads the method, the path as received and the query as received (without `?`).
    pub fn parse(method: &Method, raw_path: &str, query: Option<&str>) -> Result<Action, ActionError> {
        let resource = match raw_path.strip_prefix("/v2") {
            Some("" | "/") => Resource::Base,
            Some(rest) if rest.starts_with('/') => below_v2(&rest[1..]).map_err(|error| error.of(method, raw_path))?,
            _ if hostile::outside(raw_path) => return Err(ActionError::Path),
            _ => Resource::Outside,
        };
        if !resource.allows(method) {
            return Err(ActionError::Method { allow: resource.allow() });
        }
        if matches!(resource, Resource::Outside) {
            return Ok(Action { method: method.clone(), resource, ns: None });
        }
        with_query(method, resource, query.unwrap_or_default())
    }

    /// Reads an address below `/v2/` that a peer gave for an upload and that [`parse`](Self::parse) does not know: its
    /// path is the peer's to choose (distribution-spec, "Pushing blobs"). `None` where two readers could disagree on it,
    /// or where no repository can be told.
    pub fn of_peers_upload(method: &Method, raw_path: &str, query: Option<&str>) -> Option<Action> {
        let path = raw_path.strip_prefix("/v2/")?;
        if path.len() > MAX_UPLOAD_PATH || hostile::upload(path) || hostile::query(query.unwrap_or_default()) {
            return None;
        }
        let (name, id) = match path.rsplit_once("/blobs/") {
            Some((name, id)) => (name.parse().ok()?, id),
            None => longest_name(path)?,
        };
        // Who decodes the path before reading it must not find other content of a registry there.
        let decoded = hostile::decode(path);
        if decoded != path.as_bytes() {
            match below_v2(std::str::from_utf8(&decoded).ok()?) {
                Err(_) => {}
                Ok(Resource::Upload { name: same, .. }) if same == name => {}
                Ok(_) => return None,
            }
        }
        let resource = Resource::Upload { name, id: id.to_owned(), digest: None };
        resource.allows(method).then_some(())?;
        with_query(method, resource, query.unwrap_or_default()).ok()
    }
}

/// The digest of a push is judged here; everything else that the query says is for who answers.
fn with_query(method: &Method, mut resource: Resource, query: &str) -> Result<Action, ActionError> {
    if hostile::query(query) {
        return Err(ActionError::Path);
    }
    if query.is_empty() && !(matches!(resource, Resource::Upload { .. }) && method == Method::PUT) {
        return Ok(Action { method: method.clone(), resource, ns: None });
    }
    match &mut resource {
        Resource::Upload { digest, .. } if method == Method::PUT => {
            *digest = Some(query::digest(query)?.ok_or(ActionError::DigestMissing)?);
        }
        Resource::UploadStart { start, .. } if method == Method::POST => {
            *start = query::start(query, query::digest(query)?);
        }
        Resource::Manifest { tags, .. } if method == Method::PUT => *tags = query::tags(query),
        Resource::Catalog { page } | Resource::Tags { page, .. } => *page = Page::parse(Some(query)),
        Resource::Referrers { artifact_types, page, .. } => {
            *artifact_types = query::artifact_types(query);
            *page = Page::parse(Some(query));
        }
        _ => {}
    }
    Ok(Action { method: method.clone(), resource, ns: query::query_value(query, "ns") })
}

/// `path` is what follows `/v2/`. Matches from the right, since names may hold any of the words of the routes.
fn below_v2(path: &str) -> Result<Resource, ActionError> {
    let page = Ok(Page::default());
    if path == "_catalog" {
        return Ok(Resource::Catalog { page });
    }
    match split_known(path) {
        Some((name, "tags", "list")) => Ok(Resource::Tags { name: name.parse()?, page }),
        Some((name, "manifests", reference)) if !reference.is_empty() => {
            let name = name.parse()?;
            Ok(Resource::Manifest { name, reference: with_colon(reference).parse()?, tags: Ok(Vec::new()) })
        }
        Some((name, "blobs", "uploads")) => upload_start(name),
        Some((name, "blobs", digest)) if !digest.is_empty() => {
            let name = name.parse()?;
            Ok(Resource::Blob { name, digest: with_colon(digest).parse()? })
        }
        Some((name, "referrers", digest)) if !digest.is_empty() => {
            let name = name.parse()?;
            let digest = with_colon(digest).parse()?;
            Ok(Resource::Referrers { name, digest, artifact_types: Vec::new(), page })
        }
        Some((rest, "uploads", id)) => match rest.strip_suffix("/blobs") {
            Some(name) if id.is_empty() => upload_start(name),
            Some(name) => Ok(Resource::Upload { name: name.parse()?, id: upload_id(id)?, digest: None }),
            None => Err(unknown(path)),
        },
        _ => Err(unknown(path)),
    }
}

fn upload_start(name: &str) -> Result<Resource, ActionError> {
    Ok(Resource::UploadStart { name: name.parse()?, start: UploadStart::default() })
}

/// `a/b/blobs/x` → (`a/b`, `blobs`, `x`).
fn split_known(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, last) = path.rsplit_once('/')?;
    let (name, word) = rest.rsplit_once('/')?;
    Some((name, word, last))
}

pub(super) fn is_about_referrers(path: &str) -> bool {
    matches!(split_known(path), Some((_, "referrers", _)))
}

/// Some clients encode the colon of a digest; nothing else is ever decoded.
fn with_colon(reference: &str) -> String {
    reference.replacen("%3A", ":", 1).replacen("%3a", ":", 1)
}

/// The longest repository name that a path begins with, and what follows it, which is not empty.
fn longest_name(path: &str) -> Option<(RepositoryName, &str)> {
    let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
    let cuts = slashes.into_iter().rev().filter(|at| at + 1 < path.len());
    cuts.into_iter().find_map(|at| Some((path[..at].parse().ok()?, &path[at + 1..])))
}

fn upload_id(id: &str) -> Result<String, ActionError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._~=".contains(&b);
    let good = id.len() <= MAX_UPLOAD_ID && id.bytes().all(safe) && id != "." && id != "..";
    if good { Ok(id.to_owned()) } else { Err(ActionError::UploadId) }
}

fn unknown(path: &str) -> ActionError {
    if hostile::below_v2(path) { ActionError::Path } else { ActionError::NotFound }
}
