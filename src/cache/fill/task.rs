//! The detached task of a fill: belongs to no client, ends when the content is complete, failed or abandoned.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::task::JoinHandle;

use super::sink::{NoPlace, Sink};
use super::supply::{ByteStream, Head, Supply};
use super::{Abandoned, Complete, Fill, Phase, visible};
use crate::cache::content::Content;
use crate::cache::error::FillError;
use crate::cache::shared::Shared;
use crate::oci::Hasher;
use crate::telemetry::spans;

/// Bytes hashed and written at once, and gathered meanwhile, at most (and one item of the stream).
const CHUNK: usize = 256 << 10;
/// So long the stream of an abandoned fill waits for a reader.
const LEFTOVER_WAIT: Duration = Duration::from_secs(5);

impl Fill {
    /// Starts the download on the present runtime.
    pub(in crate::cache) fn start(self: &Arc<Self>, shared: &Arc<Shared>) {
        let running = Running { fill: self.clone(), shared: shared.clone() };
        tokio::spawn(spans::carried(async move {
            let end = running.download().await;
            running.end(end).await;
        }));
    }

    fn set_head(&self, head: Head) {
        _ = self.head.set(head);
        self.state.send_modify(|_| {}); // wakes those who wait for it
    }

    /// Shows `bytes`, which were kept, to the readers.
    fn publish(&self, bytes: Bytes, in_memory: bool) {
        let total = self.head().and_then(|head| head.total);
        self.state.send_modify(|state| {
            state.window.push(bytes);
            if !in_memory {
                state.window.trim();
            }
            state.visible = visible(state.window.end(), total);
        });
    }

    fn set_phase(&self, phase: Phase) {
        self.state.send_modify(|state| {
            if matches!(phase, Phase::Done | Phase::Failed(_)) {
                state.window.clear();
            }
            state.phase = phase;
        });
    }
}

/// Owned by the task: whatever happens to it (a panic, a runtime that ends), readers are told and the table is cleared.
struct Running {
    fill: Arc<Fill>,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.fills.leave(&self.fill);
        if matches!(self.fill.state.borrow().phase, Phase::Running) {
            self.fill.set_phase(Phase::Failed(FillError::Broken("the download was cut off".into())));
        }
    }
}

enum End {
    Complete(Complete),
    Failed(FillError),
    Abandoned(Arc<Abandoned>),
    /// Nobody waits for it, and it is not worth while for the cache alone.
    GivenUp,
}

enum Absorbed {
    OnDisk(Sink, Bytes),
    Refused(Sink, Bytes),
}

fn abandoned(hasher: Hasher, offset: u64, leftover: Option<ByteStream>) -> End {
    End::Abandoned(Arc::new(Abandoned { offset, hasher, leftover: leftover.into() }))
}

impl Running {
    async fn download(&self) -> End {
        let fresh = || Hasher::new(self.fill.digest.algorithm());
        let Some(_slot) = self.shared.fills.slot().await else { return abandoned(fresh(), 0, None) };
        let mut supply = Supply::new(self.fill.origins.clone(), 0, None);
        let head = match supply.open().await {
            Ok(head) => head,
            Err(error) => return End::Failed(error),
        };
        self.fill.set_head(head.clone());
        let stream = supply.into_stream();
        match Sink::begin(&self.shared, &self.fill, &head).await {
            Some(sink) => self.pump(stream, sink).await,
            None => abandoned(fresh(), 0, Some(stream)),
        }
    }

    /// Takes what comes while the last chunk is being hashed and written. A chunk is whatever came until then, so that the
    /// first bytes go out at once and a fast origin fills whole chunks.
    async fn pump(&self, mut stream: ByteStream, sink: Sink) -> End {
        let mut idle = Some(sink);
        let mut job: Option<JoinHandle<Absorbed>> = None;
        let (mut parts, mut len, mut ended) = (Vec::new(), 0, false);
        loop {
            match idle.take() {
                Some(sink) if ended && parts.is_empty() => return self.finish(sink).await,
                Some(sink) if !parts.is_empty() => {
                    job = Some(self.absorb(sink, std::mem::take(&mut parts), len));
                    len = 0;
                }
                waiting => idle = waiting,
            }
            tokio::select! {
                biased;
                absorbed = result_of(&mut job), if job.is_some() => {
                    job = None;
                    match absorbed {
                        Ok(Absorbed::OnDisk(sink, bytes)) => {
                            self.fill.publish(bytes, sink.in_memory());
                            idle = Some(sink);
                        }
                        Ok(Absorbed::Refused(sink, bytes)) => {
                            let offset = sink.written();
                            let pending = std::iter::once(bytes).chain(parts).map(Ok);
                            let rest = stream::iter(pending.collect::<Vec<_>>()).chain(stream).fuse().boxed();
                            return abandoned(sink.into_hasher(), offset, Some(rest));
                        }
                        Err(error) => return End::Failed(FillError::Broken(error.to_string().into())),
                    }
                }
                () = self.fill.deserted.notified(), if !ended => if self.given_up() {
                    return End::GivenUp;
                },
                item = stream.next(), if !ended && len < CHUNK => match item {
                    Some(Ok(bytes)) => {
                        len += bytes.len();
                        parts.push(bytes);
                    }
                    Some(Err(error)) => return End::Failed(error),
                    None => ended = true,
                },
            }
        }
    }

    /// Nobody waits any more: whether that is the end. Nobody joins it afterwards.
    fn given_up(&self) -> bool {
        let got = self.fill.state.borrow().window.end();
        let total = self.fill.head().and_then(|head| head.total);
        !self.fill.origins.go_on_alone(got, total) && self.shared.fills.leave_deserted(&self.fill)
    }

    fn absorb(&self, mut sink: Sink, parts: Vec<Bytes>, len: usize) -> JoinHandle<Absorbed> {
        let blocks = sink.blocks(len);
        let shared = self.shared.clone();
        let work = move || match sink.absorb(parts, &shared) {
            Ok(bytes) => Absorbed::OnDisk(sink, bytes),
            Err(NoPlace { bytes }) => Absorbed::Refused(sink, bytes),
        };
        match blocks {
            true => tokio::task::spawn_blocking(work),
            false => tokio::spawn(async move { work() }),
        }
    }

    async fn finish(&self, sink: Sink) -> End {
        let fill = self.fill.clone();
        let work = move || sink.finish(&fill);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(complete)) => End::Complete(complete),
            Ok(Err(error)) => End::Failed(error),
            Err(error) => End::Failed(FillError::Broken(error.to_string().into())),
        }
    }

    async fn end(self, end: End) {
        let (fill, metrics) = (&self.fill, &self.shared.metrics);
        match end {
            End::Complete(complete) => {
                metrics.completed.inc();
                _ = fill.complete.set(complete.clone());
                self.complete(complete).await;
            }
            End::GivenUp => {
                metrics.given_up.inc();
                tracing::debug!(digest = %fill.digest, "a fill is given up: nobody waits for it");
                fill.set_phase(Phase::Failed(FillError::Broken("nobody waited for it".into())));
            }
            End::Failed(error) => {
                match error {
                    FillError::Mismatched => {
                        metrics.mismatched.inc();
                        fill.origins.mismatched();
                    }
                    _ => metrics.failed.inc(),
                }
                tracing::warn!(digest = %fill.digest, %error, "a fill failed");
                // First out of the table: the next pull tries again.
                self.shared.fills.leave(fill);
                fill.set_phase(Phase::Failed(error));
            }
            End::Abandoned(abandoned) => {
                metrics.abandoned.inc();
                self.shared.fills.leave(fill);
                fill.set_phase(Phase::Abandoned(abandoned.clone()));
                tokio::time::sleep(LEFTOVER_WAIT).await;
                abandoned.take_leftover();
            }
        }
    }

    /// Keeps the content, then shows that it is complete; a small one is served before it is written to disk.
    async fn complete(&self, complete: Complete) {
        let fill = &self.fill;
        if let Complete::Memory(object) = &complete
            && fill.keeps()
        {
            self.shared.memory.insert(fill.digest, object.clone());
            if !fill.keeps() {
                self.shared.memory.remove(&fill.digest); // purged in between
            }
        }
        fill.set_phase(Phase::Done);
        fill.origins.completed(&Content::complete(&self.shared, fill.digest, complete.clone()));
        if let Complete::Memory(object) = complete {
            let (shared, fill) = (self.shared.clone(), fill.clone());
            let store = move || shared.persist(&fill.digest, &object, || fill.keeps());
            if let Err(error) = tokio::task::spawn_blocking(store).await {
                tracing::error!(%error, "writing a small content panicked");
            }
        }
    }
}

/// The result of the job under way. Dropping the future leaves the job where it is.
async fn result_of(job: &mut Option<JoinHandle<Absorbed>>) -> io::Result<Absorbed> {
    match job {
        Some(job) => job.map(|result| result.map_err(io::Error::other)).await,
        None => std::future::pending().await,
    }
}
