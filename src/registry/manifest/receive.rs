//! The body of a PUT, within the memory for manifests that are being pushed. Memory is taken for what has arrived, never
//! for what was announced: clients that announce much and send little keep nobody out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::oci::ErrorCode;
use crate::oci::manifest::MAX_MANIFEST;
use crate::registry::Body;
use crate::registry::reply::Refusal;

/// Bytes of manifests being pushed, all clients together; further ones wait.
pub(crate) const MEMORY: usize = 64 << 20;
/// Memory is taken in pieces of so many bytes.
const STEP: usize = 16 << 10;
/// How long a push waits for memory. It may hold some already, for which others wait: it gives that back then.
const MEMORY_WAIT: Duration = Duration::from_secs(5);
/// How long a client may take for a manifest: 4 MiB at 14 KiB/s.
const BODY_TIME: Duration = Duration::from_secs(300);

/// The whole body, with its share of the memory.
pub(super) async fn receive<'a>(
    memory: &'a Semaphore,
    body: &mut dyn Body,
) -> Result<(Bytes, SemaphorePermit<'a>), Refusal> {
    timeout(BODY_TIME, read(memory, body)).await.unwrap_or_else(|_| {
        let message = format!("the manifest did not arrive within {} s", BODY_TIME.as_secs());
        Err(Refusal::status(StatusCode::REQUEST_TIMEOUT, ErrorCode::ManifestInvalid, message))
    })
}

async fn read<'a>(memory: &'a Semaphore, body: &mut dyn Body) -> Result<(Bytes, SemaphorePermit<'a>), Refusal> {
    if body.length().is_some_and(|announced| announced > MAX_MANIFEST as u64) {
        return Err(too_large());
    }
    let mut share = take(memory, 0, MEMORY_WAIT).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece
            .map_err(|error| Refusal::status(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, error.to_string()))?;
        let length = bytes.len().saturating_add(piece.len());
        if length > MAX_MANIFEST {
            return Err(too_large());
        }
        let needed = length.next_multiple_of(STEP).saturating_sub(share.num_permits());
        if needed > 0 {
            share.merge(take(memory, needed, MEMORY_WAIT).await?);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes.freeze(), share))
}

async fn take(memory: &Semaphore, count: usize, wait: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match timeout(wait, memory.acquire_many(count)).await {
        Ok(share) => share.map_err(|_| Refusal::of(ErrorCode::Unknown)),
        Err(_) => Err(Refusal::later("too many manifests are being pushed now: try again")),
    }
}

fn too_large() -> Refusal {
    let message = format!("a manifest has at most {MAX_MANIFEST} bytes");
    Refusal::status(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::FutureExt;

    use super::*;
    use crate::registry::BodyError;

    /// Sends some bytes, then nothing more and no end; announces the largest manifest.
    struct Stalling(Option<Bytes>);

    #[async_trait]
    impl Body for Stalling {
        fn length(&self) -> Option<u64> {
            Some(MAX_MANIFEST as u64)
        }

        async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
            match self.0.take() {
                Some(bytes) => Some(Ok(bytes)),
                None => std::future::pending().await,
            }
        }
    }

    struct Whole(Option<Bytes>);

    #[async_trait]
    impl Body for Whole {
        fn length(&self) -> Option<u64> {
            None
        }

        async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
            self.0.take().map(Ok)
        }
    }

    #[tokio::test]
    async fn clients_that_announce_much_and_send_little_keep_nobody_out() {
        let memory = Semaphore::new(MEMORY);
        let mut bodies: Vec<_> = (0..64).map(|_| Stalling(Some(Bytes::from_static(b"{")))).collect();
        let mut slow: Vec<_> = bodies.iter_mut().map(|body| receive(&memory, body).boxed()).collect();
        for slow in &mut slow {
            assert!(slow.now_or_never().is_none());
            // tokio lets one task do only so much at a time.
            tokio::task::yield_now().await;
        }
        assert_eq!(memory.available_permits(), MEMORY - 64 * STEP);
        for length in [0, 1, STEP, MAX_MANIFEST] {
            let mut body = Whole(Some(vec![b'x'; length].into()));
            let (bytes, share) = receive(&memory, &mut body).await.ok().expect("taken");
            assert_eq!((bytes.len(), share.num_permits()), (length, length.next_multiple_of(STEP)));
        }
        drop(slow);
        assert_eq!(memory.available_permits(), MEMORY);
    }

    #[tokio::test]
    async fn who_waits_for_memory_goes_on_when_there_is_some() {
        let memory = Semaphore::new(STEP);
        let taken = memory.acquire_many(1).await.unwrap();
        let mut body = Whole(Some(Bytes::from_static(b"{}")));
        let mut waiting = receive(&memory, &mut body).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        drop(taken);
        assert_eq!(waiting.await.ok().expect("taken").0, "{}");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_later() {
        let memory = Semaphore::new(STEP);
        let _taken = memory.acquire_many(1).await.unwrap();
        let reply = take(&memory, STEP, Duration::ZERO).await.expect_err("refused").into_reply();
        assert_eq!((reply.status.as_u16(), reply.headers.contains_key(http::header::RETRY_AFTER)), (503, true));
    }
}
