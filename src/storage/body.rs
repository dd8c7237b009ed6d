//! Bytes that come from a client, with back-pressure: nothing is read before it is asked for.

use async_trait::async_trait;
use bytes::Bytes;

/// A request's body. `exchange` implements it over its session; tests over vectors.
#[async_trait]
pub trait Body: Send {
    /// Length in bytes, if the client announced it.
    fn length(&self) -> Option<u64>;

    /// The next piece (any size from 1 byte to about 1 MiB), `None` at the clean end.
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>>;
}

/// The client went away, was too slow, or broke the framing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request's body ended early: {0}")]
pub struct BodyError(pub String);
