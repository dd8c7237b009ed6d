//! What takes long, told line by line as it is done: JSON, one object a line.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::answer::{Answer, streamed};

/// Steps that wait for a client, and how long it may take none of them.
const MAX_WAITING: usize = 64;
const STALL: Duration = Duration::from_secs(60);
/// A client is told that work goes on at least this often.
const BEAT: Duration = Duration::from_secs(15);

/// Steps of work that ends when its client leaves, or takes nothing for a minute. `place` is given back then.
pub(super) fn answer(steps: BoxStream<'static, Value>, place: OwnedSemaphorePermit, what: &'static str) -> Answer {
    let (tell, mut told) = mpsc::channel(MAX_WAITING);
    tokio::spawn(hand_on(steps, tell, place, what));
    let lines = stream::poll_fn(move |context| told.poll_recv(context));
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    streamed(StatusCode::OK, "application/x-ndjson", StreamBody::new(frames).boxed_unsync())
}

/// Does the work as long as somebody takes what is told of it.
async fn hand_on(
    mut steps: BoxStream<'static, Value>,
    tell: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
    what: &'static str,
) {
    loop {
        let step = tokio::select! {
            () = tell.closed() => break,
            step = timeout(BEAT, steps.next()) => step,
        };
        let step = match step {
            Ok(Some(step)) => step,
            Ok(None) => return,
            Err(_) => json!({ "event": "beat" }),
        };
        let line = Bytes::from(format!("{step}\n"));
        // Of a client that leaves while a step is at hand we learn only here.
        if !matches!(timeout(STALL, tell.send(line)).await, Ok(Ok(()))) {
            break;
        }
    }
    tracing::info!("{what}");
}
