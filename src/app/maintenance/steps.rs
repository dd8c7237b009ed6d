//! Work that tells of its steps.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Refusal;

/// Steps that wait for whoever is told of them. One that finds no place is left out: the report at the end has what matters.
const MAX_WAITING: usize = 4096;

/// Is told of each step.
pub type Tell = Arc<dyn Fn(Value) + Send + Sync>;

pub fn to_nobody() -> Tell {
    Arc::new(|_| ())
}

/// Begins some work; its steps as they come, then `end` with its report, or `failed`. Dropped, the work stops.
pub fn told<W>(work: impl FnOnce(Tell) -> W) -> BoxStream<'static, Value>
where
    W: Future<Output = Result<Value, Refusal>> + Send + 'static,
{
    let (send, mut receive) = mpsc::channel(MAX_WAITING);
    let steps = send.clone();
    let tell: Tell = Arc::new(move |step: Value| drop(steps.try_send(flat(step))));
    let work = work(tell);
    let task = tokio::spawn(async move {
        let last = match work.await {
            Ok(report) => json!({ "event": "end", "report": report }),
            Err(Refusal { code, message, .. }) => json!({ "event": "failed", "code": code, "message": message }),
        };
        // Whoever has left needs none.
        let _ = send.send(last).await;
    });
    let task = AbortOnDropHandle::new(task);
    stream::poll_fn(move |context| {
        let _held = &task;
        receive.poll_recv(context)
    })
    .boxed()
}

/// A step as an object with its `event`, whatever its enum calls that: serde writes a variant that has no tag as `{"Name": {…}}`, or
/// as its name alone.
fn flat(step: Value) -> Value {
    let named = |name: &str, inner: Value| {
        let mut object = match inner {
            Value::Object(object) => object,
            Value::Null => serde_json::Map::new(),
            other => serde_json::Map::from_iter([("value".to_owned(), other)]),
        };
        object.insert("event".to_owned(), name.to_lowercase().into());
        Value::Object(object)
    };
    match step {
        Value::String(name) => named(&name, Value::Null),
        Value::Object(mut object) if object.contains_key("step") && !object.contains_key("event") => {
            let name = object.remove("step").unwrap_or_default();
            object.insert("event".to_owned(), name);
            Value::Object(object)
        }
        Value::Object(mut object) if object.len() == 1 && !object.contains_key("event") => {
            let first = object.keys().next().cloned().unwrap_or_default();
            let inner = object.remove(&first).unwrap_or_default();
            named(&first, inner)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_come_in_their_order_and_the_end_last() {
        let steps = told(|tell| async move {
            for n in 0..10 {
                tell(json!({ "event": "step", "n": n }));
            }
            tell(json!({ "Marking": { "repositories": 3 } }));
            tell(json!({ "step": "shard", "done": 1 }));
            Ok(json!({ "done": true }))
        });
        let steps: Vec<Value> = steps.collect().await;
        assert_eq!(steps.len(), 13);
        assert_eq!(steps[10], json!({ "event": "marking", "repositories": 3 }));
        assert_eq!(steps[11], json!({ "event": "shard", "done": 1 }));
        assert_eq!(steps[12], json!({ "event": "end", "report": { "done": true } }));
        let refused = told(|_| async { Err(Refusal::new(http::StatusCode::NOT_FOUND, "X", "no")) });
        let steps: Vec<Value> = refused.collect().await;
        assert_eq!(steps, [json!({ "event": "failed", "code": "X", "message": "no" })]);
    }

    #[tokio::test]
    async fn whoever_tells_too_much_waits_for_nobody_and_the_end_is_told() {
        let mut steps = told(|tell| async move {
            (0..MAX_WAITING * 2).for_each(|n| tell(json!({ "event": "step", "n": n })));
            Ok(Value::Null)
        });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut count = 0;
        let mut last = Value::Null;
        while let Some(step) = steps.next().await {
            (count, last) = (count + 1, step);
        }
        assert_eq!((count, last["event"].as_str()), (MAX_WAITING + 1, Some("end")));
    }

    #[tokio::test]
    async fn work_that_nobody_hears_of_any_more_stops() {
        let (told_of, wait) = tokio::sync::oneshot::channel::<()>();
        let mut steps = told(|tell| async move {
            let _told_of = told_of;
            tell(json!({ "event": "begun" }));
            std::future::pending().await
        });
        assert_eq!(steps.next().await.unwrap()["event"], "begun");
        drop(steps);
        assert!(wait.await.is_err(), "its future is gone");
    }
}
