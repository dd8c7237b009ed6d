//! What a request asks for: the only reader of request paths. Decides on the bytes as received, without any
//! normalisation, so that no peer can understand a path otherwise than we did. Knows no hosts and no permissions.

mod hostile;

use http::{Method, StatusCode};

use super::digest::{Digest, DigestError};
use super::error_code::ErrorCode;
use super::name::{NameError, RepositoryName};
use super::reference::{Reference, ReferenceError};

/// Longest upload id that we take, in bytes; distribution's are 36, others put their state into it.
pub const MAX_UPLOAD_ID: usize = 512;

/// Longest path of an upload that a peer chose, in bytes.
const MAX_UPLOAD_PATH: usize = 4096;

/// A request's meaning, valid as a whole: every name, tag and digest in it follows its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: is this a registry, and who am I to it?
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags { name: RepositoryName },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { name: RepositoryName, reference: Reference },
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: RepositoryName, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    UploadStart { name: RepositoryName },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload { name: RepositoryName, id: String },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { name: RepositoryName, digest: Digest },
    /// Not under `/v2/`, and no disguise of it either.
    Outside,
}

/// Why a request is answered without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error(
        "the path holds what no path of a registry has: empty or dotted parts, backslashes, control or encoded characters"
    )]
    Path,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("an upload id has 1 to {MAX_UPLOAD_ID} characters: letters, digits, '-', '.', '_', '~' and '='")]
    UploadId,
    #[error("the closing PUT of an upload names the digest of its content: ?digest=")]
    DigestMissing,
    #[error("no such path")]
    NotFound,
    /// Asked for, or to be deleted: by its grammar it cannot exist.
    #[error("{why}")]
    CannotBe {
        /// Of what is not there.
        code: ErrorCode,
        why: String,
    },
    #[error("the method is not allowed here: {allow}")]
    Method {
        /// The value for `Allow`.
        allow: &'static str,
    },
}

impl Route {
    /// Reads the method, the path as received and the query as received (without `?`).
    pub fn parse(method: &Method, raw_path: &str, query: Option<&str>) -> Result<Route, RouteError> {
        let route = match raw_path.strip_prefix("/v2") {
            Some("" | "/") => Route::Base,
            Some(rest) if rest.starts_with('/') => {
                parse_below_v2(&rest[1..]).map_err(|error| error.of(method, raw_path))?
            }
            _ if hostile::outside(raw_path) => return Err(RouteError::Path),
            _ => return Ok(Route::Outside),
        };
        let allow = route.allow();
        if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return Err(RouteError::Method { allow });
        }
        route.check_query(method, query.unwrap_or_default())?;
        Ok(route)
    }

    /// Reads an address below `/v2/` that a peer gave for an upload and that [`parse`](Self::parse) does not know: its
    /// path is the peer's to choose (distribution-spec, "Pushing blobs"). `None` where two readers could disagree on it,
    /// or where no repository can be told.
    pub fn of_peers_upload(method: &Method, raw_path: &str, query: Option<&str>) -> Option<Route> {
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
            match parse_below_v2(std::str::from_utf8(&decoded).ok()?) {
                Err(_) => {}
                Ok(Route::Upload { name: same, .. }) if same == name => {}
                Ok(_) => return None,
            }
        }
        let route = Route::Upload { name, id: id.to_owned() };
        route.check_query(method, query.unwrap_or_default()).ok()?;
        route.allow().split(", ").any(|allowed| allowed == method.as_str()).then_some(route)
    }

    /// A short word for labels of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Route::Base => "base",
            Route::Catalog => "catalog",
            Route::Tags { .. } => "tags",
            Route::Manifest { .. } => "manifest",
            Route::Blob { .. } => "blob",
            Route::UploadStart { .. } | Route::Upload { .. } => "blob_upload",
            Route::Referrers { .. } => "referrers",
            Route::Outside => "forward",
        }
    }

    /// The repository asked about; none for `/v2/`, the catalog and what is outside.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Route::Tags { name }
            | Route::Manifest { name, .. }
            | Route::Blob { name, .. }
            | Route::UploadStart { name }
            | Route::Upload { name, .. }
            | Route::Referrers { name, .. } => Some(name),
            Route::Base | Route::Catalog | Route::Outside => None,
        }
    }

    /// The digest that the path names.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Route::Blob { digest, .. }
            | Route::Referrers { digest, .. }
            | Route::Manifest { reference: Reference::Digest(digest), .. } => Some(digest),
            _ => None,
        }
    }

    /// The methods of this route, as `Allow` lists them. OPTIONS is always among them: browsers ask it before they speak
    /// to a registry (CORS), and only the peer knows what it permits.
    pub fn allow(&self) -> &'static str {
        match self {
            Route::Base | Route::Catalog | Route::Tags { .. } | Route::Referrers { .. } => "GET, HEAD, OPTIONS",
            Route::Manifest { .. } => "GET, HEAD, PUT, DELETE, OPTIONS",
            Route::Blob { .. } => "GET, HEAD, DELETE, OPTIONS",
            Route::UploadStart { .. } => "POST, OPTIONS",
            Route::Upload { .. } => "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
            Route::Outside => "",
        }
    }

    /// [`Self::allow`] where nothing may be written: what an upload takes is all part of a push.
    pub fn allow_of_reads(&self) -> String {
        self.allow_without(|method| !matches!(method, "GET" | "HEAD"))
    }

    /// [`Self::allow`] but for some methods.
    pub fn allow_without(&self, refused: impl Fn(&str) -> bool) -> String {
        let upload = matches!(self, Route::UploadStart { .. } | Route::Upload { .. });
        let of_a_push = |method: &str| upload && method != "OPTIONS" && refused("PUT");
        let kept = |method: &&str| !refused(method) && !of_a_push(method);
        self.allow().split(", ").filter(kept).collect::<Vec<_>>().join(", ")
    }

    /// The digest of a push in the query is checked here; everything else in it is for the peer to judge.
    fn check_query(&self, method: &Method, query: &str) -> Result<(), RouteError> {
        if hostile::query(query) {
            return Err(RouteError::Path);
        }
        let closing = matches!(self, Route::Upload { .. }) && method == Method::PUT;
        let opening = matches!(self, Route::UploadStart { .. }) && method == Method::POST;
        if !closing && !opening {
            return Ok(());
        }
        let mut digests = query_values(query, "digest");
        match (digests.next(), digests.next()) {
            (None, _) if closing => Err(RouteError::DigestMissing),
            (None, _) => Ok(()),
            (Some(Some(digest)), None) => digest.parse::<Digest>().map(drop).map_err(RouteError::from),
            // Of two digests, a peer might take the other one.
            _ => Err(DigestError::Shape.into()),
        }
    }
}

/// `path` is what follows `/v2/`. Matches from the right, since names may hold any of the words of the routes.
fn parse_below_v2(path: &str) -> Result<Route, RouteError> {
    if path == "_catalog" {
        return Ok(Route::Catalog);
    }
    match split_known(path) {
        Some((name, "tags", "list")) => Ok(Route::Tags { name: name.parse()? }),
        Some((name, "manifests", reference)) if !reference.is_empty() => {
            let name = name.parse()?;
            Ok(Route::Manifest { name, reference: with_colon(reference).parse()? })
        }
        Some((name, "blobs", "uploads")) => Ok(Route::UploadStart { name: name.parse()? }),
        Some((name, "blobs", digest)) if !digest.is_empty() => {
            let name = name.parse()?;
            Ok(Route::Blob { name, digest: with_colon(digest).parse()? })
        }
        Some((name, "referrers", digest)) if !digest.is_empty() => {
            let name = name.parse()?;
            Ok(Route::Referrers { name, digest: with_colon(digest).parse()? })
        }
        Some((rest, "uploads", id)) => match rest.strip_suffix("/blobs") {
            Some(name) if id.is_empty() => Ok(Route::UploadStart { name: name.parse()? }),
            Some(name) => Ok(Route::Upload { name: name.parse()?, id: parse_upload_id(id)? }),
            None => Err(unknown(path)),
        },
        _ => Err(unknown(path)),
    }
}

/// `a/b/blobs/x` → (`a/b`, `blobs`, `x`).
fn split_known(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, last) = path.rsplit_once('/')?;
    let (name, word) = rest.rsplit_once('/')?;
    Some((name, word, last))
}

fn is_about_referrers(path: &str) -> bool {
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

fn parse_upload_id(id: &str) -> Result<String, RouteError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._~=".contains(&b);
    let good = id.len() <= MAX_UPLOAD_ID && id.bytes().all(safe) && id != "." && id != "..";
    if good { Ok(id.to_owned()) } else { Err(RouteError::UploadId) }
}

fn unknown(path: &str) -> RouteError {
    if hostile::below_v2(path) { RouteError::Path } else { RouteError::NotFound }
}

/// The decoded value of `key` in a query; `None` if it is not there exactly once, or is no text.
pub fn query_value(query: &str, key: &str) -> Option<String> {
    let mut values = query_values(query, key);
    let value = values.next()?;
    if values.next().is_some() { None } else { value }
}

/// The decoded values of `key`, in order; `None` for one that is no text.
///
/// Keys are decoded too: what a peer reads as `digest` must not escape us as `%64igest`.
pub fn query_values<'a>(query: &'a str, key: &'a str) -> impl Iterator<Item = Option<String>> + 'a {
    let text = |part: &str| String::from_utf8(hostile::decode(&part.replace('+', " "))).ok();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| text(name).as_deref() == Some(key)).map(move |(_, value)| text(value))
}

impl RouteError {
    /// What cannot exist is not there: whoever asks for it, or wants it deleted, gets 404 (distribution-spec 1.1.1, "Pulling
    /// manifests", "Pulling blobs", "Content Management": *MUST be 404*; distribution; issue 9, 13). Who pushes to it is told
    /// what is wrong with it, by 400; so is who asks for referrers of what is no digest ("Listing Referrers").
    fn of(self, method: &Method, path: &str) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD | Method::DELETE) {
            return self;
        }
        let code = match &self {
            RouteError::Path | RouteError::Name(_) => ErrorCode::NameUnknown,
            RouteError::Reference(_) => ErrorCode::ManifestUnknown,
            RouteError::Digest(_) if is_about_referrers(path) => return self,
            RouteError::Digest(_) => ErrorCode::BlobUnknown,
            RouteError::UploadId => ErrorCode::BlobUploadUnknown,
            RouteError::NotFound
            | RouteError::DigestMissing
            | RouteError::CannotBe { .. }
            | RouteError::Method { .. } => {
                return self;
            }
        };
        RouteError::CannotBe { code, why: self.to_string() }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            RouteError::CannotBe { code, .. } => *code,
            RouteError::Path | RouteError::Name(_) => ErrorCode::NameInvalid,
            RouteError::Reference(ReferenceError::Tag) => ErrorCode::TagInvalid,
            RouteError::Reference(ReferenceError::Digest(_)) | RouteError::Digest(_) | RouteError::DigestMissing => {
                ErrorCode::DigestInvalid
            }
            RouteError::UploadId => ErrorCode::BlobUploadInvalid,
            RouteError::NotFound => ErrorCode::NameUnknown,
            RouteError::Method { .. } => ErrorCode::Unsupported,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            // Distribution means "this upload cannot go on" by the code's 404; an id that is none is a bad request.
            RouteError::UploadId => StatusCode::BAD_REQUEST,
            other => other.code().status(),
        }
    }

    /// The value for `Allow`, with 405.
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            RouteError::Method { allow } => Some(allow),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
