//! What a remote is asked, and what it says, as values.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::RemoteError;
use crate::oci::{Digest, Reference, RepositoryName};

/// One question.
pub struct Question<'a> {
    /// As the remote calls it; `None` for the catalog and the ping.
    pub repository: Option<&'a RepositoryName>,
    pub what: What<'a>,
    /// HEAD, where `what` has one.
    pub head: bool,
    /// What `Accept` says, for manifests; empty: all that we know.
    pub accept: &'a [HeaderValue],
    /// Of a blob: from where, and up to which byte (not with it); `None` as end: to its end.
    pub range: Option<(u64, Option<u64>)>,
    pub asker: &'a Asker,
    /// Until the head of the answer, with everything that leads to it: tokens, redirects, tries.
    pub within: Duration,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    Manifest(&'a Reference),
    Blob(&'a Digest),
    /// With the query as it goes there, without `?`.
    Tags(&'a str),
    Referrers(&'a Digest, &'a str),
    Catalog(&'a str),
    /// Whether it speaks this protocol, and to whoever asks: `/v2/`.
    Ping,
}

/// By whose right is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// By our own credentials, or nobody's.
    Mirror,
    /// By what the caller showed us (`Authorization`), or nobody's.
    Caller(Option<HeaderValue>),
}

/// The final answer: 200 or 206. Fields are those of the hop that gave the content.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Empty for HEAD. Its reads have a deadline (`timeouts.read`).
    pub body: BoxStream<'static, Result<Bytes, RemoteError>>,
}
